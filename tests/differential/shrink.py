"""Making a program small while it keeps a property.

Input: files and a test that the original passes. Output: files that pass it and from which no line, block or
nesting can be taken without failing it. ``KEEP`` marks the end of the lines that are not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from .validity import is_valid

KEEP = '    """An error of the program."""'
Files = dict[str, str]


def shrink(files: Mapping[str, str], holds: Callable[[Files], bool]) -> Files:
    """The smallest program found that still passes ``holds``."""
    current = dict(files)
    before: Files = {}
    while current != before:
        before = current
        for path in files:
            position = 0
            while position < current[path].count("\n"):
                for text in _smaller(current[path], position):
                    attempt = {**current, path: text}
                    if is_valid(text) and holds(attempt):
                        current = attempt
                        break
                else:
                    position += 1
    return current


def _smaller(text: str, position: int) -> Iterator[str]:
    """Texts with less at line ``position``: without its block, without its nesting, or with ``pass``."""
    lines = text.splitlines()
    start = lines.index(KEEP) + 1 if KEEP in lines else 0
    if position < start or position >= len(lines) or not lines[position].strip():
        return
    line = lines[position]
    depth = _indent(line)
    end = position + 1
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > depth):
        end += 1
    before, block, after = lines[:position], lines[position + 1 : end], lines[end:]
    yield _joined(before + after)
    if block:
        inner = [_outdented(content, depth, block) for content in block]
        yield _joined(before + inner + after)
        yield _joined(before + inner + _without_clauses(after, depth))
        yield _joined(before + _without_clauses(after, depth))
    if line.strip() != "pass":
        yield _joined([*before, " " * depth + "pass", *after])


def _without_clauses(lines: list[str], depth: int) -> list[str]:
    """``lines`` without the further clauses of a statement that begins at ``depth``."""
    index = 0
    while index < len(lines) and (
        _indent(lines[index]) > depth or lines[index].strip().startswith(("except", "else:", "elif ", "finally:"))
    ):
        index += 1
    return lines[index:]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _outdented(line: str, depth: int, block: list[str]) -> str:
    """``line`` moved out to ``depth``."""
    if not line.strip():
        return line
    return line[_indent(block[0]) - depth :]


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
