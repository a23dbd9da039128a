"""Function by function: acquires, explorations, summaries. The first stage that uses LibCST.

``Functions`` answers the program's questions about single functions and keeps what it learns: which leaks a function
has and what it hands to its callers. Its parts answer for the rest: ``units`` (slices and graphs), ``given`` (what is
done with an argument), ``raising`` (what cannot raise) and ``owners`` (classes that keep a resource).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import libcst as cst
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.cfg.walk import call_of
from leakcheck.ownership.acquire import advanced_operand
from leakcheck.ownership.by_hand import entered_by_hand
from leakcheck.ownership.callers import given_back_by_callers
from leakcheck.ownership.classes.entry import is_entry
from leakcheck.ownership.classes.lasting import lasts
from leakcheck.ownership.classes.owners import Owners
from leakcheck.ownership.classes.teardown import Teardown
from leakcheck.ownership.classes.within import Within
from leakcheck.ownership.conditional import assumed, required_null
from leakcheck.ownership.consumers import left_early
from leakcheck.ownership.correlated import agreed, asked
from leakcheck.ownership.effects import Effects
from leakcheck.ownership.explore import BoundReachedError, Explorer, seeds
from leakcheck.ownership.found import AllFound, Found, alternatives
from leakcheck.ownership.given import Given
from leakcheck.ownership.givers import giver
from leakcheck.ownership.handing_back import lost_in_handing_back, parameter_node
from leakcheck.ownership.leak import LeakKind
from leakcheck.ownership.managed import is_managed
from leakcheck.ownership.nested_blocks import lent_checkouts, lent_onward, nested_in_blocks
from leakcheck.ownership.owed import owned_by
from leakcheck.ownership.perhaps_none import completed, perhaps_none
from leakcheck.ownership.program import FileAnalysis, Skip
from leakcheck.ownership.raising import Raising, reachable
from leakcheck.ownership.report import left_held_leak, reported, stored_leak
from leakcheck.ownership.sessions.analysis import Sessions
from leakcheck.ownership.sessions.told import told
from leakcheck.ownership.stand_ins.replaced import StandIns
from leakcheck.ownership.state import Hold, State, Status
from leakcheck.ownership.summary import FunctionSummary
from leakcheck.ownership.units import Units, name_of
from leakcheck.ownership.wrapping import made_of, may_wrap
from leakcheck.project.facts import FunctionFacts, ModuleFacts, Statement, is_cached, makes_manager
from leakcheck.project.names import Class
from leakcheck.project.speaking import speaks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from leakcheck.cfg.graph import ControlFlowGraph
    from leakcheck.diagnostic import Span
    from leakcheck.driver import DriverClass
    from leakcheck.ownership.acquire import Acquisition
    from leakcheck.ownership.constants import Facts
    from leakcheck.ownership.correlated import Asked
    from leakcheck.ownership.leak import Leak
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.summary import Effect
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.names import Function


class Functions:
    """Analyses single functions; everything is computed once, when first asked for."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._acquisitions = program.acquisitions
        self.stand_ins = StandIns(program)
        self.units = Units(program)
        self.given = Given(program, self.units)
        self.raising = Raising(program, self.units)
        self.owners = Owners(program, self.given)
        self.teardown = Teardown(program)
        self.within = Within(program)
        self.sessions = Sessions(program, self.units)
        self.origins: dict[tuple[str, LeakKind, Span, str | None], Found] = {}
        """What was found of the acquire of a leak, by the leak's file, kind, place and name."""
        self._analyses: dict[tuple[str, str], FileAnalysis] = {}

    def unit(self, module: ModuleFacts, item: FunctionFacts | Statement) -> Unit | None:
        """The unit of a function or module-level statement, None where it cannot be parsed."""
        return self.units.unit(module, item)

    def graph(self, unit: Unit) -> ControlFlowGraph:
        """The unit's graph. Raises TooLargeError."""
        return self.units.graph(unit)

    def parameter_effect(self, function: Function, parameter: str, resource: DriverClass) -> Effect:
        """What a project function does with one parameter."""
        return self.given.parameter(function, parameter, resource)

    # Leaks

    def analyse(self, module: ModuleFacts, wanted: Sequence[FunctionFacts | Statement]) -> FileAnalysis:
        """The leaks of the wanted functions and statements of one file."""
        looked = [self._analysed(module, item) for item in wanted]
        unique: dict[tuple[LeakKind, Span, str | None], Leak] = {}
        for leak in (leak for each in looked for leak in each.leaks):
            unique.setdefault((leak.kind, leak.span, leak.name), leak)  # the one that its fix is made for
        return FileAnalysis(tuple(unique.values()), skipped=tuple(skip for each in looked for skip in each.skipped))

    def _analysed(self, module: ModuleFacts, item: FunctionFacts | Statement) -> FileAnalysis:
        key = module.path, name_of(item)  # who judges a fix asks again
        if key not in self._analyses:
            self._analyses[key] = self._analyse(module, item)
        return self._analyses[key]

    def _analyse(self, module: ModuleFacts, item: FunctionFacts | Statement) -> FileAnalysis:
        unit = self.unit(module, item)
        if unit is None:
            return FileAnalysis(skipped=(Skip(None, f"{name_of(item)}: nested too deeply, or not parsed"),))
        looked = self.found(unit)
        leaks = [*left_early(self._program, unit), *lost_in_handing_back(self._program, self, unit)]
        main = isinstance(item, FunctionFacts) and item.parent is None and item.name in module.main_calls
        for each in looked.found:
            kept = list(self._stored(each, item))
            others = reported(each, in_main=main, module_level=isinstance(item, Statement))
            said = {leak.function for leak in kept}
            kept += [o for o in others if o.kind is not LeakKind.ON_EXCEPTION or o.function not in said]
            for leak in kept:
                self.origins.setdefault((module.path, leak.kind, leak.span, leak.name), each)
            leaks += kept
        leaks += nested_in_blocks(self._program, unit)
        if isinstance(item, FunctionFacts) and speaks(self._program, module, item):
            for about, leak in told(self._program, unit, item, looked.found, in_main=main):
                leaks.append(leak)
                if about is not None:
                    self.origins[module.path, leak.kind, leak.span, leak.name] = about
        return FileAnalysis(tuple(leaks), skipped=tuple(looked.skipped))

    def _stored(self, found: Found, item: FunctionFacts | Statement) -> Iterable[Leak]:
        """LC109: kept on self by a class that never gives it back, or for a request that ends without."""
        for stored, ending in found.stores(elsewhere=True):
            hook = self.teardown.missing(found.unit, stored, found.acquisition.resource)
            if hook is not None:
                yield stored_leak(found, stored, ending, hook)
        if isinstance(item, Statement) or item.owner is None:
            return
        cls = Class(found.unit.path, item.owner)
        for attribute, ending in found.stores():
            released = self.owners.released_as(cls, attribute, item, found.acquisition.resource)
            if released is not None:
                if found.unit.is_entering:
                    yield from self._left_held(found, cls, released)
                elif not is_entry(self._program, found.unit):
                    yield from self._lost_within(found, cls, attribute)
                continue
            if not self._outlives(found, attribute):
                yield from self._lost_within(found, cls, attribute)
                continue
            resource = found.acquisition.resource
            if self.owners.released_elsewhere(cls, attribute, resource) or self.owners.takes_back(cls, resource):
                continue
            if lasts(self._program, cls) or given_back_by_callers(self._program, found):
                continue
            undo = self.teardown.of_tests(found.unit, cls)
            yield replace(stored_leak(found, f"self.{attribute}", ending), undo=undo)

    def _lost_within(self, found: Found, cls: Class, attribute: str) -> Iterator[Leak]:
        for each in self.within.found(found, cls, attribute):
            for leak in reported(each, in_main=False, module_level=False, within=True):
                self.origins[found.unit.path, leak.kind, leak.span, leak.name] = each
                yield leak

    def _outlives(self, found: Found, attribute: str) -> bool:
        """Whether what self keeps is still there when the function returns: it may have given it back itself."""
        if found.effects.entering or found.acquisition.unopened:
            return True
        try:
            followed = self.explore(found.unit, found.call, found.acquisition, followed=True)
        except BoundReachedError:
            return True
        stores = (stored for each in followed for stored in each.stores())
        return any(name == attribute and not ending.state.raised for name, ending in stores)

    def _left_held(self, found: Found, cls: Class, attribute: str) -> Iterator[Leak]:
        left = self.owners.left_held(cls, attribute, found.acquisition.resource)
        exit_unit = self.units.of(left[0]) if left is not None else None
        if left is not None and exit_unit is not None:
            yield left_held_leak(found, attribute, exit_unit, left[1])

    # Acquires

    def acquisition(self, unit: Unit, call: g.Call) -> Acquisition | None:
        """What a call in the unit takes."""
        if not may_wrap(call) and not self._acquisitions.possible(call.func, unit.scope):
            return None
        taken: Acquisition | None = self._program.answers.answer(
            ("taken", id(call.node)), lambda: self._taken(unit, call), None
        )
        return taken

    def _taken(self, unit: Unit, call: g.Call) -> Acquisition | None:
        reduced, callees = call_of(call), self.units.callees(unit)
        found = self._acquisitions.at(reduced, unit.scope, awaited=lambda: callees.is_entered_or_awaited(call))
        if found is None:
            wrapped = made_of(self._program, unit, call) if may_wrap(call) else None
            return wrapped or entered_by_hand(self._program, unit, call)
        if is_managed(self._program, callees, call) or self.stand_ins.take(unit, reduced, found):
            return None
        return found

    def found(self, unit: Unit) -> AllFound:
        """Every acquire of the unit with what becomes of it on all paths."""
        found: AllFound = self._program.answers.answer(("found", id(unit)), lambda: self._explore_all(unit), AllFound())
        unit.found = found.found
        return found

    def _explore_all(self, unit: Unit) -> AllFound:
        try:
            graph = self.units.graph(unit)
        except TooLargeError:
            reason = f"{unit.name}: too many paths through nested finally blocks"
            return AllFound.of((), (Skip(unit.part.span(unit.node), reason),))
        found: list[Found] = []
        skips: list[Skip] = []
        seen = set(self.units.callees(unit).expected_to_raise)  # an acquire there takes nothing
        advanced: set[str] = set()
        for block in graph.blocks:
            for instruction in block.instructions:
                if not isinstance(instruction, g.Call) or id(instruction.node) in seen:
                    continue
                acquisition = self.acquisition(unit, instruction)
                if acquisition is None:
                    continue
                seen.add(id(instruction.node))
                if acquisition.advances:
                    generator = advanced_operand(instruction)
                    if generator in advanced:
                        continue  # it goes on behind the `yield` and gives back what it lent
                    advanced.add(generator)
                given: list[Found] = []
                for each in (acquisition, *acquisition.beside):
                    try:
                        given += self.explore(unit, instruction, each)
                    except BoundReachedError:
                        skips.append(Skip(unit.part.span(instruction.node), "too many paths from this checkout"))
                found += alternatives(given)
        return AllFound.of((*found, *self._injected(unit)), skips)

    def _injected(self, unit: Unit) -> Iterator[Found]:
        """What a framework makes for the parameters of a handler: the handler owns what was made only for it.

        A dependency of other dependencies shares what it is given with all of them; only handlers are decorated.
        """
        if unit.facts is None or not unit.facts.decorators or not isinstance(unit.node, cst.FunctionDef):
            return
        for each in self._program.resolver.annotations.injections(unit.facts, unit.scope.module):
            acquisition = self._acquisitions.injected(each.function, each.scope)
            node = parameter_node(unit.node, each.parameter.name)
            if acquisition is None or acquisition.position is not None or node is None:
                continue
            found = self.from_parameter(unit, node, acquisition)
            if found is not None:
                yield found

    def from_parameter(
        self, unit: Unit, node: cst.Param, acquisition: Acquisition, *, lent: bool = False
    ) -> Found | None:
        """What becomes of a resource that a parameter holds when the function starts; ``lent``: until it ends."""
        graph, constants, name = self.units.graph(unit), self.units.constants(unit), node.name.value
        effects = Effects(
            acquisition.resource, acquisition.pool, node, self.units.callees(unit), place=acquisition.place
        )
        effects.bound_to = name
        explorer = Explorer(graph, constants, effects, every_way_out=lent)
        facts: Facts = {**constants.start[graph.entry.index], name: Hold.OWN}
        try:
            explorer.run(graph.entry, 0, State(Status.HELD, tuple(sorted(facts.items()))))
        except BoundReachedError:
            return None
        call = g.Call(node, name, ex.Name(name), None, None, None, ())
        return Found(unit, call, acquisition, explorer.result, effects)

    def explore(self, unit: Unit, call: g.Call, acquisition: Acquisition, *, followed: bool = False) -> Sequence[Found]:
        """What becomes of what one call takes; ``followed``: also where self keeps it. Raises BoundReachedError."""
        graph, constants = self.units.graph(unit), self.units.constants(unit)
        effects = Effects(
            acquisition.resource,
            acquisition.pool,
            call.node,
            self.units.callees(unit),
            acquisition.position,
            acquisition.companions,
            acquisition.takes_receiver,
            acquisition.unopened,
            acquisition.advances,
            followed or is_entry(self._program, unit),
            certain=acquisition.certain_parts,
            known=acquisition.known_parts,
            place=acquisition.place,
        )
        explorer = Explorer(graph, constants, effects, kept=frozenset(subject for subject, _ in acquisition.asked))
        required: set[str | None] = set()
        before: list[Asked] = []
        for block, position, instruction in self._copies(unit, call):
            facts: Facts | None = constants.before(block, position)
            if acquisition.condition is not None and facts is not None:
                facts = assumed(unit, graph, instruction, acquisition.condition, facts)
            if acquisition.asked and facts is not None:
                facts = agreed(self._program, acquisition.asked, facts, unit.scope)
            if facts is None:
                continue
            required.add(required_null(unit, graph, facts))
            before.append(asked(unit, graph, facts))
            constants.step(facts, instruction)
            known = {n: v for n, v in facts.items() if not (n.startswith("%") and n[1:].isdigit())}
            state = State(Status.WAITING, tuple(sorted(known.items())))
            taken = effects.taken(instruction, acquisition.protocol, state)
            untouched = acquisition.resource.is_lazy and not acquisition.steps and taken.status is Status.HELD
            explorer.run(block, position + 1, replace(taken, untouched=True) if untouched else taken)
        if not required:
            return ()
        unless = required.pop() if len(required) == 1 else None
        by_project = partial(giver, self._program, unit, call, acquisition)
        always = before[0] if len(before) == 1 else ()
        return (Found(unit, call, acquisition, explorer.result, effects, unless, by_project, always),)

    def _copies(self, unit: Unit, call: g.Call) -> Sequence[tuple[g.BasicBlock, int, g.Call]]:
        """The copies of a call that some path reaches: one in `finally` may serve only an exception that cannot be."""
        graph = self.units.graph(unit)
        copies = list(seeds(graph, call.node))
        constants = self.units.constants(unit)
        if len(copies) == 1:
            return copies if copies[0][0].index in constants.start else ()
        reached = reachable(graph, constants, self.units.callees(unit))
        return [copy for copy in copies if copy[0].index in reached] or copies

    # Summaries

    def summary(self, module: ModuleFacts, facts: FunctionFacts) -> FunctionSummary | None:
        """What callers may assume of a function that takes something."""
        unit = self.unit(module, facts)
        if unit is None:
            return None
        found = self.found(unit).found
        manages = makes_manager(facts)
        returns, stores, checks_out = owned_by(found)
        checks_out += lent_checkouts(self._program, unit)
        yields = tuple(each.owned for each in found if each.effects.yielded)
        if facts.is_generator and not (yields or manages):
            yields = lent_onward(self._program, unit)
        if returns:
            graph, constants = self.units.graph(unit), self.units.constants(unit)
            returns = completed(returns, perhaps_none(graph, constants, self.units.callees(unit).takes_or_not))
        if facts.is_generator or is_cached(facts):
            returns = ()
        return FunctionSummary(returns, yields, stores, manages, facts.is_async, checks_out)
