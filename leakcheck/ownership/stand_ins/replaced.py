"""What a test replaces by a stand-in while it runs: nothing real is taken from that.

    @patch("shop.db.psycopg2.connect")     →   {"connect"}: `connect_to_shop()` opens no connection here
    def test_opens_once(fake): ...

By names alone: a stand-in for what takes connections, or for what they are taken from, stands for all of them. A test
replaces what it, its decorators, its file and its ``conftest.py`` do, and what is done by the set-up of its case, its
fixtures, and the functions for tests that these or it call.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.ownership.stand_ins.fixtures import Fixtures
from leakcheck.ownership.stand_ins.replacing import PATCHERS, PATCHING, Replaced, Written, replaced_by, written_in
from leakcheck.project.definitions import Definitions
from leakcheck.project.facts import ENTERING
from leakcheck.project.hierarchy import INITIALISERS
from leakcheck.project.names import Class, External, Function, Instance, Method, ProjectModule, Scope
from leakcheck.project.nodes import parsed
from leakcheck.project.testing import is_test
from leakcheck.project.texts import sql_texts
from leakcheck.source import Failure
from leakcheck.sql.event import HOLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.driver import DriverClass
    from leakcheck.ownership.acquire import Acquisition
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.facts import FunctionFacts
    from leakcheck.project.names import Symbol

Replacement = tuple[str, str]
"""The last name of what is replaced, and that of what has it: ``("connect", "psycopg2")``."""
_SET_UP = ("setUp", "asyncSetUp", "setUpClass", "setup_method", "setup_class", "setup")
_BEFORE = frozenset((*INITIALISERS, *ENTERING))
"""Methods that run where an object is made or entered."""
_MOCKS = ("Mock", "create_autospec", "SimpleNamespace")
_MOST = 60
"""So many functions are looked at for one test."""
_DEPTH = 4
"""So many names and functions are followed to what takes the place of something."""


class StandIns:
    """Answers about what the tests of a program replace."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._fixtures = Fixtures(program)
        self._replaced: dict[Unit, frozenset[Replacement]] = {}
        self._written: dict[str, Written] = {}

    def take(self, unit: Unit, call: ex.Call, found: Acquisition) -> bool:
        """Whether what a call takes comes from a stand-in that its function, or what runs before it, put in place."""
        around = unit
        while around.parent is not None:
            around = around.parent
        if around not in self._replaced:
            self._replaced[around] = frozenset(self._replaced_around(around))
        bare = call.func if isinstance(call.func, ex.Name) else None
        source = ex.of_names(found.pool) if found.pool is not None else bare
        if source is not None and _in_tests(around) and self._is_made_up(source, unit.scope, unit.path):
            return True
        if _in_tests(around) and not self._given(unit, call).isdisjoint(self._on_the_way(unit, call, found)):
            return True
        if any(self._is_overridden(symbol, found) for symbol in self._resolved(call.func, unit.scope)):
            return True
        replaced = self._of_the_driver(self._replaced[around], found.resource)
        if not replaced:
            return False
        if self._names_one_of(replaced, call.func, unit.scope):
            return True
        if not found.steps:
            return False
        # A function or class of the project takes it: what that calls, or takes it from, is replaced wherever it is.
        program, names = self._program, {name for name, _ in replaced}
        named = (
            program.driver_words,
            program.acquiring_names,
            program.drivers.packages,
            found.place[1].split(".") if found.place is not None else (),
            _kept(program, found.resource),
            self._on_the_way(unit, call, found),
        )
        return not all(map(names.isdisjoint, named))

    def _given(self, unit: Unit, call: ex.Call) -> frozenset[str]:
        """The parameters of a called function that a test gives a stand-in: a mock, a lambda, a function of its own."""
        arguments = list(call.keywords)
        for symbol in self._resolved(call.func, unit.scope):
            facts, _ = self._program.resolver.function(symbol) if isinstance(symbol, Function) else (None, None)
            names = [p.name for p in facts.parameters if p.kind == "positional"] if facts is not None else []
            arguments += zip(names[int(isinstance(symbol, Function) and symbol.bound) :], call.args, strict=False)
        return frozenset(name for name, value in arguments if self._stands_in(value, unit))

    def _stands_in(self, value: ex.Expression, unit: Unit) -> bool:
        if value == ex.OPAQUE or self._is_made_up(value, unit.scope, unit.path):
            return True
        own = [s for s in self._resolved(value, unit.scope) if isinstance(s, Function)]
        return bool(own) and not any(self._gives_real(s, unit.path, _DEPTH) for s in own)

    def _is_overridden(self, symbol: Symbol, found: Acquisition) -> bool:
        """Whether a class is made that has another method in the place of the one that takes, which it never calls."""
        if not isinstance(symbol, Class):
            return False
        for step in found.steps:
            module = self._program.facts(step.path)
            taking = module.functions_at(step.span.start.row) if module is not None else []
            if taking and taking[0].owner is not None and self._never_calls(symbol, step.path, taking[0]):
                return True
        return False

    def _never_calls(self, of: Class, path: str, method: FunctionFacts) -> bool:
        """Whether a class has another method in the place of one that it inherits, which does not call that."""
        lineage = list(self._program.resolver.hierarchy.lineage(of))
        known = [(cls, m.functions[f.methods[method.name]]) for cls, f, m in lineage if method.name in f.methods]
        inherited = any(cls == Class(path, method.owner or "") for cls, _ in known[1:])
        return inherited and method.name not in known[0][1].calls

    def _names_one_of(self, replaced: frozenset[Replacement], func: ex.Expression, scope: Scope) -> bool:
        """Whether a callee is replaced, or what it is a member of; of a driver's own function both must be named."""
        words = (ex.dotted(func) or ex.last_name(func) or "").split(".")
        drivers = [s.name.split(".") for s in self._resolved(func, scope) if isinstance(s, External)]
        if len(words) == 1 or not drivers:
            return any(name in words for name, _ in replaced)
        known = {*words, *chain.from_iterable(drivers)}
        return any(name in words[:-1] or (name == words[-1] and owner in known) for name, owner in replaced)

    def _of_the_driver(self, replaced: frozenset[Replacement], resource: DriverClass) -> frozenset[Replacement]:
        """What is replaced, without what other drivers have than the one that a resource is of."""
        drivers = self._program.drivers
        own = drivers.packages_of(resource.id) if resource.id in drivers.classes else ()
        roots = {package.partition(".")[0] for package in own}
        others = drivers.packages - roots if roots else frozenset()
        return frozenset(each for each in replaced if others.isdisjoint(each))

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
                yield facts.name
                yield from _sources(facts)

    # What is replaced

    def _replaced_around(self, unit: Unit) -> Iterator[Replacement]:
        """What is replaced for the time of a function that stands in no other."""
        facts = unit.facts
        if facts is None:
            top = self._in(unit.path).top if _in_tests(unit) else ()
            yield from self._names(top, Scope(unit.scope.module), unit.path)
            return
        if not _in_tests(unit):
            text = self._program.rows(unit.path, facts.first_row, facts.last_row)
            if not any(word in text for word in PATCHING):  # the rest of the file need not be asked
                return
            given = self._in(unit.path).functions.get(facts.row, ())
            yield from self._names((each for each in given if not each.by_hand), unit.scope, unit.path)
            return
        for place in self._fixtures.places(unit.path):
            module = self._program.facts(place)
            if module is not None:
                yield from self._names(self._in(place).top, Scope(module), unit.path)
        pending = [Function(unit.path, facts.qualname), *self._set_up(unit.path, facts)]
        if facts.owner is not None and facts.owner in unit.scope.module.classes:
            outside = Scope(unit.scope.module)
            for decorator in unit.scope.module.classes[facts.owner].decorators:
                yield from self._names(self._by_decorator(decorator, unit.path), outside, unit.path)
        for function in pending:
            yield from self._replaced_by(function, unit.path, is_first=function is pending[0])
            if len(pending) < _MOST:
                pending += dict.fromkeys(f for f in self._before(function, unit.path) if f not in pending)

    def _set_up(self, path: str, test: FunctionFacts) -> Iterator[Function]:
        """The methods that run before the tests of the class that a test is a method of."""
        owner = Class(path, test.owner) if test.owner is not None else None
        for cls, facts, _ in self._program.resolver.hierarchy.lineage(owner) if owner is not None else ():
            yield from (Function(cls.path, facts.methods[name]) for name in _SET_UP if name in facts.methods)

    def _before(self, function: Function, path: str) -> Iterator[Function]:
        """The functions that replace something for another: its fixtures, and those for tests that it calls."""
        facts, scope = self._program.resolver.function(function)
        if facts is None or scope is None:
            return
        yield from self._fixtures.before(function, facts)
        for symbol in (s for funcs in facts.calls.values() for f in funcs for s in self._resolved(f, scope)):
            match symbol:
                case Function(path=place, qualname=name) if place != function.path or name not in facts.scope.functions:
                    helper = Function(place, name)
                    if place == path or is_test(place) or self._is_lent(helper):
                        yield helper
                case Class() if symbol.path == path or is_test(symbol.path):
                    for cls, made, _ in self._program.resolver.hierarchy.lineage(symbol):
                        yield from (Function(cls.path, made.methods[n]) for n in _BEFORE & made.methods.keys())
                case _:
                    pass

    def _is_lent(self, function: Function) -> bool:
        """Whether a function is given what replaces something until a test ends."""
        facts, _ = self._program.resolver.function(function)
        return facts is not None and not PATCHERS.isdisjoint(p.name for p in facts.parameters)

    def _resolved(self, func: ex.Expression, scope: Scope) -> Iterable[Symbol]:
        return self._program.resolver.resolve(func, scope)

    def _replaced_by(self, function: Function, path: str, *, is_first: bool) -> Iterator[Replacement]:
        """What a function replaces for a test of the file ``path``; a helper's blocks have ended before it goes on."""
        facts, scope = self._program.resolver.function(function)
        if facts is None or scope is None:
            return
        written = self._in(function.path)
        lasts = is_first or facts.is_generator or facts.name in ENTERING
        given = [each for each in written.functions.get(facts.row, ()) if lasts or not each.ends]
        for name in written.mentioned.get(facts.row, frozenset()) & written.named.keys():
            given += written.named[name]
        yield from self._names(given, scope, path)

    def _by_decorator(self, decorator: ex.Expression, path: str) -> Iterable[Replaced]:
        named = self._in(path).named
        return named.get(decorator.id, ()) if isinstance(decorator, ex.Name) else replaced_by(decorator)

    def _in(self, path: str) -> Written:
        if path not in self._written:
            source = self._program.source(path)
            if isinstance(source, Failure) or self._program.facts(path) is None:
                self._written[path] = Written()
            else:
                self._written[path] = written_in(parsed(source.text))
        return self._written[path]

    def _names(self, replaced: Iterable[Replaced], scope: Scope, path: str) -> Iterator[Replacement]:
        """The last names of what stand-ins take the place of, each with the last name of what has it."""
        for each in replaced:
            if each.by is not None and self._is_real(each.by, scope, path):
                continue
            known = (each.target.value,) if isinstance(each.target, ex.Constant) else None
            for text in known or sql_texts(each.target, scope, self._program) or ():
                owner, _, name = str(text).rpartition(".")
                if HOLE not in name:
                    yield from ((each, owner.rpartition(".")[2]) for each in (name, name.lstrip("_")))

    def _is_real(self, value: ex.Expression, scope: Scope, path: str, depth: int = _DEPTH) -> bool:
        """Whether what takes the place of something is no stand-in: nothing, what a driver or the project gives."""
        if depth <= 0:
            return False
        match value:
            case ex.Constant():
                return True
            case ex.Sequence(items=options) | ex.Choice(options=options):
                return not options or any(self._is_real(each, scope, path, depth - 1) for each in options)
            case ex.Await(value=inner) | ex.Entered(value=inner) | ex.Call(func=inner):
                return self._is_real(inner, scope, path, depth)
            case ex.Name(id=name) if scope.functions and name in scope.functions[-1].scope.assignments:
                given = scope.functions[-1].scope.assignments[name]
                return any(self._is_real(each, scope, path, depth - 1) for each in given)
            case _:
                return any(self._gives_real(s, path, depth) for s in self._resolved(value, scope))

    def _gives_real(self, symbol: Symbol, path: str, depth: int) -> bool:
        match symbol:
            case External(name=name):
                return name.partition(".")[0] in self._program.drivers.packages
            case Function(path=place):
                facts, scope = self._program.resolver.function(symbol)
                if not (place == path or is_test(place)) or facts is None or scope is None:
                    return True
                return any(self._is_real(v, scope, path, depth - 1) for v in facts.returned if v != ex.Constant(None))
            case Class(path=place) | Instance(of=Class(path=place)):
                return not (place == path or is_test(place))
            case Instance(of=of):
                return isinstance(of, str)
            case Method():
                return True
            case ProjectModule():
                return False

    def _is_made_up(self, value: ex.Expression, scope: Scope, path: str, depth: int = _DEPTH) -> bool:
        """Whether a value is a stand-in that a test makes: a mock, an object of a class for tests, such a fixture."""
        if depth <= 0:
            return False
        match value:
            case ex.Await(value=inner):
                return self._is_made_up(inner, scope, path, depth)
            case ex.Call(func=func):
                name = ex.last_name(func) or ""
                return name.endswith(_MOCKS) or any(
                    self._makes_up(symbol, path, depth) for symbol in self._resolved(func, scope)
                )
            case ex.Name(id=name) if scope.functions and any(p.name == name for p in scope.functions[-1].parameters):
                facts = scope.functions[-1]
                asked = self._fixtures.named(Function(scope.module.path, facts.qualname), facts, name)
                return any(self._makes_up(each, path, depth) or self._gives_manager(each) for each in asked)
            case ex.Name() | ex.Attribute():
                found = Definitions(self._program).of(value, scope)
                return any(self._is_made_up(each, inner, path, depth - 1) for each, inner in found)
            case _:
                return False

    def _gives_manager(self, fixture: Function) -> bool:
        """Whether a fixture gives a context manager of its own: what calling that gives lends, and is not taken."""
        facts, scope = self._program.resolver.function(fixture)
        given = (*facts.returned, *facts.yielded) if facts is not None else ()
        symbols = (s for value in given if scope is not None for s in self._resolved(value, scope))
        return any(isinstance(symbol, Function) and self._program.is_manager(symbol) for symbol in symbols)

    def _makes_up(self, symbol: Symbol, path: str, depth: int) -> bool:
        """Whether a function or class for tests makes a stand-in."""
        match symbol:
            case Function(path=place) if place == path or is_test(place):
                facts, scope = self._program.resolver.function(symbol)
                given = (*facts.returned, *facts.yielded) if facts is not None else ()
                return scope is not None and any(self._is_made_up(v, scope, path, depth - 1) for v in given)
            case Class(path=place) if place == path or is_test(place):
                hierarchy, drivers = self._program.resolver.hierarchy, self._program.drivers
                called = {name for _, method in hierarchy.methods(symbol) for name in method.calls}
                derives = any(b.partition(".")[0] in drivers.packages for b in hierarchy.external_bases(symbol))
                return not derives and called.isdisjoint(self._program.driver_words | self._program.acquiring_names)
            case _:
                return False


def _in_tests(unit: Unit) -> bool:
    return is_test(unit.path) or (unit.facts is not None and unit.facts.name.startswith("test"))


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
    """The names by which a function gets what it gives: ``manager`` and ``connect`` in ``manager().connect()``.

    What its variables are given counts, what is passed to a call does not.
    """
    pending, seen = [*facts.returned, *facts.yielded], set[str]()
    for value in pending:
        match value:
            case ex.Call(func=func):
                pending.append(func)
            case ex.Await(value=inner) | ex.Entered(value=inner):
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
