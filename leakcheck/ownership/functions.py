"""Function by function: graphs, acquires, explorations, summaries. The first stage that uses LibCST.

``Functions`` answers the program's questions about single functions and keeps what it learns:
which leaks a function has, what it hands to its callers, what it does with a parameter or an attribute.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.calls import CallKind
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError, build_cfg
from leakcheck.cfg.walk import reduce, walk
from leakcheck.driver import ClassKind, DriverClass, Operation, Protocol, UseAfterRelease, WithEffect
from leakcheck.ownership.acquire import Acquisition, Acquisitions
from leakcheck.ownership.callees import Callees
from leakcheck.ownership.constants import Constants
from leakcheck.ownership.effects import Effects
from leakcheck.ownership.explore import BoundReachedError, Exploration, Explorer, seeds
from leakcheck.ownership.leak import LeakKind
from leakcheck.ownership.program import DEPTH_LIMIT, MANAGING, Failure, FileAnalysis, Skip
from leakcheck.ownership.report import Found, owned_by, reported, stored_leak
from leakcheck.ownership.state import Box, Hold, State, Status
from leakcheck.ownership.summary import BORROWS, Effect, End, FunctionSummary
from leakcheck.ownership.unit import Slice, Unit
from leakcheck.project.facts import FunctionFacts, ModuleFacts, Statement, is_self
from leakcheck.project.names import Class, Function, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from leakcheck.calls import CallEffect
    from leakcheck.ownership.leak import Leak
    from leakcheck.ownership.program import Program
    from leakcheck.project.names import Symbols

_RECORDS = frozenset({"dataclass", "NamedTuple", "define", "frozen", "attrs", "BaseModel"})
_ROUNDS = 6
"""Rounds of a recursive function's effect before it is taken to borrow."""
_UNKNOWN_YET = Effect(frozenset(), frozenset())
"""What a recursive call does in the first round: nothing returns from it yet."""


class Functions:
    """Analyses single functions; everything is computed once, when first asked for."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._acquisitions = Acquisitions(program)
        self._units: dict[tuple[str, str], Unit | None] = {}
        self._effects: dict[tuple[object, ...], Effect] = {}
        self._building: set[int] = set()
        self._raising: dict[tuple[str, str], bool] = {}
        self._active: set[tuple[object, ...]] = set()
        self._cyclic: set[tuple[object, ...]] = set()
        self._resources: dict[str, DriverClass] = {}
        self._keepers: dict[tuple[Class, str], bool] = {}

    # Units

    def analyse(self, module: ModuleFacts, wanted: Sequence[FunctionFacts | Statement]) -> FileAnalysis:
        """The leaks of the wanted functions and statements of one file."""
        leaks: list[Leak] = []
        skipped: list[Skip] = []
        for item in wanted:
            unit = self.unit(module, item)
            if unit is None:
                skipped.append(Skip(None, f"{_name_of(item)}: nested too deeply, or not parsed"))
                continue
            found, skips = self.found(unit)
            skipped.extend(skips)
            main = isinstance(item, FunctionFacts) and item.parent is None and item.name in module.main_calls
            for each in found:
                kept = list(self._stored(each, item))
                others = reported(each, in_main=main, module_level=isinstance(item, Statement))
                leaks += kept
                leaks += [leak for leak in others if not kept or leak.kind is not LeakKind.ON_EXCEPTION]
        unique = {(leak.kind, leak.span): leak for leak in leaks}
        return FileAnalysis(leaks=tuple(unique.values()), skipped=tuple(skipped))

    def unit(self, module: ModuleFacts, item: FunctionFacts | Statement) -> Unit | None:
        """The unit of a function (found in the slice of its outermost function) or module-level statement."""
        key = (module.path, _name_of(item))
        if key not in self._units:
            self._units[key] = None
            self._make_units(module, item)
        return self._units[key]

    def _make_units(self, module: ModuleFacts, item: FunctionFacts | Statement) -> None:
        outer = item
        while isinstance(outer, FunctionFacts) and outer.parent is not None:
            outer = module.functions[outer.parent]
        if outer.depth > DEPTH_LIMIT:
            return
        part = self._slice(module, outer.first_row, outer.last_row)
        if part is None:
            return
        body: Sequence[cst.BaseStatement] = part.module.body
        if part.row_offset < outer.first_row - 1:
            block = body[0]
            body = block.body.body if isinstance(block, cst.If) else body  # type: ignore[assignment]  # indented slice
        if isinstance(outer, Statement):
            unit = Unit(part, part.module, _name_of(outer), Scope(module), None, is_async=False)
            self._units[module.path, _name_of(outer)] = unit
            return
        node = next((s for s in body if isinstance(s, cst.FunctionDef)), None)
        if node is not None:
            self._register(module, part, node, outer, None)

    def _register(
        self, module: ModuleFacts, part: Slice, node: cst.FunctionDef, facts: FunctionFacts, parent: Unit | None
    ) -> None:
        unit = Unit(part, node, facts.qualname, Scope.of(module, facts), facts, facts.is_async, parent)
        self._units[module.path, facts.qualname] = unit
        source = self._program.source(module.path)
        if facts.is_async and facts.is_generator and not isinstance(source, Failure):
            closed = re.compile(rf"\baclosing\(\s*(?:\w+\.)*{re.escape(facts.name)}\(")
            unit.consumed_by_aclosing = closed.search(source.text) is not None
        counts: dict[str, int] = {}
        for inner in _directly_nested(node.body):
            name = inner.name.value
            counts[name] = counts.get(name, 0) + 1
            suffix = "" if counts[name] == 1 else f"@{counts[name]}"
            found = module.functions.get(f"{facts.qualname}.{name}{suffix}")
            if found is not None and found.parent == facts.qualname:
                self._register(module, part, inner, found, unit)

    def _slice(self, module: ModuleFacts, first: int, last: int) -> Slice | None:
        source = self._program.source(module.path)
        if isinstance(source, Failure):
            return None
        text = source.rows(first, last)
        text = text.replace("\f", "")  # a form feed only resets the indentation
        indented = text[:1] in (" ", "\t")
        try:
            tree = cst.parse_module("if 1:\n" + text if indented else text)
        except Exception:  # noqa: BLE001 - LibCST raises several unrelated types; the function is skipped and said to be
            return None
        return Slice(module.path, tree, first - 1 - int(indented))

    def graph(self, unit: Unit) -> g.ControlFlowGraph:
        """The unit's graph and the constants in it. Raises TooLargeError."""
        if unit.graph is None:
            if id(unit) in self._building:
                raise TooLargeError  # asked for itself while it is made: a class that its own method constructs
            self._building.add(id(unit))
            body = getattr(unit.node, "body")  # noqa: B009 - three node types, one attribute
            graph = build_cfg(
                body,
                is_async=unit.is_async,
                swallowed_by=lambda e: self._swallowed(e, unit.scope),
                exits_by=lambda e: self._exits(e, unit.scope),
            )
            parameters = [p.name for p in unit.facts.parameters] if unit.facts else []
            unit.constants = Constants(graph, parameters, self.callees(unit).takes_value)
            unit.graph = graph
            self._building.discard(id(unit))
        return unit.graph

    def _swallowed(self, manager: ex.Expression, scope: Scope) -> tuple[str, ...]:
        if not isinstance(manager, ex.Call):
            return ()
        effect = self._known(manager.func, scope)
        if effect is None or effect.kind is not CallKind.SUPPRESSES:
            return ()
        return tuple(ex.last_name(a) or "?" for a in manager.args)

    def _exits(self, function: ex.Expression, scope: Scope) -> str | None:
        effect = self._known(function, scope)
        return (effect.raises or "SystemExit") if effect is not None and effect.kind is CallKind.EXITS else None

    def _known(self, function: ex.Expression, scope: Scope) -> CallEffect | None:
        """What is known of a call of Python's own library; only names and plain attributes are looked up."""
        text = ex.dotted(function)
        if text is None:
            return None
        found = self._program.calls.effect(text)
        root = text.partition(".")[0]
        for target in scope.module.scope.imports.get(root, ()):
            found = self._program.calls.effect(target + text[len(root) :]) or found
        return found

    def callees(self, unit: Unit) -> Callees:
        if unit.callees is None:
            unit.callees = Callees(unit, self._program)
        return unit.callees

    # Acquires

    def acquisition(self, unit: Unit, call: g.Call) -> Acquisition | None:
        """What a call in the unit takes."""
        key = id(call.node)
        if key not in unit.sites:
            reduced = reduce(call.node) if isinstance(call.node, cst.Call) else ex.Call(call.func)
            assert isinstance(reduced, ex.Call)
            awaited = self.callees(unit).is_entered_or_awaited(call)
            unit.sites[key] = self._acquisitions.at(reduced, unit.scope, awaited=awaited)
        return unit.sites[key]

    def found(self, unit: Unit) -> tuple[list[Found], list[Skip]]:
        """Every acquire of the unit with what becomes of it on all paths."""
        if unit.found is None:
            unit.found = ([], [])  # what a recursive call sees
            unit.found = self._explore_all(unit)
        return unit.found

    def _explore_all(self, unit: Unit) -> tuple[list[Found], list[Skip]]:
        try:
            graph = self.graph(unit)
        except TooLargeError:
            return [], [Skip(unit.part.span(unit.node), f"{unit.name}: too many paths through nested finally blocks")]
        found: list[Found] = []
        skips: list[Skip] = []
        seen = _expected_to_raise(unit.node)
        for block in graph.blocks:
            for instruction in block.instructions:
                if not isinstance(instruction, g.Call) or id(instruction.node) in seen:
                    continue
                acquisition = self.acquisition(unit, instruction)
                if acquisition is None or self._is_patched(unit, instruction):
                    continue
                seen.add(id(instruction.node))
                try:
                    exploration, effects = self._explore(unit, instruction, acquisition)
                except BoundReachedError:
                    skips.append(Skip(unit.part.span(instruction.node), "too many paths from this checkout"))
                    continue
                found.append(Found(unit, instruction, acquisition, exploration, effects))
        return found, skips

    def _is_patched(self, unit: Unit, call: g.Call) -> bool:
        """Whether the test around the call puts a mock in its place."""
        name = ex.last_name(call.func)
        source = self._program.source(unit.path)
        if unit.facts is None or isinstance(source, Failure):
            return False
        text = source.rows(unit.facts.first_row, unit.facts.last_row)
        if name is None or ("patch" not in text and "setattr" not in text):
            return False
        return re.search(rf"(?:patch|setattr)[\w.]*\([^)]*\b{re.escape(name)}\b", text) is not None

    def _explore(self, unit: Unit, call: g.Call, acquisition: Acquisition) -> tuple[Exploration, Effects]:
        assert unit.graph is not None
        assert unit.constants is not None
        effects = Effects(
            acquisition.resource,
            acquisition.pool,
            call.node,
            self.callees(unit),
            acquisition.position,
            acquisition.companions,
            acquisition.takes_receiver,
            unit.is_entering,
        )
        explorer = Explorer(unit.graph, unit.constants, effects)
        for block, position, instruction in seeds(unit.graph, call.node):
            facts = unit.constants.before(block, position)
            unit.constants.step(facts, instruction)
            known = {n: v for n, v in facts.items() if not (n.startswith("%") and n[1:].isdigit())}
            state = State(Status.WAITING, tuple(sorted(known.items())))
            explorer.run(block, position + 1, effects.taken(instruction, acquisition.protocol, state))
        return explorer.result, effects

    # Summaries

    def summary(self, module: ModuleFacts, facts: FunctionFacts) -> FunctionSummary | None:
        """What callers may assume of a function that takes something."""
        unit = self.unit(module, facts)
        if unit is None:
            return None
        found, _ = self.found(unit)
        manages = any(ex.last_name(d) in MANAGING for d in facts.decorators)
        returns, stores, checks_out = owned_by(found)
        if facts.is_generator or _is_cached(facts):
            returns = ()
        return FunctionSummary(returns, stores, manages, facts.is_async, checks_out)

    def parameter_effect(self, function: Function, parameter: str, resource: DriverClass) -> Effect:
        """What a project function does with one parameter."""
        key = (function.path, function.qualname, parameter, resource.id)
        if key in self._active:
            self._cyclic.add(key)
            return self._effects[key]
        if key not in self._effects:
            self._effects[key] = _UNKNOWN_YET
            unit = self._unit_of(function)
            self._active.add(key)
            for _ in range(_ROUNDS if unit is not None else 0):
                self._cyclic.discard(key)
                former, self._effects[key] = self._effects[key], self._follow(unit, parameter, resource)
                if key not in self._cyclic or self._effects[key] == former:
                    break
            else:
                self._effects[key] = BORROWS
            self._active.discard(key)
        return self._effects[key]

    def _unit_of(self, function: Function) -> Unit | None:
        module = self._program.facts(function.path)
        facts = module.functions.get(function.qualname) if module is not None else None
        return self.unit(module, facts) if module is not None and facts is not None else None

    def _follow(self, unit: Unit, variable: str, resource: DriverClass) -> Effect:
        """What a function does with a resource that ``variable`` holds when it starts."""
        try:
            graph = self.graph(unit)
            assert unit.constants is not None
            effects = Effects(resource, None, None, self.callees(unit))
            explorer = Explorer(graph, unit.constants, effects)
            facts = {n: v for n, v in unit.constants.start[graph.entry.index].items() if n != variable}
            starred = unit.facts is not None and any(p.name == variable and p.kind == "*" for p in unit.facts.parameters)
            held = Box(((None, Hold.OWN),)) if starred else Hold.OWN
            variables = tuple(sorted({**facts, variable: held}.items()))
            result = explorer.run(graph.entry, 0, State(Status.HELD, variables))
        except (TooLargeError, BoundReachedError):
            return BORROWS
        normal: set[End] = set()
        raised: set[End] = set()
        quiet: set[End] = set()
        attribute: str | None = None
        for ending in result.endings:
            state = ending.state
            into_raised = not ending.returned and ending.lost is None and _failed(explorer, ending.node)
            end = _end_of(state, ending.node.state, is_exit=ending.lost is None)
            if end is End.RELEASED and not result.releases:
                end = End.BORROWED  # it only asked whether the connection is still open
            if not state.raised:
                quiet.add(end)
            if state.moved_to is not None and end is End.STORED:
                attribute = state.moved_to
            (raised if into_raised else normal).add(end)
        if normal == {End.BORROWED} and raised <= {End.BORROWED}:
            return BORROWS
        return Effect(frozenset(normal), frozenset(raised), attribute, frozenset(quiet))

    def may_raise(self, function: Function) -> bool:
        """Whether an exception can leave a project function; a body that only does what cannot raise has none."""
        key = (function.path, function.qualname)
        if key not in self._raising:
            self._raising[key] = True
            facts, _ = self._program.resolver.function(function)
            calls = self._program.calls
            quiet = facts is not None and all(
                calls.says_release(name) or calls.is_non_raising(ex.dotted(e) or name)
                for name, expressions in facts.calls.items()
                for e in expressions
            )
            unit = self._unit_of(function) if quiet else None
            if unit is not None:
                self._raising[key] = self._reaches_failure(unit)
        return self._raising[key]

    def _reaches_failure(self, unit: Unit) -> bool:
        try:
            graph = self.graph(unit)
        except TooLargeError:
            return True
        callees = self.callees(unit)
        seen, stack = {graph.entry.index}, [graph.entry]
        while stack:
            block = stack.pop()
            last = block.instructions[-1] if block.instructions else None
            quiet = (isinstance(last, g.Call) and callees.is_quiet(last)) or (
                isinstance(last, g.Await) and callees.is_quiet_await(last)
            )
            for edge in (*block.successors, *(() if quiet else block.raises)):
                if edge.target is graph.failure:
                    return True
                if edge.target.index not in seen:
                    seen.add(edge.target.index)
                    stack.append(edge.target)
        return False

    def argument_effect(self, function: Function, place: int | str, resource: DriverClass) -> Effect:
        """What a project function does with the argument at a position or keyword."""
        module = self._program.facts(function.path)
        facts = module.functions.get(function.qualname) if module is not None else None
        if facts is None:
            return BORROWS
        name = _parameter_at(facts, place, bound=function.bound and not _is_static(facts))
        return BORROWS if name is None else self.parameter_effect(function, name, resource)

    def parameter_effects(self, function: Function, resource: DriverClass) -> dict[str, Effect]:
        """The effects on all parameters."""
        module = self._program.facts(function.path)
        facts = module.functions.get(function.qualname) if module is not None else None
        names = [p.name for p in facts.parameters] if facts is not None else []
        return {n: self.parameter_effect(function, n, resource) for n in names if n not in ("self", "cls")}

    def constructor_effect(self, cls: Class, place: int | str, resource: DriverClass) -> Effect:
        """What constructing a project class does with an argument: takes it if the class gives it back later."""
        takes = Effect(frozenset({End.TAKEN}), frozenset())
        for owner, facts, module in self._program.resolver.lineage(cls):
            if "__init__" in facts.methods:
                init = Function(owner.path, facts.methods["__init__"], bound=True)
                effect = self.argument_effect(init, place, resource)
                if End.STORED in effect.normal and effect.attribute is not None:
                    return takes if self.class_releases(cls, effect.attribute, resource) else BORROWS
                return effect
            name = self.field_at(cls, place)
            if name is not None:
                return takes if self.class_releases(cls, name, resource) else BORROWS
        return takes if self._program.resolver.has_unknown_base(cls) else BORROWS

    def attribute_effect(self, function: Function, attribute: str, resource: DriverClass) -> Effect:
        """What a method does with a resource that its object keeps in an attribute."""
        facts, _ = self._program.resolver.function(function)
        if facts is None or not facts.parameters:
            return BORROWS
        return self.parameter_effect(function, f"{facts.parameters[0].name}.{attribute}", resource)

    def kept_in(self, cls: Class, place: int | str, resource: DriverClass) -> str | None:
        """The attribute in which constructing a project class keeps an argument."""
        for owner, facts, _ in self._program.resolver.lineage(cls):
            if "__init__" in facts.methods:
                init = Function(owner.path, facts.methods["__init__"], bound=True)
                effect = self.argument_effect(init, place, resource)
                return effect.attribute if End.STORED in effect.normal else None
        return self.field_at(cls, place)

    def field_at(self, cls: Class, place: int | str) -> str | None:
        """The field that an argument of the constructor becomes, for dataclasses and named tuples."""
        module = self._program.facts(cls.path)
        facts = module.classes.get(cls.qualname) if module is not None else None
        if facts is None or not self.is_record(cls):
            return None
        if isinstance(place, str):
            return place if place in facts.keys else None
        return facts.keys[place] if place < len(facts.keys) else None

    def is_record(self, cls: Class) -> bool:
        """Whether a project class is a dataclass or named tuple: its constructor only stores."""
        module = self._program.facts(cls.path)
        facts = module.classes.get(cls.qualname) if module is not None else None
        if facts is None or "__init__" in facts.methods:
            return False
        return any((ex.last_name(e) or "") in _RECORDS for e in (*facts.decorators, *facts.bases))

    def closure_effect(self, unit: Unit, node: cst.CSTNode, variable: str, resource: DriverClass) -> Effect:
        """What calling a nested function or lambda does with a variable it captures."""
        inner = next((u for u in self._units.values() if u is not None and u.node is node), None)
        if inner is None and isinstance(node, cst.Lambda):
            name = f"{unit.name}.<lambda {unit.order(node)}>"
            inner = Unit(unit.part, node, name, unit.scope, None, is_async=False, parent=unit)
            self._units[unit.path, name] = inner
        if inner is None and isinstance(node, cst.ClassDef) and self._class_gives_back(node, variable):
            return Effect(frozenset({End.TAKEN}), frozenset())
        return BORROWS if inner is None else self._follow(inner, variable, resource)

    def _class_gives_back(self, node: cst.ClassDef, variable: str) -> bool:
        """Whether a nested class releases a variable of the function around it."""
        for call in walk(node.body):
            if isinstance(call, cst.Call):
                func = reduce(call.func)
                given = [ex.last_name(reduce(a.value)) for a in call.args]
                holder = ex.last_name(func.base) if isinstance(func, ex.Attribute) else None
                if variable in (holder, *given) and self._program.calls.says_release(ex.dotted(func) or ""):
                    return True
        return False

    # Classes

    def class_releases(self, cls: Class, attribute: str, resource: DriverClass) -> bool:
        """Whether some method of the class or its bases gives ``self.attribute`` back, or hands it on."""
        key = (cls, attribute)
        if key not in self._keepers:
            self._keepers[key] = False
            self._keepers[key] = bool(self.releasing_methods(cls, attribute, resource)) or (
                self._program.resolver.has_unknown_base(cls)
            )
        return self._keepers[key]

    def releasing_methods(self, cls: Class, attribute: str, resource: DriverClass) -> dict[str, bool]:
        """Methods that give ``self.attribute`` back, and whether each is a coroutine function."""
        found: dict[str, bool] = {}
        for owner, facts, module in self._program.resolver.lineage(cls):
            for method in module.functions.values():  # not `methods`: a property's setter has the getter's name
                name = method.name
                if method.owner != facts.qualname or name in found or name == "__init__" or not method.parameters:
                    continue
                if self._mentions(owner.path, method, attribute) and self._gives_back(
                    owner.path, method, attribute, resource
                ):
                    found[name] = method.is_async
        return found

    def _mentions(self, path: str, method: FunctionFacts, attribute: str) -> bool:
        source = self._program.source(path)
        return not isinstance(source, Failure) and attribute in source.rows(method.first_row, method.last_row)

    def _gives_back(self, path: str, method: FunctionFacts, attribute: str, resource: DriverClass) -> bool:
        unit = self._unit_of(Function(path, method.qualname))
        if unit is None:
            return False
        key = (path, method.qualname, f"self.{attribute}", resource.id)
        if key not in self._effects:
            self._effects[key] = BORROWS
            variable = f"{method.parameters[0].name}.{attribute}"
            self._effects[key] = self._follow(unit, variable, resource)
        return self._effects[key].releases

    def construction(self, cls: Class, owner: Class) -> Acquisition | None:
        """The resource that a class is whose ``__init__`` keeps one, if it has a way to give it back."""
        module = self._program.facts(owner.path)
        if module is None:
            return None
        init = module.functions[module.classes[owner.qualname].methods["__init__"]]
        summary = self._program.summary(Function(owner.path, init.qualname))
        for attribute, owned in summary.stores if summary is not None else ():
            resource = self.resource(owned.resource)
            methods = self.releasing_methods(cls, attribute, resource)
            if not methods or "__del__" in methods:
                continue
            wrapped = _as_resource(cls, methods)
            self._resources[wrapped.id] = wrapped
            return Acquisition(wrapped, Protocol.VALUE, None, steps=owned.steps)
        return None

    def resource(self, resource_id: str) -> DriverClass:
        """A resource by id: a driver's class, or a project class that owns one."""
        return self._program.drivers.classes.get(resource_id) or self._resources[resource_id]

    def _stored(self, found: Found, item: FunctionFacts | Statement) -> Iterable[Leak]:
        """LC109: kept on self by a class that never gives it back."""
        if isinstance(item, Statement) or item.owner is None:
            return
        cls = Class(found.unit.path, item.owner)
        for attribute, ending in found.stores():
            if "." in attribute or self.class_releases(cls, attribute, found.acquisition.resource):
                continue
            if self._released_elsewhere(cls, attribute, found.acquisition.resource):
                continue
            yield stored_leak(found, attribute, ending)

    def _released_elsewhere(self, cls: Class, attribute: str, resource: DriverClass) -> bool:
        """Whether the storing method itself, a subclass, or other code holding the object, releases ``x.attribute`` in the same file."""
        module = self._program.facts(cls.path)
        for function in module.functions.values() if module is not None else ():
            for name, expressions in function.calls.items():
                for expression in expressions if self._program.calls.says_release(name) else ():
                    held = expression.base if isinstance(expression, ex.Attribute) else None
                    if not isinstance(held, ex.Attribute) or held.name != attribute:
                        continue
                    if not is_self(held.base):
                        return True
                    owner = Class(cls.path, function.owner or "")
                    near_miss = name in resource.methods and resource.methods[name].near_miss
                    if not near_miss and any(c == cls for c, _, _ in self._program.resolver.lineage(owner)):
                        return True
        return False

    def pool_place(self, scope: Scope, pool: str) -> tuple[str, str] | None:
        """Where a pool lives, so that two functions can be seen to use the same; None where that is not certain."""
        root = pool.partition(".")[0]
        if root in ("self", "cls"):
            return (f"{scope.module.path}:{scope.owner}", pool) if scope.owner is not None else None
        if any(f.binds(root) for f in scope.functions):
            return None
        for target in scope.module.scope.imports.get(root, ()):
            found = self._program.modules.member(target, scope.module.path)
            return (found[0], pool.replace(root, found[1] or root, 1)) if found is not None else (target, pool)
        return scope.module.path, pool

    def nested_checkout(
        self, symbols: Symbols, place: tuple[str, str], resource: DriverClass, depth: int = 3
    ) -> str | None:
        """The name of a called project function that takes a connection from the pool at ``place`` while it runs."""
        for symbol in symbols:
            if not isinstance(symbol, Function):
                continue
            facts, scope = self._program.resolver.function(symbol)
            takes = facts is not None and not self._program.acquiring_names.isdisjoint(facts.calls)
            summary = self._program.summary(symbol) if takes else None
            if summary is not None and scope is not None:
                for owned in summary.checks_out:
                    same = owned.pool is not None and self.pool_place(scope, owned.pool) == place
                    if same and owned.resource == resource.id:
                        return symbol.qualname
            for expressions in facts.calls.values() if facts is not None and depth else ():
                for expression in expressions:
                    inner = self._program.resolver.resolve(expression, scope) if scope is not None else frozenset()
                    if self.nested_checkout(inner, place, resource, depth - 1) is not None:
                        return symbol.qualname
        return None


def _name_of(item: FunctionFacts | Statement) -> str:
    return item.qualname if isinstance(item, FunctionFacts) else f"<line {item.first_row}>"


def _expected_to_raise(root: cst.CSTNode) -> set[int]:
    """Calls in the body of ``with pytest.raises(...)`` and its like: an acquire there takes nothing."""
    found: set[int] = set()
    for node in walk(root):
        if isinstance(node, cst.With) and any(_expects(item.item) for item in node.items):
            found.update(id(n) for n in walk(node.body) if isinstance(n, cst.Call))
    return found


def _expects(manager: cst.BaseExpression) -> bool:
    return isinstance(manager, cst.Call) and "raises" in (ex.last_name(reduce(manager.func)) or "").lower()


def _directly_nested(body: cst.BaseSuite) -> Iterable[cst.FunctionDef]:
    """Functions nested in a body, not those inside them or inside classes."""
    found: list[cst.FunctionDef] = []
    skip: set[int] = set()
    for node in walk(body):
        if id(node) in skip:
            continue
        if isinstance(node, (cst.FunctionDef, cst.ClassDef)) and node is not body:
            if isinstance(node, cst.FunctionDef):
                found.append(node)
            skip.update(id(n) for n in walk(node))
    return found


def _parameter_at(facts: FunctionFacts, place: int | str, *, bound: bool) -> str | None:
    if isinstance(place, str):
        return place if any(p.name == place for p in facts.parameters) else None
    positional = [p.name for p in facts.parameters if p.kind == "positional"]
    index = place + (1 if bound else 0)
    if index < len(positional):
        return positional[index]
    return next((p.name for p in facts.parameters if p.kind == "*"), None)


def _is_static(facts: FunctionFacts) -> bool:
    return any(ex.last_name(d) == "staticmethod" for d in facts.decorators)


def _is_cached(facts: FunctionFacts) -> bool:
    return any(
        ex.last_name(d) in ("cache", "lru_cache", "cached_property", "cache_resource", "alru_cache")
        for d in facts.decorators
    )


def _failed(explorer: Explorer, node: object) -> bool:
    return getattr(node, "block", None) == explorer.graph.failure.index


def _end_of(state: State, before: State, *, is_exit: bool) -> End:
    match state.status:
        case Status.RELEASED:
            return End.RELEASED
        case Status.MOVED:
            if is_exit and before.status is Status.HELD and state.moved_to is None and before.get(g.RETURN) is not None:
                return End.RETURNED
            if state.moved_to is not None and "." not in state.moved_to:
                return End.STORED
            return End.TAKEN
        case _:
            return End.BORROWED


def _as_resource(cls: Class, methods: dict[str, bool]) -> DriverClass:
    operations = {n: Operation(n, releases="receiver", awaited=a) for n, a in methods.items() if not n.startswith("__")}
    leaves = methods.keys() & {"__exit__", "__aexit__"}
    name = cls.qualname
    first = min(
        operations, key=lambda n: (n not in ("close", "aclose", "release", "disconnect", "stop"), n), default=None
    )
    return DriverClass(
        id=f"{cls.path}:{name}",
        kind=ClassKind.CONNECTION,
        noun=f"`{name}`",
        methods=operations,
        with_effect=WithEffect.RELEASES if leaves else WithEffect.KEEPS,
        use_after_release=UseAfterRelease.HARMLESS,
        release=f"{{name}}.{first}()" if first else f"with {name}(...) as {{name}}:",
    )
