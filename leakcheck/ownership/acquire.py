"""Which calls take a resource, and how it comes out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.calls import CallKind
from leakcheck.driver import ClassKind, DriverClass, Drivers, Operation, Protocol, gives_what_it_names
from leakcheck.ownership.binding import engine_place, made_on_connection, takes_from
from leakcheck.ownership.conditional import Condition, condition_of
from leakcheck.ownership.correlated import for_caller
from leakcheck.ownership.evidence import IMPORTED, evidence
from leakcheck.ownership.pools import as_called, is_same, pool_place
from leakcheck.ownership.queues import Queues
from leakcheck.ownership.settled import is_of_known, is_settled, is_unseen
from leakcheck.project.facts import ENTERING, is_static
from leakcheck.project.names import Class, External, Function, Instance, Method, Scope, narrowed
from leakcheck.project.owning import CONNECTION, is_owned, opens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakcheck.calls import CallEffect
    from leakcheck.cfg import graph as g
    from leakcheck.diagnostic import Step
    from leakcheck.ownership.correlated import Asked
    from leakcheck.ownership.pools import Place
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.state import Fact
    from leakcheck.ownership.summary import Owned
    from leakcheck.project.names import Symbol, Symbols


class Acquisition(Struct, frozen=True):
    """A call that takes a resource; ``position``, ``companions`` and what is said of other parts as in ``Owned``.

    ``pool`` is the text of what it was taken from, for messages, ``place`` where that lives; ``steps`` come from the
    callee; not ``certain``: by names alone; ``claimed``: only since the function gives it back somewhere;
    ``takes_receiver``: a method that opens its own object; ``unopened``: an object that has yet to be opened;
    ``advances``: it advances a generator that holds it; ``condition``: on the call's arguments; ``optional``: or it
    gives None; ``asked``: holds where it takes; ``beside``: what else the same call takes, elsewhere or instead.
    """

    resource: DriverClass
    protocol: Protocol
    pool: str | None
    place: Place | None = None
    position: str | int | None = None
    steps: tuple[Step, ...] = ()
    companions: tuple[str | int | None, ...] = ()
    certain: bool = True
    claimed: bool = False
    takes_receiver: bool = False
    unopened: bool = False
    advances: bool = False
    condition: Condition | None = None
    optional: bool = False
    beside: tuple[Acquisition, ...] = ()
    certain_parts: tuple[str | int | None, ...] = ()
    known_parts: tuple[tuple[str | int | None, Fact], ...] = ()
    asked: Asked = ()

    def is_from(self, pool: str | None, place: Place | None) -> bool:
        """Whether it is taken from the pool that is called so in the same function, or lives there."""
        return is_same((self.pool, self.place), (pool, place))

    def by(self, protocol: Protocol) -> Acquisition:
        """The same, and what it takes beside it, taken in another way."""
        return replace(self, protocol=protocol, beside=tuple(each.by(protocol) for each in self.beside))


_ADVANCING = {"next": False, "anext": True, "__next__": False, "__anext__": True}
"""Calls that advance a generator, and whether they must be awaited."""


class Acquisitions:
    """Finds acquisitions; the program answers for project functions and classes."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._drivers: Drivers = program.drivers
        self._possible: dict[tuple[object, ...], bool] = {}
        self._claimed: dict[tuple[object, ...], bool] = {}
        self.queues = Queues(program)
        """What takes a connection from a queue that the project fills."""

    def possible(self, func: ex.Expression, scope: Scope) -> bool:
        """Whether some call of ``func`` takes something, whatever its arguments are and whoever awaits it.

        It asks for less than ``at`` and is asked first: hardly any call takes something.
        """
        near = narrowed(func, scope)
        key = (func, near.module.path, near.functions[-1].qualname if near.functions else "", near.owner)
        known = self._possible.get(key)
        if known is None:
            known = self._possible[key] = self._is_possible(func, near)
        return known or self.queues.taken(func, scope) is not None or self._is_claimed(func, scope)

    def _is_possible(self, func: ex.Expression, scope: Scope) -> bool:
        if ex.last_name(func) in ENTERING.union(_ADVANCING):
            return True
        symbols = self._program.resolver.resolve(func, scope)
        effect = self._effect(func, symbols)
        if (effect is not None and effect.waits) or any(self._symbol_takes(symbol) for symbol in symbols):
            return True
        if is_settled(symbols, self._drivers):
            return False
        if self._named(func) is not None or any(self._factories(func, scope)):
            return True
        if not isinstance(func, ex.Attribute) or not any(evidence(self._program, func, scope)):
            return False
        return not is_of_known(self._program, func, scope)

    def is_unknown(self, func: ex.Attribute, scope: Scope) -> bool:
        """Whether nothing is known of what this method is called on, and its name is no evidence either."""
        if self.possible(func, scope) or is_settled(self._program.resolver.resolve(func, scope), self._drivers):
            return False
        return not is_of_known(self._program, func, scope)

    def _symbol_takes(self, symbol: Symbol) -> bool:
        match symbol:
            case External(name=name):
                operation = self._drivers.calls.get(name)
                return operation is not None and operation.acquires is not None
            case Method(operation=operation):
                return operation.acquires_receiver or operation.acquires is not None
            case Instance(of=str() as class_id):
                operation = self._drivers.classes[class_id].methods.get("__call__")
                return operation is not None and operation.acquires is not None
            case Function():
                facts, _ = self._program.resolver.function(symbol)
                lends = facts is not None and facts.is_async and facts.is_generator
                return lends or self._program.hands_out(symbol) or self._program.is_undecided(symbol)
            case Class():
                if self._program.construction(symbol) is not None or self._derived_connection(symbol) is not None:
                    return True
                return self._program.is_undecided(symbol)
            case _:
                return False

    def at(self, call: ex.Call, scope: Scope, *, awaited: Callable[[], bool]) -> Acquisition | None:
        """What the call takes, None if nothing. ``awaited``: its result is awaited or entered by ``async with``."""
        advanced = _advanced(call)
        if advanced is not None:
            return self._by_generator(call, advanced, scope)
        symbols = self._program.resolver.resolve(call.func, scope)
        run = self._run_elsewhere(call, symbols)
        if run is not None:
            found = self.at(run, scope, awaited=lambda: False)
            return None if found is None or found.protocol is not Protocol.VALUE else found.by(Protocol.COROUTINE)
        for symbol in symbols:
            found = self._by_symbol(symbol, call, scope)
            if found is not None:
                return found
        queued = self.queues.taken(call.func, scope, awaited=awaited())
        if queued is not None:
            protocol = Protocol.COROUTINE if awaited() else Protocol.VALUE
            return self._from(Acquisition(queued, protocol, None), call, scope)
        if is_settled(symbols, self._drivers):
            return self._by_claim(call, scope, awaited)
        by_name = self._by_name(call, scope, awaited)
        if by_name is not None:
            return by_name
        if isinstance(call.func, ex.Attribute) and not is_of_known(self._program, call.func, scope):
            by_evidence = self._by_evidence(call, call.func, scope, awaited)
            if by_evidence is not None:
                return by_evidence
        return self._by_claim(call, scope, awaited)

    def innermost(self, call: ex.Call, scope: Scope) -> ex.Call:
        """The call whose result a call passes on: ``connect(dsn)`` of ``wait_for(connect(dsn), 3)``, or itself."""
        effect = self._effect(call.func, self._program.resolver.resolve(call.func, scope))
        if effect is None or effect.kind is not CallKind.PASSES or effect.argument >= len(call.args):
            return call
        made = call.args[effect.argument]
        return self.innermost(made, scope) if isinstance(made, ex.Call) else call

    def _is_claimed(self, func: ex.Expression, scope: Scope) -> bool:
        """Whether the function treats what comes of a callee of which nothing is known as its own connection."""
        if not scope.functions or not opens(self._program, func):
            return False
        key = (func, scope.module.path, scope.functions[-1].qualname)
        known = self._claimed.get(key)
        if known is None:
            own = is_owned(self._program, func, scope.functions[-1])
            known = self._claimed[key] = own and is_unseen(self._program, func, scope)
        return known

    def _by_claim(self, call: ex.Call, scope: Scope, awaited: Callable[[], bool]) -> Acquisition | None:
        if not self._is_claimed(call.func, scope):
            return None
        protocol = Protocol.COROUTINE if awaited() else Protocol.VALUE
        return Acquisition(self._drivers.classes[CONNECTION], protocol, None, certain=False, claimed=True)

    def _named(self, func: ex.Expression) -> Operation | None:
        """The operation of a driver that is reached in a way that resolution cannot follow."""
        operation = self._drivers.calls.get(ex.dotted(func) or "")
        return operation if operation is not None and "." in operation.name else None

    def _factories(self, func: ex.Expression, scope: Scope) -> Iterator[tuple[DriverClass, Operation]]:
        """Session factories that a callee may be that is named like one, in a file that knows their package."""
        name = ex.last_name(func.func if isinstance(func, ex.Call) else func) or ""  # `get_sessionmaker()()` makes one
        if gives_what_it_names(name) is not isinstance(func, ex.Call):
            return
        for known in self._program.factories_named(name):
            if not scope.module.packages.isdisjoint(self._drivers.packages_of(known.id)):
                yield known, known.methods["__call__"]

    def _by_name(self, call: ex.Call, scope: Scope, awaited: Callable[[], bool]) -> Acquisition | None:
        named = self._named(call.func)
        if named is not None:
            return self._by_operation(named)
        in_coroutine = bool(scope.functions) and scope.functions[-1].is_async
        for known, made in self._factories(call.func, scope):
            if made.most_arguments is not None and len(call.args) > made.most_arguments:
                continue
            is_async = any(o.awaited for o in self._drivers.classes[made.acquires or ""].methods.values())
            if is_async is not in_coroutine:
                continue
            # An async function may use either: only what stands around the call, or an import, tells.
            if not is_async or awaited() or _imports_module_of(known, scope):
                return self._made(made, call, scope, call.func)
        return None

    def _run_elsewhere(self, call: ex.Call, symbols: Symbols) -> ex.Call | None:
        """The call that another thread makes for this one, whose result is awaited: ``to_thread(connect, dsn)``."""
        effect = self._effect(call.func, symbols)
        if effect is None or not effect.waits or len(call.args) <= effect.argument:
            return None
        function, rest = call.args[effect.argument], call.args[effect.argument + 1 :]
        if isinstance(function, ex.Call):  # `functools.partial(connect, dsn)`
            return ex.Call(function.args[0], function.args[1:], function.keywords) if function.args else None
        return ex.Call(function, rest, call.keywords)

    def _effect(self, func: ex.Expression, symbols: Symbols) -> CallEffect | None:
        """What is known of a call of Python's own library."""
        names = [s.name for s in symbols if isinstance(s, External)]
        effects = (self._program.calls.effect(n) for n in (*names, *([] if symbols else [_spelling(func)])))
        return next((e for e in effects if e is not None), None)

    def _by_generator(self, call: ex.Call, generator: ex.Expression, scope: Scope) -> Acquisition | None:
        """What a generator function of the project holds that is advanced by hand."""
        if isinstance(generator, ex.Name):
            generator = self._program.only_assignment(generator.id, scope) or generator
        if not isinstance(generator, ex.Call):
            return None
        protocol = Protocol.COROUTINE if _ADVANCING[ex.last_name(call.func) or ""] else Protocol.VALUE
        for symbol in self._program.resolver.resolve(generator.func, scope):
            summary = self._program.summary(symbol) if isinstance(symbol, Function) else None
            if summary is not None and summary.yields and not summary.manages:
                owned = summary.yields[0]
                resource = self._program.functions.owners.resource(owned.resource)
                return Acquisition(
                    resource, protocol, owned.pool, owned.place, owned.position, owned.steps, advances=True
                )
        return None

    def injected(self, dependency: ex.Expression, scope: Scope) -> Acquisition | None:
        """What a framework passes on that calls this function for a handler: what it returns, the handler owns."""
        found = self.at(ex.Call(dependency), scope, awaited=lambda: True)
        return None if found is None else found.by(Protocol.VALUE)

    def _by_symbol(self, symbol: Symbol, call: ex.Call, scope: Scope) -> Acquisition | None:
        match symbol:
            case External(name=name):
                operation = self._drivers.calls.get(name)
                if operation is None or not takes_from(self._program, operation, call, scope):
                    return None
                return self._made(operation, call, scope)
            case Method(of=class_id, operation=operation) if operation.acquires_receiver:
                resource = self._drivers.classes[class_id]
                return Acquisition(resource, operation.protocol, None, takes_receiver=True)
            case Method(of=of, operation=operation):
                if isinstance(call.func, ex.Attribute) and self._drivers.classes[of].kind is ClassKind.FACTORY:
                    found = self._made(operation, call, scope, call.func.base)
                    return found if found is None else replace(found, pool=ex.dotted(call.func.base))
                found = self._by_operation(operation)
                return found if found is None else self._from(found, call, scope)
            case Instance(of=str() as class_id):
                operation = self._drivers.classes[class_id].methods.get("__call__")
                if operation is None or made_on_connection(self._program, operation, call, scope):
                    return None
                return self._made(operation, call, scope, call.func)
            case Function():
                summary = self._program.summary(symbol) if self._program.hands_out(symbol) else None
                if summary is None or summary.manages or not summary.returns:
                    return None
                first, *rest = (self.handed_over(symbol, call, owned, scope) for owned in summary.handed_out)
                return replace(first, beside=tuple(rest))
            case Class():
                return self._program.construction(symbol) or self._derived_connection(symbol)
            case _:
                return None

    def handed_over(self, function: Function, call: ex.Call, owned: Owned, scope: Scope) -> Acquisition:
        """What a call of a project function takes that returns this."""
        facts, _ = self._program.resolver.function(function)
        protocol = Protocol.COROUTINE if facts is not None and facts.is_async else Protocol.VALUE
        bound = function.bound and facts is not None and not is_static(facts)
        pool, place = as_called(self._program, (owned.pool, owned.place), function, call, scope)
        return Acquisition(
            self._program.functions.owners.resource(owned.resource),
            protocol,
            pool,
            place,
            owned.position,
            owned.steps,
            owned.companions,
            condition=condition_of(facts, owned.unless, bound=bound) if facts is not None else None,
            optional=owned.optional,
            certain_parts=owned.certain,
            known_parts=owned.known,
            asked=for_caller(self._program, owned.asked, function, call, scope) if owned.asked else (),
        )

    def _derived_connection(self, symbol: Class) -> Acquisition | None:
        """A project class that derives from a driver's connection is one."""
        for base in self._program.resolver.hierarchy.external_bases(symbol):
            operation = self._drivers.calls.get(base)
            if operation is not None and operation.acquires is not None and base in self._drivers.class_names:
                return self._by_operation(operation)
        return None

    def _by_operation(self, operation: Operation) -> Acquisition | None:
        if operation.acquires is None:
            return None
        return Acquisition(self._drivers.classes[operation.acquires], operation.protocol, None)

    def _made(
        self, operation: Operation, call: ex.Call, scope: Scope, factory: ex.Expression | None = None
    ) -> Acquisition | None:
        """What a constructor, or a factory, takes or makes; of a session with where the engine lives of either."""
        found = self._by_operation(operation)
        if found is None or not found.resource.is_lazy:
            return found
        return replace(found, place=engine_place(self._program, found.resource, call, scope, factory))

    def _from(self, found: Acquisition, call: ex.Call, scope: Scope) -> Acquisition:
        """What a method takes, with the pool that it is called on."""
        if not isinstance(call.func, ex.Attribute):
            return found
        pool = call.func.base
        return replace(found, pool=ex.dotted(pool), place=pool_place(self._program, scope, pool))

    def _by_evidence(
        self, call: ex.Call, func: ex.Attribute, scope: Scope, awaited: Callable[[], bool]
    ) -> Acquisition | None:
        """An unresolved receiver: the likeliest of what its method and its name may be."""
        in_coroutine = bool(scope.functions) and scope.functions[-1].is_async
        best: tuple[int, Operation] | None = None
        for rank, operation in evidence(self._program, func, scope):
            if operation.protocol.is_async is not awaited():
                continue
            if operation.most_arguments is not None and len(call.args) > operation.most_arguments:
                continue
            if in_coroutine and not awaited() and not operation.distinctive:
                continue  # an async pool's call that nobody awaits takes nothing
            if best is None or rank > best[0]:
                best = (rank, operation)
        if best is None:
            return None
        rank, operation = best
        resource = self._drivers.classes[operation.acquires or ""]
        certain = not operation.bound or (rank >= IMPORTED and not operation.protocol.is_async)
        return self._from(Acquisition(resource, operation.protocol, None, certain=certain), call, scope)


def _imports_module_of(known: DriverClass, scope: Scope) -> bool:
    """Whether the file imports something from the module that defines a driver's class."""
    modules = {name.rpartition(".")[0] for name in known.names}
    targets = (t for facts in (*(f.scope for f in scope.functions), scope.module.scope) for t in facts.imports.items())
    return any(target.rpartition(".")[0] in modules for _, found in targets for target in found)


def _spelling(func: ex.Expression) -> str:
    """The name by which a call's effect is looked up where nothing is known of its receiver."""
    return ex.dotted(func) or f"_.{ex.last_name(func)}"


def _advanced(call: ex.Call) -> ex.Expression | None:
    """The generator that a call advances by hand."""
    match call.func:
        case ex.Name(id="next" | "anext"):
            return call.args[0] if call.args else None
        case ex.Attribute(base=base, name="__next__" | "__anext__"):
            return base
        case _:
            return None


def advanced_operand(call: g.Call) -> str:
    """The operand that holds the generator that a call advances."""
    return call.receiver or call.arguments[0].operand
