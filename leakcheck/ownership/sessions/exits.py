"""What a class begins when it is entered, and ends after blocks that did not raise only: open after all others.

``__enter__`` sends BEGIN, and ``__exit__`` sends COMMIT where it is told of no exception, and nothing where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec.structs import replace

from leakcheck.diagnostic import Severity, Step, StepKind
from leakcheck.ownership.sessions.report import kept_leak
from leakcheck.ownership.state import Status
from leakcheck.project.names import Class, Function

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.ownership.found import SessionFound
    from leakcheck.ownership.leak import Leak
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.sessions.analysis import Sessions
    from leakcheck.ownership.unit import Unit
    from leakcheck.ownership.units import Units

_EXITS = ("__exit__", "__aexit__")


def left_open(
    program: Program, units: Units, sessions: Sessions, found: Iterable[SessionFound]
) -> Iterator[tuple[SessionFound, Leak]]:
    """The leaks of what ``__enter__`` begins on a connection that its object keeps."""
    for each in found:
        exit_unit = _exit_of(program, units, each) if each.unit.is_entering else None
        if exit_unit is not None and _ends_quiet_blocks_only(sessions, each, exit_unit):
            yield each, _leak(each, exit_unit)


def _exit_of(program: Program, units: Units, found: SessionFound) -> Unit | None:
    owner = found.unit.scope.owner
    lineage = program.resolver.hierarchy.lineage(Class(found.unit.path, owner)) if owner is not None else ()
    for cls, facts, module in lineage:
        for name in _EXITS:
            if name in facts.methods:
                return units.of(Function(cls.path, module.functions[facts.methods[name]].qualname))
    return None


def _ends_quiet_blocks_only(sessions: Sessions, found: SessionFound, exit_unit: Unit) -> bool:
    """Whether the exit method ends what is held on every way where the block did not raise, and on none where it did.

    A session has a transaction anyway, which whoever made it ends when something raises.
    """
    names = {name.partition(".")[2] for name in found.connection.names}
    resource, facts = found.connection.resource, exit_unit.facts
    commit = resource.methods.get("commit")
    held = all(e.state.status is Status.HELD for e in found.exploration.endings if e.returned)
    if len(names) != 1 or "" in names or facts is None or not held or (commit is not None and commit.pauses):
        return False
    function = Function(exit_unit.path, facts.qualname)
    quiet, raised = sessions.given(found.held).left(function, facts, names.pop(), resource)
    return quiet.releases and not raised.releases


def _leak(found: SessionFound, exit_unit: Unit) -> Leak:
    returned = next(e for e in found.exploration.endings if e.returned)
    leak = kept_leak(found, Severity.WARNING, replace(returned, state=replace(returned.state, raised=True)))
    at = exit_unit.node.name if isinstance(exit_unit.node, cst.FunctionDef) else exit_unit.node
    words = f"after a block that raised, `{exit_unit.name.rpartition('.')[2]}` does not end it"
    step = Step(StepKind.YIELD, exit_unit.path, exit_unit.part.span(at), words)
    return replace(leak, steps=(leak.steps[0], step), cause="")
