"""How often a function runs, by what frameworks say of it.

    @app.get("/orders")
    def orders(): ...        →   Role(per="request", …, "decorated by FastAPI's `@app.get`")

A function without a role runs when somebody calls it; ``chains`` asks who.
"""

from __future__ import annotations

import ast
import os
from typing import TYPE_CHECKING

from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.framework import Frameworks, Looks, Run, spellings
from leakcheck.project.names import Class, External, Instance, Scope, original

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.handlers.search import Mention
    from leakcheck.handlers.syntax import Tree
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts, ModuleFacts

_VERBS = frozenset({"route", "get", "post", "put", "patch", "delete", "websocket", "api_route"})


class Role(Struct, frozen=True):
    """How a function runs; ``by`` says what shows it: "decorated by Flask's `@app.route`"."""

    run: Run
    by: str


class Roles:
    """Answers about functions, classes and files."""

    def __init__(self, program: Program, frameworks: Frameworks) -> None:
        self._program = program
        self.frameworks = frameworks

    def of(self, module: ModuleFacts, facts: FunctionFacts) -> Role | None:
        """The role of a function by its own decorators, class and looks."""
        shaped = self._shaped(module, facts)
        if shaped is not None and shaped.run.is_once:  # `setup_hook` is decorated as an event, and is none
            return shaped
        return self._decorated(module, facts) or self._member(module, facts) or shaped

    def is_memoised(self, facts: FunctionFacts) -> bool:
        """Whether a decorator makes the function run once in a process."""
        return not facts.decorator_names.isdisjoint(self.frameworks.memoisers)

    def is_kept(self, facts: FunctionFacts) -> bool:
        """Whether a decorator makes the method run once for its object."""
        return not facts.decorator_names.isdisjoint(self.frameworks.keepers)

    def is_singleton(self, cls: Class) -> bool:
        """Whether the class itself sees to it that there is one object of it, or a base or its metaclass does."""
        return self._program.resolver.hierarchy.is_shared(cls, self.frameworks.memoisers)

    def of_class(self, cls: Class) -> Role | None:
        """The role of constructing a class: a view that is built for each request."""
        return self._derived(cls, "__init__")

    def of_script(self, module: ModuleFacts) -> Role | None:
        """The role of a file's top level."""
        scope = Scope(module)
        called = [e for s in module.statements for found in s.calls.values() for e in found]
        called += [_bare(d) for f in module.functions.values() if f.parent is None for d in f.decorators]
        for expression in called:
            for symbol in self._program.resolver.resolve(expression, scope):
                if isinstance(symbol, External):
                    run = self.frameworks.scripted(symbol.name)
                    if run is not None:
                        return Role(run, f"the top level of {a(run.framework)} script")
        return None

    def of_mention(self, mention: Mention) -> Role | None:
        """The role that a call gives to the function among its arguments, or an attribute to what is kept in it."""
        tree, node = mention.tree, mention.node
        match node:
            case ast.Call(func=func, args=args, keywords=keywords):
                callee, scope = ex.from_ast(func), tree.scope(node)
                if not self.frameworks.takes_callables(original(callee, scope)):
                    return None
                events = {original(ex.from_ast(argument), scope) for argument in args}
                owners = [*self._owners(callee, scope), *self._handed_in(callee, tree, node)]
                for owner, member in owners:
                    run = self.frameworks.given(
                        owner, member, (k.arg for k in keywords if k.arg), events, mention.under
                    )
                    if run is not None:
                        return Role(run, f"given to {_whose(run)} `{tree.text(func)}()`")
            case ast.Assign(targets=[target]):
                return self._assigned(tree, node, target)
            case _:
                pass
        return None

    def _assigned(self, tree: Tree, node: ast.AST, target: ast.expr) -> Role | None:
        match target:
            case ast.Name(id=name) if self.frameworks.takes_attributes(name):
                cls = next((a for a, _ in tree.around(node) if isinstance(a, ast.ClassDef)), None)
                if cls is not None:  # `class WorkerSettings` is found by its name
                    owners = [f"{p}.{cls.name}" for p in tree.facts.packages]
                    found = (self.frameworks.assigned(owner, name) for owner in (*owners, f"arq.{cls.name}"))
                    run = next((r for r in found if r is not None), None)
                    return Role(run, f"kept in {_whose(run)} `{cls.name}.{name}`") if run is not None else None
            case ast.Attribute(attr=name) if self.frameworks.takes_attributes(name):
                for owner, member in self._owners(ex.from_ast(target), tree.scope(node)):
                    run = self.frameworks.assigned(owner, member)
                    if run is not None:
                        return Role(run, f"kept in {_whose(run)} `{tree.text(target)}`")
            case _:
                pass
        return None

    def _decorated(self, module: ModuleFacts, facts: FunctionFacts) -> Role | None:
        parent = module.functions.get(facts.parent) if facts.parent else None
        scope = Scope.of(module, parent)
        for decorator in facts.decorators:
            bare = _bare(decorator)
            for owner, member in self._owners(bare, scope):
                run = self.frameworks.decorated(owner, member, _events(decorator, scope))
                if run is not None:
                    return Role(run, f"decorated by {_whose(run)} `@{ex.dotted(bare) or member}`")
            run = self._routed(decorator, module)
            if run is not None:
                return Role(run, f"decorated by {_whose(run)} `@{ex.dotted(bare) or 'route'}`")
        return None

    def _routed(self, decorator: ex.Expression, module: ModuleFacts) -> Run | None:
        """A decorator of something unknown that is given a path: a route of a framework that the file imports."""
        match decorator:
            case ex.Call(func=ex.Attribute(name=name), args=(ex.Constant(value=str() as path), *_)) if (
                name in _VERBS and path.startswith("/")
            ):
                for run in self.frameworks.runs:
                    if name in run.decorators and not run.is_once and not module.packages.isdisjoint(run.packages):
                        return run
            case _:
                pass
        return None

    def _member(self, module: ModuleFacts, facts: FunctionFacts) -> Role | None:
        return self._derived(Class(module.path, facts.owner), facts.name) if facts.owner is not None else None

    def _derived(self, cls: Class, method: str) -> Role | None:
        for base in self._program.resolver.hierarchy.external_bases(cls):
            run = self.frameworks.derived(base, method)
            if run is not None and not self._is_switched_off(run, cls):
                return Role(run, f"of {a(run.framework)} `{base.rpartition('.')[2]}`")
        return None

    def _is_switched_off(self, run: Run, cls: Class) -> bool:
        """Whether the class, or the nearest base that says so, has its methods run in another way."""
        lineage = self._program.resolver.hierarchy.lineage(cls) if run.switch is not None else ()
        for _, facts, _ in lineage:
            said = [value for value, method in facts.attributes.get(run.switch or "", ()) if method is None]
            if said:
                return said[-1] == ex.Constant(value=False)
        return False

    def _shaped(self, module: ModuleFacts, facts: FunctionFacts) -> Role | None:
        parent = module.functions.get(facts.parent) if facts.parent else None
        stem = os.path.basename(module.path).removesuffix(".py")
        looks = Looks(
            name=facts.name,
            parameters=tuple(p.name for p in facts.parameters),
            files=(stem, os.path.basename(os.path.dirname(os.path.abspath(module.path)))),
            within=tuple(p.name for p in parent.parameters) if parent is not None else None,
            is_method=facts.owner is not None,
            packages=frozenset(module.packages),
        )
        run = self.frameworks.shaped(looks)
        return Role(run, f"{run.framework} calls functions that look like this") if run is not None else None

    def _owners(self, callee: ex.Expression, scope: Scope) -> Iterator[tuple[str, str]]:
        """The members of libraries that ``callee`` may be, as owner and name."""
        for symbol in self._program.resolver.resolve(callee, scope):
            if isinstance(symbol, External):
                yield from spellings(symbol.name)
        if not isinstance(callee, ex.Attribute):
            return
        name, base = callee.name, callee.base
        known = False
        for owner in self._classes(base, scope):
            known = True
            yield owner, name
        if known or not isinstance(base, ex.Attribute):
            return
        for owner in self._classes(base.base, scope):  # `app.router.add_get`: a part of something known
            yield f"{owner}.{base.name}", name
        for package in sorted(scope.module.packages):  # `router` of an `app` that was handed in
            yield f"{package}.{base.name}", name

    def _handed_in(self, callee: ex.Expression, tree: Tree, node: ast.AST) -> Iterator[tuple[str, str]]:
        """The members that ``config.add_view`` may be in a function to which a framework hands its ``config``."""
        facts = tree.function(node)
        if facts is None or not isinstance(callee, ex.Attribute) or not isinstance(callee.base, ex.Name):
            return
        shaped = self._shaped(tree.facts, facts)
        if shaped is not None and shaped.run.is_once and callee.base.id in {p.name for p in facts.parameters}:
            for run in self.frameworks.runs:
                if run.framework == shaped.run.framework:
                    yield from ((f"{run.packages[0]}.{owner}", callee.name) for owner in run.owners)

    def _classes(self, expression: ex.Expression, scope: Scope) -> Iterator[str]:
        """The library classes and modules that an expression stands for."""
        for symbol in self._program.resolver.resolve(expression, scope):
            match symbol:
                case External(name=name) | Instance(of=External(name=name)):
                    yield name
                case Instance(of=Class() as cls):
                    yield from self._program.resolver.hierarchy.external_bases(cls)
                case Class():
                    yield from self._program.resolver.hierarchy.external_bases(symbol)
                case _:
                    pass


def _bare(decorator: ex.Expression) -> ex.Expression:
    return decorator.func if isinstance(decorator, ex.Call) else decorator


def _events(decorator: ex.Expression, scope: Scope) -> set[str]:
    """The last names of a decorator's arguments."""
    return {original(a, scope) for a in decorator.args} if isinstance(decorator, ex.Call) else set()


def a(noun: str) -> str:
    """The noun with its article."""
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"


def _whose(run: Run) -> str:
    return f"{run.framework}'" if run.framework.endswith("s") else f"{run.framework}'s"
