"""Where a value goes inside the function that gets it: the expression around it, and the names and places it is put in.

pool = self.pool = await create_pool()   →   names {pool, self.pool}, stores {self.pool}
return await create_pool()               →   leaves
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.handlers.places import chain
from leakcheck.project.nodes import children, walk

if TYPE_CHECKING:
    from leakcheck.handlers.syntax import Definition, Tree

MANAGERS = frozenset({"closing", "aclosing", "enter_context", "enter_async_context", "push_async_exit"})
"""What ends what it is given where its own ``with`` or stack ends."""
_KEEPERS = frozenset({"append", "add", "setdefault", "set", "put", "update", "setattr", "insert", "register"})
_FLOWING = (ast.Assign, ast.AnnAssign, ast.NamedExpr, ast.Return, ast.Yield, ast.withitem, ast.Call)
"""Nodes that may put what they hold somewhere."""


def whole(tree: Tree, call: ast.expr) -> tuple[ast.AST, bool]:
    """The largest expression that holds the value of ``call``, and whether a ``with`` enters the value itself."""
    value: ast.AST = call
    itself = True
    for above, child in tree.around(call):
        match above:
            case ast.Await() | ast.NamedExpr() | ast.keyword():
                pass
            case ast.Call(func=func) if child is not func:
                last = (chain(func) or "").rpartition(".")[2]
                if last in MANAGERS and itself:
                    return above, True
                itself = itself and last in ("wait_for", "shield")
            case ast.withitem():
                return value, itself and above.context_expr is child
            case ast.expr():
                itself = False
            case _:
                return value, False
        value = above
    return value, False


class Holders:
    """The names and places that come to hold a value, or what is made of it."""

    def __init__(self, tree: Tree, function: Definition | None, call: ast.expr, value: ast.AST) -> None:
        self.names: set[str] = set()
        self.stores: set[str] = set()
        self._given: set[str] = set()
        """Those of the names that have the value, and not only what some function made with it."""
        self.leaves = False
        around = function if function is not None else tree.root
        declared: frozenset[str] = tree.names(function).declared if function is not None else frozenset()
        carriers: set[int] = {id(node) for node in (call, value)}
        pending: list[ast.AST] = [call, value]
        while pending:
            node, former = pending.pop(), set(self.names)
            above = [node, *(each for each, _ in tree.around(node))]
            for each in above[: above.index(around)] if around in above else ():
                if isinstance(each, _FLOWING):
                    self._flow(each, carriers, declared, module=function is None)
            for name in self.names - former:
                pending.extend(each for each in tree.mentions(name) if isinstance(each, ast.Name))

    def _flow(self, node: ast.AST, carriers: set[int], declared: frozenset[str], *, module: bool) -> None:
        match node:
            case (
                ast.Assign(value=value)
                | ast.AnnAssign(value=ast.expr() as value)
                | ast.NamedExpr(value=value)
                | ast.withitem(context_expr=value, optional_vars=ast.expr())
            ) if self._carries(value, carriers, self.names):
                targets = _targets(node)
                for target in targets:
                    self._bind(target, declared, module=module)
                if self._gives(value, carriers):
                    self._given |= {n.id for target in targets for n in walk(target) if isinstance(n, ast.Name)}
            case ast.Return(value=ast.expr() as value) | ast.Yield(value=ast.expr() as value):
                self.leaves = self.leaves or self._gives(value, carriers)
            case ast.Call(func=func, args=[base, ast.Constant(value=str() as attr), value]) if (
                ex.dotted(ex.from_ast(func)) in ex.SETTERS
            ):
                place = chain(base)
                if place is not None and self._carries(value, carriers, self.names):
                    self.stores.add(f"{place}.{attr}")
            case ast.Call(func=ast.Attribute(value=receiver, attr=attr), args=args, keywords=keywords) if (
                attr in _KEEPERS
            ):
                values = [*args, *(k.value for k in keywords)]
                place = chain(receiver)
                if place is not None and any(self._carries(v, carriers, self.names) for v in values):
                    self.stores.add(place)
            case _:
                pass

    @staticmethod
    def _carries(value: ast.expr, carriers: set[int], names: set[str]) -> bool:
        """Whether the value is, or is made of, what we follow or what these names hold."""
        pending: list[ast.AST] = [value]
        while pending:
            node = pending.pop()
            if id(node) in carriers or (isinstance(node, (ast.Name, ast.Attribute)) and chain(node) in names):
                return True
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                pending.extend((*node.args, *node.keywords))  # what a method of it returns is something else
                if id(node.func.value) in carriers and not node.args:
                    return True
            else:
                pending.extend(children(node))
        return False

    def _gives(self, value: ast.expr, carriers: set[int]) -> bool:
        """Whether whoever gets the value has what we follow, and not only what some function made with it."""
        match value:
            case ast.Call(func=func) if id(value) not in carriers:
                name = (chain(func) or "").rpartition(".")[2]
                return (name[:1].isupper() or "session" in name) and self._carries(value, carriers, self._given)
            case _:
                return self._carries(value, carriers, self._given)

    def _bind(self, target: ast.AST, declared: frozenset[str], *, module: bool) -> None:
        match target:
            case ast.Name(id=name):
                self.names.add(name)
                if name in declared or module:
                    self.stores.add(name)
            case ast.Attribute() | ast.Subscript():
                place = chain(target)
                if place is not None:
                    self.stores.add(place)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                for element in elements:
                    self._bind(element, declared, module=module)
            case _:
                pass


def _targets(node: ast.AST) -> list[ast.expr]:
    """What a node binds."""
    match node:
        case ast.Assign(targets=targets):
            return targets
        case (
            ast.AnnAssign(target=target)
            | ast.NamedExpr(target=target)
            | ast.withitem(optional_vars=ast.expr() as target)
        ):
            return [target]
        case _:
            return []
