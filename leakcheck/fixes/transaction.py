"""The proof that one commit ends the region on every normal way, so that a committing ``with`` means the same.

    cur.execute(a)                  ┐ runs inside the `with`, which commits at its end
    cur.execute(b)                  ┘
    conn.commit()                     the commit that goes
    key = cur.lastrowid             ┐ run inside, too
    cur.close()                     ┘
    log("stored")                     runs behind the `with`, as it ran behind the commit

A cursor is closed inside because behind it the connection is gone, which some do not bear. A way out before anything
is written may commit, too. Whatever else may commit, roll back, leave early or swallow an exception before that commit
refuses the shape.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck.cfg.walk import walk
from leakcheck.driver import WithEffect
from leakcheck.fixes.conditions import DYNAMIC, is_only_commit, is_only_rollback
from leakcheck.fixes.handles import COUNTS
from leakcheck.fixes.roles import Role, mentions
from leakcheck.fixes.speech import SPLITS, Speech
from leakcheck.fixes.tree import LOOPS, RefusedError, only, own
from leakcheck.sql.event import SqlKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leakcheck.fixes.region import Region
    from leakcheck.ownership.program import Program

_ENDING_METHODS = frozenset({
    "commit", "rollback", "begin", "begin_nested", "transaction", "start_transaction", "autocommit", "set_session",
    "set_autocommit", "cancel", "set_isolation_level", "isolation_level", "reset", "reset_session", "reconnect",
    "close", "tpc_begin", "tpc_prepare", "tpc_commit", "tpc_rollback", "xid", "__enter__",
})  # fmt: skip
_ENDING_SQL = re.compile(
    r"(?:^|;)\s*(?:BEGIN|START\s+TRANSACTION|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|VACUUM|PREPARE|CALL|DO)\b"
    r"|\bCONCURRENTLY\b|(?:^|;)\s*SET\s+(?:\w+\s+|@@(?:\w+\.)?)?autocommit\b",
    re.IGNORECASE,
)


_HARMLESS = frozenset({"cursor", "fetchone", "fetchall", "fetchmany", "close"})
"""Methods of connections and cursors that change nothing in the database."""


class Committed(Struct, frozen=True, eq=False):
    """The statements inside and behind a committing ``with``, and the commit between them, which goes."""

    inside: list[cst.BaseStatement]
    commit: cst.BaseStatement
    behind: list[cst.BaseStatement]


def committed(region: Region, body: list[cst.BaseStatement], program: Program) -> Committed:
    """What a committing ``with`` holds. Raises RefusedError where the proof fails."""
    if any(mention.role is Role.CAPTURED for mention in mentions(region.tree, region.name)):
        raise RefusedError(f"a function inside of this one uses `{region.name}`, and may commit")
    for node in walk(region.tree.root):
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in DYNAMIC:
            raise RefusedError(f"line {region.tree.row(node)} calls `{node.func.value}()`, which may commit")
    body = [one for each in _without_rollbacks(region, body) for one in _lifted(region, each)]
    last = next((i for i, statement in enumerate(body) if _is_own_block(region, statement)), None)
    if last is not None:
        before, own_block = body[:last], body[last]
        assert isinstance(own_block, cst.With)
        inside = [*before, *_opened(region, own_block)]
        commit: cst.BaseStatement = cst.SimpleStatementLine([cst.Pass()])
    else:
        last = next((i for i in range(len(body) - 1, -1, -1) if is_only_commit(body[i], region.name)), 0)
        if not last:
            raise RefusedError(f"no commit of `{region.name}` ends its block on every way")
        before, commit = body[:last], body[last]
        inside = before
    said = _Said(region, before, program)
    for statement in before:
        _check(region, statement, said.only_before)
    said.check(inside)
    moved, behind = _parted(region, body[last + 1 :])
    if behind and region.found.acquisition.resource.noun == "session":
        row = region.tree.row(behind[0])
        raise RefusedError(f"line {row} may load again what the commit of the session let go")
    return Committed([*inside, *moved], commit, behind)


def committing(region: Region, body: Sequence[cst.BaseStatement]) -> list[cst.BaseStatement]:
    """The body of a ``with`` that commits when it is left, without the commit at its end. Raises RefusedError."""
    body = [one for each in body for one in _lifted(region, each)]
    last = body[-1]
    is_commit = len(body) > 1 and isinstance(last, cst.SimpleStatementLine) and is_only_commit(last, region.name)
    if is_commit and (_says(last.leading_lines) or last.trailing_whitespace.comment is not None):  # type: ignore[attr-defined]
        raise RefusedError("something is said of the commit at the end")
    inside = body[:-1] if is_commit else body
    for statement in inside:
        _check(region, statement, lambda _: True)  # what leaves it commits, as it does now
    return inside


def _parted(region: Region, behind: list[cst.BaseStatement]) -> tuple[list[cst.BaseStatement], list[cst.BaseStatement]]:
    """What stands behind the commit: the part that moves into the block, and the part that stays."""
    counts = next((i for i, one in enumerate(behind) if not _counts(one, region)), len(behind))
    moved = [*behind[:counts], *(one for one in behind[counts:] if _closes(one, region.handles))]
    behind = [one for one in behind if not any(one is each for each in moved)]
    for statement in behind:
        counted = {id(n.value) for n in walk(statement) if isinstance(n, cst.Attribute) and n.attr.value in COUNTS}
        for node in walk(statement):
            if isinstance(node, cst.Name) and node.value in {region.name, *region.handles} and id(node) not in counted:
                raise RefusedError(f"`{node.value}` is used behind the commit")
    return moved, behind


def _lifted(region: Region, statement: cst.BaseStatement) -> list[cst.BaseStatement]:
    """The commit at the end of ``with conn.cursor() as cur:`` behind that block, which only closes the cursor."""
    match statement:
        case cst.With(body=cst.IndentedBlock(body=[*others, last]) as block) if others:
            cursors = all(_is_cursor(region, item.item) for item in statement.items)
            if cursors and is_only_commit(last, region.name) and not _says(block.footer):
                return [statement.with_changes(body=block.with_changes(body=others)), last]
        case _:
            pass
    return [statement]


def _is_own_block(region: Region, statement: cst.BaseStatement) -> bool:
    """Whether the statement is ``with conn:`` of a connection that commits when that is left, and stays open."""
    if not commits_as_helpers(region):
        return False
    match statement:
        case cst.With(items=[cst.WithItem(item=cst.Name(value=name), asname=None)], body=cst.IndentedBlock()):
            return name == region.name and statement.asynchronous is None
        case _:
            return False


def commits_as_helpers(region: Region) -> bool:
    """Whether ``with conn:`` does what a helper does.

    One that speaks to a server may find that it is gone when it rolls back, and raises that instead of the first error.
    """
    resource = region.found.acquisition.resource
    commits = resource.session is not None and resource.session.commits and resource.session.dialect == "sqlite"
    return commits and resource.with_effect is WithEffect.KEEPS


def _opened(region: Region, own_block: cst.With) -> list[cst.BaseStatement]:
    """The body of ``with conn:``, for a block that means the same."""
    block = own_block.body
    assert isinstance(block, cst.IndentedBlock)
    releases = any(id(node) in region.removed for node in walk(own_block))
    if releases or _says(block.footer) or block.header.comment is not None:
        raise RefusedError(f"the `with {region.name}:` does or says more than to commit")
    first, *others = committing(region, block.body)
    lines = [*own_block.leading_lines, *first.leading_lines]  # type: ignore[attr-defined]  # each kind of line has them
    return [first.with_changes(leading_lines=lines), *others]


def _says(lines: Sequence[cst.EmptyLine]) -> bool:
    return any(line.comment is not None for line in lines)


def _without_rollbacks(region: Region, body: list[cst.BaseStatement]) -> list[cst.BaseStatement]:
    """The body of a ``try`` that is the whole region and whose handlers only roll back and pass on."""
    match body:
        case [cst.Try(body=cst.IndentedBlock(body=inner), handlers=handlers, orelse=None, finalbody=None)]:
            if all(_rolls_back(region, handler.body) for handler in handlers):
                return list(inner)
        case _:
            pass
    return body


def _rolls_back(region: Region, suite: cst.BaseSuite) -> bool:
    if not isinstance(suite, cst.IndentedBlock) or not suite.body:
        return False
    *first, last = suite.body
    small = only(last)
    raises = isinstance(small, cst.Raise) and small.exc is None
    return raises and all(is_only_rollback(line, region.name) for line in first)


class _Said:
    """What is said to the server before the commit: where it is only reads, a way out may commit, too."""

    def __init__(self, region: Region, before: Sequence[cst.BaseStatement], program: Program) -> None:
        self._region = region
        self._before = before
        self._program = program

    def only_before(self, leaving: cst.CSTNode) -> bool:
        """Whether all that was asked of the connection before a ``return``, ``break`` or ``continue`` are reads."""
        tree = self._region.tree
        loops = [n for n in tree.ancestors(leaving) if isinstance(n, LOOPS)]
        repeated = {id(n) for loop in loops if self._region.holds(loop) for n in walk(loop)}
        limit = tree.unit.order(leaving)
        calls = [n for statement in self._before for n in walk(statement) if isinstance(n, cst.Call)]
        earlier = [call for call in calls if id(call) in repeated or tree.unit.order(call) < limit]
        return all(self._only_reads(call) for call in earlier)

    def check(self, inside: Sequence[cst.BaseStatement]) -> None:
        """Raise RefusedError where a statement, whatever variable holds it, begins, ends or divides a transaction."""
        for statement in inside:
            for node in walk(statement):
                if isinstance(node, cst.Call) and any(event.kind in SPLITS for event in self._speech.said(node)):
                    raise RefusedError("SQL before the commit ends or splits the transaction")

    def _only_reads(self, call: cst.Call) -> bool:
        held = {self._region.name, *self._region.handles}
        base = call.func.value if isinstance(call.func, cst.Attribute) else None
        if not isinstance(base, cst.Name) or base.value not in held:
            return True  # the connection is passed on to nobody: that is checked, too
        assert isinstance(call.func, cst.Attribute)
        said = self._speech.said(call)
        return all(event.kind is SqlKind.READ for event in said) if said else call.func.attr.value in _HARMLESS

    @cached_property
    def _speech(self) -> Speech:
        return Speech(self._region.tree, self._program)


def _check(region: Region, statement: cst.CSTNode, may_leave: Callable[[cst.CSTNode], bool]) -> None:
    """Nothing in the statement ends the transaction, leaves before the commit, or hides an exception from it."""
    for node in own(statement):
        match node:
            case cst.Yield():
                raise RefusedError("a way out comes before the commit")
            case cst.Return() if not may_leave(node):
                raise RefusedError("a way out comes before the commit")
            case cst.Break() | cst.Continue() if not _loops_inside(statement, node) and not may_leave(node):
                raise RefusedError("a way out comes before the commit")
            case cst.Try() | cst.TryStar() if any(not _ends_raising(h.body) for h in node.handlers):
                raise RefusedError("a handler before the commit swallows exceptions")
            case cst.With() if any(not _is_cursor(region, item.item) for item in node.items):
                raise RefusedError("a `with` before the commit may swallow exceptions or end the transaction")
            case cst.Attribute(value=cst.Name(value=base), attr=cst.Name(value=name)):
                if base == region.name and name in _ENDING_METHODS:
                    raise RefusedError(f"`{base}.{name}` comes before the commit")
            case cst.Arg(value=cst.Name(value=given)) if given in {region.name, *region.handles}:
                raise RefusedError(f"`{given}` is passed on before the commit")
            case cst.SimpleString() | cst.FormattedStringText():
                text = node.evaluated_value if isinstance(node, cst.SimpleString) else node.value
                if isinstance(text, str) and _ENDING_SQL.search(text):
                    raise RefusedError("SQL before the commit ends or splits the transaction")
            case _:
                pass


def _loops_inside(statement: cst.CSTNode, jump: cst.CSTNode) -> bool:
    """Whether the loop that a jump belongs to is part of the statement."""
    return any(isinstance(n, LOOPS) and any(i is jump for i in walk(n.body)) for n in walk(statement))


def _ends_raising(suite: cst.BaseSuite) -> bool:
    lines: Sequence[cst.CSTNode] = suite.body
    small = only(lines[-1]) if lines else None
    return isinstance(small, cst.Raise)


def _is_cursor(region: Region, item: cst.CSTNode) -> bool:
    """Whether a ``with`` only makes a cursor."""
    match item:
        case cst.Call(func=cst.Attribute(value=cst.Name(value=base), attr=cst.Name(value="cursor"))):
            return base == region.name
        case _:
            return False


def _counts(statement: cst.CSTNode, region: Region) -> bool:
    """Whether a statement only gives a new variable the number of rows, or the last key, that a cursor tells."""
    match only(statement):
        case cst.Assign(
            targets=[cst.AssignTarget(target=cst.Name(value=target) as bound)],
            value=cst.Attribute(value=cst.Name(value=name), attr=cst.Name(value=told)),
        ):
            order = region.tree.unit.order
            is_new = all(order(node) >= order(bound) for node in region.tree.names(target, None))
            return name in region.handles and told in COUNTS and is_new
        case _:
            return False


def _closes(statement: cst.CSTNode, handles: frozenset[str]) -> bool:
    """Whether a statement does nothing but close a cursor, which some cannot once their connection is closed."""
    small = only(statement)
    value = small.value if isinstance(small, cst.Expr) else None
    match value.expression if isinstance(value, cst.Await) else value:
        case cst.Call(func=cst.Attribute(value=cst.Name(value=name), attr=cst.Name(value="close")), args=[]):
            return name in handles
        case _:
            return False
