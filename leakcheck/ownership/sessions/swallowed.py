"""Whether some handler takes the error of a statement that the server refuses, so that the code goes on to a commit.

    except psycopg2.Error:          →   it does, as do ``except Exception`` and an error of the project's own
    except json.JSONDecodeError:    →   no statement raises that

Neither does a statement raise the errors of libraries that are no drivers.
"""

from __future__ import annotations

import builtins
import sys
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk
from leakcheck.project.names import External

if TYPE_CHECKING:
    from leakcheck.ownership.found import Fault
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit

_EVERYTHING = frozenset({"Exception", "BaseException"})
_NO_ERRORS_OF_A_STATEMENT = frozenset({"OperationalError", "InterfaceError", "CancelledError", "TimeoutError"})
"""A connection that is gone, and what is no error of a driver."""
_STANDARD = frozenset({
    "Error", "DatabaseError", "DataError", "IntegrityError", "InternalError", "NotSupportedError", "ProgrammingError",
})  # fmt: skip
"""What PEP 249 calls them: also those of a driver that is not known, and of what wraps one."""


def is_swallowed(program: Program, fault: Fault) -> bool:
    """Whether the statement stands in a ``try`` whose handler takes a driver's errors before the commit is reached."""
    assert fault.event.because is not None
    failing, committing = fault.event.because.node, fault.event.instruction.node
    for node in walk(fault.unit.node):
        if not isinstance(node, cst.Try):
            continue
        guarded = {id(n) for n in walk(node.body)}
        if id(failing) not in guarded or id(committing) in guarded:
            continue
        for handler in node.handlers:
            types = reduce(handler.type) if handler.type is not None else None
            items = types.items if isinstance(types, ex.Sequence) else (types,)
            if any(item is None or _takes_errors_of_statements(program, fault.unit, item) for item in items):
                return True
    return False


def _takes_errors_of_statements(program: Program, unit: Unit, caught: ex.Expression) -> bool:
    """Whether an exception class is perhaps one of a statement's errors."""
    name = ex.last_name(caught)
    if name is None or name in _NO_ERRORS_OF_A_STATEMENT:
        return False
    if name in _EVERYTHING or name in _STANDARD:
        return True
    if hasattr(builtins, name):
        return False
    roots = {package.partition(".")[0] for package in program.drivers.packages}
    symbols = program.resolver.resolve(caught, unit.scope)
    libraries = {s.name.partition(".")[0] for s in symbols if isinstance(s, External)}
    return not libraries or not libraries.isdisjoint(roots - sys.stdlib_module_names)
