"""Calls that somebody else is asked to make: a thread, an executor, a function of the project.

    await asyncio.to_thread(conn.execute, "BEGIN")    →   conn.execute("BEGIN")
    Timer(1, conn.execute, ("COMMIT",))               →   conn.execute("COMMIT")
    self.run(lambda conn: conn.execute("BEGIN"))      →   conn.execute("BEGIN"), where `conn` is what `run` gives

They are taken to be made at once. What a scope does when it ends is so taken to be done too early, which hides a fault
and makes none up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.cfg.walk import parameters_of, reduce

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.cfg import graph as g


class Handed(Struct, frozen=True):
    """A call that is handed over by an argument; ``given``: what is called so is given by whoever makes the call."""

    call: ex.Call
    argument: g.Argument
    given: str | None = None

    @property
    def method(self) -> str:
        """The name of the method that is called."""
        return ex.last_name(self.call.func) or ""

    @property
    def receiver(self) -> ex.Expression:
        """What the method is called on."""
        assert isinstance(self.call.func, ex.Attribute)
        return self.call.func.base


def handed(call: g.Call) -> Iterator[Handed]:
    """The method calls that a call hands over: in a lambda, or as a method with its arguments behind it."""
    if not isinstance(call.node, cst.Call) or len(call.node.args) != len(call.arguments):
        return
    for index, (node, argument) in enumerate(zip(call.node.args, call.arguments, strict=True)):
        if node.star:
            return
        match node.value:
            case cst.Lambda(params=params, body=body):
                names = [p.name.value for p in parameters_of(params)]
                made = reduce(body.expression if isinstance(body, cst.Await) else body)
                root = _root(made)
                if isinstance(made, ex.Call) and isinstance(made.func, ex.Attribute):
                    yield Handed(made, argument, root if names[:1] == [root] else None)
            case cst.Attribute() if node.keyword is None:
                behind = [a.value for a in call.node.args[index + 1 :] if a.keyword is None and not a.star]
                yield Handed(_called_with(node.value, call.node, behind), argument)
            case cst.Attribute() if _gathered(call.node) is not None:
                yield Handed(_called_with(node.value, call.node, []), argument)
            case _:
                pass


def _called_with(method: cst.Attribute, call: cst.Call, behind: list[cst.BaseExpression]) -> ex.Call:
    """The call of a method with what is written behind it, or with the tuple of all that: ``args=("COMMIT",)``."""
    gathered = _gathered(call) if not behind else behind[0] if len(behind) == 1 else None
    given = [e.value for e in gathered.elements] if isinstance(gathered, (cst.Tuple, cst.List)) else behind
    return ex.Call(reduce(method), tuple(map(reduce, given)))


def _gathered(call: cst.Call) -> cst.BaseExpression | None:
    """What a call gives by the keyword ``args``, as those that start threads do."""
    return next((a.value for a in call.args if a.keyword is not None and a.keyword.value == "args"), None)


def _root(expression: ex.Expression) -> str | None:
    """The variable at the start of a chain of calls and attributes."""
    while isinstance(expression, (ex.Attribute, ex.Call)):
        expression = expression.func if isinstance(expression, ex.Call) else expression.base
    return expression.id if isinstance(expression, ex.Name) else None
