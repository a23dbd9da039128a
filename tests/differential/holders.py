"""More shapes: connections held by flags and by two names, and given back in roundabout ways.

Input: the writer of shapes. Output: the body of a lifecycle, e.g.

    taken = False
    if cond(1):
        conn = pool.getconn()
        taken = True
    try:
        work(2)
    finally:
        if taken:
            pool.putconn(conn)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .tree import Body, Node, compound

if TYPE_CHECKING:
    from .shapes import Shapes

Holder = Callable[["Shapes", str, bool], Body]


def _chosen(shapes: Shapes, name: str, in_loop: bool) -> Body:
    """Given back by a conditional expression."""
    give: Node = f"({shapes.give(name)}) if {name} else None"
    safe = compound(("try:", shapes.work(name, in_loop=in_loop)), ("finally:", [give]))
    return [f"{name} = None", compound((f"if {shapes.filler.test()}:", [shapes.take(name)])), safe]


def _flagged(shapes: Shapes, name: str, in_loop: bool) -> Body:
    """A flag remembers whether it was taken."""
    taken = compound((f"if {shapes.filler.test()}:", [shapes.take(name), "taken = True"]))
    give = compound(("if taken:", [shapes.give(name)]))
    return ["taken = False", taken, compound(("try:", shapes.work(name, in_loop=in_loop)), ("finally:", [give]))]


def _called_later(shapes: Shapes, name: str, in_loop: bool) -> Body:
    """Given back by a lambda."""
    call = "await finish()" if shapes.dialect.is_async else "finish()"
    give = shapes.give(name).removeprefix("await ")
    work = compound(("try:", shapes.work(name, in_loop=in_loop)), ("finally:", [call]))
    return [shapes.take(name), f"finish = lambda: {give}", work]


def _twice_named(shapes: Shapes, name: str, in_loop: bool) -> Body:
    """Two names from the start, of which one may be lost."""
    drops: list[Body] = [[], [f"{name} = None"], [f"del {name}"], ["second = None"]]
    inner = [*shapes.random.choice(drops), *shapes.work(name, in_loop=in_loop)]
    released = shapes.random.choice((name, "second", "second"))
    take = f"second = {shapes.take(name)}"
    return [take, compound(("try:", inner), ("finally:", [shapes.give(released)]))]


def _swapped(shapes: Shapes, name: str, in_loop: bool) -> Body:
    """Handed from one name to another in one assignment."""
    work = compound(("try:", shapes.work("moved", in_loop=in_loop)), ("finally:", [shapes.give("moved")]))
    return [shapes.take(name), f"moved, {name} = {name}, None", work]


def _two_tries(shapes: Shapes, name: str, in_loop: bool) -> Body:
    """What precedes the release in ``finally`` is guarded, too."""
    before = shapes.filler.body([name], 0, in_loop=False)
    clauses: list[tuple[str, Body]] = [("try:", before)]
    if shapes.filler.chance(0.5):
        clauses += [(shapes.filler.handler(), ["pass"])]
        last: Body = [compound(*clauses), shapes.give(name)]
    else:
        last = [compound(*clauses, ("finally:", [shapes.give(name)]))]
    return [shapes.take(name), compound(("try:", shapes.work(name, in_loop=in_loop)), ("finally:", last))]


def _loop_else(shapes: Shapes, name: str, in_loop: bool) -> Body:
    """Given back where the loop ends by itself, and after it where it is left."""
    leave = compound((f"if {shapes.filler.test()}:", ["break"]))
    body: Body = [leave, shapes.filler.quiet()] if shapes.filler.chance(0.5) else [shapes.filler.quiet(), leave]
    ending = shapes.random.choice(("continue" if in_loop else "return", "raise ValueError()"))
    loop = compound((f"while {shapes.filler.test()}:", body), ("else:", [shapes.give(name), ending]))
    return [shapes.take(name), loop, shapes.give(name)]


HOLDERS: tuple[tuple[Holder, int], ...] = (
    (_flagged, 4),
    (_called_later, 2),
    (_two_tries, 3),
    (_loop_else, 2),
    (_chosen, 2),
    (_twice_named, 3),
    (_swapped, 2),
)
