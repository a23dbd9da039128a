"""The graph under construction: blocks, the instructions in them, temporaries, the edges between.

    emitter.emit(Call(...), ANY_EXCEPTION)    # may raise: ends the current block
    emitter.emit(Move(...))                   # stays in it

Everything that lowers syntax builds upon this class, each module with one subject:
``assignment``, ``conditions``, ``lower`` (expressions), ``exceptions`` (ways out), ``statements``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck.cfg.graph import BasicBlock, Edge, Forget, Instruction, Test

if TYPE_CHECKING:
    import libcst as cst

BLOCK_LIMIT = 20_000
"""Copies of nested ``finally`` bodies multiply; a function beyond this many blocks is not analysed."""


class TooLargeError(Exception):
    """The function's graph passes ``BLOCK_LIMIT``."""


class Emitter:
    """Emits instructions into ``current``. What lowers expressions and finds ways out comes with the subclasses."""

    def __init__(self) -> None:
        self.blocks: list[BasicBlock] = []
        self.current = self.new_block()
        self.condition_reads: dict[str, frozenset[str]] = {}
        self.asked: list[str] = []
        """The pure conditions branched on so far, in order."""
        self.global_names: set[str] = set()
        self.renamed: dict[str, str] = {}
        """Names that a comprehension binds, each with the variable that stands for it inside."""
        self.methods: dict[str, cst.Attribute] = {}
        """Variables that a method was put in, or whatever else an attribute holds."""
        self.loop_depth = 0
        self.asserting = False
        """Whether the condition at hand is that of an assertion."""
        self._temporaries = 0

    def exception_target(self, raised: str, node: cst.CSTNode | None = None) -> BasicBlock:
        """The block that an exception of class ``raised`` leads to from here, or from this syntax here."""
        raise NotImplementedError

    def value(self, node: cst.BaseExpression) -> str:
        """Evaluate ``node``; the operand that holds its value."""
        raise NotImplementedError

    def use(self, node: cst.BaseExpression) -> None:
        """Evaluate for the effects; the value is not kept."""
        self.drop(self.value(node), node)

    def drop(self, operand: str, node: cst.CSTNode) -> None:
        """Forget an operand that nobody reads; names keep their values."""
        if operand.startswith("%"):
            self.emit(Forget(node, (operand,)))

    def new_block(self) -> BasicBlock:
        """A block that nothing leads to yet. Raises TooLargeError."""
        if len(self.blocks) > BLOCK_LIMIT:
            raise TooLargeError
        block = BasicBlock(len(self.blocks))
        self.blocks.append(block)
        return block

    def temporary(self) -> str:
        """A new variable that is written once and read once."""
        self._temporaries += 1
        return f"%{self._temporaries}"

    def internal(self, kind: str) -> str:
        """A new variable that is read several times."""
        self._temporaries += 1
        return f"%{kind}{self._temporaries}"

    def emit(self, instruction: Instruction, *raised: str) -> None:
        """Append; an instruction that can raise ends its block."""
        self.current.instructions.append(instruction)
        if raised:
            self.current.raises = [Edge(self.exception_target(r, instruction.node), raised=r) for r in raised]
            self.goto(self.new_block())

    def emit_last(self, instruction: Instruction, *raised: str) -> None:
        """Append an instruction that always raises; what follows is out of reach."""
        self.current.instructions.append(instruction)
        self.current.raises = [Edge(self.exception_target(r), raised=r) for r in raised]
        self.current = self.new_block()

    def goto(self, target: BasicBlock) -> None:
        """Fall through to ``target`` and continue there."""
        self.link(target)
        self.current = target

    def link(self, target: BasicBlock, test: Test | None = None) -> None:
        """An edge from the current block to ``target``; the place stays."""
        self.current.successors.append(Edge(target, test))
