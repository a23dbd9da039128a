"""The statements that a way out passes (loops, ``try``, ``with``), and which exceptions a handler catches.

    catches(("OSError",), "ConnectionError")    →   ("ConnectionError", True)
    catches(("OSError",), "Exception")          →   ("OSError", False): only some of them

``leakcheck.cfg.exceptions`` leads the ways through them.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct, field

from leakcheck.cfg.graph import ANY_EXCEPTION, CANCELLED, GENERATOR_EXIT, BasicBlock
from leakcheck.cfg.walk import walk

if TYPE_CHECKING:
    from collections.abc import Sequence

_PARTICULAR = {
    "Empty": frozenset({"get", "get_nowait"}),
    "QueueEmpty": frozenset({"get", "get_nowait"}),
    "Full": frozenset({"put", "put_nowait"}),
    "QueueFull": frozenset({"put", "put_nowait"}),
}
"""Classes that nothing raises but calls of certain names, where a ``try`` makes one: ``queue.Empty``."""

_NOT_ORDINARY = frozenset({"BaseException", "KeyboardInterrupt", "SystemExit", CANCELLED, GENERATOR_EXIT})


class Frame(Struct, eq=False, kw_only=True):
    """A statement that is being lowered; ``cache`` holds the copies made so far, by way through it."""

    cache: dict[tuple[object, ...], BasicBlock] = field(default_factory=dict)


class LoopFrame(Frame, eq=False, kw_only=True):
    """A loop: where ``break`` and ``continue`` go."""

    on_break: BasicBlock
    on_continue: BasicBlock


class Handler(Struct, eq=False):
    """An ``except`` clause. ``types`` are class names (last word), None for a bare ``except``."""

    types: tuple[str, ...] | None
    name: str | None
    body: cst.BaseSuite
    reraises: bool


class HandlerFrame(Frame, eq=False, kw_only=True):
    """The body of a ``try`` with handlers; ``after`` follows the whole statement.

    ``particular`` are the classes among those of its handlers that only calls of certain names raise, with these names.
    """

    handlers: Sequence[Handler]
    after: BasicBlock
    particular: dict[str, frozenset[str]]


class FinallyFrame(Frame, eq=False, kw_only=True):
    """A ``try`` with a ``finally``."""

    body: cst.BaseSuite


class WithFrame(Frame, eq=False, kw_only=True):
    """The block of one ``with`` item; ``swallowed`` names the exceptions it swallows."""

    node: cst.CSTNode
    manager: str
    is_async: bool
    swallowed: tuple[str, ...]
    after: BasicBlock


def _builtin_exception(name: str) -> type[BaseException] | None:
    found = getattr(builtins, name, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def catches(types: tuple[str, ...] | None, raised: str) -> tuple[str | None, bool]:
    """How a handler naming ``types`` meets an exception of class ``raised``.

    Returns the class that the handler then holds, or None where it cannot catch, and whether it catches
    every such exception. ``Exception`` stands for an unknown ordinary exception; a class that is not a
    builtin is taken to be an ordinary one that only a handler of its own name is sure to catch.
    """
    if types is None or "BaseException" in types:
        return raised, True
    ordinary = raised not in _NOT_ORDINARY
    if ordinary and ANY_EXCEPTION in types:
        return raised, True
    if raised in types:
        return raised, True
    known = _builtin_exception(raised)
    narrowed: str | None = None
    for name in types:
        handled = _builtin_exception(name)
        if known is not None and handled is not None:
            if issubclass(known, handled):
                return raised, True
            if issubclass(handled, known) and (raised != ANY_EXCEPTION or issubclass(handled, Exception)):
                narrowed = name if narrowed is None else raised
        elif raised == ANY_EXCEPTION and name != CANCELLED:
            narrowed = name if narrowed is None else raised
    return narrowed, False


def is_caught(name: str, earlier: Sequence[str]) -> bool:
    """Whether handlers for the classes ``earlier`` leave nothing of class ``name`` to a later one."""
    known = _builtin_exception(name)
    handled = [found for found in map(_builtin_exception, earlier) if found is not None]
    return name in earlier or (known is not None and issubclass(known, tuple(handled)))


def particular_of(attempt: cst.Try | cst.TryStar, handlers: Sequence[Handler]) -> dict[str, frozenset[str]]:
    """The classes of handlers that only some calls of a ``try`` raise, and the names of these calls."""
    named = {name for handler in handlers for name in handler.types or () if name in _PARTICULAR}
    return {name: _PARTICULAR[name] for name in named if _mentions(attempt.body, _PARTICULAR[name])}


def not_raised(node: cst.CSTNode, frames: Sequence[Frame]) -> tuple[str, ...]:
    """The classes named by the handlers around it that this piece of syntax does not raise."""
    particular = {k: v for frame in frames if isinstance(frame, HandlerFrame) for k, v in frame.particular.items()}
    return tuple(sorted(name for name, calls in particular.items() if not _mentions(node, calls)))


def _mentions(node: cst.CSTNode, names: frozenset[str]) -> bool:
    return any(isinstance(part, cst.Attribute) and part.attr.value in names for part in walk(node))


def still_named(passed: Sequence[str], frames: Sequence[Frame]) -> tuple[str, ...]:
    """Those classes whose handlers an exception has ``passed`` that a handler of ``frames`` could take it for again.

    Only builtins, and classes that only some calls raise: two libraries may each have an ``Error``.
    """
    if not passed:
        return ()
    handlers = (handler for frame in frames if isinstance(frame, HandlerFrame) for handler in frame.handlers)
    named = {name for handler in handlers for name in handler.types or ()}
    known = (n for n in dict.fromkeys(passed) if n in _PARTICULAR or _builtin_exception(n) is not None)
    return tuple(sorted(name for name in known if any(is_caught(other, (name,)) for other in named)))
