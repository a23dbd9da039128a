"""Connections that lie in a queue or list of the project: who takes one out puts it back, or closes it.

    class Pool:
        def __init__(self, path):
            self.free = Queue()
            for _ in range(5):
                self.free.put(connect(path))     # so `free` holds connections

        def count(self, table):
            conn = self.free.get()               →   taken, and owed until `self.free.put(conn)`

What is put in is looked for in the text of the functions beside: the name or the call in the parentheses.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.driver import ClassKind
from leakcheck.project.facts import is_self
from leakcheck.project.names import Class, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.driver import DriverClass
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import ModuleFacts, ScopeFacts

TAKING = {
    "get": "generic.Queued",
    "get_nowait": "generic.Queued",
    "pop": "generic.Stacked",
    "popleft": "generic.Stacked",
}
"""Methods that take something out, and what a connection is that comes out by them."""
_AWAITED = {"generic.Queued": "generic.QueuedInLoop"}
"""What it is where the method is awaited: so is what puts it back."""
LENT = frozenset({*TAKING.values(), *_AWAITED.values()})
"""All that a connection may be which comes out."""
_PUTTING = frozenset({"put", "put_nowait", "append", "appendleft"})
_Key = tuple[str, str | None, str]


class Queues:
    """Answers about the queues of a project."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._known: dict[_Key, bool] = {}

    def taken(self, func: ex.Expression, scope: Scope, *, awaited: bool = False) -> DriverClass | None:
        """What a call of ``func`` takes out of a queue that holds connections."""
        if not isinstance(func, ex.Attribute) or func.name not in TAKING or not self._holds(func.base, scope):
            return None
        lent = TAKING[func.name]
        return self._program.drivers.classes[_AWAITED.get(lent, lent) if awaited else lent]

    def takes_back(self, func: ex.Expression, resource: DriverClass, scope: Scope) -> bool:
        """Whether a call of ``func`` puts what was taken out of a queue back in one."""
        if resource.id not in LENT or not isinstance(func, ex.Attribute) or func.name not in _PUTTING:
            return False
        return self._holds(func.base, scope)

    def _holds(self, queue: ex.Expression, scope: Scope) -> bool:
        """Whether connections lie in a queue."""
        key = _key(queue, scope)
        if key is None:
            return False
        if key not in self._known:
            self._known[key] = False  # what a queue is filled with may come from it
            self._known[key] = any(self._is_connection(made, place) for made, place in self._put_in(*key))
        return self._known[key]

    def _put_in(self, path: str, owner: str | None, name: str) -> Iterator[tuple[ex.Call, Scope]]:
        """What the functions of a class, or of a file, put in: the calls that make it, each where it stands."""
        holder = "self\\." if owner is not None else ""
        putting = rf"{holder}{name}\.(?:{'|'.join(sorted(_PUTTING))})"
        pattern = re.compile(rf"(?<![\w.]){putting}\(\s*(?:await\s+)?([\w.]+)([(),])")
        for module, first, last, scope in self._places(path, owner):
            text = self._program.rows(module.path, first, last).decode(errors="replace")
            for put, follows in pattern.findall(text):
                if follows == "(":
                    yield ex.Call(ex.of_names(put)), scope
                else:
                    yield from ((made, scope) for made in _calls(put, scope))

    def _places(self, path: str, owner: str | None) -> Iterator[tuple[ModuleFacts, int, int, Scope]]:
        """The rows in which something may be put in."""
        module = self._program.facts(path)
        if owner is not None:
            for _, facts, inside in self._program.resolver.hierarchy.lineage(Class(path, owner)):
                for qualname in facts.methods.values():
                    method = inside.functions[qualname]
                    if not _PUTTING.isdisjoint(method.calls):
                        yield inside, method.row, method.last_row, Scope.of(inside, method)
        elif module is not None:
            for function in module.functions.values():
                if not _PUTTING.isdisjoint(function.calls):
                    yield module, function.row, function.last_row, Scope.of(module, function)
            for statement in module.statements:
                if not _PUTTING.isdisjoint(statement.calls):
                    yield module, statement.first_row, statement.last_row, Scope(module)

    def _is_connection(self, made: ex.Call, scope: Scope) -> bool:
        """Whether a call gives a connection."""
        acquisitions = self._program.acquisitions
        found = acquisitions.at(acquisitions.innermost(made, scope), scope, awaited=lambda: False)
        return found is not None and found.position is None and found.resource.kind is ClassKind.CONNECTION


def says_put(name: str, resource: DriverClass) -> bool:
    """Whether the name of a function says that it puts a connection back in the queue that it comes from."""
    return resource.id in LENT and name.strip("_").partition("_")[0] in _PUTTING


def _key(holder: ex.Expression, scope: Scope) -> _Key | None:
    """Where a queue lives: on an object of a class, or in a file."""
    match holder:
        case ex.Attribute(base=base, name=name) if is_self(base) and scope.owner is not None:
            return scope.module.path, scope.owner, name
        case ex.Name(id=name) if name in scope.module.scope.assignments:
            bound = any(f.binds(name) and name in f.scope.assignments for f in scope.functions)
            return None if bound else (scope.module.path, None, name)
        case _:
            return None


def _calls(name: str, scope: Scope) -> Iterator[ex.Call]:
    """The calls that make the values which a name is bound to."""
    around: list[ScopeFacts] = [function.scope for function in scope.functions] or [scope.module.scope]
    for value in (v for facts in around for v in facts.assignments.get(name, ())):
        made = value.value if isinstance(value, ex.Await) else value
        if isinstance(made, ex.Call):
            yield made
