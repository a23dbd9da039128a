"""What the arguments of a pool's constructor say: whether taking a connection may wait for ever, and whether one ages.

pool = asyncpg.create_pool(dsn)      with `pool.acquire()` somewhere, and no timeout on any: waits for ever
create_engine(url)                   no `pool_recycle`: its connections never expire
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.handlers.constructions import given
from leakcheck.handlers.places import chain
from leakcheck.project.names import Class, External, Instance
from leakcheck.project.nodes import walk
from leakcheck.project.texts import sql_texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.driver import DriverClass
    from leakcheck.handlers.constructions import Construction
    from leakcheck.handlers.search import Search
    from leakcheck.handlers.syntax import Tree
    from leakcheck.ownership.program import Program

_SQLITE = "sqlite"
_ONLY_OF_SQLITE = "check_same_thread"
"""An argument of its connections that no other driver has."""
_BOUNDING = frozenset({"wait_for", "timeout", "timeout_at", "fail_after", "move_on_after", "async_timeout"})


class Waiting:
    """Answers about constructions."""

    def __init__(self, program: Program, search: Search) -> None:
        self._program = program
        self._search = search

    @staticmethod
    def asked_for(construction: Construction) -> str | None:
        """The argument of the constructor that makes its callers wait without end: ``blocking=True``."""
        pool = construction.made.pool
        return given(construction.tree, construction.call, pool.forever_with) if pool is not None else None

    def for_ever(self, construction: Construction) -> tuple[Tree, ast.Call] | None:
        """The first call that takes a connection and may wait for it without end, where none of them has a timeout.

        Of several pools of a class each is known by its name, where it has one by which somebody takes from it.
        """
        pool, call = construction.made.pool, construction.call
        if pool is None:
            return None
        if not pool.waits_forever or (
            pool.bounded_by and (given(construction.tree, call, pool.bounded_by) or _is_open(call))
        ):
            return None
        takes = list(self._takes(construction.made, construction.tree.path))
        names = _names(construction)
        takes = [(tree, node) for tree, node in takes if _receiver(node) in names] or takes
        takes.sort(key=lambda take: (not self._classes(*take), take[0].path != construction.tree.path))
        if any(_is_bounded(tree, node) for tree, node in takes):
            return None
        return next(iter(takes), None)

    def never_expires(self, construction: Construction) -> bool:
        """Whether nothing limits the age of its connections, though something could."""
        pool, call = construction.made.pool, construction.call
        if pool is None or not pool.expires_by or _is_open(call):
            return False
        return not given(construction.tree, call, pool.expires_by) and not self._is_embedded(construction)

    def _is_embedded(self, construction: Construction) -> bool:
        """Whether the database is a file of the program's own, which drops no connections."""
        call, scope = construction.call, construction.tree.scope(construction.call)
        told = (n.value for n in walk(call) if isinstance(n, ast.Constant) and isinstance(n.value, str))
        if any(text == _ONLY_OF_SQLITE or text.startswith(_SQLITE) for text in told):
            return True
        urls = sql_texts(ex.from_ast(call.args[0]), scope, self._program) if call.args else None
        return bool(urls) and all(url.startswith(_SQLITE) for url in urls or ())

    def _takes(self, made: DriverClass, path: str) -> Iterator[tuple[Tree, ast.Call]]:
        """Every call of the project that takes a connection from a pool of this class, or from one named like it."""
        for name, operation in made.methods.items():
            if operation.acquires is None:
                continue
            for each in self._search.holding(path, name):
                tree = self._search.tree(each)
                if tree is not None:
                    yield from ((tree, call) for call in self._takes_in(tree, name, made))

    def _takes_in(self, tree: Tree, name: str, made: DriverClass) -> Iterator[ast.Call]:
        for node in tree.mentions(name):
            match tree.parents[node]:
                case ast.Call(func=ast.Attribute() as func) as call if func is node:
                    if self._is_pool(tree, call, made):
                        yield call
                case _:
                    pass

    def _is_pool(self, tree: Tree, call: ast.Call, made: DriverClass) -> bool:
        found = self._classes(tree, call)
        named = ex.last_name(_taken_from(call)) or ""
        return made.id in (found or self._program.drivers.receiver_classes(named))

    def _classes(self, tree: Tree, call: ast.Call) -> list[str | Class | External]:
        """What is known for certain of the object whose method is called."""
        symbols = self._program.resolver.resolve(_taken_from(call), tree.scope(call))
        return [s.of for s in symbols if isinstance(s, Instance)]


def _names(construction: Construction) -> set[str]:
    """What the pool is called where it is built."""
    for above, _ in construction.tree.around(construction.call):
        match above:
            case ast.Assign(targets=targets):
                return {_plain(target) for target in targets}
            case ast.AnnAssign(target=target) | ast.NamedExpr(target=target):
                return {_plain(target)}
            case ast.withitem(optional_vars=ast.expr() as target):
                return {_plain(target)}
            case ast.stmt():
                break
            case _:
                pass
    return set()


def _taken_from(call: ast.Call) -> ex.Expression:
    return ex.from_ast(call.func.value) if isinstance(call.func, ast.Attribute) else ex.OPAQUE


def _receiver(call: ast.Call) -> str:
    return _plain(call.func.value) if isinstance(call.func, ast.Attribute) else ""


def _plain(place: ast.expr) -> str:
    """The last name of a place, as others call it: ``pool`` of ``self._pool``."""
    return (chain(place) or "").rpartition(".")[2].lstrip("_")


def _is_open(call: ast.Call) -> bool:
    """Whether more arguments may be given than can be seen."""
    return any(keyword.arg is None for keyword in call.keywords)


def _is_bounded(tree: Tree, call: ast.Call) -> bool:
    """Whether a wait has a timeout: an argument, a function around it, or a block."""
    if any(k.arg in (None, "timeout", "wait_timeout") for k in call.keywords):
        return True
    for above, child in tree.around(call):
        match above:
            case ast.Call(func=func) if child is not func and _last(func) in _BOUNDING:
                return True
            case ast.With(items=items) | ast.AsyncWith(items=items) if child in above.body:
                if any(isinstance(i.context_expr, ast.Call) and _last(i.context_expr.func) in _BOUNDING for i in items):
                    return True
            case _:
                pass
    return False


def _last(node: ast.AST) -> str:
    return (chain(node) or "").rpartition(".")[2]
