"""The proof that one commit ends the region on every normal way, so that a committing ``with`` means the same.

    cur.execute(a)                  ┐ runs inside the `with`, which commits at its end
    cur.execute(b)                  ┘
    conn.commit()                     the commit that goes
    cur.close()                       runs inside, too: the connection is gone behind it
    log("stored")                     runs behind the `with`, as it ran behind the commit

Whatever may commit, roll back, leave early or swallow an exception before that commit refuses the shape.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck.cfg.walk import walk
from leakcheck.fixes.conditions import is_only_commit, is_only_rollback
from leakcheck.fixes.tree import LOOPS, RefusedError, only, own

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.fixes.region import Region

_ENDING_METHODS = frozenset({
    "commit", "rollback", "begin", "begin_nested", "transaction", "autocommit", "set_session", "set_autocommit",
    "cancel", "set_isolation_level", "isolation_level", "reset", "close", "tpc_begin", "xid", "__enter__",
})  # fmt: skip
_ENDING_SQL = re.compile(
    r"(?:^|;)\s*(?:BEGIN|START\s+TRANSACTION|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|VACUUM|PREPARE|CALL|DO)\b"
    r"|\bCONCURRENTLY\b",
    re.IGNORECASE,
)


class Committed(Struct, frozen=True, eq=False):
    """The statements inside and behind a committing ``with``, and the commit between them, which goes."""

    inside: list[cst.BaseStatement]
    commit: cst.BaseStatement
    behind: list[cst.BaseStatement]


def committed(region: Region, body: list[cst.BaseStatement]) -> Committed:
    """What a committing ``with`` holds. Raises RefusedError where the proof fails."""
    body = _without_rollbacks(region, body)
    place = next((i for i in range(len(body) - 1, -1, -1) if is_only_commit(body[i], region.name)), None)
    if place is None or not place:
        raise RefusedError(f"no commit of `{region.name}` ends its block on every way")
    inside, behind = body[:place], body[place + 1 :]
    for statement in inside:
        _check(region, statement)
    closing = [statement for statement in behind if _closes(statement, region.handles)]
    behind = [statement for statement in behind if not any(statement is one for one in closing)]
    for statement in behind:
        for node in walk(statement):
            if isinstance(node, cst.Name) and node.value in {region.name, *region.handles}:
                raise RefusedError(f"`{node.value}` is used behind the commit")
    return Committed([*inside, *closing], body[place], behind)


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


def _check(region: Region, statement: cst.CSTNode) -> None:
    """Nothing in the statement ends the transaction, leaves before the commit, or hides an exception from it."""
    for node in own(statement):
        match node:
            case cst.Return() | cst.Yield():
                raise RefusedError("a way out comes before the commit")
            case cst.Break() | cst.Continue() if not _loops_inside(statement, node):
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


def _closes(statement: cst.CSTNode, handles: frozenset[str]) -> bool:
    """Whether a statement does nothing but close a cursor, which some cannot once their connection is closed."""
    small = only(statement)
    value = small.value if isinstance(small, cst.Expr) else None
    match value.expression if isinstance(value, cst.Await) else value:
        case cst.Call(func=cst.Attribute(value=cst.Name(value=name), attr=cst.Name(value="close")), args=[]):
            return name in handles
        case _:
            return False
