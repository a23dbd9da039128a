"""Which loops certainly take a turn: those over displays and ranges that are seen not to be empty.

for attempt in range(3): ...          →   at least one
for name in ("orders", "items"): ...  →   at least one
for _ in range(count): ...            →   perhaps none
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce

if TYPE_CHECKING:
    from collections.abc import Callable

_AS_MANY = frozenset({"enumerate", "reversed"})
"""Builtins that step through as many elements as what they are given."""
_MOST = 3
"""The arguments of ``range``."""


def takes_a_turn(iterable: cst.BaseExpression, number: Callable[[ex.Expression], int | None]) -> bool:
    """Whether a loop over this has a first turn; ``number`` knows which numbers expressions stand for."""
    match iterable:
        case cst.Tuple(elements=elements) | cst.List(elements=elements) | cst.Set(elements=elements):
            return any(isinstance(element, cst.Element) for element in elements)
        case cst.Call(func=cst.Name(value=name), args=[cst.Arg(keyword=None, star="", value=given), *_]) if (
            name in _AS_MANY
        ):
            return takes_a_turn(given, number)
        case cst.Call(func=cst.Name(value="range"), args=args) if 0 < len(args) <= _MOST:
            bounds = [_bound(a.value, number) if a.keyword is None and not a.star else None for a in args]
            known = [bound for bound in bounds if bound is not None]
            return len(known) == len(bounds) and 0 not in known[2:] and len(range(*known)) > 0
        case _:
            return False


def _bound(node: cst.BaseExpression, number: Callable[[ex.Expression], int | None]) -> int | None:
    """The number that an expression is, also of a sum: ``ATTEMPTS + 1``."""
    match node:
        case cst.BinaryOperation(left=left, operator=cst.Add() | cst.Subtract() as operator, right=right):
            first, second = _bound(left, number), _bound(right, number)
            if first is None or second is None:
                return None
            return first + second if isinstance(operator, cst.Add) else first - second
        case _:
            return number(reduce(node))


def literal_number(expression: ex.Expression) -> int | None:
    """The number that an expression is."""
    value = expression.value if isinstance(expression, ex.Constant) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
