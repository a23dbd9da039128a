"""Which bytes a file must hold to be worth a parse: words first, then one pattern on what is left.

The words are roots of all acquiring calls, so they are common (``connect`` is in ``disconnected``). The pattern asks
for more: a call of a driver needs the driver's package in the file, a method of an unresolved receiver a
receiver named like a pool.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakcheck.driver import ClassKind
from leakcheck.project.speaking import says_something

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leakcheck.driver import Drivers


class Triggers:
    """The patterns of one set of drivers."""

    def __init__(self, drivers: Drivers) -> None:
        self._tokens = tuple(drivers.tokens)
        makers = (ClassKind.POOL, ClassKind.FACTORY)
        made = {i for i, known in drivers.classes.items() if known.kind in makers or known.pool is not None}
        called = {
            name.rpartition(".")[2]
            for name, operation in drivers.calls.items()
            if operation.acquires or operation.returns in made
        }
        methods: set[str] = set()
        spelled: set[str] = set()
        alone: set[str] = set()
        named: set[str] = set()
        receivers: set[str] = set()
        for known in drivers.classes.values():
            for name, operation in known.methods.items():
                if not (operation.acquires or operation.acquires_receiver):
                    continue
                if name == "__call__":
                    alone.update(known.receivers)
                elif operation.token:
                    spelled.add(operation.token)
                elif operation.distinctive:
                    alone.add(name)
                else:
                    methods.add(name)
                    if known.receivers:
                        named.add(name)
                        receivers.update(known.receivers)
        with_package = rb"\b(?:" + _either(called) + rb")\b|\.\s*(?:" + _either(methods) + rb")\b"
        self._packages = tuple(package.encode() for package in sorted(drivers.packages))
        self._with_package = re.compile(with_package + rb"|" + _either(spelled))
        self._methods = tuple(b"." + name.encode() for name in sorted(named))
        receiver = rb"(?i:" + _either(receivers) + rb")(?:\(\s*\))?\s*\.\s*(?:" + _either(named) + rb")\b"
        self._receiver = re.compile(receiver)
        self._alone = tuple(word.encode() for word in sorted({word.replace("_", "").lower() for word in alone}))

    def in_(self, data: bytes) -> bool:
        """Whether a file with these bytes can hold an acquire of its own, or change the session of a connection."""
        return self._acquires(data) or says_something(data, self._packages)

    def _acquires(self, data: bytes) -> bool:
        if not any(token in data for token in self._tokens):
            return False
        if any(package in data for package in self._packages) and self._with_package.search(data) is not None:
            return True
        if any(method in data for method in self._methods) and self._receiver.search(data) is not None:
            return True
        folded = data.lower().replace(b"_", b"")
        return any(word in folded for word in self._alone)


def _either(words: Iterable[str]) -> bytes:
    return b"|".join(re.escape(word).encode() for word in sorted(words, key=lambda w: (-len(w), w)))
