"""What a method of a receiver of which nothing is known may be: names are weighed, and nothing is certain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.driver import Operation
    from leakcheck.ownership.program import Program
    from leakcheck.project.names import Scope

IMPORTED = 4
"""The weight of a driver's import among the evidence for what an unresolved receiver is."""


def evidence(program: Program, func: ex.Attribute, scope: Scope) -> Iterator[tuple[int, Operation]]:
    """What a method of an unresolved receiver may be, weighed: it is distinctive, or the receiver's name fits."""
    identifiers = _called(func.base)
    if any(word in identifier for word in ("mock", "fake") for identifier in identifiers):
        return
    if isinstance(func.base, ex.Item) and program.calls.is_lock(identifiers[0]):
        return
    likely = {class_id for each in identifiers for class_id in program.drivers.receiver_classes(each)}
    for class_id, operation in program.drivers.methods_named(func.name):
        if operation.acquires is None:
            continue
        packages = program.drivers.packages_of(class_id)
        imported = any(p.partition(".")[0] in scope.module.packages for p in packages)
        named = class_id in likely
        if not (operation.distinctive or named):
            continue
        if packages and not imported and not operation.distinctive:
            continue
        yield (IMPORTED if imported else 0) + (2 if named else 0) + (1 if not packages else 0), operation


def _called(receiver: ex.Expression) -> tuple[str, ...]:
    """What a receiver is called: ``app["pool"]`` is a pool, ``app[POOL_KEY]`` as well, one of ``engines`` an engine."""
    if not isinstance(receiver, ex.Item):
        return tuple(filter(None, (ex.last_name(receiver),)))
    whole = (ex.last_name(receiver.base) or "").removesuffix("s")
    match receiver.index:
        case ex.Constant(value=str() as key):
            pass
        case ex.Name(id=key) | ex.Attribute(name=key) if key.isupper():
            key = key.removesuffix("_KEY")
        case _:
            return (whole,)
    return whole, key
