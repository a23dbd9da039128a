"""Which parameters a call gives values for, as far as its syntax shows.

install(pool, name="shop")        of ``def install(made, *, name)``   →   made: `pool`, name: `"shop"`
"""

from __future__ import annotations

import ast
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.handlers.syntax import Definition


def parameters(function: Definition) -> list[str]:
    """The parameters that may be given by position, in order."""
    return [a.arg for a in (*function.args.posonlyargs, *function.args.args)]


def given(call: ast.Call, function: Definition, *, bound: bool) -> Iterator[tuple[str, ast.expr]]:
    """The parameters for which a call gives a value, with that; ``bound``: the first one is given by itself."""
    names = parameters(function)[1:] if bound else parameters(function)
    yield from takewhile(lambda each: not isinstance(each[1], ast.Starred), zip(names, call.args, strict=False))
    yield from ((keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg is not None)
