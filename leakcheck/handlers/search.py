"""Who mentions a function or class of the project: bytes first, so that only files that hold the name are parsed.

    search.mentions(Function("app/db.py", "make_pool"))  →  every call of it, and every place that is given it

The files are those of the project around the one that defines it, whatever was named on the command line; tests are
among them only for what a test defines.
"""

from __future__ import annotations

import ast
import re
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.handlers.syntax import FUNCTIONS, Tree
from leakcheck.project.facts import is_property
from leakcheck.project.large_stack import on_large_stack
from leakcheck.project.names import Class, Function, Instance
from leakcheck.project.testing import is_test
from leakcheck.source import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.ownership.program import Program

_MOST_TREES = 150
"""A name that so many files hold says nothing."""
_PASSING = frozenset({"partial", "sync_to_async", "database_sync_to_async", "async_to_sync", "wraps", "as_view"})
"""Functions that give back what they are given, to be called as before."""
"""Decorators of methods that are read as attributes."""
_PLAIN = re.compile(r"[A-Za-z_]\w*\Z")


class How(Enum):
    """How a place mentions a function."""

    CALLS = "calls"
    READS = "reads"  # a property
    GIVES = "gives"  # as an argument of a call
    KEEPS = "keeps"  # in an attribute
    DECORATES = "decorates"
    DERIVES = "derives"


class Mention(Struct, frozen=True, eq=False):
    """One place that mentions a function; ``node`` is the call, the attribute, the assignment, or the definition.

    ``under``: the keyword under which a call is given it.
    """

    how: How
    tree: Tree
    node: ast.AST
    under: str = ""


class Search:
    """Finds mentions."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._trees: dict[str, Tree | None] = {}
        self._mentions: dict[Function | Class, tuple[Mention, ...]] = {}

    def tree(self, path: str) -> Tree | None:
        """The tree of a file, None where it is no Python."""
        if path not in self._trees:
            self._trees[path] = self._parse(path)
        return self._trees[path]

    def _parse(self, path: str) -> Tree | None:
        facts, source = self._program.facts(path), self._program.source(path)
        if facts is None or isinstance(source, Failure):
            return None
        try:
            return on_large_stack(lambda: Tree(facts, source))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None

    def mentions(self, of: Function | Class) -> tuple[Mention, ...]:
        """Every mention, in the order of files and rows."""
        if of not in self._mentions:
            self._mentions[of] = tuple(self._find(of))
        return self._mentions[of]

    def _find(self, of: Function | Class) -> Iterator[Mention]:
        name = of.qualname.rpartition(".")[2].partition("@")[0]
        read_from = self._read_from(of) if isinstance(of, Function) else None
        for path in self.holding(of.path, name):
            tree = None if is_test(path) and not is_test(of.path) else self.tree(path)
            if tree is None:
                continue
            for spelled in self._spellings(tree, name):
                for node in tree.mentions(spelled):
                    if read_from is not None:
                        if isinstance(node, ast.Attribute) and self._is_one(tree, node.value, read_from):
                            yield Mention(How.READS, tree, node)
                    elif self._means(tree, node, of):
                        yield from _classified(tree, node)

    def _read_from(self, of: Function) -> Class | None:
        """The class whose property the function is: reading it runs the function."""
        module = self._program.facts(of.path)
        facts = module.functions.get(of.qualname) if module is not None else None
        if facts is None or facts.owner is None or not is_property(facts):
            return None
        return Class(of.path, facts.owner)

    def _is_one(self, tree: Tree, value: ast.expr, cls: Class) -> bool:
        """Whether a value is an object of the class or of one that derives from it."""
        resolver = self._program.resolver
        symbols = resolver.resolve(ex.from_ast(value), tree.scope(value))
        owners = (s.of for s in symbols if isinstance(s, Instance) and isinstance(s.of, Class))
        return any(base == cls for owner in owners for base, _, _ in resolver.hierarchy.lineage(owner))

    def _spellings(self, tree: Tree, name: str) -> Iterator[str]:
        """The name, and what this file's imports call it."""
        yield name
        for local, targets in tree.facts.scope.imports.items():
            if local != name and any(t.rpartition(".")[2] == name for t in targets):
                yield local

    def _means(self, tree: Tree, node: ast.Name | ast.Attribute, of: Function | Class) -> bool:
        for symbol in self._program.resolver.resolve(ex.from_ast(node), tree.scope(node)):
            match symbol:
                case Function(path=path, qualname=qualname):
                    if isinstance(of, Function) and (path, qualname) == (of.path, of.qualname):
                        return True
                case Class():
                    if symbol == of:
                        return True
                case Instance(of=Class()):
                    pass  # an instance of the class is another thing
                case _:
                    pass
        return False

    def holding(self, path: str, word: str, also: bytes = b"") -> list[str]:
        """The project's files that hold a word, itself first; none where it is too common."""
        if not _PLAIN.match(word):
            return []
        pattern = re.compile(rb"\b" + word.encode() + rb"\b")
        found: list[str] = []
        for each in self._program.modules.around(path):
            data = self._program.peek(each)
            if word.encode() in data and also in data and pattern.search(data) is not None:
                found.append(each)
                if len(found) > _MOST_TREES:
                    return [path]
        return found


def _classified(tree: Tree, node: ast.Name | ast.Attribute) -> Iterator[Mention]:
    """What a place does with the function that it mentions; nothing where that is not known."""
    child: ast.AST = node
    under = ""
    for above, _ in tree.around(node):
        match above:
            case ast.Call(func=func) if func is child:
                yield Mention(How.CALLS, tree, above)
                decorated = tree.parents[above]
                if isinstance(decorated, FUNCTIONS) and above in decorated.decorator_list:
                    yield Mention(How.DECORATES, tree, decorated)
                return
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _PASSING:
                child = above
            case ast.Call():
                yield Mention(How.GIVES, tree, above, under)
                return
            case ast.keyword():
                child, under = above, above.arg or ""
            case ast.Tuple() | ast.List() | ast.Dict() | ast.Set() | ast.Starred():
                child = above
            case ast.Assign() | ast.AnnAssign() if above.value is child:
                yield Mention(How.KEEPS, tree, above)
                return
            case ast.ClassDef() if child in above.bases:
                yield Mention(How.DERIVES, tree, above)
                return
            case _ if isinstance(above, FUNCTIONS) and child in above.decorator_list:
                yield Mention(How.DECORATES, tree, above)
                return
            case _:
                return
