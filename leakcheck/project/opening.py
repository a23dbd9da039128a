"""Project classes whose objects may open something, as far as facts say: no function is analysed for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck.project.gate import matters
from leakcheck.project.hierarchy import INITIALISERS
from leakcheck.project.names import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts, ModuleFacts
    from leakcheck.project.names import Class

NOT_OPENING = frozenset({*INITIALISERS, "__new__", "__enter__", "__aenter__", "__exit__", "__aexit__", "__del__"})
"""Methods that are called by other means, or judged elsewhere."""


def may_open(program: Program, cls: Class) -> bool:
    """Whether making an object, or a method of it, may take something that the object then keeps."""
    hierarchy = program.resolver.hierarchy
    return (
        any(matters(program, module, init) for _, init, module in hierarchy.initialisers(cls))
        or any(_made_for_fields(program, cls))
        or any(True for _ in opening_methods(program, cls))
    )


def _made_for_fields(program: Program, cls: Class) -> Iterator[bool]:
    """Whether a factory takes something, for each that makes a field of each object."""
    for _, facts, module in program.resolver.hierarchy.lineage(cls):
        yield from (program.acquisitions.possible(each, Scope(module)) for each in facts.factories.values())


def opening_methods(program: Program, cls: Class) -> Iterator[tuple[ModuleFacts, FunctionFacts]]:
    """The methods that keep something in an attribute and may have taken it."""
    hierarchy = program.resolver.hierarchy
    keeping = {(module.path, method) for _, facts, module in hierarchy.lineage(cls) for method in facts.keeping}
    for module, method in hierarchy.methods_of_objects(cls) if keeping else ():
        keeps = (module.path, method.qualname) in keeping
        if keeps and method.name not in NOT_OPENING and matters(program, module, method):
            yield module, method
