"""What making an object of a project class takes: in its constructor, for a field, or by a method of it later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck.ownership.classes.fields import Fields
from leakcheck.ownership.classes.openings import Openings
from leakcheck.project.gate import matters

if TYPE_CHECKING:
    from leakcheck.ownership.acquire import Acquisition
    from leakcheck.ownership.program import Program
    from leakcheck.project.names import Class


def made(program: Program, cls: Class) -> Acquisition | None:
    """The object itself, as something that is owed; None where it takes nothing."""
    inherited = False
    for owner, init, module in program.resolver.hierarchy.initialisers(cls):
        if matters(program, module, init):
            found = program.functions.owners.construction(cls, owner, init, inherited=inherited)
            if found is not None:
                return found
        if init.name not in init.calls:  # of a base class
            break
        inherited = True
    return Fields(program).construction(cls) or Openings(program).construction(cls)
