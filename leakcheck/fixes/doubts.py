"""What leaves it to a reader to end a transaction that an exception left open.

    doubts(stretch, inside)   →   (Applicability.UNSAFE, "whoever gave `conn` may count on what is open on it")

Empty where nobody can tell the difference but the next borrower of the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.calls import load_calls
from leakcheck.cfg.walk import reduce, walk
from leakcheck.diagnostic import Applicability
from leakcheck.fixes.conditions import DYNAMIC, TOOL_COMMENT
from leakcheck.fixes.outliving import functions_called
from leakcheck.fixes.roles import Role, mentions
from leakcheck.fixes.speech import SPLITS
from leakcheck.fixes.tree import TRIES, own
from leakcheck.ownership.state import Status
from leakcheck.sql.event import SqlKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.fixes.giving import Doubt
    from leakcheck.fixes.stretch import Stretch

_UNSAFE = Applicability.UNSAFE
_PASSED_ON = "passed on"
_FINE = frozenset({Role.METHOD, Role.READ, Role.TEST, Role.SHOWN, Role.ARGUMENT, Role.MANAGED, Role.BOUND})


def doubts(stretch: Stretch, inside: Sequence[cst.BaseStatement]) -> Iterator[Doubt]:
    """The tiers that conditions ask for, and their reasons. ``inside`` ends with the commit."""
    tree = stretch.tree
    yield from _ownership(stretch)
    yield from _handling(stretch)
    yield from _speaking(stretch, inside)
    yield from _passing(stretch, inside)
    for statement in (stretch.opening, *inside):
        if TOOL_COMMENT.search(tree.text(statement)):
            yield _UNSAFE, f"a comment for a tool, in or behind line {tree.row(statement)}, is moved"
        for node in own(statement):
            if isinstance(node, cst.Yield):
                yield _UNSAFE, f"line {tree.row(node)} suspends it"
    for node in walk(tree.root):
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in DYNAMIC:
            yield _UNSAFE, f"line {tree.row(node)} calls `{node.func.value}()`"


def _ownership(stretch: Stretch) -> Iterator[Doubt]:
    if not stretch.is_own or stretch.connection is None:
        name = stretch.connection or "the connection"
        yield _UNSAFE, f"whoever gave `{name}` may count on what is open on it"
        return
    kept = [e.state.session for e in stretch.found.exploration.endings if e.state.status is Status.HELD]
    for session in kept:
        if not session.gone.startswith(_PASSED_ON):
            yield _UNSAFE, f"the transaction of line {stretch.row} ends when the connection goes"
            return


def _handling(stretch: Stretch) -> Iterator[Doubt]:
    """Whoever handles what is raised inside may go on in the open transaction."""
    tree = stretch.tree
    current: cst.CSTNode = stretch.opening
    for parent in tree.ancestors(stretch.opening):
        if isinstance(parent, TRIES):
            if parent.handlers and current is parent.body:
                yield _UNSAFE, f"line {tree.row(parent.handlers[0])} handles what is raised while it is open"
            final = parent.finalbody
            if final is not None and current is not final and _is_used(stretch, final):
                yield _UNSAFE, f"line {tree.row(final)} may use the connection while it is open"
        elif isinstance(parent, cst.With):
            for item in filter(tree.swallows, parent.items):
                yield _UNSAFE, f"line {tree.row(item)} handles what is raised while it is open"
        current = parent


def _is_used(stretch: Stretch, root: cst.CSTNode) -> bool:
    tree = stretch.tree
    return any(not stretch.is_release(m.node) for name in stretch.names for m in mentions(tree, name, root))


def _speaking(stretch: Stretch, inside: Sequence[cst.BaseStatement]) -> Iterator[Doubt]:
    """Where the statements end it themselves on some way, what is rolled back may be another transaction."""
    *body, _ = inside
    for statement in body:
        for call, event in stretch.speech.all_under(statement):
            if event.kind in SPLITS:
                yield _UNSAFE, f"line {stretch.tree.row(call)} begins or ends a transaction, too"
    for call, event in stretch.speech.all_under(stretch.tree.root):
        if event.kind is SqlKind.BEGIN and call is not stretch.call:
            yield _UNSAFE, f"line {stretch.tree.row(call)} begins one, too"


def _passing(stretch: Stretch, inside: Sequence[cst.BaseStatement]) -> Iterator[Doubt]:
    """Nobody who is given the connection may keep it, or end what is open on it."""
    tree, callees = stretch.tree, stretch.tree.unit.callees
    body = {id(n) for statement in inside for n in walk(statement)}
    for name in sorted(stretch.names):
        for mention in mentions(tree, name):
            if id(mention.node) not in body and mention.role not in (Role.CAPTURED, Role.SHARED):
                continue
            row = tree.row(mention.node)
            if mention.role not in _FINE:
                yield _UNSAFE, f"line {row} {mention.role.value} `{name}`"
            elif mention.role is Role.ARGUMENT and mention.call is not None:
                called = ex.last_name(reduce(mention.call.func)) or ""
                instruction = stretch.speech.instruction(mention.call)
                is_project = bool(functions_called(tree, instruction))
                borrows = load_calls().is_borrowing(ex.dotted(reduce(mention.call.func)) or called) and not is_project
                quiet = instruction is not None and callees is not None and callees.is_quiet(instruction)
                if not borrows and not quiet:
                    yield _UNSAFE, f"line {row} passes `{name}` to `{called}()`"
