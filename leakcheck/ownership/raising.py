"""Which project functions an exception can leave.

    def quiet_close(conn):
        try: conn.close()
        except Exception: log.warning("...")     →   cannot raise

A call that cannot raise ends no path of its caller. One that is given None, of which the function calls a method, does.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.cfg.walk import names_read, walk
from leakcheck.ownership.arguments import displays, known_of
from leakcheck.ownership.constants import LITERALS, written
from leakcheck.ownership.state import Fact, State, Value
from leakcheck.project.facts import is_static
from leakcheck.project.hierarchy import initialiser_in
from leakcheck.project.names import Class, Function
from leakcheck.source import Source

if TYPE_CHECKING:
    from leakcheck.ownership.callees import Callees
    from leakcheck.ownership.constants import Constants
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.ownership.units import Units
    from leakcheck.project.names import Scope


Known = State | Mapping[str, Value]
Told = frozenset[tuple[str, Fact]]
"""Flags, and None, that a call gives, by the names of the parameters."""
Lists = frozenset[tuple[str, int]]
"""The parameters that a call gives lists that are written out, and how many items these have at least."""
_PLAIN = frozenset({"staticmethod", "classmethod", "override"})
"""Decorators that leave a function what it is."""
_CATCHES_ALL = re.compile(r"\bexcept\s*:|\b(?:except|suppress)\b[^:\n]*\b(?:Base)?Exception\b")
"""What the text of a function has that calls something which raises, and cannot raise itself."""


class Ways(Struct, frozen=True):
    """How a call of a project function may end; ``fails``: by an exception that is no cancellation.

    ``given_none``: one of its arguments is None.
    """

    returns: bool = True
    raises: bool = True
    fails: bool = True
    given_none: bool = False


class Raising:
    """Answers once for each function; while an answer is being found (recursion) the function may raise."""

    def __init__(self, program: Program, units: Units) -> None:
        self._program = program
        self._units = units
        self._found: dict[tuple[str, str, Lists, Told], Ways] = {}

    def may_raise(self, function: Function) -> bool:
        """Whether an exception can leave a project function; a body that only does what cannot raise has none.

        Of a generator, before it first yields: that is what entering a context manager runs.
        """
        return self._ways(function, frozenset()).raises

    def ways_called(self, function: Function, call: g.Call) -> Ways:
        """How this call of a project function may end, by what is written in it."""
        facts, _ = self._program.resolver.function(function)
        if facts is None:
            return Ways()
        bound = function.bound and not is_static(facts)
        lists = displays(facts, call, bound=bound)
        ways = self._ways(function, lists)
        if not ways.raises:
            return ways
        flags = [(name, fact) for name, fact in known_of(facts, call, {}, bound=bound) if fact is not Fact.NONE]
        told = frozenset(flag for flag in flags if self._asks_for(function, flag[0]))
        return self._ways(function, lists, told) if told else ways

    def given(self, function: Function, call: g.Call, known: Known) -> Ways | None:
        """How a call of a project function may end that is given None, or a flag which it asks for; None for others."""
        given = [LITERALS.get(a.operand) or known.get(a.operand) for a in call.arguments]
        given_none = Fact.NONE in given
        if not given_none and Fact.TRUE not in given and Fact.FALSE not in given:
            return None
        facts, _ = self._program.resolver.function(function)
        if facts is None or facts.is_generator or not facts.decorator_names <= _PLAIN:
            return None
        told = known_of(facts, call, known, bound=function.bound and not is_static(facts))
        telling = frozenset((n, f) for n, f in told if (given_none if f is Fact.NONE else self._asks_for(function, n)))
        return replace(self._ways(function, frozenset(), telling), given_none=given_none) if telling else None

    def _ways(self, function: Function, lists: Lists, told: Told = frozenset()) -> Ways:
        """How it may end, given these flags and lists: looping over one does not raise, nor does taking its items."""
        key = (function.path, function.qualname, lists, told)
        if key not in self._found:
            self._found[key] = Ways()
            unit = self._units.of(function) if told or self._may_be_quiet(function) else None
            if unit is not None:
                self._found[key] = self._found_out(unit, lists, dict(told))
        return self._found[key]

    def _asks_for(self, function: Function, name: str) -> bool:
        """Whether some line of a function seems to decide something by a parameter, before LibCST parses anything."""
        facts, _ = self._program.resolver.function(function)
        source = self._program.source(function.path)
        if facts is None or not isinstance(source, Source):
            return False
        asking = rf"^(?=.*\b(?:if|while|and|or)\b).*\b{re.escape(name)}\b"
        return re.search(asking, source.rows(facts.first_row, facts.last_row), re.MULTILINE) is not None

    def _may_be_quiet(self, function: Function) -> bool:
        """Whether all that it calls is quiet, or it seems to catch what that raises, before LibCST parses anything."""
        facts, scope = self._program.resolver.function(function)
        source = self._program.source(function.path)
        if facts is None or scope is None or not isinstance(source, Source):
            return False
        if _CATCHES_ALL.search(source.rows(facts.first_row, facts.last_row)) is not None:
            return True
        return all(self._is_quiet(name, e, scope) for name, found in facts.calls.items() for e in found)

    def may_raise_building(self, cls: Class) -> bool:
        """Whether an exception can leave the construction of a project class: what its ``__init__`` does."""
        hierarchy = self._program.resolver.hierarchy
        if hierarchy.has_unknown_base(cls, _is_standard):
            return True
        for owner, facts, _ in hierarchy.lineage(cls):
            if "__new__" in facts.methods:
                return True
            name = initialiser_in(facts)
            if name is not None:
                return self.may_raise(Function(owner.path, facts.methods[name], bound=True))
        return bool(hierarchy.external_bases(cls))

    def may_raise_entering(self, cls: Class) -> bool:
        """Whether an exception can leave what entering an object of a project class runs."""
        for owner, facts, _ in self._program.resolver.hierarchy.lineage(cls):
            name = next((n for n in ("__enter__", "__aenter__") if n in facts.methods), None)
            if name is not None:
                return self.may_raise(Function(owner.path, facts.methods[name], bound=True))
        return True

    def _is_quiet(self, name: str, callee: ex.Expression, scope: Scope) -> bool:
        """Whether calling ``callee`` is taken not to fail, before anything of it is parsed by LibCST."""
        calls = self._program.calls
        if calls.says_release(name) or calls.is_non_raising(ex.dotted(callee) or name):
            return True
        symbols = self._program.resolver.resolve(callee, scope)
        return bool(symbols) and all(
            (isinstance(s, Function) and not self._ways(s, frozenset()).fails)
            or (isinstance(s, Class) and not self.may_raise_building(s))
            for s in symbols
        )

    def _found_out(self, unit: Unit, lists: Lists = frozenset(), told: Mapping[str, Fact] | None = None) -> Ways:
        """Which ends of its graph some way reaches; these parameters are lists, and this is known of others."""
        try:
            graph = self._units.graph(unit)
        except TooLargeError:
            return Ways()
        constants, callees = self._units.constants(unit), self._units.callees(unit)
        if told:
            constants = constants.entered_with(dict(told))
        kept = _kept(unit, graph, dict(lists)) if lists else None
        reached = _reached(graph, constants, callees, until_yield=graph.is_generator, lists=kept)
        failed = {cancelled for index, cancelled in reached if index == graph.failure.index}
        return Ways(
            (graph.exit.index, False) in reached or (graph.exit.index, True) in reached, bool(failed), False in failed
        )


def reachable(graph: g.ControlFlowGraph, constants: Constants, callees: Callees) -> set[int]:
    """The blocks that some path reaches on which only that raises which can."""
    return {index for index, _ in _reached(graph, constants, callees)}


def _reached(
    graph: g.ControlFlowGraph,
    constants: Constants,
    callees: Callees,
    *,
    until_yield: bool = False,
    lists: Mapping[str, int] | None = None,
) -> set[tuple[int, bool]]:
    """The same, each with whether what was raised last on the way was a cancellation; ``lists``: see ``_kept``."""
    seen, stack = {(graph.entry.index, False)}, [(graph.entry, False)]
    while stack:
        block, cancelled = stack.pop()
        last = block.instructions[-1] if block.instructions else None
        if until_yield and isinstance(last, g.Yield):
            continue
        quiet = last is not None and (callees.is_quiet_instruction(last) or (lists is not None and _finds(last, lists)))
        if isinstance(last, g.Call):
            given = callees.ways_given(last, constants.before(block, len(block.instructions) - 1))
            quiet = _is_quiet_given(given, quiet=quiet) and not constants.dereferences_none(block)
        raising = () if quiet or last is None else {id(edge) for edge in callees.passed(last, block.raises)}
        for edge in constants.taken(block):
            if edge.raised is not None and id(edge) not in raising:
                continue
            found = (edge.target.index, cancelled if edge.raised is None else edge.raised == g.CANCELLED)
            if found not in seen:
                seen.add(found)
                stack.append((edge.target, found[1]))
    return seen


def _is_quiet_given(given: Ways | None, *, quiet: bool) -> bool:
    """Whether a call cannot raise that is ``quiet``, or not, when nothing is known of what it is given."""
    if given is None or (given.raises and not given.given_none):
        return quiet
    return not given.raises


def _kept(unit: Unit, graph: g.ControlFlowGraph, lists: Mapping[str, int]) -> Mapping[str, int]:
    """Those of the lists that the function neither binds anew nor changes, and how many items they have at least."""
    instructions = [i for block in graph.blocks for i in block.instructions]
    changed = {name for i in instructions for name in written(i)}
    changed |= {i.receiver for i in instructions if isinstance(i, g.Call) and i.receiver is not None}
    changed.update(*(names_read(node) for node in walk(unit.node) if isinstance(node, cst.Del)))
    return {name: length for name, length in lists.items() if name not in changed}


def _finds(instruction: g.Instruction, lists: Mapping[str, int]) -> bool:
    """Whether it loops over one of the lists, or takes an item that one has."""
    match instruction:
        case g.LoadItem(base=base, key=int() as key):
            return 0 <= key < lists.get(base, 0)
        case g.Iterate(node=cst.For(iter=cst.Name(value=name))):
            return name in lists
        case _:
            return False


def _is_standard(base: str) -> bool:
    return base.partition(".")[0] in sys.stdlib_module_names
