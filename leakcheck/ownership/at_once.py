"""Objects that open themselves when they are made, by a method of their own.

    def __init__(self, dsn):
        self.dsn = dsn
        self.connect()          →   True: whoever makes one owes a `close()`

Asked are calls that nothing is in the way of: not those below an `if`, or whose error is swallowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from libcst import matchers as m

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce
from leakcheck.project.facts import is_self
from leakcheck.project.names import Function

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from leakcheck.ownership.program import Program
    from leakcheck.project.names import Class


def opens_when_made(program: Program, cls: Class, opening: Container[str]) -> bool:
    """Whether making an object of the class calls one of these methods of it in any case, or fails."""
    for owner, init, _ in program.resolver.hierarchy.initialisers(cls):
        unit = program.functions.units.of(Function(owner.path, init.qualname))
        made = unit.node.body.body if unit is not None and isinstance(unit.node, cst.FunctionDef) else ()
        called = {name for statement in _certain(made) for name in _called_on_self(statement)}
        if any(name in opening and _opens_or_raises(program, cls, name) for name in called):
            return True
        if init.name not in init.calls:  # of a base class
            return False
    return False


def _opens_or_raises(program: Program, cls: Class, name: str) -> bool:
    """Whether a method hides no error: one that does may leave its object unopened, and whoever made it then asks."""
    for owner, facts, _ in program.resolver.hierarchy.lineage(cls):
        if name in facts.methods:
            unit = program.functions.units.of(Function(owner.path, facts.methods[name]))
            handlers = m.findall(unit.node, m.ExceptHandler()) if unit is not None else ()
            return unit is not None and all(isinstance(h, cst.ExceptHandler) and _raises(h) for h in handlers)
    return False


def _certain(
    statements: Sequence[cst.BaseStatement | cst.BaseSmallStatement],
) -> Iterator[cst.BaseSmallStatement]:
    """The simple statements that run wherever all of it does."""
    for statement in statements:
        match statement:
            case cst.SimpleStatementLine(body=body):
                yield from body
            case cst.With(body=body):
                yield from _certain(body.body)
            case cst.Try(body=body, handlers=handlers) if all(map(_raises, handlers)):
                yield from _certain(body.body)
            case cst.BaseSmallStatement():
                yield statement
            case _:
                pass
        if m.findall(statement, m.Return()):
            return


def _raises(handler: cst.ExceptHandler) -> bool:
    """Whether a handler ends by raising."""
    last = handler.body.body[-1]
    last = last.body[-1] if isinstance(last, cst.SimpleStatementLine) else last
    return isinstance(last, cst.Raise)


def _called_on_self(statement: cst.BaseSmallStatement) -> Iterator[str]:
    """The method of its object that a statement calls, or whose answer it binds."""
    called = reduce(statement.value) if isinstance(statement, (cst.Expr, cst.Assign)) else None
    func = called.func if isinstance(called, ex.Call) else None
    if isinstance(func, ex.Attribute) and is_self(func.base):
        yield func.name
