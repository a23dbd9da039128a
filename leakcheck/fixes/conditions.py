"""What speaks against a rewrite of a region, or for leaving it to a reader.

    applicability_of(region)   →   Applicability.UNSAFE, "line 7 passes `conn` to `load()`, which may keep it"

RefusedError where no rewrite keeps the meaning. Each check answers one row of the conditions that were measured.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import reduce, walk
from leakcheck.diagnostic import Applicability
from leakcheck.driver import WithEffect
from leakcheck.fixes.captured import is_allowed, is_harmless
from leakcheck.fixes.giving import Doubt, giving
from leakcheck.fixes.guards import asks_if_bound, guards, leaves_without
from leakcheck.fixes.order import later_call
from leakcheck.fixes.outliving import outliving
from leakcheck.fixes.roles import Mention, Role, mentions
from leakcheck.fixes.tree import TRIES, RefusedError, only, own
from leakcheck.ownership.obligation import EventKind
from leakcheck.ownership.state import Status
from leakcheck.project.facts import is_resumed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.fixes.region import Region
    from leakcheck.ownership.program import Program

_FINE = frozenset({Role.METHOD, Role.READ, Role.TEST, Role.SHOWN, Role.SET, Role.ARGUMENT, Role.MANAGED, Role.YIELDED})
_ENTERING = frozenset({"__enter__", "__exit__", "__aenter__", "__aexit__", "detach"})
DYNAMIC = frozenset({"locals", "exec", "eval", "vars"})
TOOL_COMMENT = re.compile(
    r"#\s*(?:type:\s*ignore|no(?:qa|sec|semgrep|sonar|lint)|pragma|lgtm|pyre-(?:ignore|fixme)"
    r"|(?:autopep8|black|flake8|fmt|isort|leakcheck|mypy|pylint|pyrefly|pyright|pytype|ruff|ty|yapf)\s*:)",
    re.IGNORECASE,
)
"""A comment that tells a tool something about the lines where it stands."""


def applicability_of(region: Region, program: Program) -> Doubt:
    """The lowest tier that any condition asks for, and its reason. Raises RefusedError."""
    if region.found.ended_instead:
        raise RefusedError(f"`{region.name}` may be one of several, and others of these go back already")
    moved = [*_moved(region)] if not region.is_handed else []
    for mention in mentions(region.tree, region.name):
        binds = mention.role is Role.BOUND and region.is_around
        captured = mention.role is Role.CAPTURED and is_allowed(region, mention)
        if region.holds(mention.node) and not binds and not captured and not region.hands_on(mention.node):
            _check_role(region, mention)
    doubts = [*moved, *_doubts(region, program)]
    return min(doubts, key=lambda doubt: doubt[0], default=(Applicability.SAFE, ""))


def _moved(region: Region) -> Iterator[Doubt]:
    """Who is given the connection and may keep it has a closed one already, where the region ends by its release."""
    for ending in region.found.exploration.endings:
        if ending.state.status is Status.MOVED:
            passed = next((e.instruction for e in reversed(ending.events) if e.kind is EventKind.TRANSFER), None)
            where = f" in line {region.tree.row(passed.node)}" if passed is not None else ""
            if not isinstance(passed, g.Call) or not region.ends_with_release or not region.holds(passed.node):
                raise RefusedError(f"`{region.name}` is handed on{where}, so its release is not this function's alone")
            given = ex.last_name(passed.func) or ""
            yield Applicability.UNSAFE, f"`{region.name}` is handed on{where}: `{given}()` may keep it"


def _faults(region: Region) -> Iterator[Doubt]:
    """A second release, or a use after it, is a fault of its own, which the rewrite would hide."""
    for _, event, _ in region.found.exploration.faults:
        row = region.tree.row(event.instruction.node)
        if event.kind is EventKind.USED_AFTER:
            raise RefusedError(f"line {row} uses `{region.name}` after its release")
        if event.kind is EventKind.RELEASED_TWICE:
            yield Applicability.UNSAFE, f"line {row} releases `{region.name}` a second time, which raises"


def _check_role(region: Region, mention: Mention) -> None:
    row = region.tree.row(mention.node)
    methods = region.found.acquisition.resource.methods
    operation = methods.get(mention.attribute)
    if mention.role not in _FINE or mention.attribute in _ENTERING:
        raise RefusedError(f"line {row} {mention.role.value} `{region.name}`")
    if mention.role is Role.METHOD and operation is not None and operation.completes:
        raise RefusedError(f"line {row} says that all went well, and must not run where something raised")
    if mention.role is Role.READ and operation is not None:
        raise RefusedError(f"line {row} hands on the method `{region.name}.{mention.attribute}`")
    if mention.role is Role.MANAGED and region.found.acquisition.resource.with_effect is not WithEffect.KEEPS:
        raise RefusedError(f"line {row} enters `{region.name}`, which releases it or fails")


def _doubts(region: Region, program: Program) -> Iterator[Doubt]:
    yield from _faults(region)
    yield from _unasked_none(region)
    yield from region.doubts
    yield from giving(region, program)
    yield from _captured(region)
    yield from _arguments(region, program)
    yield from _order(region, program)
    yield from _guarded_releases(region)
    yield from _generator(region)
    yield from outliving(region, program)
    yield from _exits_of_finally(region)
    yield from _dynamic(region)
    yield from _comments(region)
    if not region.is_handed:
        yield from _other_checkouts(region)


def _unasked_none(region: Region) -> Iterator[Doubt]:
    """Where the checkout gives None, an original that did not ask failed at the release, which now asks."""
    if region.leaves_without or region.guard is not None or not region.may_be_none or _fails_on_none(region):
        return
    tree = region.tree
    for node in region.removed.values():
        around = next((n for n in tree.ancestors(node) if isinstance(n, cst.If)), None)
        asked = isinstance(node, cst.BooleanOperation) or (around is not None and guards(around.test, region.name))
        if not asked and not _has_left_without(region, node):
            yield Applicability.UNSAFE, f"line {tree.row(region.call)} may give None"


def _has_left_without(region: Region, node: cst.CSTNode) -> bool:
    """Whether nobody comes to a release with None: an ``if not conn: return`` stands before it, behind the checkout."""
    tree = region.tree
    last = max(tree.unit.order(m.node) for m in mentions(tree, region.name) if m.role is Role.BOUND)
    current = node
    for parent in tree.ancestors(node):
        if isinstance(parent, cst.IndentedBlock):
            before = parent.body[: next(i for i, one in enumerate(parent.body) if one is current)]
            if any(leaves_without(one, region.name) and tree.unit.order(one) > last for one in before):
                return True
        current = parent
    return False


def _fails_on_none(region: Region) -> bool:
    """Whether with None the first thing that the region does is to fail."""
    quiet = region.tree.calls
    callees = region.tree.unit.callees
    for statement in region.statements:
        if begins_with(statement, region.name):
            return True
        if only(statement) is None:
            return False
        for node in walk(statement):
            if isinstance(node, cst.Call):
                call = quiet.get(id(node))
                if callees is None or call is None or not callees.is_quiet(call):
                    return False
    return False


def begins_with(statement: cst.CSTNode, name: str) -> bool:
    """Whether the first thing that a statement does is to read an attribute of the variable."""
    small = only(statement)
    node: cst.CSTNode
    match small if small is not None else statement:
        case cst.Expr(value=node) | cst.Return(value=cst.BaseExpression() as node) | cst.Assign(value=node):
            pass
        case cst.With(items=[cst.WithItem(item=node), *_]) | cst.For(iter=node):
            pass
        case _:
            return False
    while True:
        match node:
            case cst.Attribute(value=cst.Name(value=value)):
                return value == name
            case cst.Await(expression=inner) | cst.Attribute(value=inner) | cst.Subscript(value=inner):
                node = inner
            case cst.Call(func=inner):
                node = inner
            case _:
                return False


def _captured(region: Region) -> Iterator[Doubt]:
    """Whoever is given a function that uses the connection may call it when that is gone."""
    for mention in mentions(region.tree, region.name):
        if mention.role is Role.CAPTURED and not region.is_handed and not is_harmless(region, mention):
            row = region.tree.row(mention.node)
            yield Applicability.UNSAFE, f"line {row} captures `{region.name}`, for whoever calls that later"


def _arguments(region: Region, program: Program) -> Iterator[Doubt]:
    """Whoever is given the connection may only look at it."""
    unit = region.tree.unit
    calls = region.tree.calls
    for mention in mentions(region.tree, region.name):
        call = mention.call
        if mention.role is not Role.ARGUMENT or not region.holds(mention.node) or _is_removed(region, call):
            continue
        if region.hands_on(mention.node):
            continue
        row = region.tree.row(mention.node)
        instruction = calls.get(id(call))
        if call is None or instruction is None or unit.callees is None:
            raise RefusedError(f"line {row} passes `{region.name}` on")
        effect = unit.callees.known_call(instruction)
        if effect is not None:
            raise RefusedError(f"line {row} hands `{region.name}` to `{effect.name.rpartition('.')[2]}()`")
        name = ex.last_name(instruction.func) or ""
        if unit.callees.is_left_to_a_task(instruction):
            raise RefusedError(f"line {row} leaves `{region.name}` to a task, which may outlast the block")
        borrows = program.calls.is_borrowing(ex.dotted(instruction.func) or name)
        if borrows or unit.callees.is_resolved(instruction) or unit.callees.is_quiet(instruction):
            continue
        yield Applicability.UNSAFE, f"line {row} passes `{region.name}` to `{name}()`, which may keep it"


def _is_removed(region: Region, call: cst.CSTNode | None) -> bool:
    if call is None:
        return False
    around = (call, *region.tree.ancestors(call))
    return any(id(node) in region.removed for node in around)


def _order(region: Region, program: Program) -> Iterator[Doubt]:
    """Nothing that can be seen from outside may come to stand before a release that it stood behind."""
    for node in region.removed.values():
        if region.holds(node):
            found = later_call(region, node, region.tree.calls, program)
            if found is not None:
                row = region.tree.row(found)
                yield Applicability.UNSAFE, f"line {row} would run before the release instead of after it"


def _guarded_releases(region: Region) -> Iterator[Doubt]:
    """A ``try`` that cleans up, and nothing else, is there for what the release raises, which would get past it."""
    tree = region.tree
    for node in region.removed.values():
        around = [node, *tree.ancestors(node)]
        place = next((i for i, n in enumerate(around) if isinstance(n, TRIES)), 0)
        guard = around[place]
        if not isinstance(guard, TRIES) or guard.body is not around[place - 1] or not guard.handlers:
            continue
        cleans = any(isinstance(n, (cst.Finally, cst.ExceptHandler)) and region.holds(n) for n in around[place:])
        if region.holds(guard) and (cleans or all(_only_closes(region, line) for line in guard.body.body)):
            row = tree.row(guard.handlers[0])
            yield Applicability.UNSAFE, f"line {row} handles what the release of `{region.name}` raises"


def _only_closes(region: Region, line: cst.CSTNode) -> bool:
    """Whether a statement does nothing but give something back or close it."""
    if isinstance(line, cst.If):
        return line.orelse is None and all(_only_closes(region, inner) for inner in line.body.body)
    small = only(line) if isinstance(line, cst.SimpleStatementLine) else line
    value = small.value if isinstance(small, cst.Expr) else None
    call = value.expression if isinstance(value, cst.Await) else value
    if id(value) in region.removed or isinstance(small, cst.Pass):
        return True
    return isinstance(call, cst.Call) and ex.last_name(reduce(call.func)) == "close" and not call.args


def _generator(region: Region) -> Iterator[Doubt]:
    facts = region.tree.unit.facts
    yields = [n for statement in region.statements for n in own(statement) if isinstance(n, cst.Yield)]
    if not yields or facts is None:
        return
    if is_resumed(facts):
        return
    row = region.tree.row(yields[0])
    if facts.is_async:
        yield Applicability.DISPLAY_ONLY, f"line {row} suspends it: its consumer must use `aclosing()`, too"
    else:
        yield Applicability.UNSAFE, f"line {row} suspends it: a consumer that stops early ends it there"


def _exits_of_finally(region: Region) -> Iterator[Doubt]:
    """A ``finally`` that is left by a jump swallows exceptions, whose end is then hard to see."""
    for statement in region.statements:
        for node in own(statement):
            final = node.finalbody if isinstance(node, (cst.Try, cst.TryStar)) else None
            for inner in own(final) if final is not None else ():
                if isinstance(inner, (cst.Return, cst.Break, cst.Continue)):
                    raise RefusedError(f"line {region.tree.row(inner)} leaves a `finally`")
    in_finally = any(isinstance(parent, cst.Finally) for parent in region.tree.ancestors(region.checkout))
    for node in (n for statement in region.statements for n in own(statement)) if in_finally else ():
        if isinstance(node, (cst.Return, cst.Break, cst.Continue)):
            raise RefusedError(f"line {region.tree.row(node)} leaves the `finally` that takes it")
    yield from ()


def _dynamic(region: Region) -> Iterator[Doubt]:
    for node in walk(region.tree.root):
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in DYNAMIC:
            if region.needs_none and any(asks_if_bound(n, region.name) for n in region.tree.ancestors(node)):
                continue  # goes with the release that it guards, or there is no rewrite
            yield Applicability.UNSAFE, f"line {region.tree.row(node)} calls `{node.func.value}()`"


def _comments(region: Region) -> Iterator[Doubt]:
    """Comments for tools belong to a line as it is."""
    for statement in (region.checkout, *region.statements):
        if TOOL_COMMENT.search(region.tree.text(statement)):
            row = region.tree.row(statement)
            yield Applicability.UNSAFE, f"a comment for a tool, in or behind line {row}, is moved"


def _other_checkouts(region: Region) -> Iterator[Doubt]:
    """A second connection that is taken inside and used outside crosses this one."""
    unit = region.tree.unit
    for other in unit.found:
        name = other.effects.bound_to
        if other is region.found or name is None or name == region.name or not region.holds(other.call.node):
            continue
        for mention in mentions(region.tree, name):
            behind = region.tree.unit.order(mention.node) > region.tree.unit.order(other.call.node)
            if behind and not region.holds(mention.node):
                row = region.tree.row(mention.node)
                yield (
                    Applicability.DISPLAY_ONLY,
                    f"line {row} uses `{name}`, whose time crosses that of `{region.name}`",
                )
                break


def is_only_commit(statement: cst.CSTNode, name: str) -> bool:
    """Whether the statement is ``conn.commit()``, awaited or not, and nothing else."""
    return _is_call_of(statement, name, "commit")


def is_only_rollback(statement: cst.CSTNode, name: str) -> bool:
    """Whether the statement is ``conn.rollback()``, awaited or not, and nothing else."""
    return _is_call_of(statement, name, "rollback")


def _is_call_of(statement: cst.CSTNode, name: str, method: str) -> bool:
    small = only(statement)
    value = small.value if isinstance(small, cst.Expr) else None
    if isinstance(value, cst.Await):
        value = value.expression
    match value:
        case cst.Call(func=cst.Attribute(value=cst.Name(value=base), attr=cst.Name(value=called)), args=[]):
            return base == name and called == method
        case _:
            return False
