"""What runs between a release and the end of its region: it would run before the release after the rewrite.

    if row is None:
        pool.putconn(conn)
        return None              →   nothing; `notify()` in place of `None` would be found

Calls that are taken not to raise, such as logging, are taken not to be seen either, and those that only make a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce
from leakcheck.fixes.tree import LOOPS, TRIES, own
from leakcheck.project.names import External, Function

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from leakcheck.cfg.graph import Call
    from leakcheck.fixes.region import Region
    from leakcheck.ownership.callees import Callees
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit

_LEAVES = (cst.Return, cst.Raise, cst.Break, cst.Continue)
_OF_TEXTS = frozenset({"format", "join", "strip"})
_RUNS = (cst.Await, cst.Yield, cst.For, cst.While, cst.With, cst.Import, cst.ImportFrom, cst.Del, cst.CompFor)


def later_call(region: Region, release: cst.CSTNode, calls: Mapping[int, Call], program: Program) -> cst.CSTNode | None:
    """The first node behind ``release`` in the region that may do something that others see."""
    for node in behind(region, release):
        found = _effect(region, node, calls, program)
        if found is not None:
            return found
    return None


def behind(region: Region, release: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The code that runs behind ``release`` before the region is left."""
    tree = region.tree
    current: cst.CSTNode = release
    for parent in tree.ancestors(release):
        if isinstance(parent, cst.SimpleStatementLine):
            yield from parent.body[1 + next(i for i, small in enumerate(parent.body) if small is current) :]
        elif isinstance(parent, cst.IndentedBlock):
            siblings = list(parent.body)
            if parent is region.block:
                siblings = siblings[: region.last + 1]
            start = next(i for i, statement in enumerate(siblings) if statement is current) + 1
            yield from siblings[start:]
            if parent is region.block:
                return
            last = siblings[-1]
            if isinstance(last, cst.SimpleStatementLine) and isinstance(last.body[-1], _LEAVES):
                yield from _left_through(region, parent, raises=isinstance(last.body[-1], cst.Raise))
                if not isinstance(last.body[-1], (cst.Break, cst.Continue)) or not _loop_inside(region, parent):
                    return
        elif isinstance(parent, TRIES):
            if current is parent.body and parent.orelse is not None:
                yield parent.orelse
            if parent.finalbody is not None and current is not parent.finalbody:
                yield parent.finalbody
        elif isinstance(parent, LOOPS):
            yield parent
        elif isinstance(parent, cst.With):
            yield from parent.items
        current = parent


def _left_through(region: Region, block: cst.CSTNode, *, raises: bool) -> Iterator[cst.CSTNode]:
    """What a jump out of ``block`` still runs inside the region: handlers that may catch, ``finally``, ``with``."""
    current = block
    for parent in region.tree.ancestors(block):
        if parent is region.block:
            return
        if isinstance(parent, TRIES):
            if raises and current is parent.body:
                yield from parent.handlers
            if parent.finalbody is not None and current is not parent.finalbody:
                yield parent.finalbody
        elif isinstance(parent, cst.With):
            yield from parent.items
        current = parent


def _loop_inside(region: Region, node: cst.CSTNode) -> bool:
    """Whether the innermost loop around ``node`` is part of the region."""
    loop = next((n for n in region.tree.ancestors(node) if isinstance(n, LOOPS)), None)
    return loop is not None and region.holds(loop)


def _effect(region: Region, root: cst.CSTNode, calls: Mapping[int, Call], program: Program) -> cst.CSTNode | None:
    callees = region.tree.unit.callees
    raised = {id(n.exc) for n in own(root) if isinstance(n, cst.Raise)}
    for node in own(root):
        if any(part in region.removed for part in (id(node), *map(id, region.tree.ancestors(node)))):
            continue
        if isinstance(node, _RUNS):
            return node
        if isinstance(node, cst.Call) and id(node) not in raised:
            instruction = calls.get(id(node))
            if callees is None or instruction is None or not _is_unseen(instruction, callees, program):
                return node
    return None


def _is_unseen(call: Call, callees: Callees, program: Program) -> bool:
    """Whether nobody can tell when the call ran: it only makes a value, or logs."""
    symbols = callees.symbols(call)
    functions = [symbol for symbol in symbols if isinstance(symbol, Function)]
    if functions:
        return all(_is_plain(program.functions.units.of(function), program) for function in functions)
    if callees.is_quiet(call):
        return True
    names = [symbol.name for symbol in symbols if isinstance(symbol, External)]
    if len(names) != len(symbols):
        return False
    names = names or [ex.dotted(call.func) or f"_.{call.method}"]
    return all(program.calls.is_building(name) for name in names) or (
        call.method in _OF_TEXTS and isinstance(call.node, cst.Call) and _is_text(call.node.func)
    )


def _is_plain(unit: Unit | None, program: Program) -> bool:
    """Whether a function of the project makes no calls but such as are known to be seen by nobody."""
    if unit is None or unit.is_async:
        return False
    calls = program.calls
    for node in own(unit.node):
        if isinstance(node, _RUNS):
            return False
        if isinstance(node, cst.Call):
            name = ex.dotted(reduce(node.func)) or ""
            if not calls.is_non_raising(name) and not calls.is_building(name):
                return False
    return True


def _is_text(func: cst.CSTNode) -> bool:
    return isinstance(func, cst.Attribute) and isinstance(func.value, (cst.SimpleString, cst.FormattedString))
