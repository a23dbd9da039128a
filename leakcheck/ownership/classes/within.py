"""Methods that open what their object keeps and close it again themselves: between the two they owe the release.

    def fetch(self):
        self.connect()                  keeps a connection on self
        self.cur.execute("SELECT 1")    raises: nobody closes it
        self.disconnect()

So do those that write `self.conn = connect()` themselves. A method counts that closes it on every way on which nothing
raises: others leave it open for those who come later. What may close it otherwise speaks against it: leaving a `with`,
`__del__`, a method that closes after it called this one, and code beside the class that calls what closes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.cfg.walk import reduce
from leakcheck.driver import Protocol
from leakcheck.ownership.acquire import Acquisition
from leakcheck.ownership.effects import Effects
from leakcheck.ownership.explore import BoundReachedError, Explorer
from leakcheck.ownership.found import Found
from leakcheck.ownership.state import Hold, State, Status
from leakcheck.ownership.steps import acquire_steps
from leakcheck.project.facts import is_self
from leakcheck.project.names import Function

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.facts import FunctionFacts
    from leakcheck.project.names import Class

_BY_OTHER_MEANS = frozenset({"__exit__", "__aexit__", "__del__"})


class Within:
    """Looks for such methods among those of one class."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def found(self, stored: Found, cls: Class, attribute: str) -> Iterator[Found]:
        """What becomes in them of what one method stores in an attribute: in that method, and where it is called."""
        module, opening = stored.unit.scope.module, stored.unit.facts
        resource, own = stored.acquisition.resource, module.classes[cls.qualname].methods
        releasing = self._program.functions.owners.releasing_methods(cls, attribute, resource)
        if opening is None or stored.acquisition.unopened or not releasing.keys() <= own.keys() - _BY_OTHER_MEANS:
            return
        methods = [module.functions[own[name]] for name in releasing]
        opens = [opening, *(m for m in methods if m is not opening and _calls_own(m, opening.name))]
        closers = [m for m in methods if m not in opens]
        if self._is_closed_elsewhere(cls, closers):
            return
        for method in opens:
            unit = self._program.functions.units.of(Function(cls.path, method.qualname))
            if unit is not None and not any(_calls_own(closer, method.name) for closer in closers):
                yield from self._followed(stored, unit, opening, attribute)

    def _is_closed_elsewhere(self, cls: Class, closers: Sequence[FunctionFacts]) -> bool:
        """Whether some code that knows the class, and is not part of it, calls a method that only closes."""
        names = b"|".join(re.escape(closer.name.encode()) for closer in closers)
        if not names:
            return False
        called, known = re.compile(rb"\.(?:" + names + rb")\("), cls.qualname.rpartition(".")[2].encode()
        for path in self._program.modules.project_of(cls.path):
            data = self._program.data(path)
            if known in data and called.search(self._without(cls) if path == cls.path else data):
                return True
        return False

    def _without(self, cls: Class) -> bytes:
        """The text of a class's file without its methods."""
        lines, module = self._program.data(cls.path).splitlines(keepends=True), self._program.facts(cls.path)
        for method in module.functions.values() if module is not None else ():
            if method.owner == cls.qualname:
                lines[method.first_row - 1 : method.last_row] = [b""] * (method.last_row - method.first_row + 1)
        return b"".join(lines)

    def _followed(self, stored: Found, unit: Unit, opening: FunctionFacts, attribute: str) -> Iterator[Found]:
        try:
            if unit.facts is opening:
                followed = self._program.functions.explore(unit, stored.call, stored.acquisition, followed=True)
            else:
                followed = list(self._from_calls(stored, unit, opening, attribute))
        except (BoundReachedError, TooLargeError):
            return
        for each in followed:
            ways = [ending.state.status for ending in each.exploration.endings if not ending.state.raised]
            if ways and all(status is Status.RELEASED for status in ways):
                yield each

    def _from_calls(self, stored: Found, unit: Unit, opening: FunctionFacts, attribute: str) -> Iterator[Found]:
        """What becomes of it in a method that calls the one that opens."""
        functions, resource = self._program.functions, stored.acquisition.resource
        graph, constants = functions.graph(unit), functions.units.constants(unit)
        taken = Acquisition(resource, Protocol.VALUE, stored.acquisition.pool, steps=acquire_steps(stored))
        for block in graph.blocks:
            for position, instruction in enumerate(block.instructions):
                call = _opening_call(instruction, opening)
                facts = constants.before(block, position) if call is not None else None
                if call is None or facts is None:
                    continue
                effects = Effects(resource, taken.pool, call, functions.units.callees(unit), entering=True)
                explorer = Explorer(graph, constants, effects)
                constants.step(facts, instruction)
                holder = unit.facts.parameters[0].name if unit.facts is not None and unit.facts.parameters else "self"
                held = {n: v for n, v in facts.items() if not n.startswith("%")} | {f"{holder}.{attribute}": Hold.OWN}
                explorer.run(block, position + 1, State(Status.HELD, tuple(sorted(held.items()))))
                at = g.Call(call, holder, reduce(call.func), holder, opening.name, None, ())
                yield Found(unit, at, taken, explorer.result, effects)


def _opening_call(instruction: g.Instruction, opening: FunctionFacts) -> cst.Call | None:
    """The call of the method that opens, where the instruction is what makes it, or awaits it."""
    node: cst.CSTNode | None = instruction.node
    if opening.is_async:
        node = node.expression if isinstance(instruction, g.Await) and isinstance(node, cst.Await) else None
    if isinstance(instruction, (g.Call, g.Await)) and isinstance(node, cst.Call):
        func = reduce(node.func)
        if isinstance(func, ex.Attribute) and func.name == opening.name and is_self(func.base):
            return node
    return None


def _calls_own(method: FunctionFacts, name: str) -> bool:
    return any(isinstance(c, ex.Attribute) and is_self(c.base) for c in method.calls.get(name, ()))
