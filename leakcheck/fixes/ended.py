"""Transactions that SQL, or a driver's call, begins and that some path leaves open (LC301, LC302, LC303).

    conn.execute("BEGIN")            with conn.transaction():
    conn.execute(sql)          →         conn.execute(sql)
    conn.execute("COMMIT")

    cur.execute("BEGIN")             cur.execute("BEGIN")
    cur.execute(sql)                 try:
    cur.execute("COMMIT")      →         cur.execute(sql)
                                         cur.execute("COMMIT")
                                     except BaseException:
                                         with suppress(Exception):
                                             cur.execute("ROLLBACK")
                                         raise

What was raised stays what is raised: a rollback that fails on a broken connection is suppressed. Only where one
commit ends the block; which of COMMIT and ROLLBACK is meant where there is neither, no rewrite can know.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.diagnostic import Applicability
from leakcheck.fixes.doubts import doubts
from leakcheck.fixes.imports import imported
from leakcheck.fixes.release import without_leading_blanks
from leakcheck.fixes.shapes import CONTEXT_MANAGER, TRY_FINALLY, Shape
from leakcheck.fixes.speech import ENDS, SPLITS, awaited_as, calling, line, saying
from leakcheck.fixes.splice import changed, rebuilt
from leakcheck.fixes.stretch import check_kept, leaving
from leakcheck.fixes.tree import RefusedError, only
from leakcheck.ownership.leak import LeakKind
from leakcheck.sql.event import SqlKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.diagnostic import Edit
    from leakcheck.fixes.stretch import Lines, Stretch
    from leakcheck.source import Source

ENDED = frozenset({
    LeakKind.TRANSACTION_NEVER_ENDED, LeakKind.TRANSACTION_ON_EXCEPTION, LeakKind.TRANSACTION_ON_PATH,
})  # fmt: skip
_PLAIN = re.compile(r"\s*(?:BEGIN(?:\s+(?:WORK|TRANSACTION))?|START\s+TRANSACTION)\s*;?\s*", re.IGNORECASE)
"""A beginning that asks for nothing special."""


def ended_shapes(stretch: Stretch, kind: LeakKind, source: Source) -> Iterator[Shape]:
    """The rewrites, the preferred one first. Raises RefusedError."""
    row = stretch.row
    if kind is LeakKind.TRANSACTION_NEVER_ENDED:
        raise RefusedError(f"whether to commit or to roll back what line {row} begins is not visible")
    end = _commit(stretch)
    if end is None:
        widened = _widened(stretch, source)
        if widened is None or kind is not LeakKind.TRANSACTION_ON_EXCEPTION:
            raise RefusedError(f"no commit ends the block of line {row} on every way")
        yield widened
        return
    inside = stretch.behind[: end + 1]
    if kind is LeakKind.TRANSACTION_ON_PATH:
        yield _before_exits(stretch, inside, source)
        return
    tier, reason = min(doubts(stretch, inside), key=lambda doubt: doubt[0], default=(Applicability.SAFE, ""))
    widened = _widened(stretch, source)
    shapes = [_driver_block(stretch, inside, source), widened] if tier is not Applicability.SAFE else []
    for shape in (*shapes, *([] if widened is not None else [_handled(stretch, inside, source)])):
        if shape is not None:
            applicability = min(shape.applicability, tier)
            message = f"{shape.message}; {reason}" if reason else shape.message
            yield Shape(shape.kind, message, shape.edits, applicability)


def _commit(stretch: Stretch) -> int | None:
    """The place of the commit in the statements behind the opening."""
    for index, statement in enumerate(stretch.behind):
        found = stretch.speech.of_one(statement)
        if found is not None and found[1][0].kind is SqlKind.COMMIT and len(found[1]) == 1:
            return index
    return None


def _rollback(stretch: Stretch, statement: cst.BaseStatement) -> cst.BaseExpression:
    """The rollback, said as the commit in ``statement`` is."""
    found = stretch.speech.of_one(statement)
    assert found is not None
    call = found[0]
    method = call.func.attr.value if isinstance(call.func, cst.Attribute) else ""
    rolled = calling(call, "rollback") if method == "commit" else saying(call, "ROLLBACK")
    return awaited_as(rolled, call, stretch.tree)


def _handled(stretch: Stretch, inside: Sequence[cst.BaseStatement], source: Source) -> Shape:
    """The statements up to the commit in a ``try`` that rolls back whatever is raised."""
    rollback = _rollback(stretch, inside[-1])
    check_kept(stretch, inside, rollback)
    tier = Applicability.SAFE
    edits: tuple[Edit, ...] = ()
    ending: cst.BaseStatement = line(rollback.deep_clone())
    try:
        known, edits = imported(stretch.tree, "contextlib", "suppress", source)
    except RefusedError:
        tier = Applicability.UNSAFE
    else:
        suppressing = cst.Call(cst.parse_expression(known), [cst.Arg(cst.Name("Exception"))])
        ending = cst.With([cst.WithItem(suppressing)], _block(stretch, [ending]))
    handler = cst.ExceptHandler(
        type=cst.Name("BaseException"),
        body=_block(stretch, [ending, cst.SimpleStatementLine([cst.Raise()])]),
    )
    blank, body = without_leading_blanks(list(inside))
    guarded = cst.Try(leading_lines=blank, body=_block(stretch, body), handlers=[handler])
    edit = _replaced(stretch, len(inside), [stretch.opening, guarded], source)
    shown = stretch.tree.text(rollback)
    return Shape(TRY_FINALLY, f"Roll back whatever is raised: `{shown}`", (*edits, edit), tier)


def _driver_block(stretch: Stretch, inside: Sequence[cst.BaseStatement], source: Source) -> Shape | None:
    """The driver's own block in the place of the beginning and the commit; None where it has none for this."""
    tree = stretch.tree
    *body, commit = inside
    said = [event.kind for statement in body for _, event in stretch.speech.all_under(statement)]
    if not body or not SPLITS.isdisjoint(said) or next(leaving(body), None) is not None:
        return None
    block = _entered(stretch, commit)
    if block is None:
        return None
    manager, keeps_opening = block
    small = only(commit)
    awaited = isinstance(small, cst.Expr) and isinstance(small.value, cst.Await)
    blank, body = without_leading_blanks(body)
    leading = blank if keeps_opening else stretch.opening.leading_lines
    comment = stretch.opening.trailing_whitespace
    entering = cst.With(
        items=[cst.WithItem(manager)],
        body=_block(stretch, body) if keeps_opening else _block(stretch, body).with_changes(header=comment),
        leading_lines=leading,
        asynchronous=cst.Asynchronous() if awaited else None,
    )
    edit = _replaced(stretch, len(inside), [*([stretch.opening] if keeps_opening else []), entering], source)
    keyword = "async with" if awaited else "with"
    return Shape(CONTEXT_MANAGER, f"Begin and end it by `{keyword} {tree.text(manager)}`", (edit,))


def _entered(stretch: Stretch, commit: cst.BaseStatement) -> tuple[cst.BaseExpression, bool] | None:
    """What a ``with`` is to enter, and whether the opening stays in front of it."""
    found = stretch.speech.of_one(commit)
    assert found is not None
    call, opening = found[0], only(stretch.opening)
    driver = stretch.found.acquisition.resource.driver
    template = stretch.found.connection.driver.block
    match call.func:
        case cst.Attribute(value=cst.Name(value=name) as holder, attr=cst.Name(value="commit")):
            pass
        case _:
            text = stretch.speech.text(stretch.call)
            if template and stretch.connection is not None and text is not None and _PLAIN.fullmatch(text):
                return cst.parse_expression(template.format(name=stretch.connection)), False
            return None
    match opening:
        case cst.Expr(value=cst.Await(expression=cst.Call(func=cst.Attribute(value=cst.Name(value=begun))))):
            return (holder.deep_clone(), False) if begun == name and driver == "asyncpg" else None
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=begun))], value=cst.Call()):
            return (holder.deep_clone(), True) if begun == name and driver == "sqlalchemy" else None
        case _:
            return None


def _widened(stretch: Stretch, source: Source) -> Shape | None:
    """``except BaseException`` for an ``except Exception`` that rolls back, which sees no cancellation."""
    for statement in stretch.behind:
        if not isinstance(statement, cst.Try) or not statement.handlers:
            continue
        handler = statement.handlers[-1]
        last = only(handler.body.body[-1]) if isinstance(handler.body, cst.IndentedBlock) else None
        rolls = any(event.kind is SqlKind.ROLLBACK for _, event in stretch.speech.all_under(handler.body))
        wide = isinstance(handler.type, cst.Name) and handler.type.value == "Exception"
        if wide and rolls and isinstance(last, cst.Raise) and last.exc is None:
            new = handler.with_changes(type=cst.Name("BaseException"))
            edit = changed(stretch.tree.unit.part, handler, new, source)
            message = "Roll back what is cancelled, too: `except BaseException`"
            return Shape(TRY_FINALLY, message, (edit,), Applicability.UNSAFE)
    return None


def _before_exits(stretch: Stretch, inside: Sequence[cst.BaseStatement], source: Source) -> Shape:
    """A rollback in front of each exit before the commit, for a reader to judge."""
    rollback = _rollback(stretch, inside[-1])
    exits = list(leaving(inside))
    if not exits:
        raise RefusedError(f"no exit before the commit leaves open what line {stretch.row} begins")
    blocks: dict[int, tuple[cst.IndentedBlock, list[cst.CSTNode]]] = {}
    for node in exits:
        row = stretch.tree.row(node)
        statement = stretch.tree.statement(node)
        block = stretch.tree.block(statement) if statement is not None else None
        if statement is None or block is None or only(statement) is not node:
            raise RefusedError(f"line {row} leaves it open in a one-line body")
        ends = [e.kind for s in block.body for _, e in stretch.speech.all_under(s)]
        if ENDS.isdisjoint(ends):
            blocks.setdefault(id(block), (block, []))[1].append(statement)
    if len(blocks) != 1:
        raise RefusedError(f"what line {stretch.row} begins is left open in {len(blocks)} places")
    ((block, statements),) = blocks.values()
    body: Lines = []
    for one in block.body:
        if any(one is leaver for leaver in statements):
            body.append(line(rollback.deep_clone()))
        body.append(one)
    edit = rebuilt(stretch.tree, block, body, source)
    shown = stretch.tree.text(rollback)
    row = stretch.tree.row(exits[0])
    message = f"Roll back before line {row}: `{shown}`; whether to commit there is not visible"
    return Shape(TRY_FINALLY, message, (edit,), Applicability.DISPLAY_ONLY)


def _block(stretch: Stretch, body: Sequence[cst.BaseStatement]) -> cst.IndentedBlock:
    return cst.IndentedBlock(body=body, indent=stretch.block.indent)


def _replaced(stretch: Stretch, count: int, by: Lines, source: Source) -> Edit:
    """The edit that puts statements in the place of the opening and as many behind it."""
    before, after = stretch.block.body[: stretch.place], stretch.block.body[stretch.place + 1 + count :]
    return rebuilt(stretch.tree, stretch.block, [*before, *by, *after], source)
