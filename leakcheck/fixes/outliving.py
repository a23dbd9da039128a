"""What may still need the connection when a rewrite ends it on a way that had no release before.

    self.rows = conn.execute(sql)             →   kept: a lazy result of a connection that is closed by then
    patch.setattr(app, "db", made_of(conn))   →   given to somebody who may keep it
    return cur                                →   handed out

Where the original released it already, whoever used any of that later was wrong before, too. What a function of the
project does with what it is given, and whether its result is data, is looked up in its body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.cfg.walk import reduce, walk
from leakcheck.diagnostic import Applicability
from leakcheck.fixes.handles import CONSUMERS, IsData, handles, needs
from leakcheck.fixes.roles import Role, mentions
from leakcheck.fixes.tree import RefusedError, Tree, own
from leakcheck.ownership.arguments import parameter_at
from leakcheck.ownership.state import Status
from leakcheck.ownership.summary import End
from leakcheck.project.facts import is_static
from leakcheck.project.names import Class, Function

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from leakcheck.driver import DriverClass
    from leakcheck.fixes.giving import Doubt
    from leakcheck.fixes.region import Region
    from leakcheck.ownership.program import Program
    from leakcheck.project.names import Symbols

_SCALARS = frozenset({"scalar", "scalar_one", "scalar_one_or_none", "count"})
_DEPTH = 3
"""How many functions deep it is looked for who keeps something."""


def outliving(region: Region, program: Program) -> Iterator[Doubt]:
    """What speaks for leaving it to a reader. Raises RefusedError."""
    endings = region.found.exploration.endings
    if any(e.state.paused and e.state.status is Status.HELD and not e.state.raised for e in endings):
        yield Applicability.UNSAFE, f"closing `{region.name}` after its commit detaches its objects"
    if all(ending.state.raised for ending in region.found.leaks):
        return
    search = _Search(program, region.found.acquisition.resource)
    body = search.body(region.tree, region.statements, [region.name, *region.beside])
    if region.found.acquisition.resource.noun == "session":
        yield from _objects(region, body.names)
    for statement in region.statements:
        for node in own(statement):
            value = node.value if isinstance(node, (cst.Return, cst.Yield)) else None
            if value is not None and not isinstance(value, cst.From) and search.may_need(value, body):
                yield _handed_out(region, node, value)
    for node in search.given_away(body, _DEPTH):
        yield Applicability.UNSAFE, f"line {region.tree.row(node)} may keep what needs the connection"


def needing(region: Region, program: Program) -> frozenset[str]:
    """The variables that are bound in a region to what may need the connection, besides the one that holds it."""
    search = _Search(program, region.found.acquisition.resource)
    return search.body(region.tree, region.statements, [region.name]).names - {region.name}


def _handed_out(region: Region, node: cst.CSTNode, value: cst.CSTNode) -> Doubt:
    reason = f"line {region.tree.row(node)} hands out what may still need the connection"
    if any(isinstance(n, cst.Call) for n in walk(value)) and not _is_derived(region, value):
        return Applicability.UNSAFE, reason
    raise RefusedError(reason)


def _is_derived(region: Region, value: cst.CSTNode) -> bool:
    """Whether an expression is a cursor of the connection itself: for certain nothing without it."""
    match value.expression if isinstance(value, cst.Await) else value:
        case cst.Call(func=cst.Attribute(value=cst.Name(value=base), attr=cst.Name(value=name))):
            operation = region.found.acquisition.resource.methods.get(name)
            return base == region.name and operation is not None and operation.derives is not None
        case _:
            return False


def _objects(region: Region, names: frozenset[str]) -> Iterator[Doubt]:
    """What a session loaded may load more when it is used, which it cannot once the session is closed."""
    for statement in region.statements:
        for node in own(statement):
            for value in _taken(node):
                if _is_scalar(value):
                    continue
                if any(isinstance(n, cst.Name) and n.value in names for n in walk(value)):
                    row = region.tree.row(node)
                    yield Applicability.UNSAFE, f"line {row} gets objects that may still load from the session"


def _taken(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The expressions whose values a node gives to somebody: a variable, a caller, a loop, a function."""
    match node:
        case cst.For(iter=value) | cst.NamedExpr(value=value) | cst.AugAssign(value=value) | cst.Assign(value=value):
            yield value
        case cst.Return(value=value) | cst.Yield(value=value) | cst.AnnAssign(value=value) if value is not None:
            if not isinstance(value, cst.From):
                yield value
        case cst.Call(args=args):
            yield from (argument.value for argument in args if not isinstance(argument.value, cst.Name))
        case _:
            pass


def _is_scalar(value: cst.CSTNode) -> bool:
    match value.expression if isinstance(value, cst.Await) else value:
        case cst.Call(func=cst.Attribute(attr=cst.Name(value=name))):
            return name in _SCALARS
        case _:
            return False


class _Body(Struct, frozen=True, eq=False):
    """Statements of a function, and the variables in them that hold the connection or what needs it."""

    tree: Tree
    statements: Sequence[cst.CSTNode]
    names: frozenset[str]
    calls: Mapping[int, g.Call]


class _Search:
    """Looks for who keeps what needs a connection of one kind."""

    def __init__(self, program: Program, resource: DriverClass) -> None:
        self._program = program
        self._resource = resource
        self._known: dict[tuple[Function, int | str | None, int], bool] = {}
        self._data: dict[tuple[Function, int], bool] = {}

    def body(self, tree: Tree, statements: Sequence[cst.CSTNode], names: Sequence[str], depth: int = _DEPTH) -> _Body:
        """Statements with all the variables that lead to what these hold."""
        calls = self._calls(tree)
        known = {name for first in names for name in handles(first, statements, self._is_data(tree, calls, depth))}
        return _Body(tree, statements, frozenset(known.union(names)), calls)

    def may_need(self, value: cst.CSTNode, body: _Body) -> bool:
        """Whether the value of an expression may need the connection."""
        return needs(value, body.names, self._is_data(body.tree, body.calls, _DEPTH))

    def given_away(self, body: _Body, depth: int = _DEPTH) -> Iterator[cst.CSTNode]:
        """The places that put away, or give to who may keep it, what needs the connection."""
        is_data = self._is_data(body.tree, body.calls, depth)
        for name in body.names:
            for mention in mentions(body.tree, name):
                if mention.role in (Role.CAPTURED, Role.SHARED):
                    yield mention.node
        for statement in body.statements:
            for node in own(statement):
                value = _kept(node)
                is_kept = value is not None and needs(value, body.names, is_data)
                if is_kept or (isinstance(node, cst.Call) and self._is_given(node, body, is_data, depth)):
                    yield node

    def _is_given(self, call: cst.Call, body: _Body, is_data: IsData, depth: int) -> bool:
        """Whether a call may keep one of its arguments, which needs the connection."""
        instruction, callees = body.calls.get(id(call)), body.tree.unit.callees
        name = ex.last_name(reduce(call.func)) or ""
        if name in CONSUMERS or _receiver(call.func) in body.names:
            return False
        if instruction is not None and callees is not None and _only_builds(callees.symbols(instruction)):
            return False  # what it builds is what leads on to it
        functions = functions_called(body.tree, instruction)
        if not functions and self._program.calls.is_borrowing(ex.dotted(reduce(call.func)) or name):
            return False
        if not functions and instruction is not None and callees is not None and callees.is_quiet(instruction):
            return False
        given = [place for place, argument in arguments_of(call) if needs(argument, body.names, is_data)]
        return bool(given) and not (
            functions and all(not self._keeps(one, place, depth) for one in functions for place in given)
        )

    def _is_data(self, tree: Tree, calls: Mapping[int, g.Call], depth: int) -> IsData:
        def is_data(call: cst.Call) -> bool:
            functions = functions_called(tree, calls.get(id(call)))
            return bool(functions) and all(self._gives_data(function, depth) for function in functions)

        return is_data

    def _keeps(self, function: Function, place: int | str | None, depth: int) -> bool:
        """Whether a function may keep the argument at a place."""
        key = function, place, depth
        if key not in self._known:
            self._known[key] = self._may_keep(function, place, depth)
        return self._known[key]

    def _may_keep(self, function: Function, place: int | str | None, depth: int) -> bool:
        facts, _ = self._program.resolver.function(function)
        unit = self._program.functions.units.of(function)
        if facts is None or place is None or unit is None or not isinstance(unit.node, cst.FunctionDef) or not depth:
            return True
        name = parameter_at(facts, place, bound=function.bound and not is_static(facts))
        if name is None:
            return True
        effect = self._program.functions.parameter_effect(function, name, self._resource)
        body = self.body(Tree(unit), unit.node.body.body, [name], depth - 1)
        return not effect.normal <= {End.BORROWED, End.RETURNED} or any(True for _ in self.given_away(body, depth - 1))

    def _gives_data(self, function: Function, depth: int) -> bool:
        """Whether what a function returns needs none of its arguments."""
        key = function, depth
        if key not in self._data:
            self._data[key] = self._returns_data(function, depth)
        return self._data[key]

    def _returns_data(self, function: Function, depth: int) -> bool:
        facts, _ = self._program.resolver.function(function)
        unit = self._program.functions.units.of(function)
        if facts is None or facts.is_generator or facts.decorators or unit is None or not depth:
            return False
        if not isinstance(unit.node, cst.FunctionDef):
            return False
        body = self.body(Tree(unit), unit.node.body.body, [one.name for one in facts.parameters], depth - 1)
        if any(m.role is Role.CAPTURED for name in body.names for m in mentions(body.tree, name)):
            return False
        is_data = self._is_data(body.tree, body.calls, depth - 1)
        returned = [n.value for s in body.statements for n in own(s) if isinstance(n, cst.Return)]
        return not any(value is not None and needs(value, body.names, is_data) for value in returned)

    def _calls(self, tree: Tree) -> dict[int, g.Call]:
        try:
            graph = self._program.functions.graph(tree.unit)
        except TooLargeError:
            return {}
        return {id(i.node): i for block in graph.blocks for i in block.instructions if isinstance(i, g.Call)}


def _only_builds(symbols: Symbols) -> bool:
    return bool(symbols) and all(isinstance(symbol, Class) for symbol in symbols)


def functions_called(tree: Tree, instruction: g.Call | None) -> list[Function]:
    """The functions of the project that a call calls, none where it may call another."""
    if instruction is None or tree.unit.callees is None:
        return []
    symbols = tree.unit.callees.symbols(instruction)
    functions = [symbol for symbol in symbols if isinstance(symbol, Function)]
    return functions if len(functions) == len(symbols) else []


def _kept(node: cst.CSTNode) -> cst.CSTNode | None:
    """What a statement puts where others find it, if it does."""
    match node:
        case cst.Assign(targets=targets, value=value) if not all(_is_local(target.target) for target in targets):
            return value
        case cst.AnnAssign(target=target, value=cst.BaseExpression() as value) if not _is_local(target):
            return value
        case cst.AugAssign(value=value):
            return value
        case _:
            return None


def _is_local(target: cst.CSTNode) -> bool:
    """Whether a target is a variable, or several of them."""
    if isinstance(target, (cst.Tuple, cst.List)):
        return all(_is_local(element.value) for element in target.elements)
    return isinstance(target, cst.Name)


def _receiver(func: cst.CSTNode) -> str | None:
    """The variable whose method, or the method of whose part, is called."""
    node = func.value if isinstance(func, cst.Attribute) else None
    while isinstance(node, (cst.Attribute, cst.Call, cst.Subscript)):
        node = node.func if isinstance(node, cst.Call) else node.value
    return node.value if isinstance(node, cst.Name) else None


def arguments_of(call: cst.Call) -> Iterator[tuple[int | str | None, cst.CSTNode]]:
    """The arguments of a call, each with its position or keyword; no place where that is not written out."""
    position = 0
    for argument in call.args:
        if argument.keyword is not None:
            yield argument.keyword.value, argument.value
        else:
            yield None if argument.star else position, argument.value
            position += 1
