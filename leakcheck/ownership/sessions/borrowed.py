"""What a function sets on a connection before it lends that, where those whom it lends it to commit.

    def get_db():
        with SessionLocal() as db:
            db.execute(text("SET app.tenant = '1'"))    →   a rollback would undo it
            yield db

    @app.post("/orders")
    def order(db=Depends(get_db)):
        db.add(Order())
        db.commit()                                     →   and the next borrower has it

So does a function that returns its session, and one that a framework runs before, on a session that all have for the
request: ``def as_tenant(db=Depends(get_db))``, ``@app.before_request`` with ``db.session``, and one that
keeps it for the request: ``request.state.db = db``. Who borrows may stand
anywhere in the project; see ``borrowers``.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.cfg.walk import reduce, walk
from leakcheck.diagnostic import Severity, Step, StepKind
from leakcheck.ownership.exits import place_left
from leakcheck.ownership.explore import BoundReachedError, Explorer
from leakcheck.ownership.sessions.borrowers import Borrowers
from leakcheck.ownership.sessions.callees import SessionCallees
from leakcheck.ownership.sessions.ending import ROLES, given_back
from leakcheck.ownership.sessions.following import Following, refers_to
from leakcheck.ownership.sessions.report import kept_leak
from leakcheck.ownership.sessions.session import HeldKind, Open, Session
from leakcheck.ownership.sessions.statements import Statements
from leakcheck.ownership.state import Hold, State, Status
from leakcheck.ownership.steps import short
from leakcheck.project.names import Function

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.ownership.explore import Ending
    from leakcheck.ownership.found import SessionFound
    from leakcheck.ownership.leak import Leak
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.sessions.analysis import Sessions
    from leakcheck.ownership.unit import Unit
    from leakcheck.ownership.units import Units

_FIRST = frozenset({"before_request", "before_app_request"})
"""What Flask and Quart decorate what runs before each request with."""
_SET = ROLES | {HeldKind.SETTING}


def passed_on(
    program: Program, units: Units, sessions: Sessions, found: Iterable[SessionFound]
) -> Iterator[tuple[SessionFound, Leak]]:
    """The leaks of what is set on a connection that is lent, by a commit of some borrower."""
    for each in found:
        facts = each.unit.facts
        if facts is None or each.held.kind not in _SET:
            continue
        lending = _Lending(program, units, sessions, each, Function(each.unit.path, facts.qualname))
        leak = lending.leak() if lending.outlives_a_commit() else None
        if leak is not None:
            yield each, leak


class _Lending(Struct, frozen=True):
    """What one function, ``lender``, has set on the connection that it lends."""

    program: Program
    units: Units
    sessions: Sessions
    found: SessionFound
    lender: Function

    def outlives_a_commit(self) -> bool:
        """Whether it is set where the connection is lent, and goes on to somebody else once that is committed."""
        lent, names = self._lent(), self.found.connection.names
        if lent is None or self.found.following.ended or (names and not (self._sources() or self._shared())):
            return False
        after = replace(lent[1], session=replace(lent[1].session, open=Open.NO, fresh=False, scopes=()))
        if self._pauses:
            return bool(given_back(self.found.following, after, committed=True)) and not self._is_reset_by_source(after)
        known = self.sessions.lent_by(self.lender) if not names else None
        return known is not None and bool(known[1].left(self.found.held, after, exceptional=False).gone)

    def _lent(self) -> tuple[cst.CSTNode, State] | None:
        """Where the connection is lent with what was set on it: at a ``yield``, or where the function returns."""
        following = self.found.following
        if self.found.unit.facts is not None and self.found.unit.facts.is_generator:
            places = ((i.node, state) for i, state in following.yields if self._is_lent(i.value, state))
            return next(((node, s) for node, s in places if s.status is Status.HELD), None)
        kept = bool(self._kept())
        for ending in self.found.exploration.endings:
            state = ending.state
            passed = state.status is Status.MOVED or (self.found.connection.names and state.status is Status.HELD)
            if ending.returned and not state.raised and (passed or kept):
                return self._way_out(ending), state.with_status(Status.HELD)
        return None

    def _way_out(self, ending: Ending) -> cst.CSTNode:
        """Where the path ends: the ``return``, else the statement that sets it."""
        way = place_left(self.found, self.found.exploration.path(ending.node), ending)
        return way if way is not None else self.found.call.node

    def _is_lent(self, value: str, state: State) -> bool:
        return bool(self.found.connection.names) or refers_to(state, value)

    @property
    def _pauses(self) -> bool:
        """Whether the connection goes back to the pool with each commit: it is a session's."""
        commit = self.found.connection.resource.methods.get("commit")
        return commit is not None and commit.pauses

    def _sources(self) -> frozenset[Function]:
        """The functions that a framework calls for the session that the lender is given."""
        unit, names = self.found.unit, self.found.connection.names
        resolver = self.program.resolver
        made = resolver.annotations.injections(unit.facts, unit.scope.module) if unit.facts is not None else ()
        named = (i for i in made if i.parameter.name in names)
        found = (s for i in named for s in resolver.resolve(i.function, i.scope))
        return frozenset(replace(s, bound=False) for s in found if isinstance(s, Function))

    def _shared(self) -> list[str]:
        """What all functions call the session for the request that runs this one first: ``db.session``, ``g.db``."""
        facts = self.found.unit.facts
        first = facts is not None and not facts.decorator_names.isdisjoint(_FIRST)
        return [name for name in self.found.connection.names if first and "." in name]

    def _kept(self) -> set[str]:
        """Where the function keeps its session for others to find it: ``request.state.db``."""
        own = self.found.connection.found
        if own is None:
            return set()
        nodes, names, kept = list(walk(self.found.unit.node)), set[str | None](), set[str]()
        for node in nodes:
            if isinstance(node, cst.Assign) and node.value is own.call.node:
                names.update(ex.dotted(reduce(t.target)) for t in node.targets)
            elif isinstance(node, cst.WithItem) and node.item is own.call.node and node.asname is not None:
                names.add(ex.dotted(reduce(node.asname.name)))
        for node in nodes:
            if isinstance(node, cst.Assign) and ex.dotted(reduce(node.value)) in names - {None}:
                paths = (ex.dotted(reduce(t.target)) or "" for t in node.targets)
                kept.update(path for path in paths if "." in path and not path.startswith("self."))
        return kept

    def _is_reset_by_source(self, committed: State) -> bool:
        """Whether whoever made the session resets it when the request is over, so that it lasts."""
        for source in self._sources():
            known = self.sessions.lent_by(source)
            if known is None:
                continue
            session = replace(committed.session, autocommit=known[1].session.autocommit)
            left = known[1].left(self.found.held, replace(committed, session=session), exceptional=False)
            if left.ended and not left.gone:
                return True
        return False

    def leak(self) -> Leak | None:
        """The leak, if somebody who borrows the connection commits on a path on which nothing raises."""
        found, lent = self.found, self._lent()
        quiet = [e for e in found.exploration.endings if not e.state.raised]
        borrowers = Borrowers(self.program, self.units, self.lender, self._sources(), self._lends())
        sharing = (pair for path in (*self._shared(), *self._kept()) for pair in borrowers.of_kept(path))
        commits = (self._commit(unit, name) for unit, name in chain(borrowers.all(), sharing))
        commit = next(filter(None, commits), None) if quiet and lent is not None else None
        if commit is None or lent is None:
            return None
        committing, node = commit
        leak = kept_leak(found, Severity.ERROR, quiet[0], raised=False)
        words = "commits: the connection goes back to the pool as it is" if self._pauses else "commits"
        steps = (
            leak.steps[0],
            self._step(lent[0]),
            Step(StepKind.RELEASE, committing.path, committing.part.span(node), words),
        )
        return replace(
            leak, steps=steps, cause="", reason="", paused_by=short(committing, node) if self._pauses else ""
        )

    def _step(self, lent: cst.CSTNode) -> Step:
        """Where the connection is lent, or handed on."""
        is_yield = self.found.unit.facts is not None and self.found.unit.facts.is_generator
        kind, words = (StepKind.YIELD, "lent here") if is_yield else (StepKind.EXIT, "handed on as it is")
        return Step(kind, self.found.unit.path, self.found.unit.part.span(lent), words)

    def _lends(self) -> bool:
        """Whether what the lender returns or yields is the connection, and not something else beside it."""
        if not self.found.connection.names:
            return True
        following, endings = self.found.following, self.found.exploration.endings
        given = [state.get(i.value) for i, state in following.yields]
        return Hold.OWN in (*given, *(e.state.get(g.RETURN) for e in endings if e.returned))

    def _commit(self, unit: Unit, name: str) -> tuple[Unit, cst.CSTNode] | None:
        """Where a borrower commits, or has a function do so; not if it resets that itself."""
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
        return None
