"""Where each node of a tree stands: LibCST's positions, from its own code generation, for a fraction of the time.

    places_of(module)[id(node)]   →   (row, column, end row, end column), rows from 1, columns from 0

``MetadataWrapper`` walks the tree three times and makes two objects for each node; the positions are half of what a
function with a finding costs. A test compares the two, since the state of code generation is not public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from libcst._nodes.internal import CodegenState

if TYPE_CHECKING:
    import libcst as cst

Place = tuple[int, int, int, int]


def places_of(module: cst.Module) -> dict[int, Place]:
    """The places of all nodes of a tree, by their identity."""
    state = _Places(module.default_indent, module.default_newline)
    module._codegen(state)
    return state.found


class _Places(CodegenState):
    """Notes the row and column before and after each node; whitespace is left out where LibCST says so."""

    def __init__(self, default_indent: str, default_newline: str) -> None:
        super().__init__(default_indent, default_newline)
        self.row, self.column = 1, 0
        self.found: dict[int, Place] = {}
        self._starts: list[tuple[int, int]] = []

    def add_indent_tokens(self) -> None:
        for token in self.indent_tokens:
            self.add_token(token)

    def add_token(self, value: str) -> None:
        self.tokens.append(value)  # the module looks whether there are any
        if "\n" not in value and "\r" not in value:
            self.column += len(value)
            return
        rows = value.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self.row += len(rows) - 1
        self.column = len(rows[-1])

    def before_codegen(self, node: cst.CSTNode) -> None:  # noqa: ARG002 - LibCST's
        self._starts.append((self.row, self.column))

    def after_codegen(self, node: cst.CSTNode) -> None:
        start = self._starts.pop()
        if id(node) not in self.found:
            self.found[id(node)] = (*start, self.row, self.column)

    def record_syntactic_position(  # type: ignore[override]  # any context manager will do
        self, node: cst.CSTNode, *, start_node: cst.CSTNode | None = None, end_node: cst.CSTNode | None = None
    ) -> _Recording:
        return _Recording(self, node, start_node, end_node)


class _Recording:
    """The part of a node's code that is its own, from entering to leaving."""

    __slots__ = ("_end_node", "_node", "_places", "_start", "_start_node")

    def __init__(
        self, places: _Places, node: cst.CSTNode, start_node: cst.CSTNode | None, end_node: cst.CSTNode | None
    ) -> None:
        self._places, self._node, self._start_node, self._end_node = places, node, start_node, end_node
        self._start = (places.row, places.column)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        places, found = self._places, self._places.found
        start = self._start if self._start_node is None else found[id(self._start_node)][:2]
        end = (places.row, places.column) if self._end_node is None else found[id(self._end_node)][2:]
        found[id(self._node)] = (*start, *end)
