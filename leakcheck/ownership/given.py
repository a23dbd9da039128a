"""What project functions do with what they are given: release it, keep it, return it, or only borrow it.

    def finish(conn):                given.parameter(finish, "conn", resource)   →   releases
        conn.close()

A function is explored from its start with the parameter held; functions that call each other are judged together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.cfg.walk import reduce, walk
from leakcheck.ownership.arguments import Start, entered, known_of, parameter_at
from leakcheck.ownership.correlated import asked_again, asked_of_file
from leakcheck.ownership.effects import Effects
from leakcheck.ownership.explore import BoundReachedError, Explorer
from leakcheck.ownership.fixpoint import Fixpoint
from leakcheck.ownership.state import Box, Deferred, Fact, Hold, State, Status
from leakcheck.ownership.summary import BORROWS, TAKES, Effect, End
from leakcheck.project.facts import is_static

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.driver import DriverClass
    from leakcheck.ownership.explore import Exploration, Hop
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.state import Value
    from leakcheck.ownership.unit import Unit
    from leakcheck.ownership.units import Units
    from leakcheck.project.facts import FunctionFacts
    from leakcheck.project.names import Function, Scope


_AS_IT_IS = Start()
"""The parameter is the resource itself, and nothing is known of the others."""
_UNKNOWN_YET = Effect(frozenset(), frozenset())
"""What a recursive call does in the first round: nothing returns from it yet."""


class Given:
    """Effects of project functions on one resource; each is computed once, when first asked for."""

    def __init__(self, program: Program, units: Units) -> None:
        self._program = program
        self._units = units
        self._effects: Fixpoint[Effect] = Fixpoint(given_up=lambda _: BORROWS)
        self._connected: Fixpoint[bool | None] = Fixpoint()
        self._tested: dict[int, frozenset[str]] = {}

    def parameter(self, function: Function, parameter: str, resource: DriverClass, start: Start = _AS_IT_IS) -> Effect:
        """What a project function does with one parameter, or with an attribute of one (``self.conn``)."""
        unit = self._units.of(function)
        if unit is None:
            return BORROWS
        if start.known:
            start = replace(
                start, known=tuple((n, v) for n, v in start.known if n in self._deciding(unit) - {parameter})
            )
        return self._effects.answer(
            (function.path, function.qualname, parameter, resource.id, start),
            lambda: self._follow(unit, parameter, resource, start),
            _UNKNOWN_YET,
        )

    def connected(self, function: Function, parameter: str, session: DriverClass) -> bool | None:
        """Whether a session that a project function is given has its connection when that returns, on some way.

        None where it does nothing to it, on some way, and has given it back on the others.
        """
        unit = self._units.of(function)
        if unit is None:
            return None
        return self._connected.answer(
            (function.path, function.qualname, parameter, session.id),
            lambda: self._connects(unit, parameter, session),
            None,
        )

    def left(self, function: Function, method: FunctionFacts, attribute: str, resource: DriverClass) -> list[Effect]:
        """What an exit method does with what its object keeps: after a quiet block, and after one that raised.

        Its parameters tell it which of the two it was.
        """
        names = [p.name for p in method.parameters if p.kind == "positional"]
        if not names:
            return [BORROWS, BORROWS]  # a method without parameters fails before it does anything
        holder, *told = names
        starts = [Start(known=tuple((name, fact) for name in sorted(told))) for fact in (Fact.NONE, Fact.TRUE)]
        return [self.parameter(function, f"{holder}.{attribute}", resource, start) for start in starts]

    def argument(self, function: Function, place: int | str, resource: DriverClass) -> Effect:
        """What a project function does with the argument at a position or keyword."""
        facts, _ = self._program.resolver.function(function)
        if facts is None:
            return BORROWS
        name = parameter_at(facts, place, bound=function.bound and not is_static(facts))
        return BORROWS if name is None else self.parameter(function, name, resource)

    def by_call(
        self,
        function: Function,
        call: g.Call,
        argument: g.Argument,
        resource: DriverClass,
        state: State,
        *,
        scope: Scope,
    ) -> Effect:
        """What a call of a project function does with an argument, given what ``state`` tells of all of them.

        ``scope`` is that of the call.
        """
        facts, _ = self._program.resolver.function(function)
        bound = function.bound and facts is not None and not is_static(facts)
        value = state.get(argument.operand)
        entry = entered(facts, call, argument, value, bound=bound) if facts is not None else None
        if facts is None or entry is None:
            return BORROWS
        known = {
            **dict(known_of(facts, call, state, bound=bound)),
            **(dict(asked_again(facts, call, state)) if bound else {}),
            **(dict(asked_of_file(facts, scope, state)) if function.path == scope.module.path else {}),
        }
        start = Start(entry[1], tuple(sorted(known.items())))
        return self.parameter(function, entry[0], resource, start)

    def attribute_by_call(
        self, function: Function, call: g.Call, attribute: str, resource: DriverClass, state: State
    ) -> Effect:
        """What a call of a method does with a resource that its object keeps in an attribute."""
        facts, _ = self._program.resolver.function(function)
        if facts is None or not facts.parameters:
            return BORROWS
        bound = function.bound and not is_static(facts)
        start = Start(known=known_of(facts, call, state, bound=bound))
        return self.parameter(function, f"{facts.parameters[0].name}.{attribute}", resource, start)

    def _deciding(self, unit: Unit) -> frozenset[str]:
        """The names of a function on which its way may depend: those it tests, or passes on."""
        key = id(unit)
        if key not in self._tested:
            try:
                graph, constants = self._units.graph(unit), self._units.constants(unit)
            except TooLargeError:
                self._tested[key] = frozenset()
            else:
                instructions = [i for block in graph.blocks for i in block.instructions]
                passed = {a.operand for i in instructions if isinstance(i, g.Call) for a in i.arguments}
                moved = {i.value for i in instructions if isinstance(i, g.Move)}
                tested = {i.subject for i in instructions if isinstance(i, g.NullTest)}
                self._tested[key] = frozenset(constants.tested | passed | moved | tested)
        return self._tested[key]

    def parameters(self, function: Function, resource: DriverClass) -> dict[str, Effect]:
        """The effects on all parameters."""
        module = self._program.facts(function.path)
        facts = module.functions.get(function.qualname) if module is not None else None
        names = [p.name for p in facts.parameters] if facts is not None else []
        return {n: self.parameter(function, n, resource) for n in names if n not in ("self", "cls")}

    def closure(
        self, unit: Unit, node: cst.CSTNode, variable: str, resource: DriverClass, start: Start = _AS_IT_IS
    ) -> Effect:
        """What calling a nested function or lambda does with a variable it captures."""
        inner = self._units.nested(unit, node)
        if inner is None and isinstance(node, cst.ClassDef) and self._class_releases(node, variable):
            return TAKES
        if inner is None:
            return BORROWS
        return self._effects.answer(
            (id(node), variable, resource.id, start),
            lambda: self._follow(inner, variable, resource, start),
            _UNKNOWN_YET,
        )

    def gives_back(self, function: Function, method: FunctionFacts, attribute: str, resource: DriverClass) -> bool:
        """Whether a method, with these facts, gives back what its object keeps in an attribute."""
        return self.parameter(function, f"{method.parameters[0].name}.{attribute}", resource).releases

    def _class_releases(self, node: cst.ClassDef, variable: str) -> bool:
        """Whether a nested class releases a variable of the function around it."""
        for call in walk(node.body):
            if isinstance(call, cst.Call):
                func = reduce(call.func)
                given = [ex.last_name(reduce(a.value)) for a in call.args]
                holder = ex.last_name(func.base) if isinstance(func, ex.Attribute) else None
                if variable in (holder, *given) and self._program.calls.says_release(ex.dotted(func) or ""):
                    return True
        return False

    def _effects_of(self, unit: Unit, variable: str, resource: DriverClass) -> Effects:  # noqa: ARG002 - for others
        """The transfer function for a resource that ``variable`` holds."""
        return Effects(resource, None, None, self._units.callees(unit))

    def _started(self, state: State) -> State:
        """The state in which a function starts that is given the resource."""
        return state

    def _connects(self, unit: Unit, variable: str, session: DriverClass) -> bool | None:
        result = self._explored(unit, variable, session, _AS_IT_IS)
        states = [e.state for e in result.endings if e.returned] if result is not None else []
        if any(s.connected for s in states):
            return True
        return False if states and all(s.paused for s in states) else None

    def _explored(self, unit: Unit, variable: str, resource: DriverClass, start: Start) -> Exploration | None:
        """All ways of a function of which ``variable`` holds the resource, or a part of it, when it starts."""
        if unit.facts is not None and unit.facts.is_stub:
            return None  # what will be written there may return
        try:
            graph, constants = self._units.graph(unit), self._units.constants(unit)
            effects = self._effects_of(unit, variable, resource)
            explorer = Explorer(
                graph, constants, effects, every_way_out=True, kept=frozenset(n for n, _ in start.known)
            )
            facts = {n: v for n, v in constants.start[graph.entry.index].items() if n != variable}
            starred = unit.facts is not None and any(
                p.name == variable and p.kind == "*" for p in unit.facts.parameters
            )
            held = Box(((None, Hold.OWN),)) if starred and start.value is Hold.OWN else start.value
            answer = {g.RETURN: Fact.NONE}  # until it returns something else
            variables = tuple(sorted({**facts, **dict(start.known), **answer, variable: held}.items()))
            return explorer.run(graph.entry, 0, self._started(State(Status.HELD, variables)))
        except (TooLargeError, BoundReachedError):
            return None

    def _follow(self, unit: Unit, variable: str, resource: DriverClass, start: Start) -> Effect:
        """What a function does with a resource that ``variable`` holds, or holds a part of, when it starts."""
        result = self._explored(unit, variable, resource, start)
        if result is None:
            return BORROWS
        normal: set[End] = set()
        raised: set[End] = set()
        quiet: set[End] = set()
        told: set[tuple[End, Fact | None]] = set()
        homeless = True
        presumed = lacking = True
        attribute: str | None = None
        for ending in result.endings:
            state = ending.state
            gone = bool(state.session.gone)
            into_raised = state.raised if gone else not ending.returned and ending.lost is None
            end = _end_of(state, ending.node.state, is_exit=ending.lost is None)
            if end is End.RELEASED and not result.releases:
                end = End.BORROWED  # it only asked whether the connection is still open
            if end is End.RETURNED and _releases_once_awaited(ending.node.state.get(g.RETURN)):
                end = End.RELEASED  # its caller awaits the release
            if not state.raised:
                quiet.add(end)
            if state.moved_to is not None and end is End.STORED:
                attribute = state.moved_to
            (raised if into_raised else normal).add(end)
            presumed &= state.release_raised or not into_raised or end is not End.RELEASED
            if not into_raised:
                told.add((end, _told(state.get(g.RETURN))))
                homeless &= end is not End.BORROWED or _finds_nothing(result.path(ending.node), unit)
                lacking &= end is not End.BORROWED or _lacks_its_pool(result.path(ending.node), unit)
        if normal == {End.BORROWED} and raised <= {End.BORROWED}:
            return BORROWS
        answers = _answers(told)
        if End.TAKEN in normal and not answers and homeless:
            normal.discard(End.BORROWED)  # there was no place to put it, of which its caller knows nothing
        if not normal.isdisjoint({End.RELEASED, End.TAKEN}) and not answers and lacking:
            normal.discard(End.BORROWED)
            quiet.discard(End.BORROWED)
        presumed &= End.RELEASED in raised
        effect = Effect(frozenset(normal), frozenset(raised), attribute, frozenset(quiet), answers, presumed)
        named = unit.facts is not None and self._program.calls.says_release(unit.facts.name)
        return effect.as_release() if named else effect


def _finds_nothing(path: Sequence[Hop], unit: Unit) -> bool:
    """Whether a path is that on which what was asked for is not there: ``registry = current()`` gave None."""
    assigned = unit.facts.scope.assignments if unit.facts is not None else {}
    for test in (hop.edge.test for hop in path if hop.edge.test is not None):
        asks = test.outcome if test.kind is g.TestKind.IS_NONE else test.kind is g.TestKind.TRUTH and not test.outcome
        values = assigned.get(test.subject, ())
        if asks and values and all(isinstance(value, ex.Call) for value in values):
            return True
    return False


def _lacks_its_pool(path: Sequence[Hop], unit: Unit) -> bool:
    """Whether a path is that on which there is no such pool: ``if key in self.pools: self.pools[key].putconn(conn)``.

    Whoever has the connection has it from that pool, which is there then.
    """
    for hop in path:
        branch, test = hop.source.branch, hop.edge.test
        if test is None or test.outcome or not isinstance(branch, cst.Comparison) or len(branch.comparisons) != 1:
            continue
        target = branch.comparisons[0]
        if isinstance(target.operator, (cst.In, cst.NotIn)) and _takes_out_of(reduce(target.comparator), unit):
            return True
    return False


def _takes_out_of(container: ex.Expression, unit: Unit) -> bool:
    """Whether a function calls a method of an item of a container, perhaps by way of a variable."""
    facts = unit.facts
    if facts is None:
        return False
    item = (value for values in facts.scope.assignments.values() for value in values)
    bases = (callee.base for found in facts.calls.values() for callee in found if isinstance(callee, ex.Attribute))
    return any(isinstance(each, ex.Item) and each.base == container for each in (*item, *bases))


def _told(returned: Value | None) -> Fact | None:
    """What a returned value says to whoever asks whether it is true, or None, where that is known."""
    if returned in (Fact.FALSE, Fact.FALSY):
        return Fact.FALSY
    return returned if isinstance(returned, Fact) and returned in (Fact.TRUE, Fact.NONE) else None


def _answers(told: set[tuple[End, Fact | None]]) -> frozenset[tuple[End, Fact]]:
    """By which answers a function tells its ends apart; none where it does not, or always says the same.

    A value of which nothing is known tells it from an end that always gives None: it is something else then.
    """
    silent = {end for end, answer in told if answer is Fact.NONE}
    silent -= {end for end, answer in told if answer is not Fact.NONE}
    others = {end for end, answer in told if answer is None}
    if others and (not silent or any(end in others and answer is not None for end, answer in told)):
        return frozenset()
    answers = frozenset((end, Fact.NOT_NULL if answer is None else answer) for end, answer in told)
    return answers if len({answer for _, answer in answers}) > 1 else frozenset()


def _releases_once_awaited(value: Value | None) -> bool:
    return value is Hold.RELEASING or (isinstance(value, Deferred) and value.effect.releases)


def _end_of(state: State, before: State, *, is_exit: bool) -> End:
    """What has become of the resource at a path's end; ``before`` is the state in which its last block was entered."""
    match state.status:
        case Status.RELEASED:
            return End.RELEASED
        case Status.MOVED:
            returned = before.get(g.RETURN) not in (None, Fact.NONE)
            if is_exit and before.status is Status.HELD and state.moved_to is None and returned:
                return End.RETURNED
            if state.moved_to is not None and "." not in state.moved_to:
                return End.STORED
            return End.TAKEN
        case _:
            if state.session.saved:
                return End.SAVED if state.session.gone else End.COMMITTED
            if state.session.gone:
                return End.GIVEN_BACK
            return End.UNDONE if state.session.undone else End.BORROWED
