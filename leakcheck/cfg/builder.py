"""One function's syntax to its control-flow graph.

    build_cfg(function.body, …) → ControlFlowGraph

The builder knows Python only. Which exceptions a ``with`` swallows, which calls never return and which properties
open something is asked of the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg.emitter import BLOCK_LIMIT, TooLargeError
from leakcheck.cfg.graph import RETURN, BasicBlock, ControlFlowGraph, Move
from leakcheck.cfg.statements import StatementLowering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.cfg.meanings import Meanings

__all__ = ["BLOCK_LIMIT", "TooLargeError", "build_cfg"]


def build_cfg(
    body: cst.BaseSuite | cst.BaseExpression | Sequence[cst.BaseStatement],
    *,
    is_async: bool,
    meanings: Meanings,
) -> ControlFlowGraph:
    """The graph of a function's body (a lambda's is an expression, a module's a list of statements).

    Raises TooLargeError.
    """
    lowering = StatementLowering(meanings, is_async=is_async)
    entry = lowering.current
    if isinstance(body, cst.BaseExpression):
        lowering.emit(Move(body, RETURN, lowering.value(body)))
    elif isinstance(body, cst.BaseSuite):
        lowering.suite(body)
    else:
        for statement in body:
            lowering.statement(statement)
    lowering.link(lowering.exit)
    return ControlFlowGraph(
        entry,
        lowering.exit,
        lowering.failure,
        _reachable(entry, lowering.exit, lowering.failure),
        lowering.condition_reads,
        bool(lowering.yields),
        lowering.yields,
    )


def _reachable(entry: BasicBlock, *always: BasicBlock) -> list[BasicBlock]:
    seen, stack = {entry.index}, [entry]
    found = []
    while stack:
        block = stack.pop()
        found.append(block)
        for edge in (*block.successors, *block.raises):
            if edge.target.index not in seen:
                seen.add(edge.target.index)
                stack.append(edge.target)
    found.extend(b for b in always if b.index not in seen)
    return sorted(found, key=lambda b: b.index)
