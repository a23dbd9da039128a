"""What moving data does to one path: bindings, attributes and items read, values built, names dropped, stores.

    pair = (conn, 1)     →   pair is a Box that holds the resource
    self.conn = conn     →   the object owns it now: MOVED

Each function takes an obligation, an instruction and a state, and returns the states after it and when it raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.ownership.constants import flag
from leakcheck.ownership.obligation import EventKind, consumed
from leakcheck.ownership.quiet import subscript_key
from leakcheck.ownership.state import ALIASES, Box, Closure, Fact, Hold, Status
from leakcheck.project.facts import ENTERING

if TYPE_CHECKING:
    from leakcheck.ownership.obligation import Obligation, Outcome
    from leakcheck.ownership.state import State, Value

BACK_TO_OWNER = frozenset({"connection", "conn", "_connection", "_conn", "driver_connection", "dbapi_connection"})
"""Attributes of a cursor, or of a proxy, that are its connection."""
_SAID = (Fact.NONE, Fact.FALSE, Fact.TRUE)
"""What a tuple goes on holding beside the resource; others may be changed by whoever has them."""


def move(obligation: Obligation, instruction: g.Move, state: State) -> Outcome:
    """``target = value``."""
    value = obligation.value_of(instruction.value, state)
    if value is Hold.MAYBE:  # `conn = prepare(conn)` goes on being the resource, `rows = load(conn)` does not
        value = Hold.OWN if state.get(instruction.target) is Hold.OWN else None
    return _bound(obligation, instruction.target, value, state, used=instruction.value)


def null_test(obligation: Obligation, instruction: g.NullTest, state: State) -> Outcome:
    """``target = subject is None``: a flag, where the subject is not known."""
    known = obligation.value_of(instruction.subject, state)
    value = flag(known, negated=instruction.negated, subject=instruction.subject)
    return [state.bind({instruction.target: value})], [state]


def _bound(obligation: Obligation, target: str, value: Value | None, state: State, *, used: str = "") -> Outcome:
    if target[0] != "%":
        if value in ALIASES and obligation.bound_to is None:
            obligation.bound_to = target
        elif isinstance(value, Box) and obligation.kept_at is None:
            obligation.kept_at = _spelled(target, value)
    after = state.bind({**consumed(used), target: value})
    return [after], [state]


def load_attribute(obligation: Obligation, instruction: g.LoadAttribute, state: State) -> Outcome:
    """``target = base.name``: a bound release, a way back to the connection, or what is known of the attribute."""
    base, name = obligation.value_of(instruction.base, state), instruction.name
    value: Value | None = None
    if base in ALIASES:
        operation, attributes = obligation.resource.methods.get(name), obligation.resource.attributes
        if operation is not None and operation.releases == "receiver":
            value = Hold.RELEASER
        elif name in ENTERING:
            value = Hold.GIVER
        elif name in attributes and obligation.callees.is_connection(attributes[name]):
            value = Hold.OWN  # `engine.connect().connection`: closing it gives the connection back
            if operation is not None and operation.acquires_receiver:  # a property that opens it
                state = obligation.taken_now(instruction, state)
    elif base is Hold.MANAGER and name in ("__exit__", "__aexit__", "close", "aclose"):
        value = Hold.RELEASER
    elif base is Hold.DERIVED and name in BACK_TO_OWNER:
        value = Hold.OWN
    elif isinstance(base, Box):
        value = base.at(f".{name}")
    else:
        value = state.get(f"{instruction.base}.{name}")
    return _bound(obligation, instruction.target, value, state, used=instruction.base)


def load_item(obligation: Obligation, instruction: g.LoadItem, state: State) -> Outcome:
    """``target = base[key]``: a literal key of a display that is known does not raise."""
    base = obligation.value_of(instruction.base, state)
    value = base.at(instruction.key) if isinstance(base, Box) else None
    normal, raised = _bound(obligation, instruction.target, value, state, used=instruction.base)
    is_literal = instruction.key is not None
    is_known = is_literal and isinstance(base, Box) and all(key is not None for key, _ in base.items)
    return normal, [] if is_known or obligation.callees.is_quiet_instruction(instruction) else raised


def iterate(obligation: Obligation, instruction: g.Iterate, state: State) -> Outcome:
    """The next element of a collection: the resource, if it is in there and had no turn yet, or another one.

    A collection that is known (a list of this function, ``*arguments``) does not raise; it is marked once the resource
    had its turn: as one that may go on, or as one whose last element that was.
    """
    base = state.get(instruction.iterable)
    if base is Hold.DERIVED:
        obligation.used(instruction, state)  # the rows of a cursor
    other, raised = _bound(obligation, instruction.target, None, state)
    element = base.element if isinstance(base, Box) else None
    if not isinstance(base, Box) or element is None:
        known = isinstance(base, Box) or base in (Fact.NOT_NULL, Fact.SPENT)
        return other, [] if known or obligation.callees.is_quiet_iterate(instruction) else raised
    index, value = element
    is_last = index is not None and base.size == index + 1
    turn = state.bind({instruction.iterable: Fact.LAST if is_last else Fact.NOT_NULL})
    normal, _ = _bound(obligation, instruction.target, value, turn)
    return normal if index == 0 else [*normal, *other], []


def build(obligation: Obligation, instruction: g.Build, state: State) -> Outcome:
    """A tuple, list, dict or set display: a box, if it holds the resource."""
    held = [(key, obligation.value_of(operand, state)) for key, operand in instruction.items]
    owned = any(v is not None and v is not Hold.DERIVED and obligation.keeps(v, state) for _, v in held)
    changes: dict[str, Value | None] = {}
    for _, operand in instruction.items:
        changes.update(consumed(operand))
    if owned:
        stays = (Hold.DERIVED, *_SAID) if isinstance(instruction.node, cst.Tuple) else (Hold.DERIVED,)
        kept = tuple((k, v) for k, v in held if v is not None and (v in stays or obligation.keeps(v, state)))
        is_sequence = all(isinstance(key, int) for key, _ in held)
        changes[instruction.target] = Box(kept, len(held) if is_sequence else None)
    else:
        changes[instruction.target] = Fact.TRUE if instruction.items else None
    return [state.bind(changes)], [state]


def forget(_: Obligation, instruction: g.Forget, state: State) -> Outcome:
    """The variables lose their values, and names are unbound from here on."""
    return [state.bind({n: None if n[0] in "%?" else Fact.UNBOUND for n in instruction.names})], [state]


def define(_: Obligation, instruction: g.Define, state: State) -> Outcome:
    """A nested function or lambda; its effect is asked when it is called or escapes."""
    return [state.bind({instruction.target: Closure(instruction)})], [state]


def point(obligation: Obligation, instruction: g.Point, state: State) -> Outcome:
    """A place that may raise; unpacking a box that is known cannot."""
    unpacks_known = instruction.operand is not None and isinstance(state.get(instruction.operand), Box)
    return [state], [] if unpacks_known or obligation.callees.is_quiet_instruction(instruction) else [state]


def _store(
    obligation: Obligation, operand: str, state: State, instruction: g.Instruction, *, moved_to: str | None = None
) -> Outcome:
    """The value goes where other functions find it."""
    value = state.get(operand)
    after = state.bind(consumed(operand))
    if value is Hold.PENDING:
        return [], []  # nothing is taken yet, and whoever has it now decides
    if obligation.keeps(value, after) and not obligation.is_managed(after):
        obligation.event(EventKind.TRANSFER, instruction)
        # Else what releases it has another name: a manager, or an item of a collection.
        elsewhere = obligation.advances or value is Hold.MANAGER or _is_collection(value)
        kept_itself = None if elsewhere else moved_to
        return [after.with_status(Status.MOVED, kept_itself)], [state]
    return [after], [state]


def store_attribute(obligation: Obligation, instruction: g.StoreAttribute, state: State) -> Outcome:
    """``base.name = value``: the object owns it from now on."""
    value = state.get(instruction.value)
    base = state.get(instruction.base)
    path = f"{instruction.base}.{instruction.name}"
    if base in ALIASES:
        return obligation.used(instruction, state.bind(consumed(instruction.value)))
    if state.get(path) is not None and value is not Hold.OWN:
        cleared = state.bind({path: obligation.value_of(instruction.value, state), **consumed(instruction.value)})
        return [cleared], [state]
    known = obligation.value_of(instruction.value, state)
    if obligation.entering and instruction.path == "self":
        if value is Hold.OWN:
            return [state.bind({**consumed(instruction.value), path: Hold.OWN})], [state]
        if isinstance(value, Box) and _keeps(state, instruction.base):
            return [state.bind(consumed(instruction.value))], [state]  # `self.users = Users(self.conn)`: kept already
    owner = "" if instruction.path in ("self", "cls") else f"{instruction.path}."
    outcome = _store(obligation, instruction.value, state, instruction, moved_to=owner + instruction.name)
    subject = path_subject(instruction)
    if subject is not None:
        outcome[0][:] = [s.bind({subject: known if isinstance(known, Fact) else None}) for s in outcome[0]]
    return outcome


def store_item(obligation: Obligation, instruction: g.StoreItem, state: State) -> Outcome:
    """``base[...] = value``: the keyword arguments of this function are its own, and it passes them on."""
    value = state.get(instruction.value)
    if value is Hold.OWN and obligation.callees.has_keywords(instruction.base):
        kept = Box(((subscript_key(instruction.node) if isinstance(instruction.node, cst.Subscript) else None, value),))
        obligation.kept_at = obligation.kept_at or _spelled(instruction.base, kept)
        return [state.bind({**consumed(instruction.value), instruction.base: kept})], []
    outcome = _store(obligation, instruction.value, state, instruction)
    if any(s.status is Status.MOVED for s in outcome[0]):
        return outcome[0], []
    outcome[0][:] = [s.bind(consumed(instruction.base)) for s in outcome[0]]
    return outcome[0], [] if obligation.callees.is_quiet_instruction(instruction) else outcome[1]


def store_global(obligation: Obligation, instruction: g.StoreGlobal, state: State) -> Outcome:
    """Assignment to a name outside the function."""
    return _store(obligation, instruction.value, state, instruction)


def _keeps(state: State, holder: str | None) -> bool:
    """Whether an attribute of the object holds the resource itself."""
    return any(v is Hold.OWN and n.startswith(f"{holder}.") for n, v in state.variables)


def _is_collection(value: Value | None) -> bool:
    """Whether it is a list, tuple or dict, and no object that has attributes."""
    return isinstance(value, Box) and not any(isinstance(key, str) and "." in key for key, _ in value.items)


def _spelled(name: str, box: Box) -> str | None:
    """The expression that reads the resource from the box called ``name``, where its place is known."""
    key = next((key for key, value in box.items if value in ALIASES), None)
    if key is None:
        return None
    if isinstance(key, str):
        index, dot, attribute = key.partition(".")
        return f"{name}.{attribute}" if dot and (not index or index.isdigit()) else f'{name}["{key}"]'
    return f"{name}[{key}]"


def path_subject(instruction: g.StoreAttribute) -> str | None:
    """The subject by which a later test asks for the attribute: ``?`` and its reduced expression."""
    if instruction.path is None:
        return None
    expression: ex.Expression = ex.Name(instruction.path.split(".")[0])
    for part in instruction.path.split(".")[1:]:
        expression = ex.Attribute(expression, part)
    return f"?{ex.Attribute(expression, instruction.name)!r}"
