"""From constructions to findings.

Built by what runs again and again (LC201), once for each object, turn or call (LC202), cached as a coroutine (LC206),
by a constructor whose arguments let callers wait for ever (LC203) or connections grow old (LC204). And single
connections that are opened for each run (LC205).
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.diagnostic import Severity, Step, StepKind
from leakcheck.driver import Dropped
from leakcheck.framework import load_frameworks
from leakcheck.handlers.chains import Chains
from leakcheck.handlers.fate import Fate, is_kept_between_turns
from leakcheck.handlers.roles import Roles, a
from leakcheck.handlers.search import Search
from leakcheck.handlers.waiting import Waiting
from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.project.names import External, Function, Scope
from leakcheck.project.nodes import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.handlers.constructions import Construction, Constructions
    from leakcheck.handlers.syntax import Tree
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts

_REQUEST = "request"
_CACHES = frozenset({"functools.cache", "functools.lru_cache"})


class Faults:
    """Finds the faults about pools of one file at a time; ``thorough``: those that must be asked for, too."""

    def __init__(self, program: Program, constructions: Constructions, *, thorough: bool) -> None:
        self._program = program
        self._constructions = constructions
        self._thorough = thorough
        self._search = Search(program)
        self._chains = Chains(program, self._search, Roles(program, load_frameworks()))
        self._waiting = Waiting(program, self._search)

    def of(self, path: str) -> tuple[Leak, ...]:
        """The faults of the pools that a file builds, and of the connections that it opens for each run."""
        tree = self._search.tree(path)
        if tree is None:
            return ()
        found = [fault for each in self._constructions.pools_in(tree) for fault in self._of_pool(each)]
        for each in self._constructions.connections_in(tree):
            found += self._of_connection(each)
        found += (f for each in self._constructions.by_functions_in(tree) if (f := self._cached(each)) is not None)
        return tuple(found)

    def _of_pool(self, construction: Construction) -> Iterator[Leak]:
        fault = self._cached(construction) or self._repeated(construction) or self._turned(construction)
        if fault is not None:
            yield fault
            return
        yield from self._waits(construction)
        if self._thorough and self._lasts(construction) and self._waiting.never_expires(construction):
            pool = construction.made.pool
            keyword = pool.expires_by[0] if pool is not None else ""
            steps = self._only(construction)
            yield self._leak(construction, LeakKind.POOL_NEVER_EXPIRES, Severity.NOTE, steps, cause=f"`{keyword}`")

    def _waits(self, construction: Construction) -> Iterator[Leak]:
        """LC203: whoever takes a connection may wait without end."""
        kind, severity = LeakKind.POOL_WAITS, Severity.NOTE
        argument = self._waiting.asked_for(construction)
        if argument is not None:
            steps = self._only(construction)
            yield self._leak(construction, kind, severity, steps, cause=f"`{argument}`", reason="argument")
            return
        waits = self._waiting.for_ever(construction) if _is_opened(construction) else None
        if waits is not None:
            tree, call = waits
            cause = f"`{tree.text(call.func)}()`"
            taken = Step(StepKind.CALL, tree.path, tree.span(call), f"{cause} waits without a timeout")
            yield self._leak(construction, kind, severity, (self._built(construction), taken), cause=cause)

    def _lasts(self, construction: Construction) -> bool:
        """Whether the pool outlives the function that builds it."""
        if construction.tree.function(construction.call) is None:
            return True
        story = self._chains.story(construction)
        return story.fate is not Fate.CLOSED and (story.fate is not Fate.OPEN or story.leaves)

    def _of_connection(self, construction: Construction) -> Iterator[Leak]:
        fault = self._cached(construction)
        if fault is None and self._thorough and not construction.made.embedded:
            chain = self._chains.find(construction, ends_when_closed=False)
            if chain is not None:
                kind, reason = LeakKind.CONNECTION_PER_REQUEST, chain.role.run.per
                fault = self._leak(construction, kind, Severity.NOTE, chain.steps, cause=chain.starter, reason=reason)
        if fault is not None:
            yield fault

    def _repeated(self, construction: Construction) -> Leak | None:
        """LC201, LC202: built by what a framework runs."""
        chain = self._chains.find(construction)
        if chain is None:
            return None
        kind = LeakKind.POOL_PER_CALL if chain.per_object else LeakKind.POOL_IN_HANDLER
        severity, per = Severity.NOTE if chain.role.run.forks else _severity(construction), chain.role.run.per
        fault = self._leak(construction, kind, severity, chain.steps, cause=chain.starter, reason=per)
        if per != _REQUEST or chain.per_object:
            return fault
        return replace(fault, start=self._chains.start_of(construction.tree))

    def _turned(self, construction: Construction) -> Leak | None:
        """LC202: built in a loop, or in a function that a loop calls, and gone with the turn."""
        story, tree, call = self._chains.story(construction), construction.tree, construction.call
        facts = tree.function(call)
        leaves = story.leaves and not story.lent
        if story.fate is not Fate.OPEN or leaves or facts is None or self._chains.runs_once(tree, facts):
            return None
        if _is_turned(tree, call, story.name):
            steps = self._only(construction)
            kind, severity = LeakKind.POOL_PER_CALL, _severity(construction)
            return self._leak(construction, kind, severity, steps, cause=f"a loop of `{facts.name}()`", reason="turn")
        for caller in self._chains.callers(Function(tree.path, facts.qualname), lent=story.lent):
            kept = story.lent and (caller.story.leaves or caller.story.fate is not Fate.OPEN)
            if not kept and _is_turned(caller.tree, caller.call):
                name = caller.tree.text(caller.call.func)
                step = Step(
                    StepKind.CALL, caller.tree.path, caller.tree.span(caller.call), f"calls `{name}()` in a loop"
                )
                steps = (step, *self._only(construction))
                kind, severity = LeakKind.POOL_PER_CALL, _severity(construction)
                cause = f"`{facts.name}()`, which a loop calls"
                return self._leak(construction, kind, severity, steps, cause=cause, reason="call")
        return None

    def _cached(self, construction: Construction) -> Leak | None:
        """LC206: the coroutine is cached instead of what it builds."""
        tree = construction.tree
        facts = tree.function(construction.call)
        if facts is None or not facts.is_async or facts.is_generator or not self._is_cached(tree, facts):
            return None
        node = tree.definition(facts.qualname)
        steps = [self._built(construction)]
        if node is not None:
            message = f"`{facts.name}()` is cached as a coroutine, which can be awaited once"
            steps.insert(0, Step(StepKind.CALL, tree.path, tree.headline(node), message))
        kind = LeakKind.ASYNC_FACTORY_CACHED
        return self._leak(construction, kind, Severity.ERROR, tuple(steps), cause=f"`{facts.name}()`")

    def _is_cached(self, tree: Tree, facts: FunctionFacts) -> bool:
        outer = tree.facts.functions.get(facts.parent) if facts.parent else None
        for decorator in facts.decorators:
            bare = decorator.func if isinstance(decorator, ex.Call) else decorator
            symbols = self._program.resolver.resolve(bare, Scope.of(tree.facts, outer))
            if any(isinstance(s, External) and s.name in _CACHES for s in symbols):
                return True
        return False

    def _only(self, construction: Construction) -> tuple[Step, ...]:
        return (self._built(construction),)

    def _built(self, construction: Construction) -> Step:
        tree, call = construction.tree, construction.call
        message = f"`{tree.text(call.func)}()` builds {a(construction.made.noun)}"
        return Step(StepKind.ACQUIRE, tree.path, tree.span(call), message)

    def _leak(
        self,
        construction: Construction,
        kind: LeakKind,
        severity: Severity,
        steps: tuple[Step, ...],
        *,
        cause: str,
        reason: str = "",
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


def _is_opened(construction: Construction) -> bool:
    """Whether the pool is opened where it is built: one that must be awaited and is only assigned may never be."""
    made_async = construction.protocol.is_async
    return not made_async or not isinstance(construction.tree.parents[construction.call], (ast.Assign, ast.AnnAssign))


def _is_turned(tree: Tree, call: ast.Call, name: str | None = None) -> bool:
    """Whether a loop runs the call again after it has succeeded: a loop that is left then is a retry.

    ``name``: the variable that keeps what it gives, perhaps for the turns that follow.
    """
    loop = tree.loop(call)
    if loop is None or any(isinstance(n, (ast.Break, ast.Return)) for n in walk(loop)):
        return False
    return not is_kept_between_turns(tree, call, loop, name)
