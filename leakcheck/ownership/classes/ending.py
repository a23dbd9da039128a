"""Objects that end by what others than their users do: Python, a toolkit, or whom they asked to when they were made.

class Window(QMainWindow):
def closeEvent(self, event): self.db.close()      →   whoever shows a window owes it nothing
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.driver import RECEIVER
from leakcheck.project.facts import is_self

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from leakcheck.driver import DriverClass
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts
    from leakcheck.project.names import Class

_TOOLKIT = "tkinter"
"""The one that comes with Python."""


class Endings:
    """Answers about project classes; ``may_inherit_anything`` tells which derive from a library's class."""

    def __init__(self, program: Program, may_inherit_anything: Callable[[Class], bool]) -> None:
        self._program = program
        self._may_inherit_anything = may_inherit_anything

    def ends_itself(self, cls: Class, attribute: str, resource: DriverClass, releases: Collection[str]) -> bool:
        """Whether somebody else than its user calls one of these methods of an object."""
        if "__del__" in releases or self._arranges(cls, attribute, resource, releases):
            return True
        return any(map(self._program.calls.is_ending_hook, releases)) and self._is_of_toolkit(cls)

    def _is_of_toolkit(self, cls: Class) -> bool:
        bases = self._program.resolver.hierarchy.external_bases(cls)
        return any(base.partition(".")[0] == _TOOLKIT for base in bases) or self._may_inherit_anything(cls)

    def _arranges(self, cls: Class, attribute: str, resource: DriverClass, releases: Collection[str]) -> bool:
        """Whether making an object hands one of these methods on to be called later: ``atexit.register(self.stop)``.

        So does a ``lambda: self.stop()``, or ``self.conn.close``. The object sees to its end itself then.
        """
        own = [f"{attribute}.{name}" for name, o in resource.methods.items() if o.releases == RECEIVER]
        methods = "|".join(map(re.escape, (*releases, *own)))
        for path, made in self._making(cls, releases):
            if made.parameters:
                text = self._program.rows(path, made.row, made.last_row).decode(errors="replace")
                method = rf"{re.escape(made.parameters[0].name)}\.(?:{methods})"
                if re.search(rf"[(,=]\s*{method}\s*[,)]|\blambda\b[^:\n]*:\s*{method}\(", text) is not None:
                    return True
        return False

    def _making(self, cls: Class, releases: Collection[str]) -> Iterator[tuple[str, FunctionFacts]]:
        """The method that makes its objects ready, and those that it calls on them, but none that gives back."""
        hierarchy = self._program.resolver.hierarchy
        waiting = [(owner.path, init) for owner, init, _ in hierarchy.initialisers(cls)][:1]
        methods = {method.name: (function.path, method) for function, method in reversed([*hierarchy.methods(cls)])}
        seen = {*releases}
        while waiting:
            path, method = waiting.pop()
            yield path, method
            own = {name for name, callees in method.calls.items() if any(map(_is_on_self, callees))}
            waiting += [methods[name] for name in sorted(own & methods.keys() - seen)]
            seen |= own


def _is_on_self(callee: ex.Expression) -> bool:
    return isinstance(callee, ex.Attribute) and is_self(callee.base)
