"""Project classes that open something by a method: after they were made, or when it is first needed.

    class Store:
        def open(self): self.conn = connect()
        def rows(self): return self.conn.cursor().fetchall()     →   a Store owes nothing until `open()` is called,
        def close(self): self.conn.close()                           and from then on a `close()`

Where making the object calls that method in any case, it is open at once: ``def __init__(self): self.open()``.
What a method opens by way of another one, or by a property of its object, it opens itself.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.driver import Operation, Protocol
from leakcheck.ownership.acquire import Acquisition
from leakcheck.ownership.classes.at_once import opens_when_made
from leakcheck.ownership.classes.owners import offered
from leakcheck.ownership.classes.reopening import Reopening
from leakcheck.ownership.conditional import Condition, condition_of
from leakcheck.ownership.found import opened_holder
from leakcheck.ownership.summary import Owned
from leakcheck.project.facts import ENTERING, gives_itself, is_property, is_self
from leakcheck.project.gate import matters
from leakcheck.project.names import Class, Function
from leakcheck.project.opening import NOT_OPENING, opening_methods

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts, ModuleFacts

_NEVER_OPENING = NOT_OPENING - ENTERING
"""The same of those that open by way of others: who enters an object by hand calls `__enter__`, which calls `open`."""


class Openings:
    """Answers about project classes."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._owners = program.functions.owners

    def construction(self, cls: Class) -> Acquisition | None:
        """What constructing the class makes: an object that a method of it will open, and another can close."""
        for attribute, owned, opening in (*self._opened(cls), *self._kept_unopened(cls)):
            resource = self._owners.resource(owned.resource)
            releases = self._owners.releasing_methods(cls, attribute, resource)
            reopening = Reopening(self._program, cls, attribute, releases)
            again = reopening.methods()
            releases = offered(releases, again)
            if not self._owners.are_told(releases):
                continue
            if self._owners.endings.ends_itself(cls, attribute, resource, releases):
                continue
            openings = self._openings(cls, attribute, {*opening}.difference(releases), reopening)
            openings = {n: o for n, o in openings.items() if n not in releases and again.get(n, True)}
            wrapped = self._owners.register(cls, attribute, resource, releases, openings)
            given = self._given(cls, attribute)
            unopened = not opens_when_made(self._program, cls, opening & openings.keys())
            return Acquisition(wrapped, Protocol.VALUE, None, steps=owned.steps, unopened=unopened, condition=given)
        return None

    def _given(self, cls: Class, attribute: str) -> Condition | None:
        """The parameter of the constructor that must be None, where the object can be given one instead."""
        for _, facts, module in self._program.resolver.hierarchy.lineage(cls):
            if "__init__" in facts.methods:
                init = module.functions[facts.methods["__init__"]]
                values = [v for v, method in facts.attributes.get(attribute, ()) if method == init.qualname]
                names = {o.id for v in values for o in _options(v) if isinstance(o, ex.Name)}
                parameter = next((p.name for p in init.parameters if p.name in names), None)
                return condition_of(init, parameter, bound=True)
        return None

    def _opened(self, cls: Class) -> Iterator[tuple[str, Owned, set[str]]]:
        """The attributes in which methods keep what they take, each with the names of those methods."""
        found: dict[str, tuple[Owned, set[str]]] = {}
        for module, method in opening_methods(self._program, cls):
            summary = self._program.summary(Function(module.path, method.qualname))
            for attribute, owned in summary.stores if summary is not None else ():
                found.setdefault(attribute, (owned, set()))[1].add(method.name)
        for attribute, (owned, names) in found.items():
            yield attribute, owned, names

    def _kept_unopened(self, cls: Class) -> Iterator[tuple[str, Owned, set[str]]]:
        """The attributes in which the object keeps another one that it opens later, with the methods that do."""
        for _, init, module in islice(self._program.resolver.hierarchy.initialisers(cls), 1):
            if matters(self._program, module, init):
                yield from self._kept_by(cls, Function(module.path, init.qualname))

    def _kept_by(self, cls: Class, init: Function) -> Iterator[tuple[str, Owned, set[str]]]:
        unit = self._program.functions.units.of(init)
        for each in self._program.functions.found(unit).found if unit is not None else ():
            resource = each.acquisition.resource
            openings = {name for name, o in resource.methods.items() if o.acquires_receiver}
            kept = {e.state.moved_to for e in each.exploration.endings if each.acquisition.unopened} - {None}
            for attribute in kept:
                names = {
                    m.name
                    for _, m in self._program.resolver.hierarchy.methods_of_objects(cls)
                    if _opens(m, attribute or "", openings)
                } - NOT_OPENING
                if names:
                    yield attribute or "", Owned(resource.id, None, None, each.acquisition.steps), names

    def _openings(self, cls: Class, attribute: str, direct: set[str], closing: Reopening) -> dict[str, Operation]:
        """The methods and properties that open it, some of them by way of others."""
        methods = [
            (module, method)
            for module, method in self._program.resolver.hierarchy.methods_of_objects(cls)
            if method.name not in _NEVER_OPENING
        ]
        properties = {m.name for _, m in methods if is_property(m)}
        executing = self._program.vocabulary.executing
        opening = set(direct)
        former = -1
        while len(opening) != former:
            former = len(opening)
            opening |= {m.name for module, m in methods if self._uses(module, m, opening, opening & properties)}
        return {
            method.name: Operation(
                method.name,
                acquires_receiver=True,
                protocol=Protocol.COROUTINE if method.is_async else Protocol.VALUE,
                opens_first=not executing.isdisjoint(method.calls) and closing.may_raise_open(method.name),
                tells=_tells(method),
                gives_itself=gives_itself(method) or _gives_kept(method, attribute),
            )
            for _, method in methods
            if method.name in opening
        }

    def _uses(self, module: ModuleFacts, method: FunctionFacts, opening: set[str], properties: set[str]) -> bool:
        """Whether a method calls one of its object's methods, or reads one of its properties."""
        for name in opening & method.calls.keys():
            if any(isinstance(callee, ex.Attribute) and is_self(callee.base) for callee in method.calls[name]):
                return True
        if not properties:
            return False
        text = self._program.rows(module.path, method.row, method.last_row).decode(errors="replace")
        return re.search(rf"\bself\.(?:{'|'.join(sorted(properties))})\b", text) is not None


def _opens(method: FunctionFacts, attribute: str, openings: Collection[str]) -> bool:
    """Whether a method opens what its object keeps in an attribute."""
    callees = (c for found in method.calls.values() for c in found)
    holders = (opened_holder(callee, attribute, openings) for callee in callees)
    return any(holder is not None and is_self(holder) for holder in holders)


def _gives_kept(method: FunctionFacts, attribute: str) -> bool:
    """Whether a method returns what its object keeps, by which that can be given back, too."""
    kept = (isinstance(r, ex.Attribute) and r.name == attribute and is_self(r.base) for r in method.returned)
    return not is_property(method) and any(kept)


def _tells(method: FunctionFacts) -> bool:
    """Whether what a method returns says if it opened anything: ``True`` or the connection, and else ``False``."""
    failed = [isinstance(value, ex.Constant) and not value.value for value in method.returned]
    return any(failed) and not all(failed)


def _options(value: ex.Expression) -> tuple[ex.Expression, ...]:
    """What an expression may be: both sides of ``given or default``."""
    return value.options if isinstance(value, ex.Choice) else (value,)
