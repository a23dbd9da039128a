"""What a call says to the server: the SQL that it is given, or that a driver's method amounts to.

cur.execute("SET ROLE a")   →   Action(SET_ROLE "a")
conn.commit()               →   Action(COMMIT), by the driver
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce
from leakcheck.ownership.sessions.putting_back import put_back
from leakcheck.ownership.sessions.session import TAKES
from leakcheck.ownership.state import Hold, Scope, Value
from leakcheck.ownership.usage import entered_by
from leakcheck.project.texts import sql_texts
from leakcheck.sql.event import HOLE, SqlEvent, SqlKind
from leakcheck.sql.events import events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leakcheck.cfg import graph as g
    from leakcheck.driver import DriverClass, Operation
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.sessions.handed import Handed
    from leakcheck.ownership.unit import Unit

_STANDARD = "generic.Connection"
_STANDARD_CURSOR = "generic.Cursor"
_STANDARD_TRANSACTION = "generic.Transaction"
"""What PEP 249 says of every driver."""
QUIET = frozenset({SqlKind.READ, SqlKind.WRITE, SqlKind.UNKNOWN, SqlKind.DDL})
"""Statements that change nothing of the session."""


class Action(Struct, frozen=True):
    """One thing said to the server. ``operation`` is the driver's method that amounts to it, None for SQL text.

    ``alone``: the text holds nothing else.
    """

    event: SqlEvent
    operation: Operation | None = None
    alone: bool = True
    text: str = ""
    """What a message calls it, where it is not the SQL of the call."""
    answered: bool = False
    """Whether a function of the project said it that returns something true where it did."""
    gives: Scope | None = None
    """The transaction that a function of the project returns which has begun it."""

    @property
    def kind(self) -> SqlKind:
        """What kind of statement it is."""
        return self.event.kind

    @property
    def takes(self) -> bool:
        """Whether something must end after it."""
        return self.kind in TAKES and self.kind is not SqlKind.SAVEPOINT and not self.event.local


class Statements:
    """Answers about the calls in one unit; each text is read once."""

    def __init__(self, unit: Unit, program: Program) -> None:
        self._unit = unit
        self._drivers = program.drivers
        self._program = program
        self._sql: dict[int, tuple[SqlEvent, ...]] = {}
        self._entered: set[int] | None = None

    def actions(self, call: g.Call, value: Value | None, resource: DriverClass) -> tuple[Action, ...]:
        """What a call on the connection, on a cursor or on a transaction of it says."""
        operation = self.operation(call.method or "", value, resource)
        if operation is None:
            return ()
        if operation.sends:
            if operation.derives is not None and self.is_entered(call):
                return ()  # `with conn.begin():` ends what it begins
            return tuple(Action(e, operation) for e in events(_sent(call, operation)))
        if operation.executes is None:
            return ()
        said = self.sql(call, operation)
        return tuple(Action(e, alone=len(said) == 1) for e in said)

    def handed(self, handed: Handed, value: Value, resource: DriverClass) -> tuple[Action, ...]:
        """The same of a call that is handed over to be made by somebody else."""
        operation = self.operation(handed.method, value, resource)
        if operation is None:
            return ()
        if operation.sends:
            lasting = operation.derives is None and not operation.sends_if_false
            return tuple(Action(e, operation) for e in events(operation.sends)) if lasting else ()
        index = operation.executes
        given = handed.call.args[index : index + 1] if index is not None else ()
        texts = sql_texts(given[0], self._unit.scope, self._program) if given else None
        said = most_telling(events(text) for text in texts or ())
        return tuple(Action(e, alone=len(said) == 1, text=_shortened(texts[0]) if texts else "") for e in said)

    def operation(self, method: str, value: Value | None, resource: DriverClass) -> Operation | None:
        """The method's description: the driver's own, else what PEP 249 says of every driver."""
        classes = self._drivers.classes
        match value:
            case Hold.OWN:
                own, standard = resource, _STANDARD
            case Hold.DERIVED:
                own, standard = resource, _STANDARD_CURSOR
            case Scope(class_id=class_id):
                own, standard = classes[class_id], _STANDARD_TRANSACTION
            case _:
                return None
        found = None if value is Hold.DERIVED else own.methods.get(method)
        if found is not None and (found.sends or found.executes is not None):
            return found
        if found is not None and found.releases is not None:
            return None
        return classes[standard].methods.get(method)

    def sql(self, call: g.Call, operation: Operation) -> tuple[SqlEvent, ...]:
        """What the SQL given to a call does; of several possible texts the one that does most."""
        key = id(call.node)
        if key not in self._sql:
            self._sql[key] = self._read(call, operation.executes or 0)
        return self._sql[key]

    def _read(self, call: g.Call, index: int) -> tuple[SqlEvent, ...]:
        node = call.node
        assert isinstance(node, cst.Call)
        positional = [a.value for a in node.args if a.keyword is None and not a.star]
        named = [a.value for a in node.args if a.keyword is not None and a.keyword.value in _SQL_KEYWORDS]
        given = positional[index : index + 1] or named[:1]
        if not given:
            return ()
        said = most_telling(events(text) for text in self._texts(given[0])) or (SqlEvent(SqlKind.UNKNOWN),)
        return put_back(said, node, self._unit, self._program)

    def _texts(self, node: cst.BaseExpression) -> tuple[str, ...]:
        """The texts that an argument may be."""
        return sql_texts(reduce(node), self._unit.scope, self._program) or ()

    def is_entered(self, call: g.Call) -> bool:
        """Whether the call's result is what a ``with`` statement enters."""
        if self._entered is None:
            self._entered = entered_by(self._unit.node)
        return id(call.node) in self._entered

    def executing(self, call: g.Call) -> tuple[SqlEvent, ...]:
        """What a call on a receiver of no known class says, if it is named like one that executes SQL."""
        if call.method is None:
            return ()
        named = [o for _, o in self._drivers.methods_named(call.method) if o.executes is not None]
        return self.sql(call, named[0]) if named else ()

    def text(self, call: g.Call) -> str:
        """The statement of a call, shortened, for a message."""
        node = call.node
        assert isinstance(node, cst.Call)
        for argument in node.args:
            if argument.keyword is None or argument.keyword.value in _SQL_KEYWORDS:
                for text in self._texts(argument.value):
                    if words := _shortened(text):
                        return words
        return f"{ex.last_name(reduce(node.func))}()"


def _shortened(text: str) -> str:
    words = " ".join(text.split()).replace(HOLE, "…")
    return words if len(words) <= _TEXT_LIMIT else words[: _TEXT_LIMIT - 1] + "…"


def _sent(call: g.Call, operation: Operation) -> str:
    """The SQL that a call of a driver's method amounts to."""
    if not operation.sends_if_false:
        return operation.sends
    reduced = reduce(call.node) if isinstance(call.node, cst.Call) else None
    given = (
        next(iter((*reduced.args, *dict(reduced.keywords).values())), None) if isinstance(reduced, ex.Call) else None
    )
    match given:
        case ex.Constant(value=bool() as on):
            return operation.sends if on else operation.sends_if_false
        case _:
            return ""


def most_telling(found: Iterable[tuple[SqlEvent, ...]]) -> tuple[SqlEvent, ...]:
    """Of what several texts say, the first that changes something of the session."""
    possible = list(found)
    telling = [e for e in possible if any(event.kind not in QUIET for event in e)]
    return (telling or possible or [()])[0]


def executed(call: g.Call) -> ex.Expression | None:
    """What is given to a call as its SQL: ``cur.execute(sql)``, ``conn.execute(text(sql))``, ``cur.execute(*args)``."""
    if not isinstance(call.node, cst.Call):
        return None
    given = [a.value for a in call.node.args[:1] if a.keyword is None and a.star != "**"]
    given += [a.value for a in call.node.args if a.keyword is not None and a.keyword.value in _SQL_KEYWORDS]
    value = reduce(given[0]) if given else None
    if isinstance(value, ex.Call) and _MAKING_TEXT.search(ex.last_name(value.func) or "") and len(value.args) == 1:
        value = value.args[0]
    return value


_MAKING_TEXT = re.compile(r"(?:^|_)text$|^SQL$")
"""Functions that make a statement of a text; by other names, too: ``sa_text``."""
_SQL_KEYWORDS = frozenset({"sql", "query", "statement", "operation", "command"})
_TEXT_LIMIT = 40
