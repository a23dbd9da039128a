"""From a changed tree to edits of the file: only the lines that differ, with the line ends that these had.

A tree is never written back as a whole: what LibCST does not keep of a text outside the change stays as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.diagnostic import Edit, Position, Span
from leakcheck.fixes.tree import RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.fixes.region import Region
    from leakcheck.fixes.tree import Tree
    from leakcheck.ownership.unit import Slice
    from leakcheck.source import Source

_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n|$)")
_END = re.compile(r"\r\n?|\n")
_LONE = re.compile(r"(?<!\r)\n")


def lines_of(text: str) -> list[str]:
    """The lines with their ends, where Python ends them."""
    return [line for line in _LINE.findall(text) if line]


def newline_of(source: Source) -> str:
    """The line end for a line of its own: that of most lines."""
    return "\r\n" if 2 * source.text.count("\r\n") > source.text.count("\n") else "\n"


def replaced(region: Region, statements: list[cst.BaseStatement], source: Source) -> Edit:
    """The edit that puts ``statements`` in the place of the checkout and its region. Raises RefusedError."""
    body = [*region.block.body[: region.start], *statements, *region.block.body[region.last + 1 :]]
    return rebuilt(region.tree, region.block, body, source)


def in_place(
    tree: Tree, block: cst.IndentedBlock, statement: cst.CSTNode, by: Sequence[cst.CSTNode], source: Source
) -> Edit:
    """The edit that puts statements in the place of one of a block. Raises RefusedError."""
    return rebuilt(tree, block, [one for old in block.body for one in (by if old is statement else [old])], source)


def rebuilt(tree: Tree, block: cst.IndentedBlock, body: Sequence[cst.CSTNode], source: Source) -> Edit:
    """The edit that gives a block these statements. Raises RefusedError."""
    return changed(tree.unit.part, block, block.with_changes(body=body), source)


def changed(part: Slice, node: cst.CSTNode, by: cst.CSTNode, source: Source) -> Edit:
    """The edit that puts ``by`` in the place of ``node``. Raises RefusedError."""
    before = part.syntax.code
    tree = part.module.deep_replace(node, by)
    assert isinstance(tree, cst.Module)
    old, new = lines_of(before), lines_of(tree.code)
    if [line.rstrip("\r\n") for line in old] == [line.rstrip("\r\n") for line in new]:
        raise RefusedError("what would be written is there already")
    start = _common(old, new)
    if start and start == len(old) and not source.text.endswith(("\r", "\n")):
        start -= 1  # the last line of the file gets an end
    end = _common(old[start:][::-1], new[start:][::-1])
    first, last = start + 1 + part.row_offset, len(old) - end + part.row_offset
    inserted = "".join(new[start : len(new) - end])
    removed = "".join(old[start : len(old) - end])
    if source.rows(first, last) != removed:
        raise RefusedError(f"line {first} holds characters that a rewrite would lose")
    return Edit(Span(Position(first, 1), Position(last + 1, 1)), _with_ends(inserted, removed, source))


def _common(one: list[str], other: list[str]) -> int:
    """How many lines are the same from the front, whatever their ends: what is written anew has those of LibCST."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left.rstrip("\r\n") != right.rstrip("\r\n"):
            break
        count += 1
    return count


def _with_ends(text: str, removed: str, source: Source) -> str:
    """The text with the line ends of what it replaces. Raises RefusedError where that has several kinds."""
    ends = set(_END.findall(removed)) or {newline_of(source)}
    if len(ends) > 1 or ends == {"\r"}:
        raise RefusedError("the lines that would change mix line ends")
    return _LONE.sub("\r\n", text) if ends == {"\r\n"} else text
