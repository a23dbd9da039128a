"""Tests that stand a mock in for what a file takes connections from, and ask it about the calls that a ``with`` makes.

    fake.putconn.assert_called_once_with(conn)     →     such a test passes by chance, or not, once `putconn()` is gone

Only files whose path names tests are read, and only those that name the file of the fix, too.
"""

from __future__ import annotations

import os
import re
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.fixes.region import Region
    from leakcheck.ownership.program import Program

_ASKED = re.compile(
    rb"\.(\w+)\s*\.\s*(?:assert_\w+|called|call_count|call_args(?:_list)?|mock_calls|awaited|await_count)\b"
)
"""A question about a method of a mock."""
_ENDS = frozenset({"commit", "rollback"})
_METHOD = re.compile(r"\.(\w+)\(")


def doubt_of_tests(region: Region, program: Program) -> str:
    """Which test asks a mock about a call that goes, as a clause; "" where none does."""
    path = region.tree.unit.path
    folder, name = os.path.split(path)
    module = os.path.basename(folder) if name == "__init__.py" else name.removesuffix(".py")
    word = re.compile(rb"\b" + re.escape(module.encode()) + rb"\b")
    gone = _ENDS | set(_METHOD.findall(region.found.acquisition.resource.release))
    for test, asked in _asking(region, program):
        if not gone.isdisjoint(asked) and word.search(program.peek(test)) is not None:
            return f"{test} asks a mock about `{min(gone.intersection(asked))}()`"
    return ""


def _asking(region: Region, program: Program) -> Iterator[tuple[str, frozenset[str]]]:
    """The tests of the project that ask mocks, and about which methods."""
    nothing = frozenset[str]()
    for path in program.modules.project_of(region.tree.unit.path):
        if "test" in path:
            find = partial(_asked, program, path)
            asked: frozenset[str] = program.answers.answer(("asked of mocks", path), find, first=nothing)
            if asked:
                yield path, asked


def _asked(program: Program, path: str) -> frozenset[str]:
    data = program.peek(path)
    return frozenset(method.decode() for method in _ASKED.findall(data)) if b"ock" in data else frozenset()
