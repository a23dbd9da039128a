"""How readily one believes that an instruction raises: of paths that lose a resource alike, the likeliest is told.

Of these three the message names the last:

    first = ids[0]                HARDLY
    cur = conn.cursor()           PERHAPS
    cur.execute(query)            READILY
"""

from __future__ import annotations

import builtins
from enum import IntEnum
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import reduce

if TYPE_CHECKING:
    from collections.abc import Container


_VIEWS = frozenset({"items", "keys", "values"})
_MILD = frozenset({
    "strip", "lstrip", "rstrip", "lower", "upper", "title", "split", "splitlines", "startswith", "endswith", "join",
    "replace", "format", "append", "extend", "now", "utcnow",
})  # fmt: skip
"""Methods of strings, of the lists that they are put in, and of clocks."""


class Likelihood(IntEnum):
    """From a subscript, a loop's next element, a builtin or a constructor, by any call, to a statement."""

    HARDLY = 0
    PERHAPS = 1
    READILY = 2


def likelihood(instruction: g.Instruction, statements: Container[str]) -> Likelihood:
    """How likely the instruction raises; ``statements`` are the names of methods that run one."""
    match instruction:
        case g.Point() | g.LoadItem() | g.Iterate():
            return Likelihood.HARDLY
        case g.Call(func=ex.Name(id=name)) if hasattr(builtins, name):
            return Likelihood.HARDLY
        case g.Call(func=ex.Attribute(name=name), arguments=()) if name in _VIEWS:
            return Likelihood.HARDLY
        case g.Call(func=func) if _is_mild(func):
            return Likelihood.HARDLY
        case g.Call(func=func) if ex.last_name(func) in statements:
            return Likelihood.READILY
        case g.Await(node=cst.Await(expression=cst.Call(func=func))) if ex.last_name(reduce(func)) in statements:
            return Likelihood.READILY
        case _:
            return Likelihood.PERHAPS


def _is_mild(func: ex.Expression) -> bool:
    """Whether one hardly believes that calling it raises: ``os.path.join``, a constructor, a method of a string."""
    name = ex.last_name(func) or ""
    return name in _MILD or name[:1].isupper() or (ex.dotted(func) or "").startswith("os.path.")
