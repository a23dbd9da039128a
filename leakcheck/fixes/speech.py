"""What the calls of a function say to the server, and the same calls with other words.

    speech.said(call)                      →   (SET_ROLE "tenant",) of cur.execute("SET ROLE tenant")
    saying(call, "RESET ROLE")             →   cur.execute("RESET ROLE")
    reworded(call, pattern, "SET LOCAL ")  →   cur.execute("SET LOCAL ROLE tenant")

SQL is read by ``sql``; only the words that are to change are looked for here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import walk
from leakcheck.fixes.tree import RefusedError, own
from leakcheck.ownership.sessions.statements import Statements
from leakcheck.sql.event import SqlKind
from leakcheck.sql.events import events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.fixes.tree import Tree
    from leakcheck.ownership.program import Program
    from leakcheck.sql.event import SqlEvent

_WRAPPERS = frozenset({"text", "SQL"})
"""Functions that only mark a text as SQL."""
_SENDING = frozenset({"commit", "rollback", "begin", "begin_nested", "begin_twophase", "start_transaction", "reset"})
"""Methods that speak to the server for themselves, by whatever driver they are."""
ENDS = frozenset({SqlKind.COMMIT, SqlKind.ROLLBACK, SqlKind.CHAIN})
"""What ends a transaction."""
SPLITS = ENDS | {SqlKind.BEGIN, SqlKind.SAVEPOINT, SqlKind.ROLLBACK_TO, SqlKind.RELEASE_SAVEPOINT}
"""What begins, ends or divides one."""


class Speech:
    """Answers about the calls of one function."""

    def __init__(self, tree: Tree, program: Program) -> None:
        self._calls = tree.calls
        self._statements = Statements(tree.unit, program)
        self._drivers = program.drivers

    def said(self, call: cst.CSTNode) -> tuple[SqlEvent, ...]:
        """What one call says, by SQL or by a driver's method; nothing where it is not a call that speaks."""
        instruction = self._calls.get(id(call))
        if instruction is None or instruction.method is None:
            return ()
        found = self._statements.executing(instruction)
        if found or instruction.method not in _SENDING:
            return found
        sends = [o.sends for _, o in self._drivers.methods_named(instruction.method) if o.sends]
        return events(sends[0]) if sends else (*events("SAVEPOINT a"),)

    def instruction(self, call: cst.CSTNode) -> g.Call | None:
        """The call as the analysis sees it."""
        return self._calls.get(id(call))

    def text(self, call: cst.CSTNode) -> str | None:
        """The one literal text that a call sends, None where it sends another."""
        literals = [n for n in walk(call) if isinstance(n, (cst.SimpleString, cst.FormattedString))]
        lone = literals[0] if len(literals) == 1 and self.said(call) else None
        value = lone.evaluated_value if isinstance(lone, cst.SimpleString) else None
        return value if isinstance(value, str) else None

    def of_one(self, statement: cst.CSTNode | None) -> tuple[cst.Call, tuple[SqlEvent, ...]] | None:
        """The call that a statement consists of, and what it says; None where it is more, or says nothing."""
        if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
            return None
        value = getattr(statement.body[0], "value", None) if isinstance(statement.body[0], cst.Expr) else None
        call = value.expression if isinstance(value, cst.Await) else value
        said = self.said(call) if isinstance(call, cst.Call) else ()
        return (call, said) if isinstance(call, cst.Call) and said else None

    def all_under(self, root: cst.CSTNode) -> Iterator[tuple[cst.Call, SqlEvent]]:
        """Everything that is said under ``root``, in source order."""
        for node in own(root):
            if isinstance(node, cst.Call):
                yield from ((node, event) for event in self.said(node))


def saying(call: cst.Call, text: str, *, keeps_rest: bool = False) -> cst.Call:
    """The call with another SQL text, marked as the old one was; its parameters only where they are the same."""
    place = next((i for i, argument in enumerate(call.args) if argument.keyword is None and not argument.star), None)
    if place is None:
        raise RefusedError("its SQL is not an argument by place")
    old = call.args[place].value
    literal: cst.BaseExpression = quoted(text)
    if isinstance(old, cst.Call) and _last(old.func) in _WRAPPERS:
        literal = old.with_changes(args=[cst.Arg(literal)])
    rest = call.args[place + 1 :] if keeps_rest else ()
    argument = call.args[place].with_changes(value=literal, **({} if rest else {"comma": cst.MaybeSentinel.DEFAULT}))
    plain = {} if rest else {"whitespace_before_args": cst.SimpleWhitespace("")}
    return call.with_changes(args=[*call.args[:place], argument, *rest], **plain)


def is_constant(call: cst.Call) -> bool:
    """Whether the SQL of a call is written there as it is sent, so that nothing computed can be a part of it."""
    sql = next((a.value for a in call.args if a.keyword is None and not a.star), None)
    if isinstance(sql, cst.Call) and _last(sql.func) in _WRAPPERS:
        return is_constant(sql)
    return isinstance(sql, (cst.SimpleString, cst.ConcatenatedString)) and not any(
        isinstance(node, cst.FormattedString) for node in walk(sql)
    )


def calling(call: cst.Call, method: str) -> cst.Call:
    """``conn.rollback()`` for ``conn.commit()``."""
    assert isinstance(call.func, cst.Attribute)
    return call.with_changes(func=call.func.with_changes(attr=cst.Name(method)), args=[])


def reworded(call: cst.Call, pattern: re.Pattern[str], by: str) -> cst.Call | None:
    """The call with one place of its literal SQL changed; None where the pattern is not there just once."""
    first = next((a for a in call.args if a.keyword is None and not a.star), None)
    literals = [n for n in walk(first.value) if _is_text(n)] if first is not None else []
    found = [n for n in literals for _ in pattern.finditer(n.value)]  # type: ignore[attr-defined]  # both have a value
    if len(found) != 1:
        return None
    (node,) = found
    changed = node.with_changes(value=pattern.sub(by, node.value))  # type: ignore[attr-defined]  # same
    new = call.deep_replace(node, changed)
    assert isinstance(new, cst.Call)
    return new


def _is_text(node: cst.CSTNode) -> bool:
    return isinstance(node, (cst.SimpleString, cst.FormattedStringText))


def quoted(text: str) -> cst.SimpleString:
    """The text as a literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return cst.SimpleString(f'"{escaped}"')


def awaited_as(call: cst.Call, original: cst.CSTNode, tree: Tree) -> cst.BaseExpression:
    """The call, awaited where ``original`` is."""
    return cst.Await(call) if isinstance(tree.parent(original), cst.Await) else call


def line(expression: cst.BaseExpression) -> cst.SimpleStatementLine:
    """The expression as a statement of its own."""
    return cst.SimpleStatementLine([cst.Expr(expression)])


def _last(func: cst.CSTNode) -> str:
    if isinstance(func, cst.Attribute):
        return func.attr.value
    return func.value if isinstance(func, cst.Name) else ""
