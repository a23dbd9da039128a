"""Which files, then which functions, may change a session: by their bytes, before any LibCST.

cur.execute("SET ROLE app")   →   worth following
cur.execute("SELECT 1")       →   not
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from leakcheck.calls import Calls
    from leakcheck.driver import Drivers
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts, ModuleFacts

_TAKING = (b"BEGIN", b"START TRANSACTION", b"SET ", b"LISTEN ", b"LOCK TABLE", b"DISCARD ")
"""What a statement begins with that takes something."""
_QUOTED = rb"start\s+transaction|begin(?:\s+(?:transaction|immediate|exclusive|deferred|work))?\s*[\"';]"
"""What takes something in any spelling, where it is all that a string begins with: a sentence goes on otherwise."""
_INSIDE = (
    rb"set_config\s*\(|advisory_lock|get_lock\s*\(|\bsession\s+authorization|\bset\s+(?:local\s+|session\s+)?role\b"
)
"""What takes something in any spelling: no sentence has these words."""
_RARE = (b"set_config", b"advisory_lock", b"get_lock", b"authorization", b"role")
"""One of these is in all of those, and is sooner looked for than a pattern without a beginning of its own."""


def _written(words: Iterable[bytes]) -> bytes:
    """The words in capitals, or in small letters: what says ``Set the volume`` is a sentence."""
    return b"|".join(each.replace(b" ", rb"\s+") for word in words for each in (word, word.lower()))


_BEGUN = (b".begin(", b".start_transaction(")
_STATEMENT = rb"[\"';]\s*(?:" + _written(_TAKING) + rb"|(?i:" + _QUOTED + rb"))"
_BEGINNING, _WITHIN = re.compile(_STATEMENT), re.compile(_INSIDE)
_SQL = re.compile(b"|".join((*map(re.escape, _BEGUN), _STATEMENT, rb"(?i:" + _INSIDE + rb")")))
"""Statements that take something, as they stand in source text."""
_PLAIN = (b"BEGIN", b'"begin', b"'begin", b"START TRANSACTION", b"SET ROLE", b"set_config", b"advisory_lock")
"""The words of those that are written most; who sends one by a function of the project needs no word of a driver."""
_BLOCKS = (b"transaction.atomic", b"import atomic", b".set_autocommit(")
"""So is Django's transaction named, or imported, or begun by turning autocommit off."""
_WRAPPING = re.compile(r"exec|query|run|sql|statement|command|cmd|fetch|to_thread|(?:^|_)do(?:$|_)", re.IGNORECASE)
"""What a function of the project is called that executes what it is given."""
_METHODS = frozenset({"begin", "start_transaction"})
_STARTED = frozenset({"transaction", "start"})
"""The calls by which an object that stands for a transaction is made, and begins it."""
_CLOSING = "close"
"""Closing ends a transaction too, and nothing can be wrong with that: what closes only need not be followed."""
_MAY_COMMIT = re.compile(rb"(?im)^\s*(?:async\s+)?with\b|[\"';]\s*(?:COMMIT|END)\b")
"""What ends a transaction beside a call of ``commit``."""
_ENDS = re.compile(rb"(?i)[\"';]\s*(?:COMMIT|END|ROLLBACK|ABORT)\b|\.(?:commit|rollback)\b")
_BEGINS = re.compile(rb"(?i)[\"';]\s*(?:BEGIN|START\s+TRANSACTION)\b|\.(?:begin|start_transaction|start)\(")
_SENDS = re.compile(_BEGINS.pattern + rb"|\.(?:execute|executemany|exec|scalar|scalars|fetch\w*|add|add_all|save)\(")
_SETS_ROLE = re.compile(rb"(?i)\bSET\s+(?:SESSION\s+)?(?:ROLE\s+(?!NONE)|AUTHORIZATION\s+(?!DEFAULT))|\bset_config\(")
_RESETS = re.compile(rb"(?i)[\"';]\s*(?:RESET|DISCARD)\s|\bSET\s+ROLE\s+NONE|\bAUTHORIZATION\s+DEFAULT")
_EXECUTING = (b"execute", b".fetch", b".scalar", b".exec(")
"""One of these is in every file that sends SQL and holds no acquire of its own."""


class Vocabulary(Struct, frozen=True):
    """Names of methods and functions by what they do: execute SQL, amount to some, or wait for something slow.

    ``sending`` has each name with the top-level packages whose import is evidence for it, none where any driver's is;
    ``packages`` are those of all drivers, ``blocks`` the functions whose ``with`` block is a transaction,
    ``sessions`` the classes whose instances connect late.
    """

    executing: frozenset[str]
    sending: Mapping[str, frozenset[str]]
    slow: frozenset[str]
    packages: frozenset[str]
    blocks: frozenset[str]
    sessions: frozenset[str]

    @staticmethod
    def of(drivers: Drivers, calls: Calls) -> Vocabulary:
        """The names that the drivers' files and ``calls.toml`` use."""
        methods = drivers.methods.items()
        sending = {name: [class_id for class_id, o in found if o.sends] for name, found in methods}
        return Vocabulary(
            executing=frozenset(name for name, found in methods if any(o.executes is not None for _, o in found)),
            sending={name: _evidence(drivers, found) for name, found in sending.items() if found},
            slow=frozenset(name.rpartition(".")[2] for name in calls.slow),
            packages=frozenset(package.partition(".")[0] for package in drivers.packages),
            blocks=frozenset(name.rpartition(".")[2] for name in calls.transactions),
            sessions=frozenset(
                name.rpartition(".")[2] for known in drivers.classes.values() if known.is_lazy for name in known.names
            ),
        )

    def may_send(self, calls: Iterable[str], packages: AbstractSet[str]) -> bool:
        """Whether one of these calls may amount to SQL in a file that imports these packages."""
        if self.packages.isdisjoint(packages):
            return False
        found = (self.sending.get(name) for name in calls if name != _CLOSING)
        return any(evidence is not None and not (evidence and evidence.isdisjoint(packages)) for evidence in found)


def _evidence(drivers: Drivers, classes: Iterable[str]) -> frozenset[str]:
    packages = [drivers.packages_of(class_id) for class_id in classes]
    return frozenset(p.partition(".")[0] for found in packages for p in found) if all(packages) else frozenset()


def says_something(data: bytes, imports_driver: Callable[[], bool]) -> bool:
    """Whether a file with these bytes may change a session."""
    if any(word in data for word in _BLOCKS):
        return True
    if not any(word in data for word in _EXECUTING):
        return False
    return (b".commit(" in data and imports_driver()) or takes_something(data)


def speaks(program: Program, module: ModuleFacts, function: FunctionFacts) -> bool:
    """Whether a function may change the session of a connection, or do something while a transaction is open."""
    vocabulary, calls = program.vocabulary, function.calls.keys()
    imports_driver = not vocabulary.packages.isdisjoint(module.packages)
    if imports_driver and ("transaction" in calls or vocabulary.may_send(calls, module.packages)):
        return True
    if imports_driver or program.takes(module.path):
        if may_execute(function, vocabulary):
            text = program.rows(module.path, function.first_row, function.last_row)
            swallows = imports_driver and b"except" in text and _MAY_COMMIT.search(text) is not None
            if swallows or takes_something(text) or any(n in text for n in program.taking_names(module)):
                return True
        elif any(function.first_row <= row <= function.last_row for row in program.taking_rows(module.path)):
            return True
    blocks = vocabulary.blocks
    inside = not blocks.isdisjoint(calls) or not blocks.isdisjoint(function.decorator_names)
    executes = not vocabulary.executing.isdisjoint(calls)
    if (inside or (imports_driver and executes)) and program.waits(module, function):
        return True
    return program.starting_functions.is_called(module, function)


def takes_something(data: bytes) -> bool:
    """Whether there is a statement somewhere in these bytes that takes something."""
    if any(word in data for word in _BEGUN) or _BEGINNING.search(data) is not None:
        return True
    folded = data.lower()
    return any(word in folded for word in _RARE) and _WITHIN.search(folded) is not None


def takes_plainly(data: bytes) -> bool:
    """Whether words of the statements that are written most occur, which is sooner known than ``takes_something``."""
    return any(word in data for word in _PLAIN)


def taking_rows(data: bytes) -> tuple[int, ...]:
    """The rows on which a statement that takes something plainly stands."""
    rows, row, counted = list[int](), 1, 0
    for match in _SQL.finditer(data):
        row, counted = row + data.count(b"\n", counted, match.end()), match.end()
        rows.append(row)
    return tuple(rows)


def taking_names(module: ModuleFacts) -> frozenset[bytes]:
    """The constants of a module and of its classes that hold such a statement."""
    constants = [(name, value) for name, found in module.scope.assignments.items() for value in found]
    for known in module.classes.values():
        constants += [(n, value) for n, found in known.attributes.items() for value, method in found if method is None]
    return frozenset(name.encode() for name, value in constants if _holds_statement(value))


def _holds_statement(value: ex.Expression) -> bool:
    match value:
        case ex.Constant(value=str() as text):
            return takes_something(b'"' + text.encode("utf-8", "replace"))
        case ex.Call(args=(first, *_)):
            return _holds_statement(first)
        case ex.Text(parts=(first, *_)):
            return _holds_statement(first)
        case ex.Sequence(items=items, keys=[_, *_]):
            return any(map(_holds_statement, items))
        case _:
            return False


def may_start(data: bytes, *, takes: bool) -> bool:
    """Whether a function in a file with these bytes may leave something open, by a statement or by an object for it.

    ``takes``: the bytes hold a statement that takes something.
    """
    return takes or (b".transaction(" in data and b".start(" in data)


def starts(function: FunctionFacts, text: str, vocabulary: Vocabulary) -> bool:
    """Whether a function with this text may leave something open for its callers to end."""
    if function.calls.keys() >= _STARTED:
        return True
    return may_execute(function, vocabulary) and takes_something(text.encode())


@cache
def _wraps(name: str) -> bool:
    """Whether a function of the project with this name may execute what it is given; most names come again."""
    return _WRAPPING.search(name) is not None


def may_execute(function: FunctionFacts, vocabulary: Vocabulary) -> bool:
    """Whether a function calls something that could send SQL, as far as names say."""
    calls = function.calls.keys()
    executes = not vocabulary.executing.isdisjoint(calls) or not _METHODS.isdisjoint(calls)
    return executes or any(map(_wraps, calls))


def imports_slow(program: Program, module: ModuleFacts) -> bool:
    """Whether something is imported that a pattern of slow calls may be about."""
    return any(root in target for target in module.imported for root in program.calls.slow_roots)


def said_beside(program: Program, module: ModuleFacts, function: FunctionFacts, name: str) -> bool:
    """Whether another method of the same class names a setting: it sets it back when its turn comes."""
    beside = [f for f in module.functions.values() if f.owner == function.owner and f is not function]
    source = program.source(module.path) if function.owner is not None else None
    texts = (source.rows(f.first_row, f.last_row) for f in beside) if isinstance(source, Source) else ()
    return any(name.casefold() in text.casefold() for text in texts)


def ends_elsewhere(program: Program, module: ModuleFacts, function: FunctionFacts, *, role: bool) -> bool:
    """Whether other code of the file resets something, or ends transactions, which leaves a ``role`` as it is.

    A function that ends what it has begun itself is not there to end what another leaves. Neither is one that commits
    what it has sent, unless it calls that other, or is a method of the same class.
    """
    endings = (_RESETS,) if role else (_RESETS, _ENDS)
    around = program.around(module.path, function.first_row, function.last_row)
    if not any(ends.search(text) is not None for text in around for ends in endings):
        return False
    rest = list(around)
    for other in module.functions.values():
        if other.parent is None and other is not function:
            text = program.rows(module.path, other.first_row, other.last_row)
            related = function.name in other.calls or (other.owner is not None and other.owner == function.owner)
            begins = _SETS_ROLE if role else _BEGINS if related else _SENDS
            if text and _ends_its_own(text, endings, begins):
                rest = [part.replace(text, b"") for part in rest]
    return any(ends.search(text) is not None for text in rest for ends in endings)


def _ends_its_own(text: bytes, endings: Iterable[re.Pattern[bytes]], begins: re.Pattern[bytes]) -> bool:
    """Whether a function begins something before it ends anything."""
    begun = begins.search(text)
    ended = [found.start() for ends in endings for found in [ends.search(text)] if found is not None]
    return begun is not None and bool(ended) and begun.start() < min(ended)
