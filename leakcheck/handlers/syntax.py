"""The tree of one file with what questions about places need: parents, functions, spans, mentions of a name.

    tree.mentions("make_pool")  →  the nodes that read the name, in source order

Only files that build a pool, or that mention a function that does, ever get a tree.
"""

from __future__ import annotations

import ast
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.diagnostic import Position, Span
from leakcheck.project.names import Scope
from leakcheck.project.nodes import children, parsed, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from leakcheck.project.facts import FunctionFacts, ModuleFacts
    from leakcheck.source import Source

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LOOPS = (ast.For, ast.AsyncFor, ast.While)
Definition = ast.FunctionDef | ast.AsyncFunctionDef
Loop = ast.For | ast.AsyncFor | ast.While
_Node = TypeVar("_Node", bound=ast.AST)


class _Part:
    """One module-level statement: the nodes at and below it by their types, and what is asked about them."""

    def __init__(self, statement: ast.stmt) -> None:
        self.nodes: dict[type[ast.AST], list[ast.AST]] = {}
        self.parents: dict[ast.AST, ast.AST] = {}
        self.mentions: dict[str, list[ast.Name | ast.Attribute]] = {}
        self.calls: dict[str, list[ast.Call]] = {}
        pending: list[ast.AST] = [statement]
        for node in pending:
            if type(node) is ast.Name:
                self.mentions.setdefault(node.id, []).append(node)
                continue
            self.nodes.setdefault(type(node), []).append(node)
            below = children(node)
            if below:
                pending.extend(below)
                self.parents.update(dict.fromkeys(below, node))
            if type(node) is ast.Attribute:
                self.mentions.setdefault(node.attr, []).append(node)
            elif type(node) is ast.Call:
                self.calls.setdefault(_called(node.func), []).append(node)


def _called(func: ast.expr) -> str:
    """The last word of what is called, "" where it has none."""
    match func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ex.last_name(ex.from_ast(func)) or ""


_KEPT = 4
_parts: OrderedDict[str, dict[ast.stmt, _Part]] = OrderedDict()
"""Of the files that were asked for last: after a keystroke most nodes of a file are those that it had before."""


def _parts_of(path: str, root: ast.Module) -> list[_Part]:
    known = _parts.pop(path, {})
    _parts[path] = {statement: known.get(statement) or _Part(statement) for statement in root.body}
    if len(_parts) > _KEPT:
        _parts.popitem(last=False)
    return list(_parts[path].values())


class Names(Struct, frozen=True):
    """The names that a function binds: its own, and those that it declares to be its module's or outer function's."""

    bound: frozenset[str]
    declared: frozenset[str]

    @staticmethod
    def of(function: Definition) -> Names:
        """Those of one function; the declarations of functions in it count, too."""
        arguments = function.args
        bound = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        pending: list[ast.AST] = list(function.body)
        while pending:
            node = pending.pop()
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound.add(node.id)
            if not isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Lambda)):
                pending.extend(children(node))
        declarations = (n for n in walk(function) if isinstance(n, (ast.Global, ast.Nonlocal)))
        return Names(frozenset(bound), frozenset(name for each in declarations for name in each.names))


class Tree:
    """One file. ``facts`` are those of the same text."""

    def __init__(self, facts: ModuleFacts, source: Source) -> None:
        """Parse the source; raises SyntaxError, ValueError or RecursionError as ``ast.parse`` does."""
        self.path = facts.path
        self.facts = facts
        self.root = parsed(source.text)
        self._source = source
        self._parts = _parts_of(facts.path, self.root)
        self.parents: dict[ast.AST, ast.AST] = dict.fromkeys(self.root.body, self.root)
        for part in self._parts:
            self.parents.update(part.parents)
        rows = {(f.row, f.name): f for f in facts.functions.values()}
        definitions: list[Definition] = self.below(self.root, ast.FunctionDef, ast.AsyncFunctionDef)
        known = [node for node in definitions if (node.lineno, node.name) in rows]
        self._functions: dict[ast.AST, FunctionFacts] = {node: rows[node.lineno, node.name] for node in known}
        self._definitions = {rows[node.lineno, node.name].qualname: node for node in known}
        self._names: dict[ast.AST, Names] = {}

    def below(self, node: ast.AST, *kinds: type[_Node]) -> list[_Node]:
        """The nodes of these types (``ast.Name`` is none of them) at or below a node."""
        if node is not self.root:
            return [each for each in walk(node) if isinstance(each, kinds)]
        groups = (part.nodes.get(kind, ()) for part in self._parts for kind in kinds)
        return [each for group in groups for each in group if isinstance(each, kinds)]

    def mentions(self, name: str) -> Sequence[ast.Name | ast.Attribute]:
        """Every place that reads this name, or an attribute of this name, in source order."""
        found = [n for part in self._parts for n in part.mentions.get(name, ()) if isinstance(n.ctx, ast.Load)]
        return sorted(found, key=lambda n: (n.lineno, n.col_offset))

    def calls(self, is_one: Callable[[str], bool]) -> list[ast.Call]:
        """The calls of what has such a last word, in source order."""
        found = [c for part in self._parts for name, calls in part.calls.items() if is_one(name) for c in calls]
        return sorted(found, key=lambda call: (call.lineno, call.col_offset))

    def definition(self, qualname: str) -> Definition | None:
        """The node of a function."""
        return self._definitions.get(qualname)

    def names(self, function: Definition) -> Names:
        """The names that a function binds; it is walked once, however often they are asked for."""
        if function not in self._names:
            self._names[function] = Names.of(function)
        return self._names[function]

    def classes(self) -> Iterator[ast.ClassDef]:
        """All classes."""
        return (node for node in self.parents if isinstance(node, ast.ClassDef))

    def around(self, node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        """Each node around ``node`` with the child through which it is reached, innermost first."""
        while node in self.parents:
            yield self.parents[node], node
            node = self.parents[node]

    def within(self, node: ast.AST) -> Definition | None:
        """The function that runs ``node``: decorators, defaults and annotations run where the function is defined."""
        for above, child in self.around(node):
            if isinstance(above, FUNCTIONS) and child in above.body:
                return above
        return None

    def function(self, node: ast.AST) -> FunctionFacts | None:
        """The facts of the function that runs ``node``, None at module level."""
        found = self.within(node)
        return self._functions.get(found) if found is not None else None

    def facts_of(self, node: ast.AST) -> FunctionFacts | None:
        """The facts of the function that ``node`` defines."""
        return self._functions.get(node)

    def scope(self, node: ast.AST) -> Scope:
        """Where the names of ``node`` are looked up."""
        return Scope.of(self.facts, self.function(node))

    def loop(self, node: ast.AST) -> Loop | None:
        """The innermost loop of the same function whose body holds ``node``."""
        for above, child in self.around(node):
            if isinstance(above, FUNCTIONS):
                return None
            if isinstance(above, LOOPS) and child in above.body:
                return above
        return None

    def text(self, node: ast.AST) -> str:
        """The source text of a node on one line."""
        return " ".join(ast.unparse(node).split())

    def span(self, node: ast.expr | ast.stmt) -> Span:
        """Where a node stands."""
        return Span(
            self._position(node.lineno, node.col_offset),
            self._position(node.end_lineno or node.lineno, node.end_col_offset or node.col_offset),
        )

    def headline(self, node: Definition | ast.stmt) -> Span:
        """The first row of a definition or statement."""
        row = node.lineno
        return Span(self._position(row, node.col_offset), Position(row, len(self._line(row).rstrip().rstrip(":")) + 1))

    def statement(self, node: ast.AST) -> Span:
        """The simple statement around a node, or the header of the compound one."""
        stmt = node
        for above, _ in self.around(node):
            if isinstance(stmt, ast.stmt):
                break
            stmt = above
        if not isinstance(stmt, ast.stmt):
            return Span(Position(1, 1), Position(1, 1))
        body = getattr(stmt, "body", None)
        if not isinstance(body, list) or not body or not isinstance(body[0], ast.stmt):
            return self.span(stmt)
        last = max(body[0].lineno - 1, stmt.lineno)
        return Span(self._position(stmt.lineno, stmt.col_offset), Position(last, len(self._line(last)) + 1))

    def _position(self, row: int, column: int) -> Position:
        line = self._line(row)
        if not line.isascii():
            column = len(line.encode()[:column].decode(errors="replace"))
        return Position(row, column + 1)

    def _line(self, row: int) -> str:
        return self._source.rows(row, row).rstrip("\r\n")
