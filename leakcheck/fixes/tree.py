"""A function's syntax as the fixes need it: the parent of each node, the statement around it, its row.

    tree = Tree(unit)
    tree.statement(call)    →   the SimpleStatementLine, or the compound statement, that holds the call

Nothing here knows of connections.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import children, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit

SCOPES = (cst.FunctionDef, cst.Lambda, cst.ClassDef)
LOOPS = (cst.For, cst.While)
TRIES = (cst.Try, cst.TryStar)


class RefusedError(Exception):
    """There is no rewrite that keeps the meaning; the message is the reason, a clause with its line."""


class Tree:
    """One function. Everything is by the identity of nodes, as in the analysis."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.root = unit.node
        self._parents: dict[int, cst.CSTNode] = {}
        self._names: dict[str, list[cst.Name]] = {}
        self._texts: dict[int, str] = {}
        for node in walk(self.root):
            if isinstance(node, cst.Name):
                self._names.setdefault(node.value, []).append(node)
            for child in children(node):
                self._parents[id(child)] = node

    @cached_property
    def calls(self) -> dict[int, g.Call]:
        """The calls of the function as the analysis sees them, by the identity of their syntax."""
        blocks = self.unit.graph.blocks if self.unit.graph is not None else []
        return {id(i.node): i for block in blocks for i in block.instructions if isinstance(i, g.Call)}

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """The node around ``node``; None for the function itself."""
        return self._parents.get(id(node))

    def names(self, name: str, root: cst.CSTNode | None = None) -> Iterator[cst.Name]:
        """The nodes of this name under ``root`` (by default in the whole function), in source order."""
        if root is None:
            yield from self._names.get(name, ())
        else:
            yield from (node for node in walk(root) if isinstance(node, cst.Name) and node.value == name)

    def free_name(self, names: Iterable[str]) -> str | None:
        """The first of these names that the function, and what is nested in it, does not know."""
        return next((name for name in names if name not in self._names), None)

    def ancestors(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """The nodes around ``node``, the nearest first, the function last."""
        current = self.parent(node)
        while current is not None:
            yield current
            current = self.parent(current)

    def statement(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """The innermost statement around ``node``, or ``node`` itself where it is one."""
        if isinstance(node, cst.BaseStatement):
            return node
        return next((n for n in self.ancestors(node) if isinstance(n, cst.BaseStatement)), None)

    def block(self, statement: cst.CSTNode) -> cst.IndentedBlock | None:
        """The block that ``statement`` is an item of, where it is one of several lines."""
        parent = self.parent(statement)
        return parent if isinstance(parent, cst.IndentedBlock) else None

    def swallows(self, item: cst.WithItem) -> bool:
        """Whether what a ``with`` enters swallows exceptions that are raised in its block."""
        return self.unit.callees is not None and self.unit.callees.swallows(item.item)

    def is_nested(self, node: cst.CSTNode) -> bool:
        """Whether ``node`` belongs to a function or class inside this one."""
        return any(isinstance(n, SCOPES) and n is not self.root for n in self.ancestors(node))

    def row(self, node: cst.CSTNode) -> int:
        """The row of the file on which ``node`` starts."""
        return self.unit.part.span(node).start.row

    def text(self, node: cst.CSTNode) -> str:
        """The source of ``node`` as written."""
        if id(node) not in self._parents:  # made by a fix, and soon gone
            return self.unit.part.module.code_for_node(node)
        if id(node) not in self._texts:
            self._texts[id(node)] = self.unit.part.module.code_for_node(node)
        return self._texts[id(node)]


def tree_at(program: Program, path: str, row: int) -> Tree:
    """The innermost function around a row. Raises RefusedError."""
    module = program.facts(path)
    inside = module.functions_at(row) if module is not None else []
    innermost = max(inside, key=lambda facts: facts.first_row, default=None)
    unit = program.functions.unit(module, innermost) if module is not None and innermost is not None else None
    if unit is None or not isinstance(unit.node, cst.FunctionDef):
        raise RefusedError(f"line {row} is no statement of a function")
    return Tree(unit)


def own(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The nodes under ``node`` that run when it runs: not the bodies of functions and classes defined there."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        if not isinstance(current, SCOPES) or current is node:
            stack.extend(reversed(children(current)))


def only(statement: cst.CSTNode | None) -> cst.BaseSmallStatement | None:
    """The one small statement of a line."""
    if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1:
        return statement.body[0]
    return None


def is_variable(node: cst.CSTNode, parent: cst.CSTNode | None) -> bool:
    """Whether a Name stands for a variable: not for an attribute or a keyword."""
    if not isinstance(node, cst.Name):
        return False
    if isinstance(parent, cst.Attribute):
        return parent.value is node
    return not (isinstance(parent, (cst.Arg, cst.MatchKeywordElement)) and getattr(parent, "keyword", None) is node)
