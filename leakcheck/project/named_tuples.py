"""Named tuples that are made by a call.

Pair = namedtuple("Pair", "conn cursor")   →   a class with the fields `conn` and `cursor`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck.expression import Attribute, Call, Constant, Name, Sequence

if TYPE_CHECKING:
    from leakcheck.expression import Expression

NAMED_TUPLE = Name("NamedTuple")
"""The base that such a class has for us."""


def fields_of(value: Expression) -> list[str] | None:
    """The fields of the class that ``namedtuple("Pair", "conn cursor")`` or ``NamedTuple(…)`` makes; None of others."""
    match value:
        case Call(func=Name(id=name) | Attribute(name=name), args=(_, fields)) if name in {"namedtuple", "NamedTuple"}:
            return _names(fields)
        case _:
            return None


def _names(fields: Expression) -> list[str] | None:
    match fields:
        case Constant(value=str() as text):
            return text.replace(",", " ").split()
        case Sequence(items=items):
            firsts = [item.items[0] if isinstance(item, Sequence) and item.items else item for item in items]
            names = [first.value for first in firsts if isinstance(first, Constant) and isinstance(first.value, str)]
            return names if len(names) == len(items) else None
        case _:
            return None
