"""A unit of analysis: one function, nested function, lambda or module body, with its graph and positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck.cfg.walk import children, walk
from leakcheck.diagnostic import Position, Span
from leakcheck.ownership.positions import places_of
from leakcheck.project.facts import is_fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.cfg.graph import ControlFlowGraph
    from leakcheck.ownership.callees import Callees
    from leakcheck.ownership.constants import Constants
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.positions import Place
    from leakcheck.ownership.usage import Usage
    from leakcheck.project.facts import FunctionFacts
    from leakcheck.project.names import Scope


class Syntax:
    """A text that LibCST has parsed, with what is computed from the tree when first asked for."""

    __slots__ = ("_code", "_places", "_statements", "module")

    def __init__(self, text: str) -> None:
        self.module = cst.parse_module(text)
        self._code: str | None = None
        self._places: dict[int, Place] | None = None
        self._statements: dict[int, cst.CSTNode] | None = None

    @property
    def code(self) -> str:
        """The text as LibCST writes it, which may have lost a form feed."""
        if self._code is None:
            self._code = self.module.code
        return self._code

    def place(self, node: cst.CSTNode) -> Place:
        """Where ``node`` stands in the text."""
        if self._places is None:
            self._places = places_of(self.module)
        return self._places[id(node)]

    def statement(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """The innermost statement around ``node``."""
        if self._statements is None:
            self._statements = dict(_enclosing(self.module))
        return self._statements.get(id(node))


class Slice(Struct, frozen=True, eq=False):
    """A part of a file as a LibCST module of its own. ``row_offset`` is added to the tree's rows."""

    path: str
    syntax: Syntax
    row_offset: int

    @property
    def module(self) -> cst.Module:
        """The tree."""
        return self.syntax.module

    def span(self, node: cst.CSTNode) -> Span:
        """Where ``node`` stands in the file."""
        row, column, end_row, end_column = self.syntax.place(node)
        return Span(Position(row + self.row_offset, column + 1), Position(end_row + self.row_offset, end_column + 1))

    def statement(self, node: cst.CSTNode) -> Span:
        """The span of the simple statement, or of the header of the compound statement, around ``node``."""
        around = self.syntax.statement(node)
        if around is None:
            return self.span(node)
        if isinstance(around, cst.SimpleStatementLine):
            return self.span(around)
        start = min(self.span(around).start, self.span(node).start)  # a decorator stands in front of its function
        body = getattr(around, "body", None)  # a `match` has cases instead
        end = self.span(body).start if isinstance(body, cst.CSTNode) else self.span(node).end
        return Span(start, max(self.span(node).end, Position(end.row - 1, 10_000) if end.row > start.row else start))

    def text(self, node: cst.CSTNode) -> str:
        """The source text of ``node`` on one line."""
        return " ".join(self.module.code_for_node(node).split())


def _enclosing(module: cst.Module) -> Iterator[tuple[int, cst.CSTNode]]:
    """Each node with the innermost statement around it."""
    pending: list[tuple[cst.CSTNode, cst.CSTNode | None]] = [(module, None)]
    while pending:
        node, statement = pending.pop()
        if isinstance(node, cst.BaseStatement):
            statement = node
        if statement is not None:
            yield id(node), statement
        pending.extend((child, statement) for child in children(node))


class Unit(Struct, eq=False):
    """One function to analyse. ``facts`` is None for lambdas and module statements."""

    part: Slice
    node: cst.FunctionDef | cst.Lambda | cst.Module
    name: str
    scope: Scope
    facts: FunctionFacts | None
    is_async: bool
    parent: Unit | None = None
    graph: ControlFlowGraph | None = None
    constants: Constants | None = None
    callees: Callees | None = None
    usage: Usage | None = None
    found: tuple[Found, ...] = ()
    """What was found in it, once it was looked at."""
    consumed_by_aclosing: bool = False
    """For an async generator: somebody in its file closes it with ``aclosing``."""
    _order: dict[int, int] | None = None
    _protections: tuple[Protection, ...] | None = None

    @property
    def path(self) -> str:
        """The file that it is part of."""
        return self.part.path

    @property
    def is_entering(self) -> bool:
        """Whether it is the entering method of a context manager class."""
        return (
            self.facts is not None and self.facts.owner is not None and self.facts.name in ("__enter__", "__aenter__")
        )

    @property
    def is_fixture(self) -> bool:
        """Whether it is a pytest fixture, which is only ever resumed at its ``yield``.

        A test that fails, exits, is interrupted or cancelled, and a teardown that fails before, raise nothing into it.
        """
        return self.facts is not None and is_fixture(self.facts)

    def order(self, node: cst.CSTNode) -> int:
        """The node's place in source order within the unit."""
        if self._order is None:
            self._order = {id(n): i for i, n in enumerate(walk(self.node))}
        return self._order.get(id(node), -1)

    @property
    def protections(self) -> tuple[Protection, ...]:
        """The statements that protect what runs in them."""
        if self._protections is None:
            self._protections = tuple(
                Protection(
                    first=self.order(node),
                    last=max(self.order(n) for n in walk(node.body)),
                    guards=frozenset(id(n) for guard in _guards(node) for n in walk(guard)),
                )
                for node in walk(self.node)
                if isinstance(node, (cst.Try, cst.TryStar, cst.With))
            )
        return self._protections


class Protection(Struct, frozen=True):
    """A statement that protects what runs in it: the places of its start and of its body's end, in source order.

    ``guards`` are the nodes that run however it is left.
    """

    first: int
    last: int
    guards: frozenset[int]


def _guards(node: cst.Try | cst.TryStar | cst.With) -> Iterator[cst.CSTNode]:
    if isinstance(node, cst.With):
        yield from node.items
        return
    yield from (handler.body for handler in node.handlers)
    if node.finalbody is not None:
        yield node.finalbody
