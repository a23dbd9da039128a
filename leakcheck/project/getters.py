"""Properties that hand out what they took: reading one is a call.

@property
def connection(self): return connect(self.path)

rows = self.connection.execute(query)   →   `self.connection` takes a connection
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.project.facts import FunctionFacts
from leakcheck.project.names import Function

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import Statement
    from leakcheck.project.names import Scope


def opens(program: Program, read: ex.Attribute, scope: Scope) -> bool:
    """Whether reading the attribute runs a property of the project that takes something for whoever reads it."""
    if program.getters is not None and read.name not in program.getters:
        return False
    symbols = program.resolver.resolve(ex.Getter(read.base, read.name), scope)
    return any(isinstance(s, Function) and program.hands_out(s) for s in symbols)


def reads(item: FunctionFacts | Statement) -> Iterator[ex.Attribute]:
    """The attributes that are read in what a function calls, assigns and returns."""
    pending = [callee for callees in item.calls.values() for callee in callees]
    pending = [callee.base if isinstance(callee, ex.Attribute) else callee for callee in pending]
    if isinstance(item, FunctionFacts):
        pending += (value for values in item.scope.assignments.values() for value in values)
        pending += item.returned
    while pending:
        match pending.pop():
            case ex.Attribute(base=base) as read:
                yield read
                pending.append(base)
            case ex.Call(func=func, args=args, keywords=keywords):
                pending.append(func.base if isinstance(func, ex.Attribute) else func)
                pending += (*args, *(value for _, value in keywords))
            case ex.Await(value=value) | ex.Entered(value=value) | ex.Element(value=value) | ex.Item(base=value):
                pending.append(value)
            case ex.Choice(options=values) | ex.Sequence(items=values):
                pending += values
            case _:
                pass
