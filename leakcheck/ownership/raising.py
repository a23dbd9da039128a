"""Which project functions an exception can leave.

    def quiet_close(conn):
        try: conn.close()
        except Exception: log.warning("...")     →   cannot raise

A call that cannot raise ends no path of its caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.project.names import Function

if TYPE_CHECKING:
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.ownership.units import Units
    from leakcheck.project.names import Scope


class Raising:
    """Answers once for each function; while an answer is being found (recursion) the function may raise."""

    def __init__(self, program: Program, units: Units) -> None:
        self._program = program
        self._units = units
        self._raising: dict[tuple[str, str], bool] = {}

    def may_raise(self, function: Function) -> bool:
        """Whether an exception can leave a project function; a body that only does what cannot raise has none."""
        key = (function.path, function.qualname)
        if key not in self._raising:
            self._raising[key] = True
            facts, scope = self._program.resolver.function(function)
            quiet = (
                facts is not None
                and scope is not None
                and all(self._is_quiet(name, e, scope) for name, found in facts.calls.items() for e in found)
            )
            unit = self._units.of(function) if quiet else None
            if unit is not None:
                self._raising[key] = self._reaches_failure(unit)
        return self._raising[key]

    def _is_quiet(self, name: str, callee: ex.Expression, scope: Scope) -> bool:
        """Whether calling ``callee`` is taken not to raise, before anything of it is parsed by LibCST."""
        calls = self._program.calls
        if calls.says_release(name) or calls.is_non_raising(ex.dotted(callee) or name):
            return True
        symbols = self._program.resolver.resolve(callee, scope)
        return bool(symbols) and all(isinstance(s, Function) and not self.may_raise(s) for s in symbols)

    def _reaches_failure(self, unit: Unit) -> bool:
        """Whether some way through the graph ends in an exception."""
        try:
            graph = self._units.graph(unit)
        except TooLargeError:
            return True
        callees = self._units.callees(unit)
        seen, stack = {graph.entry.index}, [graph.entry]
        while stack:
            block = stack.pop()
            last = block.instructions[-1] if block.instructions else None
            quiet = (isinstance(last, g.Call) and callees.is_quiet(last)) or (
                isinstance(last, g.Await) and callees.is_quiet_await(last)
            )
            for edge in (*block.successors, *(() if quiet else block.raises)):
                if edge.target is graph.failure:
                    return True
                if edge.target.index not in seen:
                    seen.add(edge.target.index)
                    stack.append(edge.target)
        return False
