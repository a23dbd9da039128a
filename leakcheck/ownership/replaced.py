"""What a test replaces by a stand-in while it runs: nothing real is taken from that.

    @patch("shop.db.psycopg2.connect")     →   {"connect"}: `connect_to_shop()` opens no connection here
    def test_opens_once(fake): ...

By names alone: a stand-in for what takes connections, or for what they are taken from, stands for all of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

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
_PATCHING = re.compile(rb"\b(?:patch|setattr)\b")
_TRUE = ex.Constant(value=True)
_PATCHERS = frozenset({"monkeypatch", "mocker"})
"""Fixtures of pytest and its plugins by which something is replaced until the test ends."""


def is_replaced(program: Program, unit: Unit, call: ex.Call, found: Acquisition) -> bool:
    """Whether what a call takes comes from a stand-in that its function, or a decorator, put in place."""
    replaced = _replaced_in(program, unit)
    if not replaced:
        return False
    if not replaced.isdisjoint((ex.dotted(call.func) or ex.last_name(call.func) or "").split(".")):
        return True
    # A function or class of the project takes it: what that calls is replaced wherever it is.
    known = program.driver_words | program.acquiring_names | program.drivers.packages
    return bool(found.steps) and not (
        replaced.isdisjoint(known) and replaced.isdisjoint(_kept(program, found.resource))
    )


def _kept(program: Program, resource: DriverClass) -> Iterator[str]:
    """The names of the project classes by which an object keeps a resource: its own, and that of what it keeps."""
    seen: set[str] = set()
    pending = [resource.id]
    for class_id in pending:
        if class_id not in seen and class_id not in program.drivers.classes:
            seen.add(class_id)
            yield class_id.rpartition(":")[2].rpartition(".")[2]
            pending.extend(program.functions.owners.resource(class_id).attributes.values())


def _replaced_in(program: Program, unit: Unit) -> frozenset[str]:
    """The last names of what is replaced for the time of a function."""
    around = unit
    while around.parent is not None:
        around = around.parent
    names: set[str] = set()
    facts = around.facts
    if facts is None or _PATCHING.search(program.rows(around.path, facts.first_row, facts.last_row)):
        names.update(_replaced_inside(around))
    for helper in _helpers(program, around.path, facts) if facts is not None and facts.name.startswith("test") else ():
        unit_of_helper = program.functions.units.of(helper)
        names.update(_replaced_inside(unit_of_helper) if unit_of_helper is not None else ())
    owner = around.facts.owner if around.facts is not None else None
    module = program.facts(around.path) if owner is not None else None
    if module is not None and owner in module.classes:
        for decorator in module.classes[owner].decorators:
            names.update(_replaced_by(decorator))
        names.update(_replaced_before(program, Class(around.path, owner), module))
    return frozenset(names)


def _replaced_inside(unit: Unit) -> Iterator[str]:
    """What the calls in a function replace."""
    calls = (node for node in walk(unit.node) if isinstance(node, cst.Call))
    return (name for call in calls for name in _replaced_by(reduce(call)))


def _helpers(program: Program, path: str, test: FunctionFacts) -> Iterator[Function]:
    """The functions that replace something for a test: it lends them ``monkeypatch``, or they are its fixtures."""
    asked = {parameter.name for parameter in test.parameters}
    for place in (path, program.modules.find(".conftest", path)):
        module = program.facts(place) if place is not None else None
        if module is None:
            continue
        for helper in module.functions.values():
            lent = helper.name in test.calls and not _PATCHERS.isdisjoint(p.name for p in helper.parameters)
            fixtures = [d for d in helper.decorators if ex.last_name(d) == "fixture"]
            given = bool(fixtures) and (helper.name in asked or any(map(_is_for_all, fixtures)))
            text = program.rows(module.path, helper.row, helper.last_row) if lent or given else b""
            if _PATCHING.search(text) is not None:
                yield Function(module.path, helper.qualname)


def _is_for_all(fixture: ex.Expression) -> bool:
    """Whether tests get the fixture that do not ask for it."""
    return isinstance(fixture, ex.Call) and ("autouse", _TRUE) in fixture.keywords


def _replaced_before(program: Program, cls: Class, module: ModuleFacts) -> Iterator[str]:
    """What a test case's ``setUp`` assigns to a module: ``driver._connect = stub`` stands for ``driver.connect()``."""
    for name in _SET_UP & module.classes[cls.qualname].methods.keys():
        unit = program.functions.units.of(Function(cls.path, module.classes[cls.qualname].methods[name]))
        for node in walk(unit.node) if unit is not None else ():
            for target in node.targets if isinstance(node, cst.Assign) else ():
                match reduce(target.target):
                    case ex.Attribute(base=ex.Name(id=base), name=replaced) if base in module.scope.imports:
                        yield replaced.lstrip("_")
                    case _:
                        pass


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
