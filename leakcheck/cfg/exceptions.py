"""Ways out of nested statements: where exceptions and jumps go, and what they pass on their way.

    try: …                     return: a copy of `close()`, then the function's exit
    finally: close()           exception: another copy of `close()`, then outwards

Each way into a ``finally`` gets a copy of its own, so a copy has exactly one way out. Copies are shared
between jumps with the same destination, which keeps their number small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.graph import ANY_EXCEPTION, OTHER, BasicBlock, Edge, Exit, Forget, Move
from leakcheck.cfg.lower import ExpressionLowering
from leakcheck.cfg.unwind import (
    FinallyFrame,
    Frame,
    Handler,
    HandlerFrame,
    LoopFrame,
    WithFrame,
    catches,
    is_caught,
    not_raised,
    still_named,
)
from leakcheck.cfg.walk import reduce, walk

if TYPE_CHECKING:
    from leakcheck.cfg.meanings import Meanings


class Unwinding(ExpressionLowering):
    """Knows the statements around the current place (``frames``, outermost first) and leads out of them."""

    def __init__(self, meanings: Meanings, *, is_async: bool) -> None:
        super().__init__(meanings, is_async=is_async)
        self.frames: list[Frame] = []
        self.handling: list[tuple[str, str | None]] = []
        """The exceptions being handled here, and the names they are bound to; innermost last."""
        self._saved: list[tuple[list[Frame], BasicBlock, list[tuple[str, str | None]], int]] = []
        self.exit = self.new_block()
        self.failure = self.new_block()

    def suite(self, body: cst.BaseSuite) -> None:
        """Lower the statements of a block."""
        raise NotImplementedError

    def exception_target(self, raised: str, node: cst.CSTNode | None = None) -> BasicBlock:
        """The block that an exception of class ``raised`` leads to from here, or from this syntax here."""
        never = not_raised(node, self.frames) if node is not None and raised == ANY_EXCEPTION else ()
        return self._propagate(len(self.frames), raised, never)

    def _propagate(self, depth: int, raised: str, passed: tuple[str, ...] = ()) -> BasicBlock:
        """Where an exception goes from inside ``frames[:depth]`` that is of none of the classes it has ``passed``."""
        for index in range(depth - 1, -1, -1):
            frame = self.frames[index]
            if isinstance(frame, LoopFrame):
                continue
            passed = still_named(passed, self.frames[: index + 1])
            key = ("exception", raised, passed)
            block = frame.cache.get(key)
            if block is not None:
                return block
            frame.cache[key] = block = self.new_block()
            if isinstance(frame, HandlerFrame):
                self._dispatch(frame, index, raised, passed, block)
            elif isinstance(frame, FinallyFrame):
                self._copy_finally(frame, index, block, raised)
                self._end_copy().successors.append(Edge(self._propagate(index, raised, passed)))
            elif isinstance(frame, WithFrame):
                block.instructions.append(Exit(frame.node, frame.manager, frame.is_async, exceptional=True))
                held, surely = catches(frame.swallowed, raised) if frame.swallowed else (None, False)
                if held is not None:
                    block.successors.append(Edge(frame.after))
                if not surely:
                    block.successors.append(Edge(self._propagate(index, raised, (*passed, *frame.swallowed))))
            return block
        return self.failure

    def _end_copy(self) -> BasicBlock:
        """The end of a copied body, once the place that asked for the copy is current again."""
        end = self.current
        self.frames, self.current, self.handling, self.loop_depth = self._saved.pop()
        return end

    def _copy_finally(self, frame: FinallyFrame, index: int, block: BasicBlock, raised: str | None) -> None:
        self._saved.append((self.frames, self.current, self.handling, self.loop_depth))
        self.frames = self.frames[:index]
        self.current = block
        if raised is not None:
            self.handling = [*self.handling, (raised, None)]
        self.suite(frame.body)

    def _dispatch(
        self, frame: HandlerFrame, index: int, raised: str, passed: tuple[str, ...], block: BasicBlock
    ) -> None:
        for number, handler in enumerate(frame.handlers):
            held, surely = catches(handler.types, raised)
            earlier = [*passed, *(t for h in frame.handlers[:number] for t in h.types or ())]
            if held is None or (handler.types and all(is_caught(t, earlier) for t in handler.types)):
                continue
            key = ("handler", number, held if handler.reraises else None)
            entry = frame.cache.get(key)
            if entry is None:
                frame.cache[key] = entry = self.new_block()
                self._saved.append((self.frames, self.current, self.handling, self.loop_depth))
                self.frames, self.current = self.frames[:index], entry
                self.handling = [*self.handling, (held, handler.name)]
                if handler.name:
                    self.emit(Move(handler.body, handler.name, OTHER))
                self.suite(handler.body)
                if handler.name:
                    self.emit(Forget(handler.body, (handler.name,)))
                self._end_copy().successors.append(Edge(frame.after))
            block.successors.append(Edge(entry))
            if surely:
                return
        caught = (t for handler in frame.handlers for t in handler.types or ())
        block.successors.append(Edge(self._propagate(index, raised, (*passed, *caught))))

    def _leave(self, depth: int, key: tuple[object, ...], floor: int, target: BasicBlock) -> BasicBlock:
        """Where a jump to ``target`` goes first from inside ``frames[:depth]``, out to ``frames[:floor]``."""
        for index in range(depth - 1, floor - 1, -1):
            frame = self.frames[index]
            if not isinstance(frame, (FinallyFrame, WithFrame)):
                continue
            block = frame.cache.get(key)
            if block is None:
                frame.cache[key] = block = self.new_block()
                if isinstance(frame, FinallyFrame):
                    self._copy_finally(frame, index, block, None)
                    self._end_copy().successors.append(Edge(self._leave(index, key, floor, target)))
                else:
                    block.instructions.append(Exit(frame.node, frame.manager, frame.is_async, exceptional=False))
                    block.successors.append(Edge(self._leave(index, key, floor, target)))
            return block
        return target

    def jump(self, key: tuple[object, ...], floor: int, target: BasicBlock) -> None:
        """Go to ``target`` through whatever lies around the place inside ``frames[floor:]``."""
        self.link(self._leave(len(self.frames), key, floor, target))
        self.current = self.new_block()


def handler_of(node: cst.ExceptHandler | cst.ExceptStarHandler) -> Handler:
    """An ``except`` clause, reduced."""
    types: tuple[str, ...] | None = None
    if node.type is not None:
        reduced = reduce(node.type)
        items = reduced.items if isinstance(reduced, ex.Sequence) else (reduced,)
        types = tuple(ex.last_name(i) or "?" for i in items)
    name = node.name.name.value if node.name is not None and isinstance(node.name.name, cst.Name) else None
    return Handler(types, name, node.body, any(isinstance(n, cst.Raise) for n in walk(node.body)))
