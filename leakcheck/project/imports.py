"""What the bytes of a file import from the project, without a parse.

from app.db import pool    →   app/db.py
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.ownership.program import Program

_MARK = b"\xef\xbb\xbf"
_NAME = re.compile(rb"\w+")
_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+([.\w]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]*)|import[ \t]+([.\w]+))", re.MULTILINE
)


def star_imported_files(program: Program, path: str) -> Iterator[str]:
    """The project files of which a file imports every name: those of a driver's that they import are its own."""
    data = program.data(path)
    for match in _IMPORT.finditer(data.removeprefix(_MARK)) if b"*" in data else ():
        found = None
        if match[1] and (match[2] or b"").strip().startswith(b"*"):
            found = program.modules.find(match[1].decode("ascii", "replace"), path)
        if found is not None:
            yield found


def imported_files(program: Program, path: str) -> tuple[str, ...]:
    """The project files that a file's imports may mean, submodules among them."""
    if path not in program.imports:
        spelled = dict.fromkeys(_imported(program.data(path).removeprefix(_MARK)))
        found = (program.modules.find(spelling, path) for spelling in spelled)
        program.imports[path] = tuple(dict.fromkeys(file for file in found if file is not None))
    return program.imports[path]


def _imported(data: bytes) -> Iterator[str]:
    """What the imports of a file may name: modules, and members of these, which may be modules."""
    for match in _IMPORT.finditer(data):
        module = (match[1] or match[3]).decode("ascii", "replace")
        yield module
        base = module if module.endswith(".") else f"{module}."
        yield from (base + name.decode() for name in _NAME.findall(match[2] or b""))
