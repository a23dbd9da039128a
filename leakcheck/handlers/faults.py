"""From constructions to findings: built by what runs again and again (LC201), or for each object or call (LC202)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck.diagnostic import Severity
from leakcheck.driver import Dropped
from leakcheck.framework import load_frameworks
from leakcheck.handlers.chains import Chains
from leakcheck.handlers.roles import Roles
from leakcheck.handlers.search import Search
from leakcheck.ownership.leak import Leak, LeakKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.diagnostic import Step
    from leakcheck.handlers.constructions import Construction, Constructions
    from leakcheck.ownership.program import Program


class Faults:
    """Finds the faults about pools of one file at a time."""

    def __init__(self, program: Program, constructions: Constructions, top: str) -> None:
        self._constructions = constructions
        self._search = Search(program, top)
        self._chains = Chains(program, self._search, Roles(program, load_frameworks()))

    def of(self, path: str) -> tuple[Leak, ...]:
        """The faults of the pools that a file builds."""
        tree = self._search.tree(path)
        return () if tree is None else tuple(f for c in self._constructions.pools_in(tree) for f in self._faults(c))

    def _faults(self, construction: Construction) -> Iterator[Leak]:
        chain = self._chains.find(construction)
        if chain is not None:
            kind = LeakKind.POOL_PER_CALL if chain.per_object else LeakKind.POOL_IN_HANDLER
            severity = Severity.NOTE if chain.role.run.forks else _severity(construction)
            yield self._leak(construction, kind, severity, chain.steps, cause=chain.starter, reason=chain.role.run.per)

    def _leak(
        self,
        construction: Construction,
        kind: LeakKind,
        severity: Severity,
        steps: tuple[Step, ...],
        *,
        cause: str,
        reason: str,
    ) -> Leak:
        tree, call, made = construction.tree, construction.call, construction.made
        name = self._chains.story(construction).name
        return Leak(
            kind=kind,
            severity=severity,
            span=tree.span(call),
            statement=tree.statement(call),
            steps=steps,
            acquire=f"{tree.text(call.func)}({'…' if call.args or call.keywords else ''})",
            release=made.release.format(name=name or made.noun, pool="pool"),
            name=name,
            cause=cause,
            reason=reason,
            noun=made.noun,
        )


def _severity(construction: Construction) -> Severity:
    """An error where the connections outlive the pool that is dropped; else each run only connects anew."""
    pool = construction.made.pool
    return Severity.WARNING if pool is None or pool.dropped is Dropped.CLOSED else Severity.ERROR
