"""What the calls of one function do: the questions the transfer function asks about callees.

Answers come from the drivers' files, from what is known of Python's own library, and from summaries of
project functions. An unresolved callee borrows, unless its name says that it releases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import reduce
from leakcheck.driver import ClassKind, Operation, UseAfterRelease
from leakcheck.ownership.arguments import Start, is_released, place_of, told
from leakcheck.ownership.assigned import flags_beside, is_only_of_drivers
from leakcheck.ownership.connecting import connects
from leakcheck.ownership.pools import scope_of
from leakcheck.ownership.quiet import QuietCalls
from leakcheck.ownership.second_checkouts import second_checkout
from leakcheck.ownership.state import ALIASES, Box, Closure, Deferred, Fact, Hold, Scope, Value
from leakcheck.ownership.summary import BORROWS, TAKES, Effect
from leakcheck.project.facts import gives_itself, is_static
from leakcheck.project.names import Class, External, Function, Instance, Method, qualified

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.calls import CallEffect
    from leakcheck.diagnostic import Step
    from leakcheck.driver import DriverClass
    from leakcheck.ownership.given import Given
    from leakcheck.ownership.pools import Place
    from leakcheck.ownership.raising import Known, Ways
    from leakcheck.ownership.state import State

_STACKS = frozenset({"ExitStack", "AsyncExitStack"})
_TRUE = frozenset({
    "id", "object", "time.time", "time.monotonic", "time.perf_counter", "datetime.now", "datetime.datetime.now",
    "uuid.uuid4", "uuid4",
})  # fmt: skip
"""Functions that never give what is false."""
_COLLECTIONS = frozenset({"asyncio", "collections", "multiprocessing", "queue"})
"""Modules of Python's own library with collections, which keep what they are given."""


class Callees(QuietCalls):
    """Answers about the calls in one unit."""

    @property
    def given(self) -> Given:
        """What project functions do with what they are given."""
        return self._program.functions.given

    def is_parameter(self, name: str) -> bool:
        """Whether the function is given it."""
        facts = self._unit.facts
        return facts is not None and any(p.name == name for p in facts.parameters)

    @property
    def statements(self) -> frozenset[str]:
        """Names of methods that run a statement."""
        return self._program.vocabulary.executing

    def ways_given(self, call: g.Call, known: Known) -> Ways | None:
        """How a call of one project function may end that is given None or flags; ``known``: what variables hold."""
        match self.symbols(call) if call.arguments else ():
            case (Function() as function,) if self.is_awaited(call) or not self.is_coroutine(call):
                return self._program.functions.raising.given(function, call, known)
        return None

    def given_by(self, call: g.Call) -> Fact | Box | None:
        """What is known of the result of a call that takes something: it is never None, nor are the parts taken."""
        found = self._program.acquisition(self._unit, call)
        if found is None:
            return Fact.TRUE if self.makes_an_object(call) else None
        if found.optional:
            return None
        return Fact.TRUE if found.position is None else Box(tuple((key, Fact.TRUE) for key in found.certain_parts))

    def gives_true(self, call: g.Call) -> bool:
        """Whether a call gives an identity, a time, or something else that is never false."""
        return qualified(call.func, self._unit.scope) in _TRUE and not self.is_resolved(call)

    def takes_or_not(self, call: g.Call) -> bool:
        """Whether the call is an acquire that may give None instead."""
        return (found := self._program.acquisition(self._unit, call)) is not None and found.optional

    def is_awaited(self, call: g.Call) -> bool:
        """Whether the call's coroutine is awaited on the spot, or handed to something that may run it."""
        return id(call.node) in self._used.run

    def is_left_to_a_task(self, call: g.Call) -> bool:
        """Whether the call only makes a coroutine, which goes on when the function has left the statement behind."""
        return self.is_coroutine(call) and id(call.node) not in self._used.awaited - self._used.spawned

    def is_entered_or_awaited(self, call: g.Call) -> bool:
        """Whether the call's result is awaited, through any wrapper, or entered by ``async with``."""
        return id(call.node) in self._used.awaited

    # Releases

    def release_of(
        self, call: g.Call, argument: g.Argument, resource: DriverClass, pool: str | None
    ) -> Operation | None:
        """The operation by which this call gives its argument back, if it does."""
        for symbol in self.symbols(call):
            if isinstance(symbol, Method):
                operation = symbol.operation
                if not is_released(operation, call, argument):
                    return None
                return self._to_another_pool(call, pool) or operation
        if self._program.acquisitions.queues.takes_back(call.func, resource, self._unit.scope):
            return Operation(call.method or "", releases=0)
        lacking = self._lacking_method(call, argument)
        if lacking is not None:
            return lacking
        if self.is_resolved(call) and any(isinstance(s, (Function, Class)) for s in self.symbols(call)):
            return None
        name = call.method or ex.last_name(call.func)
        if name is None or name[:1].isupper() or self._is_collection(call):
            return None  # a constructor takes or borrows, whatever its name says, and a queue keeps it
        own_driver = resource.id.partition(".")[0]
        candidates = sorted(
            self._program.drivers.methods_named(name),
            key=lambda c: (c[0].partition(".")[0] != own_driver, c[1].awaited is not self._unit.is_async),
        )
        for class_id, operation in candidates:
            if call.method is not None and is_released(operation, call, argument):
                same = class_id.partition(".")[0] == own_driver
                return operation if same else Operation(name, releases=operation.releases)
        if not self.is_resolved(call) and self._program.calls.says_release(ex.dotted(call.func) or name):
            return Operation(name, releases=0)
        return None

    def _is_collection(self, call: g.Call) -> bool:
        """Whether it is a method of a queue, or of another collection of Python's own library."""
        if not isinstance(call.func, ex.Attribute):
            return False
        owners = self._program.resolver.resolve(call.func.base, self._unit.scope)
        classes = (o.of.name for o in owners if isinstance(o, Instance) and isinstance(o.of, External))
        return any(name.partition(".")[0] in _COLLECTIONS for name in classes)

    def registers_release(self, call: g.Call) -> bool:
        """Whether it is given a method that gives back beside the resource: ``register(pool.putconn, conn)``."""
        node = call.node
        if not isinstance(node, cst.Call) or len(call.arguments) == 1:
            return False
        methods = (given.attr.value for given in (a.value for a in node.args) if isinstance(given, cst.Attribute))
        return any(isinstance(o.releases, int) for m in methods for _, o in self._program.drivers.methods_named(m))

    def _to_another_pool(self, call: g.Call, pool: str | None) -> Operation | None:
        """A near miss: the receiver is certainly another pool than the one it came from."""
        if pool is None or not isinstance(call.func, ex.Attribute):
            return None
        receiver = ex.dotted(call.func.base)
        if receiver is None or receiver == pool:
            return None
        builds = [self._program.only_assignment(p, self._unit.scope) for p in (receiver, pool)]
        if all(isinstance(b, ex.Call) for b in builds):
            return Operation("", near_miss=f"it came from `{pool}`: `{receiver}` does not know it")
        return None

    def _lacking_method(self, call: g.Call, argument: g.Argument) -> Operation | None:
        """A near miss: a method named like a release that the pool's class does not have."""
        if self.symbols(call) or not isinstance(call.func, ex.Attribute) or argument.keyword is not None:
            return None
        name = call.func.name
        if name not in self._program.release_names:
            return None
        resolver, scope = self._program.resolver, self._unit.scope
        certain = is_only_of_drivers(call.func.base, resolver, scope)
        for owner in resolver.resolve(call.func.base, scope) if certain else ():
            if isinstance(owner, Instance) and isinstance(owner.of, str):
                known = self._program.drivers.classes[owner.of]
                releases = [n for n, o in known.methods.items() if isinstance(o.releases, int)]
                if known.kind is ClassKind.POOL and releases and name not in known.methods:
                    return Operation(name, near_miss=f"the pool has no `{name}()`: it gives back by `{releases[0]}()`")
        return None

    def flags_beside(self, kept: ex.Expression) -> Iterator[ex.Expression]:
        """The flags of an object that say whether it has what an attribute keeps."""
        return flags_beside(kept, self._unit.scope)

    def says_own(self, flag: str) -> bool:
        """Whether a flag says by its name that something is its object's own."""
        return self._program.calls.says_own(flag)

    def option_set(self, keyword: str, pool: str | None, place: Place | None) -> bool:
        """Whether the pool's constructor was given ``keyword``, which turns a near miss into a release."""
        known = [] if pool is None else [(pool, self._unit.scope)]
        known += [(place[1], where)] if place is not None and (where := scope_of(self._program, place)) else []
        return any(self._program.constructor_keyword(name, keyword, where) for name, where in known if keyword)

    def is_connection(self, class_id: str) -> bool:
        """Whether instances of the class must be given back themselves."""
        return self._program.functions.owners.resource(class_id).kind is ClassKind.CONNECTION

    def derived(self, class_id: str) -> Hold | Scope | None:
        """How a value that lives by the resource is followed: not at all where it outlives the release unharmed."""
        harmless = self._program.drivers.classes[class_id].use_after_release is UseAfterRelease.HARMLESS
        return None if harmless else Hold.DERIVED

    # Python's own library

    def known_call(self, call: g.Call) -> CallEffect | None:
        """What is known of a call of Python's own library: see ``calls.toml``."""
        symbols = self.symbols(call)
        for symbol in symbols:
            if isinstance(symbol, External):
                effect = self._program.calls.effect(symbol.name)
                if effect is not None:
                    return effect
        if symbols and not any(isinstance(s, External) for s in symbols):
            return None
        text = ex.dotted(call.func) or (f"_.{call.method}" if call.method else None)
        return self._program.calls.effect(text) if text is not None else None

    def is_loose_stack(self, call: g.Call) -> bool:
        """Whether the receiver is an exit stack of this function that no ``with`` was seen to close."""
        facts = self._unit.facts
        if facts is None or not isinstance(call.func, ex.Attribute) or not isinstance(call.func.base, ex.Name):
            return False
        made = facts.scope.assignments.get(call.func.base.id, ())
        return len(made) == 1 and isinstance(made[0], ex.Call) and ex.last_name(made[0].func) in _STACKS

    def spawned_effect(self, call: g.Call, resource: DriverClass) -> Effect:
        """What a thread's or executor's target does with the resource; an unknown target takes it."""
        targets = [a for a in self._call_node(call).args if a.keyword is not None and a.keyword.value == "target"]
        expressions = [a.value for a in targets] or [a.value for a in self._call_node(call).args]
        for node in expressions:
            symbols = self._program.resolver.resolve(reduce(node), self._unit.scope)
            functions = [s for s in symbols if isinstance(s, Function)]
            if any(e.releases for f in functions for e in self.given.parameters(f, resource).values()):
                return TAKES
            if functions:
                return BORROWS
        return TAKES

    def is_partial(self, call: g.Call) -> bool:
        """Whether the call makes a ``functools.partial``."""
        return any(isinstance(s, External) and s.name == "functools.partial" for s in self.symbols(call))

    def partial_effect(self, call: g.Call, argument: g.Argument, resource: DriverClass) -> Effect:
        """What the function that a ``partial`` binds does with this argument."""
        node = self._call_node(call)
        if not node.args:
            return BORROWS
        func = reduce(node.args[0].value)
        method = func.name if isinstance(func, ex.Attribute) else None
        rest = g.Call(call.node, call.target, func, None, method, None, call.arguments[1:])
        for symbol in self._program.resolver.resolve(func, self._unit.scope):
            if isinstance(symbol, Method):
                return TAKES if is_released(symbol.operation, rest, argument) else BORROWS
            if isinstance(symbol, Function):
                return self.given.argument(symbol, place_of(rest, argument), resource)
        return TAKES if self._program.calls.says_release(ex.dotted(func) or "") else BORROWS

    @staticmethod
    def _call_node(call: g.Call) -> cst.Call:
        node = call.node
        assert isinstance(node, cst.Call)
        return node

    # Project functions

    def argument_effect(self, call: g.Call, argument: g.Argument, resource: DriverClass, state: State) -> Effect:
        """What the callee does with this argument; ``state`` tells what the arguments hold."""
        symbols, place = self.symbols(call), place_of(call, argument)
        functions = [s for s in symbols if isinstance(s, Function)]
        effects = [self.given.by_call(f, call, argument, resource, state, scope=self._unit.scope) for f in functions]
        if effects:  # of several that may be meant, as those of subclasses, what one leaves to the others is not told
            return next((e for e in effects if e.releases), effects[0])
        for symbol in symbols:
            if isinstance(symbol, Class):
                return self._program.functions.owners.constructor_effect(symbol, place, resource)
        name = call.method or ex.last_name(call.func) or ""
        of_driver = any(isinstance(s, (Method, Instance)) and isinstance(s.of, str) for s in symbols)
        builds = name[:1].isupper() and not name.isupper() and not of_driver
        return TAKES if builds or name in ("__init__", "setattr") else BORROWS

    def attribute_effect(self, call: g.Call, attribute: str, resource: DriverClass, state: State) -> Effect:
        """What a method called on self does with a resource that self keeps in ``attribute``."""
        for symbol in self.symbols(call):
            if isinstance(symbol, Function):
                return self.given.attribute_by_call(symbol, call, attribute, resource, state)
        return BORROWS

    def boxed_field(self, call: g.Call, argument: g.Argument, resource: DriverClass) -> str | None:
        """The key of the attribute in which a project object that this call constructs keeps the argument."""
        owners = self._program.functions.owners
        for symbol in self.symbols(call):
            if isinstance(symbol, Class):
                name = owners.kept_in(symbol, place_of(call, argument), resource)
                return owners.key_of(symbol, name) if name is not None else None
        return None

    def has_keywords(self, name: str) -> bool:
        """Whether the name is that of the keyword arguments which this function is given: ``**kwargs``."""
        facts = self._unit.facts
        return facts is not None and any(p.kind == "**" and p.name == name for p in facts.parameters)

    def gives_receiver(self, call: g.Call) -> bool:
        """Whether the method of the project that is called gives the object that it is called on."""
        functions = (self._program.resolver.function(s)[0] for s in self.symbols(call) if isinstance(s, Function))
        return any(facts is not None and gives_itself(facts) and not is_static(facts) for facts in functions)

    def is_coroutine(self, call: g.Call) -> bool:
        """Whether calling it only makes a coroutine of the project."""
        return any(isinstance(s, Function) and self._program.is_coroutine(s) for s in self.symbols(call))

    def is_manager(self, call: g.Call) -> bool:
        """Whether the callee is a ``@contextmanager`` function of the project."""
        return any(isinstance(s, Function) and self._program.is_manager(s) for s in self.symbols(call))

    def closure_effect(self, define: g.Define, resource: DriverClass, state: State) -> Effect:
        """What calling a nested function does to the resource, which it reads from the variables around it."""
        held = [n for n, v in state.variables if n in define.captured and _holds(v)]
        if not held:
            return BORROWS
        start = Start(known=told(state, define.captured - {held[0]}))
        return self.given.closure(self._unit, define.node, held[0], resource, start)

    def captured_effect(self, call: g.Call, resource: DriverClass, state: State) -> Effect | None:
        """The effect of calling, or handing on, a nested function by its name."""
        operands = [call.callee, *(a.operand for a in call.arguments)]
        for operand in operands:
            value = state.get(operand) if operand is not None else None
            if isinstance(value, Closure):
                effect = self.closure_effect(value.define, resource, state)
                if operand == call.callee:
                    return effect
                if effect.releases:
                    return TAKES
        return None

    def checks_out_from(
        self, call: g.Call, pool: str | None, place: Place | None, resource: DriverClass
    ) -> tuple[Step, ...] | None:
        """Where this call takes a second one from the pool that is called so here, or lives there; None if it does not.

        No steps: the call itself takes it.
        """
        if id(call.node) in self._used.spawned:
            return None  # a task of its own, for which nobody waits here
        entered = id(call.node) in self._used.entered
        return second_checkout(self._program, self._unit, call, (pool, place), resource, entered=entered)

    def connects(self, call: g.Call, session: DriverClass, state: State) -> bool | None:
        """Whether a session has its connection after a call, None where the call changes nothing."""
        return connects(self._program, call, self.symbols(call), session, state)

    def makes(self, pool: str | None) -> bool:
        """Whether the function makes the pool, or the object with it, that is called so: by a constructor."""
        facts = self._unit.facts
        made = facts.scope.assignments.get(pool.partition(".")[0], []) if facts is not None and pool else []
        values = [value.value if isinstance(value, ex.Await) else value for value in made]
        return bool(made) and all(isinstance(value, ex.Call) and self._constructs(value.func) for value in values)

    def _constructs(self, func: ex.Expression) -> bool:
        """Whether a call of it makes a new object each time: by its name, where nothing else is known of it."""
        symbols = self._program.resolver.resolve(func, self._unit.scope)
        for symbol in symbols:
            if isinstance(symbol, Class):
                module = self._program.facts(symbol.path)
                return module is not None and "__new__" not in module.classes[symbol.qualname].methods
            if isinstance(symbol, External):
                operation = self._program.drivers.calls.get(symbol.name)
                made = self._program.drivers.classes.get(operation.returns or "") if operation is not None else None
                if symbol.name in self._program.drivers.class_names or (made and made.kind is ClassKind.POOL):
                    return True
        return not symbols and (ex.last_name(func) or "")[:1].isupper()

    def closes_pool(self, call: g.Call, pool: str | None) -> bool:
        """Whether the call closes the pool that the resource came from, and with it all it handed out."""
        if pool is None or not isinstance(call.func, ex.Attribute) or ex.dotted(call.func.base) != pool:
            return False
        methods = [s.operation for s in self.symbols(call) if isinstance(s, Method)]
        return any(o.closes for o in methods or (o for _, o in self._program.drivers.methods_named(call.func.name)))


def _holds(value: Value) -> bool:
    return value in ALIASES or isinstance(value, (Box, Deferred))
