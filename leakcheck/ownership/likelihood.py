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


class Likelihood(IntEnum):
    """From a subscript, a loop's next element or a builtin, by any call, to a statement that the server runs."""

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
        case g.Call(func=func) if ex.last_name(func) in statements:
            return Likelihood.READILY
        case g.Await(node=cst.Await(expression=cst.Call(func=func))) if ex.last_name(reduce(func)) in statements:
            return Likelihood.READILY
        case _:
            return Likelihood.PERHAPS
