"""Which calls of a file build a pool, an engine or a pooled client.

engine = create_engine(url)                        a construction of sqlalchemy.Engine
engine = create_engine(url, poolclass=NullPool)    none: it pools nothing
client = Redis(connection_pool=pool)               none: the pool is another's
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.project.names import Class, External

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.driver import DriverClass, Drivers
    from leakcheck.handlers.syntax import Tree
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import ModuleFacts
    from leakcheck.project.names import Symbol


@dataclass(frozen=True, slots=True, eq=False)
class Construction:
    """One call that builds something that connects; ``made`` is what it builds."""

    tree: Tree
    call: ast.Call
    made: DriverClass


class Constructions:
    """Finds constructions."""

    def __init__(self, program: Program) -> None:
        self._program = program
        drivers = program.drivers
        made = {name: op.returns or op.acquires for name, op in drivers.calls.items()}
        self._pools = {
            name: found for name, found in {**drivers.class_names, **made}.items() if found in _pooled(drivers)
        }
        self._words = frozenset(name.rpartition(".")[2] for name in self._pools)

    def may_hold(self, module: ModuleFacts) -> bool:
        """Whether a file calls or imports anything by the name of a constructor, or derives from something."""
        imported = {target.rpartition(".")[2] for targets in module.scope.imports.values() for target in targets}
        called = [*(f.calls for f in module.functions.values()), *(s.calls for s in module.statements)]
        return not self._words.isdisjoint(imported) or any(not self._words.isdisjoint(calls) for calls in called)

    def pools_in(self, tree: Tree) -> Iterator[Construction]:
        """The calls of a file that build a pool, in source order."""
        calls = [node for node in tree.parents if isinstance(node, ast.Call)]
        for call in sorted(calls, key=lambda c: (c.lineno, c.col_offset)):
            made = self._made(tree, call)
            if made is not None and not given(call, made.pool.not_with if made.pool is not None else ()):
                yield Construction(tree, call, made)

    def _made(self, tree: Tree, call: ast.Call) -> DriverClass | None:
        callee = ex.from_ast(call.func)
        scope = tree.scope(call)
        for symbol in self._program.resolver.resolve(callee, scope):
            for name in self._names_of(symbol):
                made = self._program.drivers.classes[self._pools[name]] if name in self._pools else None
                words = made.pool.names if made is not None and made.pool is not None else ()
                if made is not None and (not words or any(word in name for word in words)):
                    return made
        return None

    def _names_of(self, symbol: Symbol) -> list[str]:
        match symbol:
            case External(name=name):
                return [name]
            case Class():
                return self._program.resolver.hierarchy.external_bases(symbol)
            case _:
                return []


def _pooled(drivers: Drivers) -> frozenset[str]:
    return frozenset(class_id for class_id, known in drivers.classes.items() if known.pool is not None)


def given(call: ast.Call, words: Iterable[str]) -> bool:
    """Whether a call has one of these keywords, or one with this value: "poolclass=NullPool"."""
    for word in words:
        name, equals, value = word.partition("=")
        for keyword in call.keywords:
            if keyword.arg == name and (not equals or ast.unparse(keyword.value).rpartition(".")[2] == value):
                return True
    return False
