"""Roles, settings and locks of a session that outlive the checkout (LC401 to LC405).

    conn.execute("SET ROLE tenant")   →   conn.execute("SET LOCAL ROLE tenant")     where one transaction covers it

    conn.execute("SET ROLE tenant")       conn.execute("SET ROLE tenant")
    conn.execute(sql)                     try:
    conn.execute("RESET ROLE")        →       conn.execute(sql)
                                          finally:
                                              conn.execute("RESET ROLE")

Outside of autocommit the ``finally`` rolls back first, since a failed transaction takes no RESET, and commits last,
since the pool's rollback would bring the role back. Where that fails, the pool drops the connection, so that nobody is
given it. Never safe: who may see what depends on it.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg.walk import walk
from leakcheck.diagnostic import Applicability
from leakcheck.fixes.covering import Mode, check_one_transaction, committing_with, mode_of
from leakcheck.fixes.release import without_leading_blanks
from leakcheck.fixes.shapes import TRY_FINALLY, Shape
from leakcheck.fixes.speech import ENDS, awaited_as, is_constant, line, reworded, saying
from leakcheck.fixes.splice import in_place, rebuilt
from leakcheck.fixes.stretch import check_kept
from leakcheck.fixes.tree import RefusedError, own
from leakcheck.ownership.leak import LeakKind
from leakcheck.ownership.obligation import EventKind
from leakcheck.ownership.sessions.ending import NOT_AWAITED
from leakcheck.ownership.sessions.session import ENDS as ENDING
from leakcheck.ownership.sessions.session import HeldKind
from leakcheck.sql.event import SqlKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.fixes.stretch import Lines, Stretch
    from leakcheck.source import Source

RESTORED = frozenset({
    LeakKind.ROLE_NEVER_RESET, LeakKind.ROLE_ON_EXCEPTION, LeakKind.ROLE_ON_PATH, LeakKind.SETTING_KEPT,
    LeakKind.LOCK_KEPT,
})  # fmt: skip
LOCAL = "set-local"
_SET = re.compile(r"\bSET\s+(?:SESSION\s+(?!AUTHORIZATION\b))?(?!LOCAL\b)", re.IGNORECASE)
_FOR_GOOD = re.compile(r"\b(?:false|FALSE|'f'|'false')(?=\s*\))")
_LOCK = re.compile(r"\bpg_advisory_lock(?=(?:_shared)?\s*\()", re.IGNORECASE)
_GET_LOCK = re.compile(r"\s*SELECT\s+GET_LOCK\s*\((?P<name>.*),\s*-?[\d.]+\s*\)\s*;?\s*", re.IGNORECASE | re.DOTALL)
_POSTGRES = re.compile(r"postgres|psycopg|asyncpg|pg8000", re.IGNORECASE)


def restored_shapes(stretch: Stretch, source: Source) -> Iterator[Shape]:
    """The rewrites, the preferred one first. Raises RefusedError."""
    _check(stretch, source)
    refusal: RefusedError | None = None
    for make in (_local, _finally):
        try:
            yield make(stretch, source)
        except RefusedError as error:
            refusal = error  # that of the more general shape
        else:
            return
    assert refusal is not None
    raise refusal


def _check(stretch: Stretch, source: Source) -> None:
    """Whose connection it is, and whether it is known what ends it."""
    held, row = stretch.found.held, stretch.row
    if not stretch.is_own or stretch.connection is None:
        raise RefusedError(f"line {row} sets it on a connection of the caller, who may count on it")
    if held.tried:
        raise RefusedError(f"line {row} only tries to lock: what unlocks it must know whether it was taken")
    said = stretch.speech.said(stretch.call)
    if len(said) != 1:
        raise RefusedError(f"line {row} says more than that in one text")
    dialect = stretch.found.connection.driver.dialect
    for_mysql = held.by in (SqlKind.GET_LOCK, SqlKind.LOCK_TABLES)
    if not for_mysql and dialect != "postgresql" and (dialect or _POSTGRES.search(source.text) is None):
        raise RefusedError(f"that line {row} speaks to PostgreSQL is not visible")


# Local to the transaction


def _local(stretch: Stretch, source: Source) -> Shape:
    """The same, ended by the transaction."""
    row, held = stretch.row, stretch.found.held
    if held.by is SqlKind.LOCK:
        new = reworded(stretch.call, _LOCK, "pg_advisory_xact_lock")
    elif held.kind is HeldKind.LOCK:
        raise RefusedError(f"the lock of line {row} has no form that ends with the transaction")
    else:
        new = reworded(stretch.call, _FOR_GOOD, "true") or reworded(stretch.call, _SET, "SET LOCAL ")
    if new is None or not is_constant(stretch.call):
        raise RefusedError(f"the statement of line {row} is not written out there")
    check_one_transaction(stretch)
    opening = stretch.opening.deep_replace(stretch.call, new)
    superseded = [i for i, one in enumerate(stretch.behind) if _ends(stretch, one)]
    behind = [one for i, one in enumerate(stretch.behind) if i not in superseded or _has_comment(one)]
    body = [*stretch.block.body[: stretch.place], opening, *behind]
    edit = rebuilt(stretch.tree, stretch.block, body, source)
    shown = stretch.tree.text(new)
    return Shape(LOCAL, f"End it with its transaction: `{shown}`", (edit,), Applicability.UNSAFE)


def _has_comment(statement: cst.BaseStatement) -> bool:
    lines = getattr(statement, "leading_lines", ())
    trailing = getattr(statement, "trailing_whitespace", None)
    return any(one.comment is not None for one in lines) or getattr(trailing, "comment", None) is not None


def _ends(stretch: Stretch, statement: cst.CSTNode) -> bool:
    """Whether a statement does nothing but end what is held."""
    found = stretch.speech.of_one(statement)
    return found is not None and all(
        event.kind in ENDING[stretch.found.held.kind] and not event.local and event.kind is not SqlKind.SET
        for event in found[1]
    )


# In `finally`


def _finally(stretch: Stretch, source: Source) -> Shape:
    """The statements that need it in a ``try``, its end in the ``finally``."""
    end = ending(stretch)
    mode = mode_of(stretch)
    until = next((i for i, one in enumerate(stretch.behind) if _ends(stretch, one)), None)
    body = list(stretch.behind[:until]) if until is not None else _to_the_last(stretch)
    skipped = until + 1 if until is not None else len(body)
    behind = list(stretch.behind[skipped:])
    if mode is Mode.TRANSACTIONS and until is not None and behind and _is_commit(stretch, behind[0]):
        body.append(behind.pop(0))
    if not body:
        raise RefusedError(f"nothing in the block of line {stretch.row} needs what it sets")
    check_kept(stretch, body, end)
    last = stretch.end_of(stretch.behind[: max(skipped, len(body))])
    _check_later(stretch, last, mode, reset=until is not None)
    final = _final(stretch, end, mode)
    guarded = _guarded(stretch, body, final)
    before = stretch.block.body[: stretch.place]
    lines = [*before, stretch.opening, guarded, *behind]
    edit = rebuilt(stretch.tree, stretch.block, lines, source)
    return Shape(TRY_FINALLY, f"End it in `finally`: `{stretch.tree.text(end)}`", (edit,), Applicability.UNSAFE)


def ending(stretch: Stretch) -> cst.BaseExpression:
    """The call that ends what is held, said as the one that takes it. Raises RefusedError."""
    held, call = stretch.found.held, stretch.call
    new: cst.Call | None
    match held.kind:
        case HeldKind.ROLE:
            new = saying(call, "RESET ROLE")
        case HeldKind.AUTHORIZATION:
            new = saying(call, "RESET SESSION AUTHORIZATION")
        case HeldKind.SETTING if held.name is not None:
            new = saying(call, f"RESET {held.name}")
        case HeldKind.LOCK if held.by is SqlKind.LOCK:
            new = reworded(call, _LOCK, "pg_advisory_unlock")
        case HeldKind.LOCK if held.by is SqlKind.LOCK_TABLES:
            new = saying(call, "UNLOCK TABLES")
        case HeldKind.LOCK:
            found = _GET_LOCK.fullmatch(stretch.speech.text(call) or "")
            new = saying(call, f"SELECT RELEASE_LOCK({found['name'].strip()})", keeps_rest=True) if found else None
        case _:
            new = None
    if new is None:
        raise RefusedError(f"what ends that of line {stretch.row} is not visible")
    return awaited_as(new, call, stretch.tree)


def _to_the_last(stretch: Stretch) -> Lines:
    """The statements behind the opening up to the last that uses the connection."""
    used = [
        i
        for i, one in enumerate(stretch.behind)
        for node in walk(one)
        if isinstance(node, cst.Name) and node.value in stretch.names and not stretch.is_release(node)
    ]
    return list(stretch.behind[: used[-1] + 1]) if used else []


def _is_commit(stretch: Stretch, statement: cst.CSTNode) -> bool:
    found = stretch.speech.of_one(statement)
    return found is not None and [event.kind for event in found[1]] == [SqlKind.COMMIT]


def _check_later(stretch: Stretch, last: int, mode: Mode, *, reset: bool) -> None:
    """Behind the ``finally`` nothing may need what it ended, or commit what it rolled back."""
    if not reset:
        for mention in stretch.uses(after=last):
            row = stretch.tree.row(mention.node)
            raise RefusedError(f"line {row} still uses the connection, behind the block of line {stretch.row}")
        loop = stretch.loop()
        if loop is not None:
            raise RefusedError(f"line {stretch.tree.row(loop)} takes it in a loop that goes on with it")
    if mode is not Mode.TRANSACTIONS:
        return
    if committing_with(stretch) is not None:
        raise RefusedError(f"the `with` around line {stretch.row} commits behind what a `finally` would roll back")
    if stretch.loop() is not None:
        raise RefusedError(f"a `finally` in the loop around line {stretch.row} would roll back what the loop commits")
    for call, event in stretch.speech.all_under(stretch.tree.root):
        if event.kind in ENDS and stretch.order(call) > last:
            row = stretch.tree.row(call)
            raise RefusedError(f"line {row} ends a transaction behind what a `finally` would roll back")


def _final(stretch: Stretch, end: cst.BaseExpression, mode: Mode) -> Lines:
    """The lines of the ``finally``, and what has the pool drop the connection where they fail."""
    lines = _ended(stretch, end, mode)
    driver = stretch.found.connection.driver
    if not driver.discard or not driver.pooled:
        return lines
    block = partial(cst.IndentedBlock, indent=stretch.block.indent)
    dropped = line(cst.parse_expression(driver.discard.format(name=stretch.connection)))
    again = cst.SimpleStatementLine([cst.Raise()])
    handler = cst.ExceptHandler(type=cst.Name("BaseException"), body=block(body=[dropped, again]))
    return [cst.Try(body=block(body=lines), handlers=[handler])]


def _ended(stretch: Stretch, end: cst.BaseExpression, mode: Mode) -> Lines:
    """The end of what is held: outside of autocommit in a transaction of its own."""
    if mode is not Mode.TRANSACTIONS:
        return [line(end)]
    assert stretch.connection is not None
    holder = cst.parse_expression(stretch.connection)
    around = [awaited_as(cst.Call(cst.Attribute(holder.deep_clone(), cst.Name(method))), stretch.call, stretch.tree)
              for method in ("rollback", "commit")]  # fmt: skip
    return [line(around[0]), line(end), line(around[1])]


def _guarded(stretch: Stretch, body: Lines, final: Lines) -> cst.BaseStatement:
    """The ``try``; one that is the whole body gets the ``finally`` itself."""
    suite = cst.Finally(body=cst.IndentedBlock(body=final, indent=stretch.block.indent))
    lone = body[0] if len(body) == 1 else None
    if isinstance(lone, (cst.Try, cst.TryStar)) and lone.finalbody is None:
        return lone.with_changes(finalbody=suite)
    blank, body = without_leading_blanks(body)
    inner = cst.IndentedBlock(body=body, indent=stretch.block.indent)
    return cst.Try(leading_lines=blank, body=inner, finalbody=suite)


# Resets that do not reset (LC407)


def reset_shapes(stretch: Stretch, source: Source) -> Iterator[Shape]:
    """The reset that was meant, in the place of the one that has no effect. Raises RefusedError."""
    _check(stretch, source)
    held = stretch.found.held
    if stretch.connection is None or held.kind not in (HeldKind.ROLE, HeldKind.AUTHORIZATION, HeldKind.SETTING):
        raise RefusedError(f"what resets that of line {stretch.row} is not visible")
    forgotten = _forgotten(stretch)
    found = [(n, *said) for n in own(stretch.tree.root) if (said := stretch.speech.of_one(n)) is not None]
    found = [one for one in found if stretch.order(one[0]) > stretch.order(stretch.call)]
    resets = [(n, [e.kind for e in said]) for n, _, said in found]
    for statement, call, _ in found:
        assert isinstance(statement, cst.SimpleStatementLine)
        if id(call) in forgotten:
            yield _awaited(stretch, statement, call, source)
            return
    for statement, kinds in resets:
        assert isinstance(statement, cst.SimpleStatementLine)
        if kinds == [SqlKind.DISCARD_ALL]:
            row = stretch.tree.row(statement)
            raise RefusedError(f"line {row} discards more than that: what it is to reset besides is not visible")
        if kinds == [SqlKind.RESET_ALL] and held.kind is not HeldKind.SETTING:
            yield _beside(stretch, statement, source, keeps=True)
            return
        if kinds == [SqlKind.RESET_ROLE] and held.kind is HeldKind.AUTHORIZATION:
            yield _beside(stretch, statement, source, keeps=False)
            return
    for statement, kinds in resets:
        if kinds and all(kind in ENDING[held.kind] for kind in kinds):
            assert isinstance(statement, cst.SimpleStatementLine)
            yield _committed(stretch, statement, source)
            return
    raise RefusedError(f"the reset of what line {stretch.row} sets is no statement of its own")


def _forgotten(stretch: Stretch) -> set[int]:
    """The calls that make a coroutine which nobody awaits."""
    exploration = stretch.found.exploration
    seen = [event for hop in exploration.hops.values() if hop is not None for event in hop.events]
    seen += [event for ending in exploration.endings for event in ending.events]
    return {id(e.instruction.node) for e in seen if e.kind is EventKind.NEAR_MISS and e.note == NOT_AWAITED}


def _awaited(stretch: Stretch, statement: cst.SimpleStatementLine, call: cst.Call, source: Source) -> Shape:
    """The reset that is sent."""
    new = statement.with_changes(body=[cst.Expr(cst.Await(call))])
    edit = in_place(stretch.tree, _block_of(stretch, statement), statement, [new], source)
    message = f"Await the reset of line {stretch.tree.row(statement)}"
    return Shape(TRY_FINALLY, message, (edit,), Applicability.UNSAFE)


def _beside(stretch: Stretch, statement: cst.SimpleStatementLine, source: Source, *, keeps: bool) -> Shape:
    """The right reset behind the wrong one, or in its place."""
    block = _block_of(stretch, statement)
    said = stretch.speech.of_one(statement)
    assert said is not None
    words = "RESET ROLE" if stretch.found.held.kind is HeldKind.ROLE else "RESET SESSION AUTHORIZATION"
    new = awaited_as(saying(said[0], words), said[0], stretch.tree)
    by = [statement, line(new)] if keeps else [statement.with_changes(body=[cst.Expr(new)])]
    edit = in_place(stretch.tree, block, statement, by, source)
    return Shape(TRY_FINALLY, f"Reset it by `{stretch.tree.text(new)}`", (edit,), Applicability.UNSAFE)


def _committed(stretch: Stretch, statement: cst.SimpleStatementLine, source: Source) -> Shape:
    """The reset in a transaction of its own, which nothing rolls back."""
    block = _block_of(stretch, statement)
    row = stretch.tree.row(statement)
    if mode_of(stretch) is not Mode.TRANSACTIONS or not isinstance(stretch.tree.parent(block), cst.Finally):
        raise RefusedError(f"line {row} resets it in a transaction that is rolled back")
    _check_later(stretch, stretch.order(statement), Mode.AUTOCOMMIT, reset=True)
    for call, event in stretch.speech.all_under(stretch.tree.root):
        if event.kind is SqlKind.COMMIT and stretch.order(call) > stretch.order(statement):
            raise RefusedError(f"line {stretch.tree.row(call)} commits behind the reset of line {row}")
    if committing_with(stretch) is not None:
        raise RefusedError(f"the `with` around line {row} commits what a rollback before it would lose")
    before, _, after = _ended(stretch, cst.Name("_"), Mode.TRANSACTIONS)
    edit = in_place(stretch.tree, block, statement, [before, statement, after], source)
    message = f"Reset it in a transaction of its own, around line {row}"
    return Shape(TRY_FINALLY, message, (edit,), Applicability.UNSAFE)


def _block_of(stretch: Stretch, statement: cst.SimpleStatementLine) -> cst.IndentedBlock:
    block = stretch.tree.block(statement)
    if block is None:
        raise RefusedError(f"line {stretch.tree.row(statement)} is the one-line body of a compound statement")
    return block
