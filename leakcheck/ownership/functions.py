"""Function by function: acquires, explorations, summaries. The first stage that uses LibCST.

``Functions`` answers the program's questions about single functions and keeps what it learns: which leaks a function
has and what it hands to its callers. Its parts answer for the rest: ``units`` (slices and graphs), ``given`` (what is
done with an argument), ``raising`` (what cannot raise) and ``owners`` (classes that keep a resource).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.cfg.walk import reduce, walk
from leakcheck.ownership.acquire import Acquisition, Acquisitions
from leakcheck.ownership.effects import Effects
from leakcheck.ownership.explore import BoundReachedError, Exploration, Explorer, seeds
from leakcheck.ownership.found import Found
from leakcheck.ownership.given import Given
from leakcheck.ownership.leak import LeakKind
from leakcheck.ownership.owners import Owners
from leakcheck.ownership.program import MANAGING, Failure, FileAnalysis, Skip
from leakcheck.ownership.raising import Raising
from leakcheck.ownership.report import reported, stored_leak
from leakcheck.ownership.state import Box, Hold, State, Status
from leakcheck.ownership.steps import acquire_steps
from leakcheck.ownership.summary import FunctionSummary, Owned
from leakcheck.ownership.units import Units, name_of
from leakcheck.project.facts import FunctionFacts, ModuleFacts, Statement
from leakcheck.project.names import Class

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from leakcheck.cfg.graph import ControlFlowGraph
    from leakcheck.driver import DriverClass
    from leakcheck.ownership.leak import Leak
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.summary import Effect
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.names import Function

_CACHING = frozenset({"cache", "lru_cache", "cached_property", "cache_resource", "alru_cache"})


class Functions:
    """Analyses single functions; everything is computed once, when first asked for."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._acquisitions = Acquisitions(program)
        self.units = Units(program)
        self.given = Given(program, self.units)
        self.raising = Raising(program, self.units)
        self.owners = Owners(program, self.given)

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
        leaks: list[Leak] = []
        skipped: list[Skip] = []
        for item in wanted:
            unit = self.unit(module, item)
            if unit is None:
                skipped.append(Skip(None, f"{name_of(item)}: nested too deeply, or not parsed"))
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

    def _stored(self, found: Found, item: FunctionFacts | Statement) -> Iterable[Leak]:
        """LC109: kept on self by a class that never gives it back."""
        if isinstance(item, Statement) or item.owner is None:
            return
        cls = Class(found.unit.path, item.owner)
        for attribute, ending in found.stores():
            if "." in attribute or self.owners.releases(cls, attribute, found.acquisition.resource):
                continue
            if self.owners.released_elsewhere(cls, attribute, found.acquisition.resource):
                continue
            yield stored_leak(found, attribute, ending)

    # Acquires

    def acquisition(self, unit: Unit, call: g.Call) -> Acquisition | None:
        """What a call in the unit takes."""
        key = id(call.node)
        if key not in unit.sites:
            reduced = reduce(call.node) if isinstance(call.node, cst.Call) else ex.Call(call.func)
            assert isinstance(reduced, ex.Call)
            awaited = self.units.callees(unit).is_entered_or_awaited(call)
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
            graph = self.units.graph(unit)
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
        graph, constants = self.units.graph(unit), self.units.constants(unit)
        effects = Effects(
            acquisition.resource,
            acquisition.pool,
            call.node,
            self.units.callees(unit),
            acquisition.position,
            acquisition.companions,
            acquisition.takes_receiver,
            unit.is_entering,
        )
        explorer = Explorer(graph, constants, effects)
        for block, position, instruction in seeds(graph, call.node):
            facts = constants.before(block, position)
            constants.step(facts, instruction)
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
        returns, stores, checks_out = _owned_by(found)
        if facts.is_generator or _is_cached(facts):
            returns = ()
        return FunctionSummary(returns, stores, manages, facts.is_async, checks_out)


def _owned_by(found: Sequence[Found]) -> tuple[tuple[Owned, ...], tuple[tuple[str, Owned], ...], tuple[Owned, ...]]:
    """What the function returns, stores on self, and checks out for itself."""
    returns: list[Owned] = []
    stores: list[tuple[str, Owned]] = []
    checks_out: list[Owned] = []
    for each in found:
        acquisition = each.acquisition
        owned = Owned(acquisition.resource.id, None, acquisition.pool, acquire_steps(each))
        if acquisition.pool is not None and any(e.state.status is not Status.MOVED for e in each.exploration.endings):
            checks_out.append(owned)
        for ending in each.exploration.endings:
            if ending.state.status is not Status.MOVED or ending.state.moved_to is not None:
                continue
            value = ending.state.get(g.RETURN)
            if value is Hold.OWN:
                returns.append(owned)
            elif isinstance(value, Box):
                beside = tuple(key for key, item in value.items if item is Hold.DERIVED)
                positions = [key for key, item in value.items if item is Hold.OWN]
                returns += [replace(owned, position=key, companions=beside) for key in positions[:1]]
        stores += [(attribute, owned) for attribute, _ in each.stores()]
    unique = {(o.resource, o.position): o for o in returns}
    return tuple(unique.values()), tuple(dict(stores).items()), tuple(checks_out)


def _is_cached(facts: FunctionFacts) -> bool:
    return any(ex.last_name(d) in _CACHING for d in facts.decorators)


def _expected_to_raise(root: cst.CSTNode) -> set[int]:
    """Calls in the body of ``with pytest.raises(...)`` and its like: an acquire there takes nothing."""
    found: set[int] = set()
    for node in walk(root):
        if isinstance(node, cst.With) and any(_expects(item.item) for item in node.items):
            found.update(id(n) for n in walk(node.body) if isinstance(n, cst.Call))
    return found


def _expects(manager: cst.BaseExpression) -> bool:
    return isinstance(manager, cst.Call) and "raises" in (ex.last_name(reduce(manager.func)) or "").lower()
