"""What becomes of the comments on the releases that a rewrite supersedes.

    if row is None:                              try:
        pool.putconn(conn)  # back to the pool       if row is None:
        return None                          →           return None
    pool.putconn(conn)  # back to the pool       finally:
                                                     pool.putconn(conn)  # back to the pool

What is said of the release goes to the new one, once; what is about something else stays with what stood behind it.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import libcst as cst

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.fixes.region import Region

_ABOUT_RELEASE = re.compile(
    r"clos|releas|free|return|give|giving|put|back|conn|pool|clean|session|cursor", re.IGNORECASE
)


def with_remarks(line: cst.SimpleStatementLine, region: Region) -> cst.SimpleStatementLine:
    """The new release with what was said of those that it supersedes."""
    moved = [remark for one in _lines(region) for remark in _moving(one, region)]
    above = dict.fromkeys(text for text, is_beside in moved if not is_beside)
    beside = list(dict.fromkeys(text for text, is_beside in moved if is_beside))
    leading = [cst.EmptyLine(comment=cst.Comment(text)) for text in (*above, *beside[:-1])]
    if not beside:
        return line.with_changes(leading_lines=leading)
    trailing = cst.TrailingWhitespace(cst.SimpleWhitespace("  "), cst.Comment(beside[-1]))
    return line.with_changes(leading_lines=leading, trailing_whitespace=trailing)


def said_again(region: Region) -> Counter[str]:
    """How often each remark about a release is left out, since it is there already."""
    moved = [remark for one in _lines(region) for remark in _moving(one, region)]
    return Counter(text for text, _ in moved) - Counter(text for text, _ in set(moved))


def as_footer(commit: cst.BaseStatement, region: Region) -> list[cst.EmptyLine]:
    """What was said of a commit and its releases, as the last lines of the block that makes both."""
    assert isinstance(commit, cst.SimpleStatementLine)
    beside = commit.trailing_whitespace.comment
    said = [*_above(commit), *([beside.value] if beside is not None else [])]
    said += [text for one in _lines(region) for text, _ in _moving(one, region)]
    return [cst.EmptyLine(comment=cst.Comment(text)) for text in dict.fromkeys(said)]


def passed_on(line: cst.SimpleStatementLine, statement: cst.BaseStatement, region: Region) -> cst.BaseStatement:
    """The statement behind a release that goes, with the remarks that were on that release and do not speak of it."""
    if not _stays(line, region):
        return statement
    lines = [*line.leading_lines, *statement.leading_lines]  # type: ignore[attr-defined]  # every statement line has them
    comment = line.trailing_whitespace.comment
    if comment is None:
        return statement.with_changes(leading_lines=lines)
    if isinstance(statement, cst.SimpleStatementLine) and statement.trailing_whitespace.comment is None:
        return statement.with_changes(leading_lines=lines, trailing_whitespace=line.trailing_whitespace)
    return statement.with_changes(leading_lines=[*lines, cst.EmptyLine(comment=comment)])


def _moving(line: cst.SimpleStatementLine, region: Region) -> Iterator[tuple[str, bool]]:
    """The remarks on a release that go to the new one, and whether each stood beside it."""
    if _stays(line, region):
        return
    yield from ((text, False) for text in _above(line))
    comment = line.trailing_whitespace.comment
    if comment is not None:
        yield comment.value, True


def _stays(line: cst.SimpleStatementLine, region: Region) -> bool:
    """Whether the remarks on a release stay where they are: something is behind it, of which they may speak."""
    block = region.tree.block(line)
    comment = line.trailing_whitespace.comment
    remarks = [*_above(line), *([comment.value] if comment is not None else [])]
    is_last = block is None or block.body[-1] is line or (block is region.block and block.body[region.last] is line)
    return bool(remarks) and not is_last and not any(_ABOUT_RELEASE.search(remark) for remark in remarks)


def _lines(region: Region) -> Iterator[cst.SimpleStatementLine]:
    """The statements that are superseded: of a line of several, something stays, and what is said of them."""
    for node in region.removed.values():
        line = region.tree.statement(node)
        if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 and region.holds(line):
            yield line


def _above(line: cst.SimpleStatementLine) -> list[str]:
    return [one.comment.value for one in line.leading_lines if one.comment is not None]
