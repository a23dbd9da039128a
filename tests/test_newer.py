"""Grammar that is newer than the running Python's is read in older grammar of the same rows and columns."""

from __future__ import annotations

import ast
import sys

import pytest

from leakcheck.project.newer import tree_of_newer

ROWS = "class Box:\n    pass\n\n\n"

TEXTS = {
    "a generic function": "def first[T](rows: list[T]) -> T:\n    return take(rows)\n",
    "a bound and a default": "def first[T: (int, str), *Ts, **P](rows: list[T]) -> T:\n    return take(rows)\n",
    "a generic class": "class Stack[T](list[T]):\n    def push(self):\n        take(self)\n",
    "parameters over rows": "class Stack[\n    T,  # ]\n    S,\n](list[T]):\n    def push(self):\n        take(self)\n",
    "an alias": "type Row = dict[str, int]\ntake()\n",
    "an alias in a block": "if True:\n    type Row[T] = dict[str, T]\n    take()\n",
    "a word in a string": 'NAME = "def first[T](rows)"\ntype Row = int\ntake()\n',
    "quotes inside of their own": 'def first[T](rows):\n    return f"{take("rows")}"\n',
    "exceptions in a row": "def first[T](rows):\n    try:\n        take()\n    except A, B:\n        pass\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_calls_keep_their_places(text: str) -> None:
    tree = tree_of_newer(ROWS + text)
    assert tree is not None
    (call,) = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "take")
    row = next(number for number, line in enumerate(text.splitlines(), 5) if "take(" in line)
    assert call.lineno == row


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the running Python does not know this grammar")
@pytest.mark.parametrize("text", [t for n, t in TEXTS.items() if "exceptions" not in n and "quotes" not in n])
def test_columns_are_those_of_the_newer_grammar(text: str) -> None:
    def places(tree: ast.Module) -> list[tuple[int, int]]:
        return [(n.lineno, n.col_offset) for n in ast.walk(tree) if isinstance(n, ast.Call)]

    older = tree_of_newer(text)
    assert older is not None
    assert places(older) == places(ast.parse(text))


def test_a_plain_error_stays_one() -> None:
    assert tree_of_newer("def first[T](rows:\n") is None
