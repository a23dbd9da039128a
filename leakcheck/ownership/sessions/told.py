"""All that is told of what a function leaves on its connections, by whichever way it is found out."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from leakcheck.ownership.sessions.borrowed import passed_on
from leakcheck.ownership.sessions.exits import left_open
from leakcheck.ownership.sessions.kept import given_back_later
from leakcheck.ownership.sessions.report import fault_leak, session_leaks
from leakcheck.ownership.sessions.session import HeldKind
from leakcheck.project.speaking import ends_elsewhere, said_beside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.diagnostic import Span
    from leakcheck.ownership.found import Found, SessionFound
    from leakcheck.ownership.leak import Leak, LeakKind
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.facts import FunctionFacts


def told(
    program: Program, unit: Unit, item: FunctionFacts, acquired: Sequence[Found], *, in_main: bool
) -> Iterator[tuple[SessionFound | None, Leak]]:
    """The leaks, with what each is about; a statement in the wrong place is about nothing that was found."""
    sessions, units, module = program.functions.sessions, program.functions.units, unit.scope.module
    found, faults = sessions.found(unit, acquired)
    elsewhere, beside = partial(ends_elsewhere, program, module, item), partial(said_beside, program, module, item)
    leaks = session_leaks(found, in_main=in_main, ends_elsewhere=lambda role: elsewhere(role=role), said_beside=beside)
    reported = tuple(each for each in leaks if not _is_committed_by_users(program, each[0]))
    exits = left_open(program, units, sessions, found)
    said = {id(each) for each, _ in reported}
    others = [each for each in found if id(each) not in said]
    borrowed = passed_on(program, units, sessions, others)
    later = given_back_later(
        program,
        units,
        sessions,
        others,
        reset_beside=lambda name: beside(name) if name is not None else elsewhere(role=True),
    )
    known: set[tuple[LeakKind, Span]] = set()
    for each, leak in (*reported, *exits, *borrowed, *later):
        if (leak.kind, leak.span) not in known:  # of several settings that one call sets, one will do
            known.add((leak.kind, leak.span))
            yield each, leak
    for fault in faults:
        wrong = fault_leak(program, fault)
        if wrong is not None:
            yield None, wrong


def _is_committed_by_users(program: Program, found: SessionFound) -> bool:
    """Whether another file of the project commits what is only a savepoint here: ``shop.conn.commit()``."""
    if found.held.kind is not HeldKind.SAVEPOINT or not found.connection.names:
        return False
    kept = "|".join(sorted(re.escape(name.rpartition(".")[2]) for name in found.connection.names)).encode()
    own = re.compile(rb"\bself\.(?:" + kept + rb")\.commit\b")  # in a class derived from this one
    others = re.compile(rb"(?<!\bself)\.(?:" + kept + rb")\.commit\b")
    owner = (found.unit.scope.owner or "").encode()
    texts = (program.data(path) for path in program.modules.around(found.unit.path) if path != found.unit.path)
    return any(others.search(text) or (owner in text and own.search(text)) for text in texts)
