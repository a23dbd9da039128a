"""Which files, then which functions, may change a session: by their bytes, before any LibCST.

cur.execute("SET ROLE app")   →   worth following
cur.execute("SELECT 1")       →   not
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.project.names import Function, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.calls import Calls
    from leakcheck.driver import Drivers
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts, ModuleFacts

_QUOTED = (
    rb"\.(?:begin|start_transaction)\(|[\"';]\s*(?:BEGIN|START\s+TRANSACTION|SET\s|LISTEN\s|LOCK\s+TABLES?|DISCARD\s)"
)
_INSIDE = (
    rb"set_config\s*\(|advisory_lock|GET_LOCK\s*\(|\bSESSION\s+AUTHORIZATION|\bSET\s+(?:LOCAL\s+|SESSION\s+)?ROLE\b"
)
_SQL = re.compile(rb"(?i:" + _QUOTED + rb"|" + _INSIDE + rb")")
"""The statements that take something, as they stand in source text."""
_BLOCKS = (b"transaction.atomic", b"import atomic", b".set_autocommit(")
"""So is Django's transaction named, or imported, or begun by turning autocommit off."""
_WRAPPING = re.compile(r"exec|query|run|sql|statement|command|cmd|fetch|(?:^|_)do(?:$|_)", re.IGNORECASE)
"""What a function of the project is called that executes what it is given."""
_METHODS = frozenset({"begin", "start_transaction"})
_ENDS = re.compile(rb"(?i)[\"';]\s*(?:COMMIT|END|ROLLBACK|ABORT)\b|\.(?:commit|rollback)\b")
_RESETS = re.compile(rb"(?i)[\"';]\s*(?:RESET|DISCARD)\s|\bSET\s+ROLE\s+NONE|\bAUTHORIZATION\s+DEFAULT")
_EXECUTING = (b"execute", b".fetch", b".scalar", b".exec(")
"""One of these is in every file that sends SQL and holds no acquire of its own."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Names of methods and functions by what they do: execute SQL, amount to some, or wait for something slow.

    ``packages`` are the top-level packages of drivers, ``blocks`` the functions whose ``with`` block is a transaction.
    """

    executing: frozenset[str]
    sending: frozenset[str]
    slow: frozenset[str]
    packages: frozenset[str]
    blocks: frozenset[str]

    @staticmethod
    def of(drivers: Drivers, calls: Calls) -> Vocabulary:
        """The names that the drivers' files and ``calls.toml`` use."""
        methods = drivers.methods.items()
        return Vocabulary(
            executing=frozenset(name for name, found in methods if any(o.executes is not None for _, o in found)),
            sending=frozenset(name for name, found in methods if any(o.sends for _, o in found)),
            slow=frozenset(name.rpartition(".")[2] for name in calls.slow),
            packages=frozenset(package.partition(".")[0] for package in drivers.packages),
            blocks=frozenset(name.rpartition(".")[2] for name in calls.transactions),
        )


def says_something(data: bytes, packages: Iterable[bytes]) -> bool:
    """Whether a file with these bytes may change a session; ``packages`` are those of drivers."""
    if any(word in data for word in _BLOCKS):
        return True
    if not any(word in data for word in _EXECUTING):
        return False
    commits = b".commit(" in data and any(package in data for package in packages)
    return commits or _SQL.search(data) is not None


def speaks(program: Program, module: ModuleFacts, function: FunctionFacts) -> bool:
    """Whether a function may change the session of a connection, or do something while a transaction is open."""
    calls = function.calls.keys()
    executes = not program.vocabulary.executing.isdisjoint(calls)
    blocks = program.vocabulary.blocks
    if not blocks.isdisjoint(calls) or any(ex.last_name(d) in blocks for d in function.decorators):
        return True
    imports_driver = not program.vocabulary.packages.isdisjoint(module.packages)
    if imports_driver and not ({"transaction"} | program.vocabulary.sending).isdisjoint(calls):
        return True
    if imports_driver and executes:
        waits = not program.vocabulary.slow.isdisjoint(calls)
        if waits or imports_slow(program, module):
            return True
    if not executes and _METHODS.isdisjoint(calls) and not any(_WRAPPING.search(name) for name in calls):
        return False
    text = program.rows(module.path, function.first_row, function.last_row)
    if _SQL.search(text) is not None or (imports_driver and b"except" in text):
        return True
    return executes and any(_takes_something(program, callee) for callee in _called(program, module, function))


def _called(program: Program, module: ModuleFacts, function: FunctionFacts) -> Iterator[Function]:
    """The project functions that a function calls; what is named like a driver's method is taken to be that."""
    scope, vocabulary = Scope.of(module, function), program.vocabulary
    for name, expressions in function.calls.items():
        if name not in vocabulary.executing and name not in vocabulary.sending and name not in program.acquiring_names:
            for expression in expressions:
                yield from (s for s in program.resolver.resolve(expression, scope) if isinstance(s, Function))


def _takes_something(program: Program, function: Function) -> bool:
    """Whether a function that is given something sends a statement that its caller may have to end."""
    facts, scope = program.resolver.function(function)
    if facts is None or scope is None or not facts.parameters:
        return False
    return _SQL.search(program.rows(scope.module.path, facts.first_row, facts.last_row)) is not None


def imports_slow(program: Program, module: ModuleFacts) -> bool:
    """Whether something is imported that a pattern of slow calls may be about."""
    return any(root in target for target in module.imported for root in program.calls.slow_roots)


def ends_elsewhere(program: Program, module: ModuleFacts, function: FunctionFacts, *, role: bool) -> bool:
    """Whether other functions of the file reset something, or end transactions, which leaves a ``role`` as it is."""
    endings = (_RESETS,) if role else (_RESETS, _ENDS)
    around = program.around(module.path, function.first_row, function.last_row)
    return any(ends.search(text) is not None for text in around for ends in endings)
