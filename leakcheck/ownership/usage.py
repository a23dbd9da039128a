"""What a function does with the values of its calls, by syntax alone.

They are awaited, run by somebody else, or asked to take something back.

await asyncio.wait_for(pool.acquire(), 3)   →   both calls are awaited
get_pool().putconn(conn)                    →   ``get_pool()`` fetches the pool to which something is given back
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk

if TYPE_CHECKING:
    from collections.abc import Callable

_SPAWNERS = frozenset({"create_task", "ensure_future", "run_coroutine_threadsafe"})
_RUNNERS = _SPAWNERS | {"run_until_complete", "run", "gather"}


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls of one function by the identity of their syntax.

    ``run``: somebody may run its coroutine; ``awaited``: under ``await`` or in ``async with``; ``spawned``: runs as a
    task of its own; ``fetching``: its value is what something is given back to.
    """

    run: frozenset[int]
    awaited: frozenset[int]
    spawned: frozenset[int]
    fetching: frozenset[int]


def usage_of(root: cst.CSTNode, gives_back: Callable[[str], bool]) -> Usage:
    """The usage of the calls in a function; ``gives_back`` tells of a name whether such methods release an argument."""
    run: set[int] = set()
    awaited: set[int] = set()
    started: set[int] = set()
    spawned: set[int] = set()
    fetching: set[int] = set()
    for node in walk(root):
        match node:
            case cst.Await(expression=inner):
                awaited.update(id(n) for n in _spine(inner))
            case cst.With(items=items, asynchronous=cst.Asynchronous()):
                for item in items:
                    awaited.update(id(n) for n in _spine(item.item))
            case cst.Call(func=func, args=args):
                run.update(id(a.value) for a in args)
                name = ex.last_name(reduce(func))
                if name in _RUNNERS:
                    started.update(id(n) for a in args for n in _spine(a.value))
                if name in _SPAWNERS:
                    spawned.update(id(a.value) for a in args)
                if args and isinstance(func, cst.Attribute) and gives_back(func.attr.value):
                    fetching.add(id(func.value))
            case cst.Return() | cst.Lambda():
                run.update(id(n) for n in walk(node) if isinstance(n, cst.Call))
            case cst.Assign(value=value) | cst.NamedExpr(value=value):
                run.add(id(value))
            case _:
                pass
    spawned -= awaited
    awaited |= started
    return Usage(frozenset(run | awaited), frozenset(awaited), frozenset(spawned), frozenset(fetching))


def _spine(node: cst.CSTNode) -> list[cst.CSTNode]:
    """The calls that an ``await`` of this expression awaits: itself, and what wrappers are given."""
    found: list[cst.CSTNode] = []
    stack = [node]
    while stack:
        current = stack.pop()
        if isinstance(current, cst.Call):
            found.append(current)
            stack.extend(a.value for a in current.args)
        elif isinstance(current, (cst.IfExp, cst.BooleanOperation)):
            stack.extend(current.children)
    return found
