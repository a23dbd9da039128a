"""Which transactions cover what is set on a connection: one, each statement its own, or several.

check_one_transaction(stretch)   →   RefusedError unless the next end of the transaction is the last that is said
mode_of(stretch)                 →   Mode.AUTOCOMMIT where each statement is a transaction of its own
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk
from leakcheck.driver_session import Begins
from leakcheck.fixes.roles import Role, mentions
from leakcheck.fixes.speech import SPLITS
from leakcheck.fixes.tree import RefusedError
from leakcheck.ownership.sessions.session import ENDS as ENDING
from leakcheck.sql.event import SqlKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.fixes.stretch import Stretch

_BLOCKS = frozenset({"transaction", "begin", "begin_nested", "savepoint", "atomic"})
"""What ``with`` statements enter that begin a transaction, or a savepoint in one."""


class Mode(Enum):
    """How the statements that follow are committed."""

    AUTOCOMMIT = "each by itself"
    TRANSACTIONS = "by a transaction that the driver begins"


def mode_of(stretch: Stretch) -> Mode:
    """How statements are committed where it is set. Raises RefusedError where that is not known."""
    row, connection = stretch.row, stretch.found.connection
    for block in _blocks(stretch):
        raise RefusedError(f"the block of line {stretch.tree.row(block)} ends a transaction around line {row}")
    for call, event in stretch.speech.all_under(stretch.tree.root):
        if event.kind is SqlKind.BEGIN:
            raise RefusedError(f"line {stretch.tree.row(call)} begins a transaction around line {row}")
    switches = list(_switches(stretch))
    begins = connection.driver.begins
    if begins is Begins.NEVER and not switches:
        return Mode.AUTOCOMMIT
    if begins is not Begins.FIRST_STATEMENT:
        raise RefusedError(f"how what line {row} says is committed is not known")
    if not switches:
        return Mode.AUTOCOMMIT if connection.autocommit else Mode.TRANSACTIONS
    if len(switches) == 1 and _is_on(stretch, switches[0]):
        return Mode.AUTOCOMMIT
    raise RefusedError(f"line {stretch.tree.row(switches[0])} switches autocommit")


def check_one_transaction(stretch: Stretch) -> None:
    """Raise RefusedError unless one transaction covers everything from the opening on."""
    tree, row, connection = stretch.tree, stretch.row, stretch.found.connection
    if stretch.loop() is not None:
        raise RefusedError(f"line {row} is in a loop, so that several transactions may need it")
    for node in _switches(stretch):
        raise RefusedError(f"line {tree.row(node)} switches autocommit, in which a local setting has no effect")
    blocks = list(_blocks(stretch))
    ends = [
        (call, event)
        for call, event in stretch.speech.all_under(tree.root)
        if event.kind in SPLITS and stretch.order(call) > stretch.order(stretch.call)
    ]
    if blocks:
        _check_block(stretch, blocks, ends)
        return
    if connection.driver.begins is not Begins.FIRST_STATEMENT or connection.autocommit is not False:
        raise RefusedError(f"no transaction is open in line {row} for certain")
    committing = committing_with(stretch)
    if not ends and committing is not None:
        _check_behind(stretch, [committing])
        return
    if len(ends) != 1 or ends[0][1].kind is not SqlKind.COMMIT or committing is not None:
        other = tree.row(ends[1][0] if len(ends) > 1 else stretch.call)
        raise RefusedError(f"line {other} is not covered by one transaction")
    _check_behind(stretch, [ends[0][0]])


def _check_behind(stretch: Stretch, ended: Sequence[cst.CSTNode]) -> None:
    """Behind the end of the transaction nothing may be said but what ends what is held."""
    for mention in stretch.uses(after=stretch.end_of(ended)):
        if not _resets(stretch, mention.node):
            raise RefusedError(f"line {stretch.tree.row(mention.node)} uses the connection behind the transaction")


def committing_with(stretch: Stretch) -> cst.With | None:
    """The ``with`` around the opening that hands out the connection, or enters it, and commits at its end."""
    connection = stretch.found.connection
    if not connection.leaves_committed:
        return None
    taken = {id(n) for n in walk(connection.found.call.node)} if connection.found is not None else set()
    for parent in stretch.tree.ancestors(stretch.opening):
        if isinstance(parent, cst.With):
            for item in parent.items:
                value = item.item.expression if isinstance(item.item, cst.Await) else item.item
                if id(value) in taken or (isinstance(value, cst.Name) and value.value == stretch.connection):
                    return parent
    return None


def _check_block(stretch: Stretch, blocks: list[cst.With], ends: Sequence[tuple[cst.Call, object]]) -> None:
    """One block that begins the transaction, and nothing that is said behind it."""
    tree = stretch.tree
    if len(blocks) > 1 or stretch.found.connection.driver.nests or _is_nested(blocks[0]):
        raise RefusedError(f"line {tree.row(blocks[0])} may be a savepoint only")
    if ends:
        raise RefusedError(f"line {tree.row(ends[0][0])} begins or ends a transaction, too")
    _check_behind(stretch, blocks)


def _is_nested(block: cst.With) -> bool:
    names = {ex.last_name(reduce(i.item.func)) for i in block.items if isinstance(i.item, cst.Call)}
    return bool(names & {"begin_nested", "savepoint", "atomic"})


def _resets(stretch: Stretch, node: cst.CSTNode) -> bool:
    """Whether a mention is part of a statement that only ends what is held."""
    found = stretch.speech.of_one(stretch.tree.statement(node))
    return found is not None and all(event.kind in ENDING[stretch.found.held.kind] for event in found[1])


def _blocks(stretch: Stretch) -> Iterator[cst.With]:
    """The ``with`` statements around the opening, behind the checkout, that begin a transaction."""
    checkout = stretch.found.connection.found
    taken = {id(n) for n in walk(checkout.call.node)} if checkout is not None else set()
    for parent in stretch.tree.ancestors(stretch.opening):
        if isinstance(parent, cst.With):
            for item in parent.items:
                value = item.item.expression if isinstance(item.item, cst.Await) else item.item
                if id(value) in taken or not isinstance(value, cst.Call):
                    continue
                if ex.last_name(reduce(value.func)) in _BLOCKS:
                    yield parent
                    break


def _switches(stretch: Stretch) -> Iterator[cst.CSTNode]:
    """What switches autocommit on the connection."""
    words = {*stretch.found.connection.driver.autocommit, "set_autocommit", "set_session", "set_isolation_level"}
    for mention in mentions(stretch.tree, stretch.connection or ""):
        if (
            mention.attribute in words and mention.role in (Role.SET, Role.METHOD)
        ) or mention.attribute == "execution_options":
            yield mention.node


def _is_on(stretch: Stretch, node: cst.CSTNode) -> bool:
    """Whether it is ``conn.autocommit = True``, on every way to the opening."""
    statement = stretch.tree.statement(node)
    around = {id(n) for n in stretch.tree.ancestors(stretch.opening)}
    match statement:
        case cst.SimpleStatementLine(body=[cst.Assign(value=cst.Name(value="True"))]):
            before = stretch.order(node) < stretch.order(stretch.call)
            return before and id(stretch.tree.parent(statement)) in around
        case _:
            return False
