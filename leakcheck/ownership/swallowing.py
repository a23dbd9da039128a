"""Which exceptions of its block a context manager of the project swallows.

    @contextmanager
    def logged():
        try:
            yield
        except Exception:
            log.exception("failed")        →   Exception: the code behind the block goes on

A handler that raises again, perhaps, swallows nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.exceptions import handler_of
from leakcheck.cfg.walk import reduce, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakcheck.project.facts import FunctionFacts

_EVERYTHING = "BaseException"
_TRUE = ex.Constant(value=True)


def swallowed_at_yield(
    node: cst.FunctionDef, by_manager: Callable[[ex.Expression], tuple[str, ...]]
) -> tuple[str, ...]:
    """The exceptions that a generator swallows wherever it yields; ``by_manager``: those that a ``with`` swallows."""
    found = set(_at_yields(node.body, (), by_manager))
    return found.pop() if len(found) == 1 else ()


def swallowed_on_exit(method: FunctionFacts) -> tuple[str, ...]:
    """The exceptions that an ``__exit__`` swallows: all of them, where it returns nothing but True."""
    return (_EVERYTHING,) if method.returned and all(value == _TRUE for value in method.returned) else ()


def _at_yields(
    node: cst.CSTNode, around: tuple[str, ...], by_manager: Callable[[ex.Expression], tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    """For each ``yield``, what the statements around it swallow."""
    match node:
        case cst.FunctionDef() | cst.Lambda() | cst.ClassDef():
            return
        case cst.Yield():
            yield around
        case cst.Try() | cst.TryStar():
            final = node.finalbody
            if final is not None and any(isinstance(n, cst.Return) for n in walk(final)):
                around = (*around, _EVERYTHING)
            handlers = [handler_of(h) for h in node.handlers]
            caught = [t for h in handlers if not h.reraises for t in h.types or (_EVERYTHING,)]
            yield from _at_yields(node.body, (*around, *caught), by_manager)
            for part in (*node.handlers, node.orelse, final):
                if part is not None:
                    yield from _at_yields(part, around, by_manager)
        case cst.With(items=items, body=body):
            caught = [t for item in items for t in by_manager(reduce(item.item))]
            yield from _at_yields(body, (*around, *caught), by_manager)
        case _:
            for child in node.children:
                yield from _at_yields(child, around, by_manager)
