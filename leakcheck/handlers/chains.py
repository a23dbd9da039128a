"""From a construction up to what runs again and again: who calls the function, and who calls that one.

    def make(): return create_engine(URL)
    def load(): return make().connect()
    @app.route("/")
    def index(): return load()              →   index → load() → make() → create_engine(URL)

Breadth first, so that the shortest chain is told; callers are looked for only where a pool is built and neither kept
nor closed. A caller that keeps or closes what it gets, runs once, or is memoised, ends the search on its side.
"""

from __future__ import annotations

import ast
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.calls import CallKind
from leakcheck.diagnostic import Step, StepKind
from leakcheck.driver import WithEffect
from leakcheck.handlers.fate import Fate, Fates, Story
from leakcheck.handlers.roles import a
from leakcheck.handlers.search import How, Mention
from leakcheck.handlers.spared import handed_on, sparing
from leakcheck.handlers.syntax import FUNCTIONS
from leakcheck.ownership.leak import Start
from leakcheck.project.facts import is_static
from leakcheck.project.names import Class, External, Function, Instance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.handlers.constructions import Construction
    from leakcheck.handlers.roles import Role, Roles
    from leakcheck.handlers.search import Search
    from leakcheck.handlers.spared import Spared
    from leakcheck.handlers.syntax import Tree
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts

_DEPTH = 6
_RUNNERS = (CallKind.SPAWNS, CallKind.RUNS, CallKind.PASSES)


class Chain(Struct, frozen=True):
    """How often something is built: the ``role`` of what starts it, and the steps from there to it."""

    role: Role
    starter: str
    steps: tuple[Step, ...]
    per_object: bool  # kept by an object that is made once for each run


class Caller(Struct, frozen=True):
    """A call site, for rules that count them."""

    tree: Tree
    call: ast.Call
    story: Story


class _Runner(Struct, frozen=True):
    """What runs: a function, the construction of a class, or the top level of a file (None)."""

    tree: Tree
    of: Function | Class | None


class _Way(Struct, frozen=True):
    """A runner on the way up, with the steps from it down to the construction."""

    runner: _Runner
    steps: tuple[Step, ...]
    per_object: bool
    stored: frozenset[str]
    memoised: bool
    lent: bool
    """Whether callers receive no more than connections of the pool."""
    spared: Spared
    """The parameters by each of which a caller is spared a pool of its own."""


class Chains:
    """Finds chains."""

    def __init__(self, program: Program, search: Search, roles: Roles) -> None:
        self._program = program
        self._search = search
        self._roles = roles
        self._fates = Fates(program, roles.frameworks.transient)
        self._ends_when_closed = True
        self._stories: dict[Construction, Story] = {}

    def story(self, construction: Construction) -> Story:
        """What becomes of what is built, in the function that builds it."""
        found = self._stories.get(construction)
        if found is None:
            managed = construction.made.with_effect is WithEffect.RELEASES
            found = self._fates.of(construction.tree, construction.call, managed=managed)
            self._stories[construction] = found
        return found

    def find(self, construction: Construction, *, ends_when_closed: bool = True) -> Chain | None:
        """The shortest chain from something that runs again and again; None where none is seen."""
        self._ends_when_closed = ends_when_closed
        story = self.story(construction)
        text = construction.tree.text(construction.call.func)
        built = Step(
            StepKind.ACQUIRE,
            construction.tree.path,
            construction.tree.span(construction.call),
            f"`{text}()` builds {a(construction.made.noun)}",
        )
        steps: tuple[Step, ...] = (built,)
        if story.unguarded is not None:  # each request that fails leaves it open
            tree, text = construction.tree, construction.tree.text(story.unguarded)
            message = f"`{text}()` closes it, but not where something raises before"
            steps = (built, Step(StepKind.NEAR_MISS, tree.path, tree.span(story.unguarded), message))
            story = replace(story, fate=Fate.OPEN)
        first = self._way(construction.tree, construction.call, story, steps, memoised=False)
        level = [first] if first is not None else []
        seen: set[Function | Class | str | None] = set()
        for _ in range(_DEPTH):
            for way in level:
                chain = self._starts(way)
                if chain is not None:
                    return chain
            above: list[_Way] = []
            for way in level:
                key = way.runner.of if way.runner.of is not None else way.runner.tree.path
                if key not in seen:
                    seen.add(key)
                    above.extend(self._above(way))
            level = above
        return None

    def callers(self, function: Function, *, lent: bool) -> Iterator[Caller]:
        """Every call of a project function, with what becomes of its value; ``lent``: that is no pool."""
        for mention in self._search.mentions(function):
            if mention.how is How.CALLS and isinstance(mention.node, ast.Call):
                story = self._fates.of(mention.tree, mention.node, managed=True, lent=lent)
                yield Caller(mention.tree, mention.node, story)

    def runs_once(self, tree: Tree, facts: FunctionFacts) -> bool:
        """Whether a function runs once in a process: memoised, or a start-up hook."""
        role = self._roles.of(tree.facts, facts)
        return self._roles.is_memoised(facts) or (role is not None and role.run.is_once)

    def start_of(self, tree: Tree) -> Start | None:
        """The one function of a file that runs from the start of the application to its end, by a `yield` between."""
        found = []
        for facts in tree.facts.functions.values():
            if facts.is_generator and facts.parent is None and facts.owner is None and len(facts.parameters) == 1:
                role = self._given_to(Function(tree.path, facts.qualname))
                if role is not None and role.run.is_once and role.run.keeps:
                    found.append(Start(facts.qualname, role.run.keeps))
        return found[0] if len(found) == 1 else None

    # What runs a way

    def _starts(self, way: _Way) -> Chain | None:
        """The chain that ends here, if something that runs again and again does."""
        role = self._own_role(way) or self._given_role(way)
        if role is None or role.run.is_once or (way.memoised and not role.run.forks):
            return None
        tree, of = way.runner.tree, way.runner.of
        starter = of.qualname.rpartition(".")[2].partition("@")[0] if of is not None else "the script"
        shown = f"`{starter}()`" if isinstance(of, Function) else f"`{starter}`" if of is not None else starter
        steps = way.steps
        node = self._node(way)
        if node is not None:
            verb = "is built" if isinstance(of, Class) else "runs"
            message = f"{shown} {verb} for each {role.run.per}: {role.by}"
            steps = (Step(StepKind.CALL, tree.path, tree.headline(node), message), *steps)
        return Chain(role, shown, steps, way.per_object)

    def _own_role(self, way: _Way) -> Role | None:
        tree, of = way.runner.tree, way.runner.of
        match of:
            case Function(qualname=qualname):
                return self._roles.of(tree.facts, tree.facts.functions[qualname])
            case Class():
                return self._roles.of_class(of)
            case _:
                return self._roles.of_script(tree.facts)

    def _given_role(self, way: _Way) -> Role | None:
        """The role that somebody gives the function by registering it."""
        return self._given_to(way.runner.of) if way.runner.of is not None else None

    def _given_to(self, of: Function | Class) -> Role | None:
        roles = [self._roles.of_mention(m) for m in self._search.mentions(of) if m.how in (How.GIVES, How.KEEPS)]
        found = [role for role in roles if role is not None]
        return next((r for r in found if not r.run.is_once), next(iter(found), None))

    def _node(self, way: _Way) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | None:
        tree, of = way.runner.tree, way.runner.of
        if isinstance(of, Function):
            return tree.definition(of.qualname)
        if isinstance(of, Class):
            return next((c for c in tree.classes() if c.name == of.qualname.rpartition(".")[2]), None)
        return None

    # One step up

    def _way(
        self,
        tree: Tree,
        node: ast.expr,
        story: Story,
        steps: tuple[Step, ...],
        *,
        memoised: bool,
        per_object: bool = False,
        handed: Spared = frozenset(),
    ) -> _Way | None:
        """The way that goes on from an expression with this story; None where it ends.

        ``handed``: parameters that are handed on to what is called, and spare it.
        """
        if story.fate is Fate.KEPT or (story.fate is Fate.CLOSED and self._ends_when_closed):
            return None
        facts = tree.function(node)
        if facts is None:
            runner = _Runner(tree, None)
            return _Way(runner, steps, per_object, story.stores, memoised, story.lent, frozenset())
        spared = sparing(tree, node) | handed
        kept = self._roles.is_kept(facts) and facts.owner is not None
        if (story.fate is Fate.OWNED or kept) and facts.owner is not None:
            cls = Class(tree.path, facts.owner)
            if self._roles.is_singleton(cls):
                return None
            runner, spared = _Runner(tree, cls), spared if facts.name == "__init__" else frozenset()
            return _Way(runner, steps, True, story.stores, memoised, story.lent, spared)  # noqa: FBT003 - per_object
        memoised = memoised or self._roles.is_memoised(facts)
        runner = _Runner(tree, Function(tree.path, facts.qualname))
        return _Way(runner, steps, per_object, story.stores, memoised, story.lent, spared)

    def _above(self, way: _Way) -> Iterator[_Way]:
        of = way.runner.of
        if of is None or self._ends_here(way):
            return
        for mention in self._search.mentions(of):
            if way.memoised and not self._may_fork(mention.tree):
                continue
            found = self._next(way, mention)
            if found is not None:
                yield found
        if isinstance(of, Function):
            yield from self._decorated(way, of)

    def _decorated(self, way: _Way, of: Function) -> Iterator[_Way]:
        """The functions that this one stands for: it is what their decorator returns."""
        functions = way.runner.tree.facts.functions
        facts = functions[of.qualname]
        for _ in range(2):  # a decorator, or a function that makes one
            outer = functions.get(facts.parent or "")
            if outer is None or not any(ex.Name(facts.name) == returned for returned in outer.returned):
                return
            facts = outer
            for mention in self._search.mentions(Function(of.path, outer.qualname)):
                node, tree = mention.node, mention.tree
                target = tree.facts_of(node) if mention.how is How.DECORATES else None
                if target is not None and isinstance(node, FUNCTIONS):
                    inner = functions[of.qualname].name
                    message = f"decorated by `@{facts.name}`, which runs `{inner}()`"
                    step = Step(StepKind.CALL, tree.path, tree.headline(node), message)
                    runner = _Runner(tree, Function(tree.path, target.qualname))
                    yield replace(way, runner=runner, steps=(step, *way.steps))

    def _ends_here(self, way: _Way) -> bool:
        role = self._own_role(way)
        return role is not None and role.run.is_once

    def _may_fork(self, tree: Tree) -> bool:
        """Whether a file uses a framework with a process for each run, in which memoising is of no use."""
        return any(r.forks and not tree.facts.packages.isdisjoint(r.packages) for r in self._roles.frameworks.runs)

    def _next(self, way: _Way, mention: Mention) -> _Way | None:
        tree, node, of = mention.tree, mention.node, way.runner.of
        match mention.how:
            case How.CALLS if isinstance(node, ast.Call):
                handed = self._handed(way, tree, node)
                if handed is None:
                    return None
                return self._run(way, tree, node, f"calls `{tree.text(node.func)}()`", handed=handed)
            case How.GIVES if isinstance(node, ast.Call) and self._runs(tree, node):
                return self._run(way, tree, node, f"calls `{tree.text(node.func)}()`")
            case How.READS if isinstance(node, ast.Attribute):
                return self._run(way, tree, node, f"reads `{tree.text(node)}`")
            case How.DERIVES if isinstance(of, Class) and isinstance(node, ast.ClassDef):
                facts = next((c for c in tree.facts.classes.values() if c.name == node.name), None)
                cls = Class(tree.path, facts.qualname) if facts is not None else None
                if cls is None or self._roles.is_singleton(cls):
                    return None
                return replace(way, runner=_Runner(tree, cls))
            case _:
                return None

    def _handed(self, way: _Way, tree: Tree, call: ast.Call) -> Spared | None:
        """The parameters of the caller that it hands on, and that spare what it calls; None where something does."""
        definition = self._definition(way) if way.spared else None
        if definition is None:
            return frozenset()
        return handed_on(tree, call, definition, way.spared, partial(self._is_one, tree), bound=self._is_bound(way))

    def _is_one(self, tree: Tree, value: ast.expr, cls: str) -> bool:
        """Whether a value is of a library's class, as far as is known, or is called so."""
        named = ex.from_ast(value)
        if (ex.last_name(named) or "").lower().endswith(cls.lower()):
            return not isinstance(value, ast.Call)
        owners = (s.of for s in self._program.resolver.resolve(named, tree.scope(value)) if isinstance(s, Instance))
        names = (o if isinstance(o, str) else o.name if isinstance(o, External) else "" for o in owners)
        return any(name.rpartition(".")[2] == cls for name in names)

    def _definition(self, way: _Way) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The function that runs when the runner is called."""
        node = self._node(way)
        if not isinstance(node, ast.ClassDef):
            return node
        return next((s for s in node.body if isinstance(s, FUNCTIONS) and s.name == "__init__"), None)

    def _is_bound(self, way: _Way) -> bool:
        """Whether calling the runner gives its first parameter by itself."""
        of = way.runner.of
        facts = way.runner.tree.facts.functions.get(of.qualname) if isinstance(of, Function) else None
        return isinstance(of, Class) or (facts is not None and facts.owner is not None and not is_static(facts))

    def _run(self, way: _Way, tree: Tree, node: ast.expr, does: str, *, handed: Spared = frozenset()) -> _Way | None:
        """The way through an expression that runs the runner, and what that ``does``."""
        story = self._fates.of(tree, node, managed=True, stored_before=way.stored | {"*"}, lent=way.lent)
        step = Step(StepKind.CALL, tree.path, tree.span(node), does)
        steps = (step, *way.steps)
        return self._way(tree, node, story, steps, memoised=way.memoised, per_object=way.per_object, handed=handed)

    def _runs(self, tree: Tree, call: ast.Call) -> bool:
        """Whether a call runs the function that it is given."""
        name = tree.text(call.func)
        effect = self._program.calls.effect(name)
        for target in tree.facts.scope.imports.get(name.partition(".")[0], ()):
            effect = self._program.calls.effect(target + name[len(name.partition(".")[0]) :]) or effect
        return effect is not None and effect.kind in _RUNNERS
