"""Path patterns, as in ``exclude`` and ``per-file-ignores``: globs that mean what they mean to ruff.

A pattern without a slash matches any part of a path (``migrations``, ``test_*.py``); one with a slash is
relative to the project's root (``app/vendored``). ``*`` also matches slashes, as ruff's does.

    Patterns(("tests/*",), root=Path("/srv/app")).match("/srv/app/tests/unit/test_db.py")  # True
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

_MAGIC = frozenset("*?[{")


class Patterns:
    """A set of patterns. Plain names are looked up, so that the usual case costs no regular expression."""

    def __init__(self, patterns: Iterable[str], root: Path) -> None:
        """Compile ``patterns``, those with a slash relative to ``root``."""
        self._names: set[str] = set()
        self._paths: set[str] = set()
        base = os.path.abspath(root)
        by_name: list[str] = []
        by_path: list[str] = []
        for written in patterns:
            pattern = written.rstrip("/") or written
            magic = not _MAGIC.isdisjoint(pattern)
            if "/" not in pattern:
                if magic:
                    by_name.append(_regex(pattern))
                else:
                    self._names.add(pattern)
            elif magic:
                relative = pattern.removeprefix("./")
                absolute = pattern.startswith("/")
                by_path.append(_regex(relative) if absolute else re.escape(base.rstrip("/") + "/") + _regex(relative))
            else:
                self._paths.add(os.path.normpath(os.path.join(base, pattern)))
        self._name = re.compile("|".join(by_name)) if by_name else None
        self._path = re.compile("|".join(by_path)) if by_path else None

    def match(self, absolute: str) -> bool:
        """Whether the last part of this absolute path, or the path as a whole, matches a pattern."""
        name = absolute[absolute.rfind("/") + 1 :]
        return (
            name in self._names
            or absolute in self._paths
            or (self._name is not None and self._name.fullmatch(name) is not None)
            or (self._path is not None and self._path.fullmatch(absolute) is not None)
        )

    def match_within(self, absolute: str, top: str) -> bool:
        """Whether the path or a directory of it strictly below ``top`` matches."""
        while len(absolute) > len(top):
            if self.match(absolute):
                return True
            absolute = os.path.dirname(absolute)
        return False


def _regex(pattern: str) -> str:
    """A glob as the source of a regular expression; an unbalanced bracket or brace stands for itself."""
    out: list[str] = []
    index, depth = 0, 0
    balanced = pattern.count("{") == pattern.count("}")
    while index < len(pattern):
        character = pattern[index]
        index += 1
        if pattern.startswith("**/", index - 1):
            out.append("(?:.*/)?")
            index += 2
        elif character == "*":
            out.append(".*")
        elif character == "?":
            out.append(".")
        elif character == "[" and (end := pattern.find("]", index + 1)) != -1:
            inside = pattern[index:end].replace("\\", "\\\\").replace("[", "\\[")
            out.append(f"[^{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]")
            index = end + 1
        elif character == "{" and balanced:
            out.append("(?:")
            depth += 1
        elif character == "}" and depth:
            out.append(")")
            depth -= 1
        elif character == "," and depth:
            out.append("|")
        else:
            out.append(re.escape(character))
    return f"(?:(?s:{''.join(out)}))" if depth == 0 else re.escape(pattern)
