"""Which bytes a file must hold to be worth a parse: words first, then one pattern on what is left.

The words are roots of all acquiring calls, so they are common (``connect`` is in ``disconnected``). The pattern asks
for more: a call of a driver needs an import of the driver's package in the file, a method one of some driver that takes
anything, or a receiver named like a pool.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakcheck.driver import ClassKind
from leakcheck.project.speaking import says_something

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from leakcheck.calls import Calls
    from leakcheck.driver import Drivers


class Triggers:
    """The patterns of one set of drivers."""

    def __init__(self, drivers: Drivers, calls: Calls) -> None:
        self._tokens = tuple(drivers.tokens)
        makers = (ClassKind.POOL, ClassKind.FACTORY)
        made = {i for i, known in drivers.classes.items() if known.kind in makers or known.pool is not None}
        called: dict[tuple[str, ...], set[str]] = {}
        for name, operation in drivers.calls.items():
            taken = operation.acquires or (operation.returns if operation.returns in made else None)
            if taken is not None:
                called.setdefault(drivers.packages_of(taken), set()).add(name.rpartition(".")[2])
        methods: set[str] = set()
        spelled: set[tuple[bytes, bytes]] = set()
        alone: set[str] = set()
        factories: set[str] = set()
        named: dict[tuple[str, ...], set[str]] = {}
        taking = {package for packages in called for package in packages}
        for known in drivers.classes.values():
            for name, operation in known.methods.items():
                if not (operation.acquires or operation.acquires_receiver):
                    continue
                taking.update(drivers.packages_of(known.id))
                if name == "__call__":
                    factories.update(known.receivers)
                elif operation.token:
                    spelled.add((operation.token.encode(), name.encode()))
                elif operation.distinctive:
                    alone.add(name)
                else:
                    methods.add(name)
                    if known.receivers:
                        named.setdefault(known.receivers, set()).add(name)
        self._imported = {root: _import_of(packages) for root, packages in _by_root(drivers.packages).items()}
        self._taking = frozenset(_by_root(taking))
        self._called = tuple(
            (frozenset(_by_root(packages)), frozenset(_encoded(names))) for packages, names in called.items()
        )
        self._method = re.compile(rb"\.\s*(?:" + _either(methods) + rb")\b" + _NO_VALUE)
        self._spelled = tuple(sorted(spelled))
        self._methods = tuple(b"." + name.encode() for name in sorted(set().union(*named.values())))
        self._receivers = tuple(
            (re.compile(rb"\.\s*(?:" + _either(names) + rb")\b"), re.compile(rb"(?i:" + _either(words) + _BEFORE))
            for words, names in sorted(named.items())
        )
        self._alone = frozenset(_encoded(alone))
        self._factories = _encoded({word.replace("_", "").lower() for word in factories})
        used = (
            *(f".{name}(" for name in calls.connection_methods),
            *(f"{name}(" for name in calls.connection_functions),
        )
        self._used = _encoded(used)
        self._opened = re.compile(rb"(?i)=\s*(?:await\s)?[\w.()]*(?:" + _either(calls.connection_words) + rb")\w*\(")

    def in_(self, data: bytes) -> bool:
        """Whether a file with these bytes can hold an acquire of its own, or change the session of a connection."""
        return self._acquires(data) or says_something(data, lambda: self._imports(data, _words(data)))

    def imports_driver(self, data: bytes) -> bool:
        """Whether the package of a driver is imported from which something can be taken."""
        return self._imports(data, _words(data) & self._taking)

    def _imports(self, data: bytes, words: AbstractSet[bytes]) -> bool:
        """Whether a driver's package whose first name is one of these words is imported."""
        return any(self._imported[root].search(data) is not None for root in self._imported.keys() & words)

    def _acquires(self, data: bytes) -> bool:
        return self._takes(data) or self._may_own(data)

    def _may_own(self, data: bytes) -> bool:
        """Whether something that is called like a connection is used like one: see ``owning``."""
        return any(used in data for used in self._used) and self._opened.search(data) is not None

    def _takes(self, data: bytes) -> bool:
        if not any(token in data for token in self._tokens):
            return False
        words = _words(data)
        if self._imports(data, words & self._taking) and self._takes_with_package(data, words):
            return True
        if any(method in data for method in self._methods) and self._is_called_on_receiver(data):
            return True
        if not words.isdisjoint(self._alone):
            return True
        folded = data.lower().replace(b"_", b"")
        return any(word in folded for word in self._factories)

    def _is_called_on_receiver(self, data: bytes) -> bool:
        """Whether a method is called on something that is named like a pool."""
        return any(
            receiver.search(data, max(0, call.start() - _NEAR), call.start()) is not None
            for method, receiver in self._receivers
            for call in method.finditer(data)
        )

    def _takes_with_package(self, data: bytes, words: AbstractSet[bytes]) -> bool:
        if self._method.search(data) is not None or any(word in data and name in data for word, name in self._spelled):
            return True
        return any(not words.isdisjoint(names) and self._imports(data, words & roots) for roots, names in self._called)


_WORD = re.compile(rb"\w")
_SPACED = bytes(byte if _WORD.match(bytes([byte])) else ord(" ") for byte in range(256))


def _words(data: bytes) -> set[bytes]:
    """The words of a file: to look one up is sooner done than to search the bytes for it."""
    return set(data.translate(_SPACED).split())


def _by_root(packages: Iterable[str]) -> dict[bytes, set[bytes]]:
    """Dotted names of packages, by the first name of each."""
    found: dict[bytes, set[bytes]] = {}
    for package in _encoded(packages):
        found.setdefault(package.partition(b".")[0], set()).add(package)
    return found


_BEFORE = rb")(?:\(\s*\))?\s*\Z"
"""What stands between a receiver's last word and its method."""
_NEAR = 100
"""Bytes before a method in which the end of its receiver stands."""
_NO_VALUE = rb"(?!\s*(?:\.|\[|=[^=]))"
"""What follows a method that is called or handed on, and not an attribute that something is read of or put in."""


def _import_of(packages: Iterable[bytes]) -> re.Pattern[bytes]:
    """A line that imports one of these packages or a member of it, or imports it from somewhere."""
    names = b"|".join(map(re.escape, sorted(packages)))
    return re.compile(rb"\b(?:import|from)\b[^\n]*(?:\\\r?\n[^\n]*)*\b(?:" + names + rb")\b")


def _encoded(words: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in sorted(words))


def _either(words: Iterable[str]) -> bytes:
    return b"|".join(re.escape(word).encode() for word in sorted(words, key=lambda w: (-len(w), w)))
