"""Annotations to symbols: the instances that a hint allows, and what a framework injects for a default.

    Optional[Annotated[Pool, Depends(get_pool)]]   →   Instance("asyncpg.Pool"), and what ``get_pool()`` returns

Containers and generators are read as what they give: ``AsyncIterator[Connection]`` is a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.project.names import Class, External, Instance, Scope, original

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakcheck.driver import Drivers
    from leakcheck.project.aliases import Aliases
    from leakcheck.project.facts import FunctionFacts, ModuleFacts, Parameter
    from leakcheck.project.names import Symbol, Symbols

_TRANSPARENT = frozenset({"Optional", "Annotated", "ClassVar", "Final", "Type", "type", "Awaitable", "Coroutine"})
_YIELDING = frozenset({"Iterator", "Generator", "AsyncIterator", "AsyncGenerator", "ContextManager",
                       "AbstractContextManager", "AsyncContextManager", "AbstractAsyncContextManager"})  # fmt: skip


INJECTING = ("Depends", "Security")
"""Calls in a parameter's default or annotation that name the function whose result the framework passes."""


def injected(default: ex.Expression | None, scope: Scope) -> ex.Expression | None:
    """The function whose result a framework passes for a parameter with this default."""
    if isinstance(default, ex.Call) and default.args and original(default, scope) in INJECTING:
        return default.args[0]
    return None


def annotated_injections(note: ex.Expression | None, scope: Scope) -> Iterator[ex.Expression]:
    """The functions that an annotation has a framework call: ``Annotated[Session, Depends(get_db)]``."""
    if isinstance(note, ex.Item) and isinstance(note.index, ex.Sequence):
        found = (injected(each, scope) for each in note.index.items[1:])
        yield from (each for each in found if each is not None)


class Injection(Struct, frozen=True):
    """A parameter whose value a framework makes by calling ``function``, which is a name in ``scope``."""

    parameter: Parameter
    function: ex.Expression
    scope: Scope


class Annotations:
    """Reads annotations; ``resolve`` answers for the names in them."""

    def __init__(self, drivers: Drivers, aliases: Aliases, resolve: Callable[[ex.Expression, Scope], Symbols]) -> None:
        self._drivers = drivers
        self._aliases = aliases
        self._resolve = resolve
        self._following: set[ex.Expression] = set()

    def injections(self, function: FunctionFacts, module: ModuleFacts) -> Iterator[Injection]:
        """The parameters whose values a framework makes."""
        for parameter in function.parameters:
            found = injected(parameter.default, Scope(module))
            if found is not None:
                yield Injection(parameter, found, Scope(module))
            for note, scope in self._aliases.written(parameter.annotation or ex.OPAQUE, module):
                yield from (Injection(parameter, made, scope) for made in annotated_injections(note, scope))

    def annotated(self, note: ex.Expression, scope: Scope) -> list[Symbol]:
        """The instances that an annotation allows."""
        note = ex.annotation(note)
        match note:
            case ex.Choice(options=options):
                return [s for option in options for s in self.annotated(option, scope)]
            case ex.Item(base=base, index=index):
                word = original(base, scope)
                inner = index.items if isinstance(index, ex.Sequence) else (index,)
                if word == "Union":
                    return [s for option in inner for s in self.annotated(option, scope)]
                if word in _TRANSPARENT:
                    found = self.annotated(inner[-1] if word == "Coroutine" else inner[0], scope)
                    for extra in inner[1:] if word == "Annotated" else ():
                        found.extend(self.dependency(extra, scope))
                    return found
                if word in _YIELDING:
                    return self.annotated(inner[0], scope)
                return self.annotated(base, scope)
            case ex.Name() | ex.Attribute():
                found = [self.instance(s) for s in self._resolve(note, scope) if isinstance(s, (External, Class))]
                return found or self._by_alias(note, scope)
            case _:
                return []

    def _by_alias(self, note: ex.Expression, scope: Scope) -> list[Symbol]:
        """The instances that an annotation allows which has only been given a name."""
        if note in self._following:
            return []  # it holds itself
        self._following.add(note)
        try:
            written = self._aliases.written(note, scope.module)
            return [s for under, place in written for s in self.annotated(under, place)]
        finally:
            self._following.discard(note)

    def dependency(self, default: ex.Expression, scope: Scope) -> Symbols:
        """A parameter's default: a value, or what ``Depends(f)`` injects."""
        function = injected(default, scope)
        return self._resolve(default if function is None else ex.Call(function), scope)

    def instance(self, symbol: External | Class) -> Symbol:
        """An object of this class: the driver's, where a driver knows the class."""
        if isinstance(symbol, External):
            class_id = self._drivers.class_names.get(symbol.name)
            return Instance(class_id) if class_id is not None else Instance(symbol)
        return Instance(symbol)
