"""What a generator sets on a connection before it lends that, where those whom it lends it to commit.

    def get_db():
        with SessionLocal() as db:
            db.execute(text("SET app.tenant = '1'"))    →   a rollback would undo it
            yield db

    @app.post("/orders")
    def order(db=Depends(get_db)):
        db.add(Order())
        db.commit()                                     →   and the next borrower has it

Who borrows may stand anywhere in the project, so every file that names the generator is looked at, bytes first; so is
every file that names an alias of it: ``Database = Annotated[Session, Depends(get_db)]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.cfg.walk import reduce, walk
from leakcheck.diagnostic import Severity, Step, StepKind
from leakcheck.ownership.arguments import parameter_at
from leakcheck.ownership.explore import BoundReachedError, Explorer
from leakcheck.ownership.sessions.callees import SessionCallees
from leakcheck.ownership.sessions.ending import ROLES, given_back
from leakcheck.ownership.sessions.following import Following, refers_to
from leakcheck.ownership.sessions.report import kept_leak
from leakcheck.ownership.sessions.session import HeldKind, Open, Session
from leakcheck.ownership.sessions.statements import Statements
from leakcheck.ownership.state import Hold, State, Status
from leakcheck.ownership.steps import short
from leakcheck.project.annotations import annotated_injections
from leakcheck.project.facts import is_static
from leakcheck.project.names import Function, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.ownership.found import SessionFound
    from leakcheck.ownership.leak import Leak
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.sessions.analysis import Sessions
    from leakcheck.ownership.unit import Unit
    from leakcheck.ownership.units import Units
    from leakcheck.project.facts import ModuleFacts

_HANDED_ON = 2
"""Functions by which a borrower may hand the connection on until it is committed."""
_SET = ROLES | {HeldKind.SETTING}


def passed_on(
    program: Program, units: Units, sessions: Sessions, found: Iterable[SessionFound]
) -> Iterator[tuple[SessionFound, Leak]]:
    """The leaks of what is set on a connection that is lent, by a commit of some borrower."""
    for each in found:
        facts = each.unit.facts
        if facts is None or not facts.is_generator or each.held.kind not in _SET or each.connection.names:
            continue
        lending = _Lending(program, units, sessions, each, Function(each.unit.path, facts.qualname))
        leak = lending.leak() if lending.outlives_a_commit() else None
        if leak is not None:
            yield each, leak


class _Lending(Struct, frozen=True):
    """What one generator, ``lender``, has set on the connection that it lends."""

    program: Program
    units: Units
    sessions: Sessions
    found: SessionFound
    lender: Function

    def outlives_a_commit(self) -> bool:
        """Whether it is set where the connection is lent, and goes on to somebody else once that is committed."""
        following = self.found.following
        lent = next((state for i, state in following.yields if refers_to(state, i.value)), None)
        if lent is None or lent.status is not Status.HELD or following.ended:
            return False
        after = replace(lent, session=replace(lent.session, open=Open.NO, fresh=False, scopes=()))
        if self._pauses:
            return bool(given_back(following, after, committed=True))
        known = self.sessions.lent_by(self.lender)
        return known is not None and bool(known[1].left(self.found.held, after, exceptional=False).gone)

    @property
    def _pauses(self) -> bool:
        """Whether the connection goes back to the pool with each commit: it is a session's."""
        commit = self.found.connection.resource.methods.get("commit")
        return commit is not None and commit.pauses

    def leak(self) -> Leak | None:
        """The leak, if somebody who borrows the connection commits on a path on which nothing raises."""
        found, quiet = self.found, [e for e in self.found.exploration.endings if not e.state.raised]
        commits = (self._commit(unit, name, _HANDED_ON) for unit, name in self._borrowers())
        commit = next(filter(None, commits), None) if quiet else None
        if commit is None:
            return None
        committing, node = commit
        leak = kept_leak(found, Severity.ERROR, quiet[0], raised=False)
        place = found.unit.part.span(found.following.yields[0][0].node)
        words = "commits: the connection goes back to the pool as it is" if self._pauses else "commits"
        steps = (
            leak.steps[0],
            Step(StepKind.YIELD, found.unit.path, place, "lent here"),
            Step(StepKind.RELEASE, committing.path, committing.part.span(node), words),
        )
        return replace(
            leak, steps=steps, cause="", reason="", paused_by=short(committing, node) if self._pauses else ""
        )

    def _borrowers(self) -> Iterator[tuple[Unit, str]]:
        """The functions of the project that borrow what the generator lends, and what they call it."""
        paths = self.program.modules.project_of(self.lender.path)
        words = {self.lender.qualname.rpartition(".")[2]}
        for module in self._naming(paths, words):
            for name, values in module.scope.assignments.items():
                if self._are_passed(values, module):
                    words.add(name)
        for module in self._naming(paths, words):
            for facts in module.functions.values():
                injections = self.program.resolver.annotations.injections(facts, module)
                names = [i.parameter.name for i in injections if self._is_lender(i.function, i.scope)]
                unit = self.units.unit(module, facts) if names or not words.isdisjoint(facts.calls) else None
                if unit is not None:
                    yield from ((unit, name) for name in (*names, *self._entered(unit)))

    def _naming(self, paths: Iterable[str], words: Iterable[str]) -> Iterator[ModuleFacts]:
        """The files in which one of some words stands."""
        encoded = [word.encode() for word in words]
        for path in paths:
            data = self.program.data(path)
            module = self.program.facts(path) if any(word in data for word in encoded) else None
            if module is not None:
                yield module

    def _is_lender(self, named: ex.Expression, scope: Scope) -> bool:
        symbols = self.program.resolver.resolve(named, scope)
        return any(isinstance(s, Function) and replace(s, bound=False) == self.lender for s in symbols)

    def _are_passed(self, values: Iterable[ex.Expression], module: ModuleFacts) -> bool:
        """Whether one is ``Annotated[Session, Depends(get_db)]``: by it a framework knows what to pass."""
        return any(self._is_lender(made, Scope(module)) for value in values for made in annotated_injections(value))

    def _entered(self, unit: Unit) -> Iterator[str]:
        """What ``with`` blocks call what they are lent."""
        for item in (i for node in walk(unit.node) if isinstance(node, cst.With) for i in node.items):
            made, bound = reduce(item.item), item.asname.name if item.asname is not None else None
            if isinstance(made, ex.Call) and isinstance(bound, cst.Name) and self._is_lender(made.func, unit.scope):
                yield bound.value

    def _commit(self, unit: Unit, name: str, depth: int) -> tuple[Unit, cst.CSTNode] | None:
        """Where a borrower commits, or a function that it hands the connection to; not if that resets it, too."""
        connection, held = self.found.connection, self.found.held
        callees = SessionCallees(unit, self.program, self.sessions.given(held))
        following = Following(
            connection.resource,
            None,
            None,
            callees,
            speech=callees,
            statements=Statements(unit, self.program),
            driver=connection.driver,
            names=frozenset({name}),
            held=held,
        )
        try:
            graph, constants = self.units.graph(unit), self.units.constants(unit)
            facts = {**constants.start[graph.entry.index], name: Hold.OWN}
            session = Session(open=Open.YES, autocommit=False, fresh=True, wrote=True)
            state = State(Status.HELD, tuple(sorted(facts.items())), session=session)
            endings = Explorer(graph, constants, following).run(graph.entry, 0, state).endings
        except (TooLargeError, BoundReachedError):
            return None
        for ending in endings:
            session = ending.state.session
            if not ending.state.raised and not following.ended and (session.gone or not session.fresh):
                return unit, ending.lost.node if ending.lost is not None else unit.node
        calls = (i for b in graph.blocks for i in b.instructions if isinstance(i, g.Call))
        handed = (each for call in calls for each in self._handed(callees, call, name)) if depth else ()
        commits = (self._commit(to, called, depth - 1) for to, called in handed)
        return None if following.ended else next(filter(None, commits), None)

    def _handed(self, callees: SessionCallees, call: g.Call, name: str) -> Iterator[tuple[Unit, str]]:
        """The project functions that a call hands the connection to, and what they call it."""
        positions = [a for a in call.arguments if a.keyword is None]
        places = [a.keyword or positions.index(a) for a in call.arguments if a.operand == name and not a.star]
        for symbol in callees.symbols(call) if places else ():
            unit = self.units.of(symbol) if isinstance(symbol, Function) else None
            if isinstance(symbol, Function) and unit is not None and unit.facts is not None:
                bound = symbol.bound and not is_static(unit.facts)
                parameters = (parameter_at(unit.facts, place, bound=bound) for place in places)
                yield from ((unit, parameter) for parameter in parameters if parameter is not None)
