"""Calls that look like checkouts, of objects of which nothing is known: they are said, and never guessed at.

    registry.acquire()    →   nothing is known of `registry`, so what `registry.acquire()` takes is not followed

Only in files that import a driver. Whoever reads that list under ``--verbose`` knows what to annotate.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.diagnostic import Position, Span
from leakcheck.ownership.program import Skip
from leakcheck.project.names import Scope
from leakcheck.source import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts, ModuleFacts

_CHECKOUTS = (
    "acquire",
    "acquire_connection",
    "borrow_connection",
    "connect",
    "connection",
    "get_conn",
    "get_connection",
)
"""Methods that take something from a pool in some driver, and mean little else."""


def unknown(program: Program, path: str) -> Iterator[Skip]:
    """The calls of one file that may be checkouts, and of which nothing is known."""
    module = program.facts(path)
    if module is None or module.packages.isdisjoint(program.drivers.packages):
        return
    for function in module.functions.values():
        named = [name for name in _CHECKOUTS if name in function.calls]
        if not named:
            continue
        scope = Scope.of(module, function)
        nested = [each for each in module.functions.values() if each.parent == function.qualname]
        for name in named:
            inside = [callee for each in nested for callee in each.calls.get(name, ())]
            for callee in dict.fromkeys(function.calls[name]):
                if isinstance(callee, ex.Attribute) and callee not in inside:
                    yield from _said(program, module, function, callee, scope)


def _said(
    program: Program, module: ModuleFacts, function: FunctionFacts, callee: ex.Attribute, scope: Scope
) -> Iterator[Skip]:
    receiver = ex.dotted(callee.base)
    if receiver is None or program.calls.is_lock(receiver) or not program.acquisitions.is_unknown(callee, scope):
        return
    reason = f"nothing is known of `{receiver}`, so what `{receiver}.{callee.name}()` takes is not followed"
    yield Skip(_place(program, module.path, function, f"{receiver}.{callee.name}"), reason, is_open=True)


def _place(program: Program, path: str, function: FunctionFacts, written: str) -> Span | None:
    """Where the function first spells it; None where it is spelled in another way."""
    source = program.source(path)
    if isinstance(source, Failure):
        return None
    called = re.compile(rf"(?<![\w.]){re.escape(written)}\s*\(")
    for row, line in enumerate(re.split(r"\r\n?|\n", source.rows(function.first_row, function.last_row))):
        found = called.search(line)
        if found is not None:
            start = Position(function.first_row + row, found.start() + 1)
            return Span(start, Position(start.row, start.column + len(written)))
    return None
