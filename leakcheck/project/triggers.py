"""Which bytes a file must hold to be worth a parse: words first, then one pattern on what is left.

The words are roots of all acquiring calls, so they are common (``connect`` is in ``disconnected``). The pattern asks
for more: a call of a driver needs the driver's package in the file, a method of an unresolved receiver a
receiver named like a pool.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakcheck.driver import ClassKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leakcheck.driver import Drivers


class Triggers:
    """The patterns of one set of drivers."""

    def __init__(self, drivers: Drivers) -> None:
        self._tokens = tuple(drivers.tokens)
        self._packages = re.compile(rb"\b(?:" + _either(drivers.packages) + rb")\b")
        makers = (ClassKind.POOL, ClassKind.FACTORY)
        called = {
            name.rpartition(".")[2]
            for name, operation in drivers.calls.items()
            if operation.acquires or (operation.returns and drivers.classes[operation.returns].kind in makers)
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
        self._with_package = re.compile(with_package + rb"|" + _either(spelled))
        receiver = rb"(?i:" + _either(receivers) + rb")(?:\(\s*\))?\s*\.\s*(?:" + _either(named) + rb")\b"
        self._alone = re.compile(receiver + rb"|\b(?i:" + _either(alone) + rb")\b")

    def in_(self, data: bytes) -> bool:
        """Whether a file with these bytes can hold an acquire of its own."""
        if not any(token in data for token in self._tokens):
            return False
        if self._alone.search(data) is not None:
            return True
        return self._packages.search(data) is not None and self._with_package.search(data) is not None


def _either(words: Iterable[str]) -> bytes:
    return b"|".join(re.escape(word).encode() for word in sorted(words, key=lambda w: (-len(w), w)))
