"""Who gives back what is kept for one request: ``flask.g.db = connect()``, ``request.state.db = Session()``.

Such an object is gone when the request ends, and a function registered with the framework's teardown hook closes what
is on it. It may stand anywhere in the project, so every file that names the attribute is looked at, bytes first.

    teardown.missing(unit, "g.db", resource)   →   "teardown_appcontext", where nobody takes `db` off `g` and closes it

A function that does so counts where it is decorated, or mentioned besides its definition; so does one that closes what
the storing function returned. In doubt somebody gives it back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.framework import load_frameworks
from leakcheck.project.names import External, Function, Instance, Scope
from leakcheck.source import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.driver import DriverClass
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.facts import FunctionFacts, ModuleFacts
    from leakcheck.project.names import Class


_UNDONE_BY = {
    "setUp": "tearDown",
    "asyncSetUp": "asyncTearDown",
    "setUpClass": "tearDownClass",
    "setUpTestData": "tearDownClass",
    "setup_method": "teardown_method",
    "setup_class": "teardown_class",
}
"""What undoes, in a class of tests, what a method of it prepared."""


class Teardown:
    """Looks for the end of what is stored on objects that live as long as a request."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._missing: dict[tuple[str, str, str], bool] = {}

    def missing(self, unit: Unit, stored: str, resource: DriverClass) -> str | None:
        """The hook in which nothing gives back what ``unit`` stored as ``g.db``; None for any other object."""
        hook = self._hook(unit, stored)
        if hook is None:
            return None
        attribute = stored.rpartition(".")[2]
        key = (unit.path, unit.name, attribute)
        if key not in self._missing:
            self._missing[key] = not self._is_given_back(unit, attribute, resource)
        return hook if self._missing[key] else None

    def of_tests(self, unit: Unit, cls: Class) -> str:
        """The method that a class of tests has for giving back what ``unit`` keeps; empty for other classes."""
        name = unit.name.rpartition(".")[2]
        if name in _UNDONE_BY:
            return _UNDONE_BY[name]
        bases = self._program.resolver.hierarchy.external_bases(cls)
        is_test = any(base.endswith("TestCase") for base in bases)
        return "asyncTearDown" if is_test and unit.is_async else "tearDown" if is_test else ""

    def _hook(self, unit: Unit, stored: str) -> str | None:
        """What a framework calls when the object that holds the attribute comes to its end."""
        first, *parts = stored.split(".")[:-1]
        base: ex.Expression = ex.Name(first)
        resolve = self._program.resolver.resolve
        objects = [s.of for s in resolve(base, unit.scope) if isinstance(s, Instance)]
        kept_on = [".".join((of.name, *parts)) for of in objects if isinstance(of, External)]
        for part in parts:
            base = ex.Attribute(base, part)
        kept_on += [s.name for s in resolve(base, unit.scope) if isinstance(s, External)]
        ends = load_frameworks().ends
        return next((ends[name] for name in kept_on if name in ends), None)

    def _is_given_back(self, unit: Unit, attribute: str, resource: DriverClass) -> bool:
        paths = self._program.modules.project_of(unit.path)
        if not paths:
            return True
        storing = unit.facts.name if unit.facts is not None else ""
        kept = re.escape(attribute)
        asked = re.compile(rf"\.{kept}\b|(['\"]){kept}\1" + (rf"|\b{re.escape(storing)}\b" if storing else ""))
        for path in paths:
            if not any(word in self._program.data(path) for word in (attribute.encode(), storing.encode())):
                continue
            module = self._program.facts(path)
            if module is None:
                return True  # it cannot be read, and may do anything
            for facts in module.functions.values():
                if asked.search(self._text(path, facts)) is None:
                    continue
                if self._closes(module, facts, attribute, storing, resource) and (
                    facts.name == storing or facts.decorators or self._is_mentioned(paths, facts.name)
                ):
                    return True
        return False

    def _text(self, path: str, facts: FunctionFacts) -> str:
        source = self._program.source(path)
        return "" if isinstance(source, Failure) else source.rows(facts.first_row, facts.last_row)

    def _closes(
        self, module: ModuleFacts, facts: FunctionFacts, attribute: str, storing: str, resource: DriverClass
    ) -> bool:
        """Whether some call in the function releases what is called so, or what the storing function gave it."""
        scope = Scope.of(module, facts)
        text = self._text(module.path, facts)
        if re.search(rf"\b(?:closing|with|enter_context)\b[^\n]*\b{re.escape(storing)}\(", text):
            return True
        return any(
            self._releases(callee, scope, resource) and self._concerns(callee, facts, text, attribute, storing)
            for name, callees in facts.calls.items()
            if self._program.calls.says_release(name) or self._is_release(name, resource)
            for callee in callees
        )

    def _is_release(self, name: str, resource: DriverClass) -> bool:
        """Whether a method of this name gives the resource back, or some pool its argument."""
        own = resource.methods.get(name)
        return (own is not None and own.releases is not None) or any(
            isinstance(operation.releases, int) for _, operation in self._program.drivers.methods_named(name)
        )

    def _releases(self, callee: ex.Expression, scope: Scope, resource: DriverClass) -> bool:
        """Whether the callee releases: a function of the project has to, anything else may."""
        functions = [s for s in self._program.resolver.resolve(callee, scope) if isinstance(s, Function)]
        given = self._program.functions.given
        return not functions or any(
            not (effects := given.parameters(f, resource)) or any(e.releases for e in effects.values())
            for f in functions
        )

    @staticmethod
    def _concerns(callee: ex.Expression, facts: FunctionFacts, text: str, attribute: str, storing: str) -> bool:
        """Whether what is released may be what was stored: a name that was bound to something else is not."""
        held = {given for given in _given(callee, text) if given in facts.scope.assignments}
        return not held or any(
            ex.last_name(value) in (attribute, storing)
            or (isinstance(value, ex.Call) and ex.last_name(value.func) in ("pop", "get", "getattr", "__getattr__"))
            or re.search(rf"\b{re.escape(name)}\b[^\n]*=[^\n]*\b{re.escape(attribute)}\b", text) is not None
            for name in held
            for value in facts.scope.assignments[name]
        )

    def _is_mentioned(self, paths: Sequence[str], name: str) -> bool:
        """Whether a function is named anywhere but where it is defined and imported."""
        word = name.encode()
        mention = re.compile(rb"\b" + re.escape(word) + rb"\b")
        aside = re.compile(rb"^[ \t]*(?:from|import)\b.*$|\bdef[ \t]+" + re.escape(word) + rb"\b", re.MULTILINE)
        return any(
            mention.search(aside.sub(b"", self._program.data(path))) is not None
            for path in paths
            if word in self._program.data(path)
        )


def _given(callee: ex.Expression, text: str) -> set[str]:
    """The names that calls of ``callee`` in a text are given first, or whose method it is where they are given none."""
    method = re.escape(ex.last_name(callee) or "")
    given = set(re.findall(rf"\b{method}\(\s*([A-Za-z_][\w.]*)", text))
    held = callee.base if isinstance(callee, ex.Attribute) else None
    return given or ({held.id} if isinstance(held, ex.Name) else set())
