"""A tree made from a former one is the tree of the whole text, node for node and row for row."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import pytest

from leakcheck.project.collector import facts_of
from leakcheck.project.nodes import parsed, plainly_parsed
from leakcheck.project.patching import patched

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "leakcheck").rglob("*.py"))
WORDS = (
    *(
        "conn",
        "import a",
        "return",
        "async ",
        "= 1",
        "; y = 2",
        "def f():",
        "class A:",
        "@wrapped",
        "\u00e9",
        "",
        "pass",
    ),
    *("if x:", "else:", "except E:", "finally:", "case 1:", "    ", "\t", "\r", "\x0c", "\\", "#", "~"),
    *("'''", '"', "(", ")", "@("),
)

BEFORE = """\
import a

if a.first:
    x = 1
y = 2; z = 3

w = 4 \\

text = '''
rows'''; v = 5


@a.kept
def f(x):
    return x


last = f(1)
"""


def dumped(tree: ast.Module | None) -> str:
    assert tree is not None
    return ast.dump(tree, include_attributes=True)


def changed(row: int, line: str) -> str:
    lines = BEFORE.split("\n")
    lines[row - 1] = line
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (1, "import b"),
        (2, "# more"),
        (4, "    x = [1, 2]"),
        (15, "    return x + 1"),
        (18, "b = 1"),
        (19, "last = f(2)"),
    ],
)
def test_a_change_within_statements_keeps_the_others(row: int, line: str) -> None:
    tree, after = plainly_parsed(BEFORE), changed(row, line)
    found = patched(tree, BEFORE, after, plainly_parsed)
    assert dumped(found) == dumped(plainly_parsed(after))
    assert found is not None
    assert len(set(found.body) & set(tree.body)) >= len(tree.body) - 1


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (2, "x = '''"),  # a string that swallows what follows
        (2, "if a:"),
        (2, "@a.kept"),
        (2, "x = (1,"),
        (2, "x = 1 \\"),
        (6, "else:"),
        (6, "    x = 2"),
        (5, "y = (2; z = 3"),
        (8, "+ 5"),  # goes on with the statement before
        (9, "text = 1"),  # ends the string whose last row another statement shares
        (12, "\r  x"),
    ],
)
def test_a_change_that_reaches_further_is_left_to_the_parser(row: int, line: str) -> None:
    assert patched(plainly_parsed(BEFORE), BEFORE, changed(row, line), plainly_parsed) is None


def test_other_numbers_of_rows_are_left_to_the_parser() -> None:
    assert patched(plainly_parsed(BEFORE), BEFORE, BEFORE + "\n", plainly_parsed) is None


def edited(text: str, chosen: random.Random) -> str:
    """The text with one or two rows changed, most of the time into what is no Python."""
    lines = text.split("\n")
    row = chosen.randrange(len(lines))
    column = chosen.randrange(len(lines[row]) + 1)
    match chosen.randrange(4):
        case 0:
            lines[row] = lines[row][:column] + chosen.choice(WORDS) + lines[row][column:]
        case 1:
            lines[row] = chosen.choice(WORDS)
        case 2:
            lines[row] = chosen.choice(lines)
        case _:
            lines[row] = lines[row][:column] + lines[row][column + chosen.randrange(1, 5) :]
    if chosen.random() < 0.3:
        lines[min(len(lines) - 1, row + chosen.randrange(4))] = chosen.choice(WORDS)
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(5))
def test_random_changes(seed: int) -> None:
    chosen = random.Random(seed)
    patches = 0
    for _ in range(10):
        text = chosen.choice(FILES).read_text(encoding="utf-8")
        tree = parsed(text)
        for _ in range(10):
            after = edited(text, chosen)
            found = patched(tree, text, after, plainly_parsed)
            if found is None:
                continue
            patches += 1
            whole = plainly_parsed(after)
            assert dumped(found) == dumped(whole), after
            assert facts_of("x.py", parsed(after, text)) == facts_of("x.py", whole)
            text, tree = after, found
    assert patches > 20
