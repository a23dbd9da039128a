"""What a function does with the values of its calls, by syntax alone.

They are awaited, run by somebody else, asked to take something back, raised, or expected to raise.

await asyncio.wait_for(pool.acquire(), 3)   →   both calls are awaited
get_pool().putconn(conn)                    →   ``get_pool()`` fetches the pool to which something is given back
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.calls import load_calls
from leakcheck.cfg.conditions import null_test
from leakcheck.cfg.walk import reduce, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SPAWNERS = frozenset({"create_task", "ensure_future", "run_coroutine_threadsafe"})
_RUNNERS = _SPAWNERS | {"run_until_complete", "run", "gather"}


class Usage(Struct, frozen=True):
    """Calls of one function by the identity of their syntax.

    ``run``: somebody may run its coroutine; ``awaited``: under ``await`` or in ``async with``; ``spawned``: runs as a
    task of its own; ``fetching``: its value, or that of a subscript, is what something is given back to; ``raised``: it
    makes the exception of a ``raise``; ``expected``: a test expects it to raise, under ``with pytest.raises(...)`` and
    its like or in front of ``self.fail()``, or to be None; ``entered``: a ``with`` enters it, awaited or not;
    ``tried``: a ``try`` or ``suppress()`` makes it alone, or with what ends something, and goes on where it raises.
    """

    run: frozenset[int]
    awaited: frozenset[int]
    spawned: frozenset[int]
    fetching: frozenset[int]
    raised: frozenset[int]
    expected: frozenset[int]
    entered: frozenset[int]
    tried: frozenset[int]


def entered_by(root: cst.CSTNode) -> set[int]:
    """What ``with`` statements enter, awaited or not, by the identity of its syntax."""
    items = (item.item for node in walk(root) if isinstance(node, cst.With) for item in node.items)
    return {id(item.expression if isinstance(item, cst.Await) else item) for item in items}


_TELLING = frozenset({
    cst.Try, cst.Await, cst.With, cst.Raise, cst.Assert, cst.Call, cst.Return, cst.Lambda, cst.Assign, cst.NamedExpr,
})  # fmt: skip
"""Syntax that tells how a call in it is used."""


def usage_of(
    root: cst.CSTNode, gives_back: Callable[[str], bool], swallows: Callable[[cst.BaseExpression], bool]
) -> Usage:
    """The usage of the calls in a function.

    ``gives_back`` tells of a name whether such methods release an argument, ``swallows`` of what a ``with`` enters
    whether exceptions end there.
    """
    run: set[int] = set()
    awaited: set[int] = set()
    started: set[int] = set()
    spawned: set[int] = set()
    fetched: list[cst.BaseExpression] = []
    bound: list[cst.Assign | cst.NamedExpr] = []
    raised: set[int] = set()
    expected: set[int] = set()
    tried: set[int] = set()
    for node in walk(root):
        if type(node) not in _TELLING:
            continue
        if isinstance(node, (cst.Try, cst.With)) and _goes_on(node, swallows):
            tried.update(id(n) for n in walk(node.body) if isinstance(n, cst.Call))
        match node:
            case cst.Await(expression=inner):
                awaited.update(id(n) for n in _spine(inner))
            case cst.With(items=items, asynchronous=asynchronous, body=body):
                if asynchronous is not None:
                    awaited.update(id(n) for item in items for n in _spine(item.item))
                if any(_expects(item.item) for item in items):
                    expected.update(id(n) for n in walk(body) if isinstance(n, (cst.Call, cst.Await)))
            case cst.Try(body=cst.IndentedBlock(body=statements), orelse=orelse):
                after = orelse.body.body[:1] if orelse is not None else ()
                for first, second in pairwise([*statements, *after]):
                    if _says_too_late(second):
                        expected.update(id(n) for n in walk(first) if isinstance(n, (cst.Call, cst.Await)))
            case cst.Raise(exc=cst.Call() as exception):
                raised.add(id(exception))
            case cst.Assert(test=test) if (compared := null_test(test)) is not None:
                if not compared[1]:
                    expected.add(id(compared[0]))
            case cst.Call(func=func, args=args):
                if ex.last_name(reduce(func)) == "assertIsNone":
                    expected.update(id(a.value) for a in args)
                run.update(id(a.value) for a in args)
                name = ex.last_name(reduce(func))
                if name in _RUNNERS:
                    started.update(id(n) for a in args for n in _spine(a.value))
                if name in _SPAWNERS:
                    spawned.update(id(a.value) for a in args)
                if args and isinstance(func, cst.Attribute) and gives_back(func.attr.value):
                    fetched.append(_fetched(func.value))
            case cst.Return() | cst.Lambda():
                run.update(id(n) for n in walk(node) if isinstance(n, cst.Call))
            case cst.Assign() | cst.NamedExpr():
                bound.append(node)
            case _:
                pass
    spawned -= awaited
    awaited |= started
    return Usage(
        run=frozenset(run | awaited | {id(each.value) for each in bound}),
        awaited=frozenset(awaited),
        spawned=frozenset(spawned),
        fetching=frozenset(_fetching(fetched, bound)),
        raised=frozenset(raised),
        expected=frozenset(expected),
        entered=frozenset(entered_by(root)),
        tried=frozenset(tried),
    )


def _fetched(receiver: cst.BaseExpression) -> cst.BaseExpression:
    """What fetches the pool: the call in ``get_database().pool``."""
    while isinstance(receiver, cst.Attribute):
        receiver = receiver.value
    return receiver


def _fetching(fetched: Sequence[cst.BaseExpression], bound: Sequence[cst.Assign | cst.NamedExpr]) -> set[int]:
    """What gives the pools to which something is given back: ``fetched`` itself, or what its name is bound to."""
    names = {each.value for each in fetched if isinstance(each, cst.Name)}
    values = [each.value for each in bound if names and _only_name(each) in names]
    return {*map(id, fetched), *(id(v.expression if isinstance(v, cst.Await) else v) for v in values)}


def _only_name(assignment: cst.Assign | cst.NamedExpr) -> str | None:
    """The name that an assignment binds, where it binds no other."""
    targets = [t.target for t in assignment.targets] if isinstance(assignment, cst.Assign) else [assignment.target]
    return targets[0].value if len(targets) == 1 and isinstance(targets[0], cst.Name) else None


def _expects(manager: cst.BaseExpression) -> bool:
    return isinstance(manager, cst.Call) and "raises" in (ex.last_name(reduce(manager.func)) or "").lower()


def _goes_on(attempt: cst.Try | cst.With, swallows: Callable[[cst.BaseExpression], bool]) -> bool:
    """Whether a ``try`` or ``suppress()`` makes one statement, or only ends something, and goes on where that raises.

    ``try: conn.rollback(); conn.close()``
    """
    if len(attempt.body.body) != 1 and not all(map(_ends, attempt.body.body)):
        return False
    if isinstance(attempt, cst.With):
        return any(swallows(item.item) for item in attempt.items)
    return bool(attempt.handlers) and not any(
        isinstance(node, cst.Raise) for handler in attempt.handlers for node in walk(handler)
    )


def _ends(statement: cst.CSTNode) -> bool:
    """Whether a statement rolls something back or gives it back, and does nothing else."""
    match statement:
        case cst.SimpleStatementLine(body=[cst.Expr(value=value)]):
            call = value.expression if isinstance(value, cst.Await) else value
            name = ex.dotted(reduce(call.func)) if isinstance(call, cst.Call) else None
            return name is not None and (name.endswith(".rollback") or load_calls().says_release(name))
        case _:
            return False


def _says_too_late(statement: cst.CSTNode) -> bool:
    """Whether a statement fails a test that comes so far: ``self.fail("no error")``, ``assert False``."""
    match statement:
        case cst.SimpleStatementLine(body=[cst.Expr(value=cst.Call(func=func))]):
            return ex.dotted(reduce(func)) in {"self.fail", "pytest.fail"}
        case cst.SimpleStatementLine(body=[cst.Assert(test=test)]):
            return reduce(test) in (ex.Constant(value=False), ex.Constant(0))
        case cst.SimpleStatementLine(body=[cst.Raise(exc=cst.BaseExpression() as raised)]):
            return ex.last_name(reduce(raised)) == "AssertionError"
        case _:
            return False


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
