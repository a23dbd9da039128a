"""What a test replaces by a stand-in while it runs: nothing real is taken from that.

    @patch("shop.db.psycopg2.connect")     →   {"connect"}: `connect_to_shop()` opens no connection here
    def test_opens_once(fake): ...

By names alone: a stand-in for what takes connections, or for what they are taken from, stands for all of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk
from leakcheck.project.names import Class, Function

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.driver import DriverClass
    from leakcheck.ownership.acquire import Acquisition
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.facts import FunctionFacts, ModuleFacts

_SET_UP = frozenset({"setUp", "asyncSetUp", "setup_method", "setUpClass"})
_PATCHING = re.compile(rb"\b(?:patch|setattr|setitem|modules|monkeypatch|mocker)\b")
_MODULES = "sys.modules"
_TRUE = ex.Constant(value=True)
_PATCHERS = frozenset({"monkeypatch", "mocker"})
"""Fixtures of pytest and its plugins by which something is replaced until the test ends."""


class _Helpers(Struct):
    """The functions of a test file that replace something for its tests, by the names by which these ask for them."""

    lent: dict[str, list[Function]]
    """Those that a test lends its ``monkeypatch``."""
    fixtures: dict[str, list[Function]]
    for_all: list[Function]
    """The fixtures that tests get without asking."""


class StandIns:
    """Answers about what the tests of a program replace."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._replaced: dict[Unit, frozenset[str]] = {}
        self._helpers: dict[str, _Helpers] = {}

    def take(self, unit: Unit, call: ex.Call, found: Acquisition) -> bool:
        """Whether what a call takes comes from a stand-in that its function, or a decorator, put in place."""
        around = unit
        while around.parent is not None:
            around = around.parent
        if around not in self._replaced:
            self._replaced[around] = frozenset(self._replaced_in(around))
        replaced = self._replaced[around]
        if not replaced:
            return False
        if not replaced.isdisjoint((ex.dotted(call.func) or ex.last_name(call.func) or "").split(".")):
            return True
        if not found.steps:
            return False
        # A function or class of the project takes it: what that calls, or takes it from, is replaced wherever it is.
        program = self._program
        named = (
            program.driver_words,
            program.acquiring_names,
            program.drivers.packages,
            found.place[1].split(".") if found.place is not None else (),
            _kept(program, found.resource),
            self._on_the_way(unit, call, found),
        )
        return not all(map(replaced.isdisjoint, named))

    def _on_the_way(self, unit: Unit, call: ex.Call, found: Acquisition) -> Iterator[str]:
        """The names by which the functions that take it get what they return."""
        program = self._program
        for symbol in program.resolver.resolve(call.func, unit.scope):
            module = program.facts(symbol.path) if isinstance(symbol, Function) else None
            if isinstance(symbol, Function) and module is not None:
                yield from _sources(module.functions[symbol.qualname])
        for step in found.steps:
            module = program.facts(step.path)
            for facts in module.functions_at(step.span.start.row) if module is not None else ():
                yield from _sources(facts)

    def _replaced_in(self, unit: Unit) -> Iterator[str]:
        """The last names of what is replaced for the time of a function that stands in no other."""
        program, facts = self._program, unit.facts
        if facts is None or _PATCHING.search(program.rows(unit.path, facts.first_row, facts.last_row)):
            yield from _replaced_inside(unit)
        if facts is None:
            return
        for helper in self._helpers_of(unit.path, facts) if facts.name.startswith("test") else ():
            unit_of_helper = program.functions.units.of(helper)
            yield from _replaced_inside(unit_of_helper) if unit_of_helper is not None else ()
        module = program.facts(unit.path) if facts.owner is not None else None
        if module is not None and facts.owner in module.classes:
            for decorator in module.classes[facts.owner].decorators:
                yield from _replaced_by(decorator)
            yield from self._replaced_before(Class(unit.path, facts.owner), module)

    def _helpers_of(self, path: str, test: FunctionFacts) -> Iterator[Function]:
        """The functions that replace something for a test: it lends them ``monkeypatch``, or they are its fixtures."""
        for place in (path, self._program.modules.find(".conftest", path)):
            if place is None:
                continue
            if place not in self._helpers:
                self._helpers[place] = self._helpers_in(place)
            helpers = self._helpers[place]
            yield from (helper for name in test.calls for helper in helpers.lent.get(name, ()))
            yield from (helper for asked in test.parameters for helper in helpers.fixtures.get(asked.name, ()))
            yield from helpers.for_all

    def _helpers_in(self, path: str) -> _Helpers:
        module, found = self._program.facts(path), _Helpers({}, {}, [])
        for helper in module.functions.values() if module is not None else ():
            lent = not _PATCHERS.isdisjoint(p.name for p in helper.parameters)
            fixtures = [d for d in helper.decorators if ex.last_name(d) == "fixture"]
            if not (lent or fixtures) or not _PATCHING.search(self._program.rows(path, helper.row, helper.last_row)):
                continue
            function = Function(path, helper.qualname)
            if lent:
                found.lent.setdefault(helper.name, []).append(function)
            if any(map(_is_for_all, fixtures)):
                found.for_all.append(function)
            elif fixtures:
                found.fixtures.setdefault(helper.name, []).append(function)
        return found

    def _replaced_before(self, cls: Class, module: ModuleFacts) -> Iterator[str]:
        """What a test case's ``setUp`` puts in a module: ``driver._connect = stub`` stands for ``driver.connect()``."""
        for name in _SET_UP & module.classes[cls.qualname].methods.keys():
            unit = self._program.functions.units.of(Function(cls.path, module.classes[cls.qualname].methods[name]))
            for node in walk(unit.node) if unit is not None else ():
                for target in node.targets if isinstance(node, cst.Assign) else ():
                    match reduce(target.target):
                        case ex.Attribute(base=ex.Name(id=base), name=replaced) if base in module.scope.imports:
                            yield replaced.lstrip("_")
                        case _:
                            pass


def _kept(program: Program, resource: DriverClass) -> Iterator[str]:
    """The names of the project classes by which an object keeps a resource: its own, and that of what it keeps."""
    seen: set[str] = set()
    pending = [resource.id]
    for class_id in pending:
        if class_id not in seen and class_id not in program.drivers.classes:
            seen.add(class_id)
            yield class_id.rpartition(":")[2].rpartition(".")[2]
            pending.extend(program.functions.owners.resource(class_id).attributes.values())


def _sources(facts: FunctionFacts) -> Iterator[str]:
    """The names by which a function gets what it returns: ``manager`` and ``connect`` in ``manager().connect()``.

    What its variables are given counts, what is passed to a call does not.
    """
    pending, seen = list(facts.returned), set[str]()
    for value in pending:
        match value:
            case ex.Call(func=func):
                pending.append(func)
            case ex.Await(value=inner):
                pending.append(inner)
            case ex.Choice(options=options):
                pending.extend(options)
            case ex.Attribute(base=base, name=name):
                yield name
                pending.append(base)
            case ex.Name(id=name) if name not in seen:
                seen.add(name)
                yield name
                pending.extend(facts.scope.assignments.get(name, ()))
            case _:
                pass


def _replaced_inside(unit: Unit) -> Iterator[str]:
    """What a function replaces: by its calls, and in ``sys.modules``."""
    for node in walk(unit.node):
        if isinstance(node, cst.Call):
            yield from _replaced_by(reduce(node))
            yield from _modules_by(node)
        elif isinstance(node, cst.Assign):
            for target in node.targets:
                match reduce(target.target):
                    case ex.Item(base=base, index=ex.Constant(value=str() as name)) if ex.dotted(base) == _MODULES:
                        yield name
                    case _:
                        pass


def _modules_by(call: cst.Call) -> Iterator[str]:
    """The modules for which a call puts others in place.

    ``monkeypatch.setitem(sys.modules, "driver", fake)``, ``patch.dict("sys.modules", {"driver": fake})``, and what a
    helper is told that is lent ``monkeypatch``: ``install(monkeypatch, "driver")``.
    """
    values = [reduce(argument.value) for argument in call.args]
    names = {ex.dotted(value) for value in values if not isinstance(value, ex.Constant)}
    of_modules = _MODULES in names or values[:1] == [ex.Constant(_MODULES)]
    if of_modules:
        given = (argument.value for argument in call.args if isinstance(argument.value, cst.Dict))
        values += [reduce(e.key) for literal in given for e in literal.elements if isinstance(e, cst.DictElement)]
    if of_modules or not _PATCHERS.isdisjoint(names):
        yield from (value.value for value in values if isinstance(value, ex.Constant) and isinstance(value.value, str))


def _is_for_all(fixture: ex.Expression) -> bool:
    """Whether tests get the fixture that do not ask for it."""
    return isinstance(fixture, ex.Call) and ("autouse", _TRUE) in fixture.keywords


def _replaced_by(call: ex.Expression) -> Iterator[str]:
    """What ``patch("a.b")``, ``patch.object(a, "b")`` or ``monkeypatch.setattr(a, "b", …)`` replaces: ``b``."""
    if not isinstance(call, ex.Call):
        return
    name = ex.last_name(call.func)
    of = ex.last_name(call.func.base) if isinstance(call.func, ex.Attribute) else None
    if name == "patch" or (name == "object" and of == "patch") or (name == "setattr" and of is not None):
        texts = [a.value for a in call.args[:2] if isinstance(a, ex.Constant) and isinstance(a.value, str)]
        if texts:
            yield texts[0].rpartition(".")[2]
