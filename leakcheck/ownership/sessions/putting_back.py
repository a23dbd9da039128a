"""Statements that set a setting back to what it was: the value comes from a statement that asked the server for it.

    before = conn.execute(text("SHOW search_path")).scalar()
    conn.execute(text(f"SET search_path TO {tenant}"))
    ...
    conn.execute(text(f"SET search_path TO {before}"))    →   as good as RESET search_path

Names are followed within the function.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk
from leakcheck.project.texts import sql_texts
from leakcheck.sql.event import SqlEvent, SqlKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit

_BACK = {
    SqlKind.SET: SqlKind.RESET,
    SqlKind.SET_ROLE: SqlKind.RESET_ROLE,
    SqlKind.SET_AUTHORIZATION: SqlKind.RESET_AUTHORIZATION,
}
_IDENTITIES = {
    SqlKind.SET_ROLE: r"\bcurrent_(?:user|role)\b|\bSHOW\s+role\b|\bcurrent_setting\s*\(\s*'role'",
    SqlKind.SET_AUTHORIZATION: r"\bsession_user\b|\bSHOW\s+session_authorization\b",
}
_FETCHING = re.compile(r"^(?:fetch|scalar|first$|one(?:_or_none)?$|mappings$)")
"""Methods of a cursor, a connection or a result that give what the server said."""
_STEPS = 30


def put_back(found: tuple[SqlEvent, ...], call: cst.Call, unit: Unit, program: Program) -> tuple[SqlEvent, ...]:
    """What a statement does, where what it sets was asked of the server before: it resets that."""
    if not any(event.kind in _BACK and not event.local for event in found):
        return found
    names = {n.value for argument in call.args for n in walk(argument.value) if isinstance(n, cst.Name)}
    return tuple(
        replace(event, kind=_BACK[event.kind]) if _is_back(event, names, unit, program) else event for event in found
    )


def _is_back(event: SqlEvent, names: Iterable[str], unit: Unit, program: Program) -> bool:
    if event.kind not in _BACK or event.local:
        return False
    pattern = _IDENTITIES.get(event.kind) or (_asking(event.name) if event.name is not None else None)
    if pattern is None:
        return False
    asks = re.compile(pattern, re.IGNORECASE)
    return any(_was_asked_for(ex.Name(name), asks, unit, program) for name in names)


def _asking(name: str) -> str:
    """What a text has in it that asks for a setting."""
    spelled = re.escape(name)
    shown = r"TIME\s+ZONE|timezone" if name == "timezone" else spelled
    return rf"\bSHOW\s+(?:{shown})\b|\bcurrent_setting\s*\(\s*'{spelled}'|@@(?:\w+\.)?{spelled}\b"


def _was_asked_for(value: ex.Expression, asks: re.Pattern[str], unit: Unit, program: Program) -> bool:
    """Whether a value is what a statement that asks gave, as far as it can be followed in the function."""
    pending, seen, fetched = [value], set[str](), False
    for _ in range(_STEPS):
        if not pending:
            break
        match pending.pop():
            case ex.Name(id=name) if name not in seen:
                seen.add(name)
                pending += _assigned(name, unit)
            case ex.Call(func=func, args=args):
                if args and _asks(args[0], asks, unit, program):
                    return True
                if isinstance(func, ex.Attribute):
                    fetched = fetched or _FETCHING.match(func.name) is not None
                    pending.append(func.base)
            case ex.Await(value=inner) | ex.Element(value=inner) | ex.Entered(value=inner) | ex.Item(base=inner):
                pending.append(inner)
            case ex.Attribute(base=inner):
                pending.append(inner)
            case ex.Choice(options=inner) | ex.Text(parts=inner):
                pending += inner
            case _:
                pass
    return fetched and any(_asks(sql, asks, unit, program) for sql in _executed(unit))


def _assigned(name: str, unit: Unit) -> Iterator[ex.Expression]:
    for facts in reversed(unit.scope.functions):
        if name in facts.scope.assignments:
            yield from facts.scope.assignments[name]
            return


def _executed(unit: Unit) -> Iterator[ex.Expression]:
    """What the function gives to calls first: the texts of its statements are among it."""
    for node in walk(unit.node):
        if isinstance(node, cst.Call) and node.args:
            yield reduce(node.args[0].value)


def _asks(sql: ex.Expression, asks: re.Pattern[str], unit: Unit, program: Program) -> bool:
    return any(asks.search(text) for text in sql_texts(sql, unit.scope, program) or ())
