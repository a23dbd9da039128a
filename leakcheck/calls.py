"""Ordinary calls: what leakcheck knows of Python and its libraries apart from databases, read from data.

Receives ``calls.toml`` in its compiled form; returns ``Calls``, which tells by a dotted name whether a call may
raise, and what becomes of the values given to it::

    calls = load_calls()
    calls.is_non_raising("self.logger.info")  # True
    calls.effect("contextlib.closing")  # manages its argument 0, and closes it
    calls.effect("stack.enter_context")  # enters it
"""

from __future__ import annotations

import builtins
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from leakcheck.diagnostic import LeakcheckError
from leakcheck.driver import endings
from leakcheck.driver_data import compiled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class CallKind(StrEnum):
    """What a call does with the value given to it."""

    PASSES = "passes"  # its value is the argument, as much awaited as it was
    RUNS = "runs"  # awaits the argument: its value is what came out
    MANAGES = "manages"  # a context manager over the argument
    ENTERS = "enters"  # enters the argument, whose end is the end of the stack
    REGISTERS = "registers"  # runs the argument later
    SPAWNS = "spawns"  # runs the argument elsewhere
    EXITS = "exits"  # never returns
    SUPPRESSES = "suppresses"  # a context manager that swallows the exceptions given


class Takes(StrEnum):
    """How the argument of a call is meant."""

    VALUE = "value"
    MANAGER = "manager"  # a context manager, or a function like `__exit__`
    CALLABLE = "callable"  # a function; what follows it are its arguments
    COROUTINE = "coroutine"  # the call of a coroutine function


class CallEffect(Struct, frozen=True):
    """One known call; ``argument`` is the index of the value it is about, ``keyword`` that argument's name."""

    name: str
    kind: CallKind
    argument: int = 0
    keyword: str = ""
    takes: Takes = Takes.VALUE
    arguments: str = ""  # the keyword that holds the callable's arguments as a tuple: Thread(args=…)
    releases: str = ""  # manages: the method called at its end
    raises: str = ""  # exits: the builtin exception; empty where the process ends at once
    awaited: bool = False  # does nothing unless awaited
    waits: bool = False  # spawns: awaiting it gives what the function returned
    receivers: tuple[str, ...] = ()  # methods: words the receiver must end in; none: any receiver


class Calls(Struct, frozen=True):
    """All that is known; look-ups by dotted name ("self.stack.callback") are remembered."""

    functions: Mapping[str, CallEffect]
    methods: Mapping[str, CallEffect]
    patterns: frozenset[str]
    non_raising_given: frozenset[str]  # what a function around the one that calls it is given
    non_raising_methods: Mapping[str, frozenset[str]]  # method → words the receiver may end in
    release_names: frozenset[str]
    release_verbs: frozenset[str]
    release_objects: frozenset[str]
    connection_words: frozenset[str]
    connection_methods: frozenset[str]
    connection_functions: frozenset[str]
    session_words: frozenset[str]
    owning_words: frozenset[str]
    ending_hooks: frozenset[str]
    locks: frozenset[str]
    borrowing: frozenset[str]
    building: frozenset[str]
    slow: frozenset[str]
    slow_patterns: tuple[str, ...]
    slow_roots: tuple[str, ...]  # what is imported where one of the patterns may match
    transactions: frozenset[str]
    in_process: frozenset[str]
    _remembered: dict[str, bool] = field(default_factory=dict)

    def extended(self, patterns: Iterable[str]) -> Calls:
        """These calls and the user's ``non-raising`` patterns: a dotted name, with `*` as its first or last part."""
        added = frozenset(patterns)
        for pattern in sorted(added):
            parts = pattern.removeprefix("*.").removesuffix(".*").split(".")
            if not all(part.isidentifier() for part in parts):
                message = f'non-raising: {pattern!r} is no pattern; write a dotted name such as "metrics.*" or "*.emit"'
                raise LeakcheckError(message)
        return replace(self, patterns=self.patterns | added, _remembered={})

    def is_non_raising(self, dotted: str) -> bool:
        """Whether the call of this name is taken never to raise."""
        known = self._remembered.get(dotted)
        if known is None:
            known = self._remembered[dotted] = self._never_raises(dotted)
        return known

    def is_building(self, dotted: str) -> bool:
        """Whether the call of this name, or of a method of its last name, makes a value and does nothing else."""
        receiver, dot, name = dotted.rpartition(".")
        return dotted in self.building or bool(dot and receiver and f".{name}" in self.building)

    def is_borrowing(self, dotted: str) -> bool:
        """Whether the call of this name only looks at the connection that it is given while it runs."""
        last = dotted.rpartition(".")[2]
        return any(
            name in (dotted, last) or (name.endswith("*") and last.startswith(name[:-1])) for name in self.borrowing
        )

    def is_ending_hook(self, method: str) -> bool:
        """Whether a toolkit calls the method of this name of its objects when they end."""
        return any(fnmatchcase(method, pattern) for pattern in self.ending_hooks)

    def effect(self, dotted: str) -> CallEffect | None:
        """What this call does with its argument: by qualified name, else by method name and receiver."""
        found = self.functions.get(dotted)
        if found is None:
            receiver, dot, name = dotted.rpartition(".")
            method = self.methods.get(name)
            if dot and method and (not method.receivers or _ends_in(receiver, method.receivers)):
                found = method
        return found

    def says_release(self, dotted: str) -> bool:
        """Whether the name of an unresolved function says that it gives its argument back."""
        name = dotted.rpartition(".")[2]
        return _says_release(name, self.release_names, self.release_verbs, self.release_objects)

    def says_own(self, flag: str) -> bool:
        """Whether the name of an object's flag says that something is the object's own."""
        return any(ending.partition("_")[0] in self.owning_words for ending in endings(flag))

    def is_lock(self, name: str) -> bool:
        """Whether the name of what ``with`` enters says that it is a lock."""
        return _ends_in(name, self.locks)

    def _never_raises(self, dotted: str) -> bool:
        receiver, _, name = dotted.rpartition(".")
        words = self.non_raising_methods.get(name)
        if words and _ends_in(receiver, words):
            return True
        parts = dotted.split(".")
        spellings = [parts, parts[1:]] if parts[0] in {"self", "cls"} and len(parts) > 2 else [parts]
        if any(".".join(spelling) in self.patterns for spelling in spellings):
            return True
        open_patterns = [pattern for pattern in self.patterns if "*" in pattern]
        return any(_fits(spelling, pattern) for pattern in open_patterns for spelling in spellings)


def _ends_in(receiver: str, words: Iterable[str]) -> bool:
    """Whether the last words of the receiver's last name are one of these: self._read_cursor ends in "cursor"."""
    last = receiver.removesuffix("()").rpartition(".")[2]
    return any(ending in words for ending in endings(last))


def _fits(parts: list[str], pattern: str) -> bool:
    """Whether a dotted name, in parts, fits a pattern whose `*` at either end stands for one part or more."""
    core = pattern.removeprefix("*.").removesuffix(".*").split(".")
    for start in range(len(parts) - len(core) + 1):
        before, after = start, len(parts) - start - len(core)
        open_ends = (before > 0) is pattern.startswith("*.") and (after > 0) is pattern.endswith(".*")
        if open_ends and parts[start : start + len(core)] == core:
            return True
    return False


@cache
def _says_release(name: str, names: frozenset[str], verbs: frozenset[str], objects: frozenset[str]) -> bool:
    for ending in endings(name.strip("_")):  # some ending must be such a name, or a verb, and then objects only
        verb, last, sought = ending, "all", names
        while verb and verb not in sought and last in objects:
            verb, _, last = verb.rpartition("_")
            sought = names | verbs
        if verb in sought and last in objects:
            return True
    return False


@cache
def load_calls() -> Calls:
    """The built-in knowledge."""
    document: Mapping[str, Any] = compiled()["python"]
    exceptions = {name for name, value in vars(builtins).items() if _is_exception(value)}
    methods: dict[str, frozenset[str]] = {}
    for group in document["non-raising-methods"].values():
        for name in group["methods"]:
            methods[name] = methods.get(name, frozenset()) | frozenset(group["receivers"])
    return Calls(
        functions={name: _effect(name, fields) for name, fields in document["call"].items()},
        methods={name: _effect(name, fields) for name, fields in document["method"].items()},
        patterns=frozenset(document["non-raising"]) | exceptions,
        non_raising_given=frozenset(document["non-raising-given"]),
        non_raising_methods=methods,
        release_names=frozenset(document["release-names"]),
        release_verbs=frozenset(document["release-verbs"]),
        release_objects=frozenset(document["release-objects"]),
        connection_words=frozenset(document["connection-words"]),
        connection_methods=frozenset(document["connection-methods"]),
        connection_functions=frozenset(document["connection-functions"]),
        session_words=frozenset(document["session-words"]),
        owning_words=frozenset(document["owning-words"]),
        ending_hooks=frozenset(document["ending-hooks"]),
        locks=frozenset(document["locks"]),
        borrowing=frozenset(document["borrowing"] + document["connection-functions"]),
        building=frozenset(document["building"]),
        slow=frozenset(name for name in document["slow"] if "*" not in name),
        slow_patterns=tuple(name for name in document["slow"] if "*" in name),
        slow_roots=tuple(name.partition(".")[0].strip("*") for name in document["slow"] if "*" in name),
        transactions=frozenset(document["transactions"]),
        in_process=frozenset(document["in-process"]),
    )


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _effect(name: str, fields: Mapping[str, Any]) -> CallEffect:
    values = {**fields, "kind": CallKind(fields["kind"]), "takes": Takes(fields.get("takes", Takes.VALUE))}
    return CallEffect(name, **{**values, "receivers": tuple(fields.get("receivers", ()))})
