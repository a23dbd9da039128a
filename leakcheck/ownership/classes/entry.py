"""The methods that run while an object is entered: ``__enter__``, ``__aenter__``, and those of it that they call.

    def __enter__(self):
        self._open()         →   ``_open`` is one: where it raises, no ``__exit__`` follows
        return self

One that is called inside a ``try`` is none of them: what it raises may be handled there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk
from leakcheck.project.facts import ENTERING, is_self
from leakcheck.project.names import Class, Function

if TYPE_CHECKING:
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit


def is_entry(program: Program, unit: Unit) -> bool:
    """Whether what a function raises leaves an entering method, which then has entered nothing."""
    if unit.is_entering:
        return True
    if unit.facts is None or unit.facts.owner is None:
        return False
    seen: set[str] = set()
    for owner, facts, module in program.resolver.hierarchy.lineage(Class(unit.path, unit.facts.owner)):
        for name in (ENTERING - seen) & facts.methods.keys():
            seen.add(name)
            method = module.functions[facts.methods[name]]
            if any(_is_own(callee) for callee in method.calls.get(unit.facts.name, ())):
                entering = program.functions.units.of(Function(owner.path, method.qualname))
                return entering is not None and not _is_guarded(entering.node, unit.facts.name)
    return False


def _is_guarded(entering: cst.CSTNode, method: str) -> bool:
    """Whether a ``try`` of the entering method sees what its call of another raises."""
    tries = (node.body for node in walk(entering) if isinstance(node, (cst.Try, cst.TryStar)))
    calls = (reduce(node.func) for body in tries for node in walk(body) if isinstance(node, cst.Call))
    return any(ex.last_name(callee) == method and _is_own(callee) for callee in calls)


def _is_own(callee: ex.Expression) -> bool:
    return isinstance(callee, ex.Attribute) and is_self(callee.base)
