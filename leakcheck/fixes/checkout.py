"""The statement that takes a connection into a variable, and what else it does.

conn = connect()                                    the call alone, which a ``with`` may make as well
conn, cur = open_both()                             a pair: ``cur`` is bound beside it
conn = await wait_for(pool.acquire(), timeout=5)    ┐
conn = cast("Connection", connect())                │ more than the call: the statement stays as it is
conn = replica() if reading else primary()          │
both = open_both(); conn = both["conn"]             ┘
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck.calls import CallKind
from leakcheck.fixes.roles import Role, mentions
from leakcheck.fixes.tree import RefusedError, only

if TYPE_CHECKING:
    from leakcheck.fixes.tree import Tree
    from leakcheck.ownership.found import Found


class Checkout(Struct, frozen=True, eq=False):
    """A statement, the variable that holds the connection from then on, and those that it binds ``beside``."""

    name: str
    statement: cst.SimpleStatementLine
    beside: frozenset[str] = frozenset()
    is_wrapped: bool = False


def checkout_of(tree: Tree, found: Found) -> Checkout:
    """The statement by which the function takes it. Raises RefusedError."""
    call = found.call.node
    statement = tree.statement(call)
    row = tree.row(call)
    if not isinstance(tree.root, cst.FunctionDef):
        raise RefusedError(f"line {row} is module-level code, whose names may be read elsewhere")
    if found.acquisition.takes_receiver:
        raise RefusedError(f"line {row} opens an object that is made elsewhere")
    if isinstance(statement, cst.SimpleStatementLine) and only(statement) is None:
        raise RefusedError(f"line {row} holds several statements")
    target, value = _assigned(statement) or (None, None)
    if target is None or value is None:
        raise RefusedError(f"line {row} does not bind it to a plain name in a statement of its own")
    beside: frozenset[str] = frozenset()
    place = found.acquisition.position
    if isinstance(target, cst.Tuple) and isinstance(place, int):
        target, beside = _part(target, place)
    elif place is not None:
        part = _taken_apart(tree, found, statement, target)
        if part is None:
            raise RefusedError(f"line {row} gets the {found.acquisition.resource.noun} as a part of another value")
        return part
    if not isinstance(target, cst.Name):
        raise RefusedError(f"line {row} does not bind it to a plain name in a statement of its own")
    is_call = _without_await(value) is call
    if not is_call and not _takes(tree, found, target.value, value):
        raise RefusedError(f"line {row} makes the value of `{target.value}` of more than the checkout")
    assert isinstance(statement, cst.SimpleStatementLine)
    return Checkout(target.value, statement, beside, is_wrapped=not is_call)


def is_checkout(tree: Tree, statement: cst.CSTNode, found: Found, name: str) -> bool:
    """Whether a statement takes a connection of the same kind into the variable."""
    _, value = _assigned(statement) or (None, None)
    return value is not None and _takes(tree, found, name, value)


def _assigned(statement: cst.CSTNode | None) -> tuple[cst.BaseExpression, cst.BaseExpression] | None:
    """The one target of an assignment, and its value."""
    match only(statement):
        case cst.Assign(targets=[cst.AssignTarget(target=target)], value=value):
            return target, value
        case cst.AnnAssign(target=target, value=cst.BaseExpression() as value):
            return target, value
        case _:
            return None


def _without_await(value: cst.CSTNode) -> cst.CSTNode:
    return value.expression if isinstance(value, cst.Await) else value


def _takes(tree: Tree, found: Found, name: str, value: cst.CSTNode) -> bool:
    """Whether a value is always a new connection of the same kind, which the variable holds."""
    value = _without_await(value)
    if isinstance(value, cst.IfExp):
        return all(_takes(tree, found, name, one) for one in (value.body, value.orelse))
    if not isinstance(value, cst.Call):
        return False
    instruction, callees = tree.calls.get(id(value)), tree.unit.callees
    known = callees.known_call(instruction) if instruction is not None and callees is not None else None
    if known is not None and known.kind is CallKind.PASSES and known.argument < len(value.args):
        return _takes(tree, found, name, value.args[known.argument].value)
    acquisition = found.acquisition
    return any(
        other.call.node is value
        and other.effects.bound_to == name
        and other.acquisition.resource.release == acquisition.resource.release
        and (other.acquisition.pool == acquisition.pool or "{pool}" not in acquisition.resource.release)
        and other.acquisition.protocol is acquisition.protocol
        and other.acquisition.position == acquisition.position
        for other in found.unit.found
    )


def _part(target: cst.Tuple, place: int) -> tuple[cst.BaseExpression, frozenset[str]]:
    """The part of a target at a place, and the names of the others; the target itself where they are not all names."""
    parts = [element.value for element in target.elements]
    names = [part.value for part in parts if isinstance(part, cst.Name)]
    if len(names) != len(parts) or not 0 <= place < len(parts) or len(set(names)) != len(names):
        return target, frozenset()
    return parts[place], frozenset(names) - {names[place]}


def _taken_apart(
    tree: Tree, found: Found, statement: cst.CSTNode | None, target: cst.BaseExpression
) -> Checkout | None:
    """The later statement of the same block by which the connection is got out of what was given, the only one.

    Beside it is whatever else is got out of that: it may live by the connection.
    """
    name, block = found.effects.bound_to, tree.block(statement) if statement is not None else None
    if name is None or block is None or not isinstance(target, cst.Name):
        return None
    parts = [m.node for m in mentions(tree, target.value) if m.role is not Role.BOUND]
    keys, place = [_key_of(tree, part) for part in parts], found.acquisition.position
    if None in keys or keys.count(place) != 1 or not all(_is_followed(tree, part) for part in parts):
        return None
    taken: cst.BaseStatement | None = None
    beside = {target.value}
    for line in block.body:
        bound, value = _assigned(line) or (None, None)
        of = value.value if isinstance(value, cst.Subscript) else None
        if isinstance(of, cst.Name) and of.value == target.value and isinstance(bound, cst.Name):
            beside.add(bound.value)
            if bound.value == name and _key_of(tree, of) == place:
                taken = line
    if not isinstance(taken, cst.SimpleStatementLine):
        return None
    return Checkout(name, taken, frozenset(beside - {name}), is_wrapped=True)


def _is_followed(tree: Tree, node: cst.Name) -> bool:
    """Whether a part that is got out at a mention goes into a variable alone, or is only used there."""
    part = tree.parent(node)
    around = tree.parent(part) if part is not None else None
    target, _ = _assigned(tree.statement(node)) or (None, None)
    return isinstance(around, cst.Attribute) or (
        isinstance(around, (cst.Assign, cst.AnnAssign)) and isinstance(target, cst.Name)
    )


def _key_of(tree: Tree, node: cst.CSTNode) -> str | int | None:
    """The literal key or index by which a variable is subscripted at one of its mentions."""
    match tree.parent(node):
        case cst.Subscript(value=base, slice=[cst.SubscriptElement(slice=cst.Index(value=cst.SimpleString() as key))]):
            text = key.evaluated_value
            return text if base is node and isinstance(text, str) else None
        case cst.Subscript(value=base, slice=[cst.SubscriptElement(slice=cst.Index(value=cst.Integer() as index))]):
            return index.evaluated_value if base is node else None
        case _:
            return None
