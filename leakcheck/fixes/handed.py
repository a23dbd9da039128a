"""A connection that the function returns or hands on: given back where something raises before that.

    conn = connect()                     conn = connect()
    conn.execute("PRAGMA …")      →      try:
    return conn                              conn.execute("PRAGMA …")
                                         except BaseException:
                                             conn.close()
                                             raise
                                         return conn

Only where what is lost is lost by an exception. The region reaches to the last statement that may raise so. Behind what
hands it on in the region, or gives it back, nothing may raise: there it is another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk
from leakcheck.diagnostic import Applicability
from leakcheck.driver import ReleaseTwice
from leakcheck.fixes.around import check_around
from leakcheck.fixes.checkout import checkout_of
from leakcheck.fixes.conditions import applicability_of
from leakcheck.fixes.giving import giving
from leakcheck.fixes.guards import guards
from leakcheck.fixes.handles import handles
from leakcheck.fixes.nullness import may_be_none
from leakcheck.fixes.order import behind
from leakcheck.fixes.outliving import arguments_of, functions_called
from leakcheck.fixes.places import is_quiet, leaves, places
from leakcheck.fixes.prune import pruned
from leakcheck.fixes.region import Region, is_bound_before, region_of, releases_in
from leakcheck.fixes.release import release_of, with_handler
from leakcheck.fixes.roles import Role, is_mentioned, mentions
from leakcheck.fixes.shapes import TRY_FINALLY, Shape
from leakcheck.fixes.splice import replaced
from leakcheck.fixes.tree import LOOPS, TRIES, RefusedError, Tree, only, own
from leakcheck.ownership.arguments import parameter_at
from leakcheck.ownership.calling import KEEPING_METHODS
from leakcheck.ownership.state import Status
from leakcheck.ownership.summary import End
from leakcheck.project.facts import is_static

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.fixes.giving import Doubt
    from leakcheck.fixes.places import Place
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.program import Program
    from leakcheck.source import Source

_LEAVING = (cst.Return, cst.Continue, cst.Break, cst.Yield)


def is_handed(found: Found) -> bool:
    """Whether the function hands it on where nothing raises, and loses it only where something does."""
    moved = any(ending.state.status is Status.MOVED for ending in found.exploration.endings)
    return moved and all(ending.state.raised for ending in found.leaks)


def released_behind(tree: Tree, found: Found, program: Program) -> Region | None:
    """The region of a checkout that is given to who may keep it, and released in the end nevertheless."""
    try:
        region = region_of(tree, found, program)
    except RefusedError:
        return None
    transfers = [*_transfers(region)]
    by_calls = bool(transfers) and all(isinstance(node, cst.Call) for node in transfers)
    return region if region.ends_with_release and by_calls else None


def handed_shape(tree: Tree, found: Found, program: Program, source: Source) -> tuple[Shape, Doubt]:
    """The rewrite of such a checkout, and how far it may be applied. Raises RefusedError."""
    region = _region(tree, found, program)
    call = release_of(region)
    doubts = [*giving(region, program), *_doubts(region, program)]
    region.removed = {key: node for key, node in region.removed.items() if _raises_behind(region, node)}
    doubts.append(applicability_of(region, program))
    body = pruned(region)
    edit = replaced(region, with_handler(region, body, call), source)
    behind_it = region.block.body[region.last + 1 : region.last + 2]
    returns = (isinstance(node, cst.Return) for node in (*map(only, behind_it), *_transfers(region)))
    end = "is returned" if any(returns) else "goes on"
    message = f"Release `{region.name}` where something raises before it {end}"
    return Shape(TRY_FINALLY, message, (edit,)), min(doubts, key=lambda doubt: doubt[0])


def _region(tree: Tree, found: Found, program: Program) -> Region:
    """The statements behind the checkout up to the last that may lose it. Raises RefusedError."""
    taken = checkout_of(tree, found)
    name, checkout = taken.name, taken.statement
    refusal = RefusedError(f"`{name}` is handed on, so its release is not this function's alone")
    is_none, raising = may_be_none(tree, found, program), _raising(found)
    for place in places(tree, found, name, checkout):
        last = _last(place, raising)
        if last is None:
            continue
        region = Region(tree, found, name, checkout, place.block, place.start, place.first, last)
        region.is_handed, region.is_around, region.may_be_none = True, place.is_around, is_none
        region.needs_test = place.is_around or (is_none and not place.is_within)
        _extend(region)
        try:
            _check(region)
        except RefusedError as error:
            refusal = error
        else:
            return region
    raise refusal


def _raising(found: Found) -> set[int]:
    """What may lose it by raising, by identity."""
    exploration = found.exploration
    reached = [node for e in found.leaks for node in (e.node, *(hop.origin for hop in exploration.path(e.node)))]
    return {key for node in reached for key in exploration.first_raises.get(node, ())}


def _last(place: Place, raising: set[int]) -> int | None:
    """The index of the last statement that may lose it, None where not all that may are behind the checkout here."""
    body = place.block.body
    held = [{id(node) for node in walk(body[index])} & raising for index in range(place.first, len(body))]
    if not raising or raising - set().union(*held):
        return None
    return place.first + max(index for index, found in enumerate(held) if found)


def _extend(region: Region) -> None:
    """Take in what is still done with it before it goes on, as ``conn.autocommit = True``, which might raise, too."""
    tree, body = region.tree, region.block.body
    if any(True for _ in _transfers(region)):
        return
    known = (region.name, *handles(region.name, body[region.first :]))
    while region.last + 1 < len(body):
        following = body[region.last + 1]
        leaves_it = any(isinstance(node, _LEAVING) for node in own(following))
        if leaves_it or not any(is_mentioned(tree, one, following) for one in known):
            return
        if any(True for _ in _transfers(region, [following])) or _releases(region, following):
            return
        region.last += 1


def _releases(region: Region, statement: cst.CSTNode) -> bool:
    released = releases_in(region.tree, region.found, region.name)
    return any(id(node) in released for node in walk(statement))


def _check(region: Region) -> None:
    """Find out what in the region hands it on or gives it back. Raises RefusedError."""
    tree, name = region.tree, region.name
    last = region.block.body[region.last + 1 :]
    made_later = {id(node) for statement in last for node in walk(statement)}  # and so not there when it is closed
    for mention in mentions(tree, name):
        if mention.role is Role.SHARED or (mention.role is Role.CAPTURED and id(mention.node) not in made_later):
            raise RefusedError(f"line {tree.row(mention.node)} {mention.role.value} `{name}`")
    region.handles = handles(name, region.statements)
    transfers = [*_transfers(region)]
    region.handing = frozenset(id(_small(tree, node)) for node in transfers)
    released = releases_in(tree, region.found, name)
    region.removed = {key: node for key, node in released.items() if region.holds(node)}
    if region.is_around:
        check_around(region)
    twice = region.found.acquisition.resource.release_twice
    for node in region.removed.values():
        if twice is not ReleaseTwice.HARMLESS and not _raises_behind(region, node):
            _check_behind(region, node, "gives back")
    for node in transfers:
        if not isinstance(node, cst.Return):
            _check_behind(region, node, "hands on")
    _check_caught(region)


def _transfers(region: Region, statements: Sequence[cst.CSTNode] | None = None) -> Iterator[cst.CSTNode]:
    """What in the region, or in these, hands it on: those that the analysis saw, and what returns it."""
    for statement in region.statements if statements is None else statements:
        for node in own(statement):
            returned = node.value if isinstance(node, cst.Return) else None
            if id(node) in region.found.exploration.handed_on or (returned is not None and _is_in(region, returned)):
                yield node


def _small(tree: Tree, node: cst.CSTNode) -> cst.CSTNode:
    """The small statement that a node is part of."""
    return next((n for n in (node, *tree.ancestors(node)) if isinstance(n, cst.BaseSmallStatement)), node)


def _is_in(region: Region, value: cst.BaseExpression) -> bool:
    """Whether what is returned may be it: alone, among others, or what is made of it."""
    roles = (Role.RETURNED, Role.KEPT, Role.ARGUMENT)
    return any(mention.role in roles for mention in mentions(region.tree, region.name, value))


def _raises_behind(region: Region, release: cst.CSTNode) -> bool:
    """Whether all that comes behind a release is that the function raises."""
    tree = region.tree
    current, is_raised = release, False
    for parent in tree.ancestors(release):
        if isinstance(parent, cst.IndentedBlock) and not is_raised:
            if parent is region.block:
                return False
            rest = parent.body[1 + next(i for i, one in enumerate(parent.body) if one is current) :]
            is_raised = bool(rest) and isinstance(only(rest[-1]), cst.Raise)
            is_guarded = isinstance(around := tree.parent(parent), cst.If) and guards(around.test, region.name)
            if not is_raised and (not is_guarded or any(not is_quiet(tree, one) for one in rest)):
                return False
        if isinstance(parent, TRIES) and parent.handlers and current is parent.body:
            return False
        if parent is region.block:
            break
        current = parent
    return is_raised


def _check_behind(region: Region, node: cst.CSTNode, does: str) -> None:
    """Nothing in the region may raise behind a statement that ends what is owed. Raises RefusedError."""
    tree = region.tree
    using = [n for n in own(_small(tree, node)) if isinstance(n, cst.Call) and any(i is node for i in walk(n.func))]
    for later in (*using, *behind(region, node)):
        if later in using or not is_quiet(tree, later, may_leave=True):
            row = tree.row(later)
            raise RefusedError(f"line {tree.row(node)} {does} `{region.name}`, and line {row} may raise behind it")


def _check_caught(region: Region) -> None:
    """Nobody in the function who catches what the region raises may look at it. Raises RefusedError."""
    tree = region.tree
    current: cst.CSTNode = region.block
    for parent in tree.ancestors(region.block):
        caught: list[cst.CSTNode] = []
        goes_on = False
        if isinstance(parent, TRIES) and current is parent.body:
            caught = [*parent.handlers, *([parent.finalbody] if parent.finalbody is not None else [])]
            goes_on = any(not leaves(tree, handler.body) or _goes_round(handler) for handler in parent.handlers)
        elif isinstance(parent, cst.With):
            goes_on = any(map(tree.swallows, parent.items))
        for name in (region.name, *sorted(region.handles)):
            for mention in mentions(tree, name):
                seen = any(any(n is mention.node for n in walk(one)) for one in caught)
                if mention.role is not Role.BOUND and (seen or (goes_on and _is_seen(region, parent, mention.node))):
                    row = tree.row(mention.node)
                    raise RefusedError(f"line {row} uses `{name}` where what the region raises is caught")
        current = parent


def _goes_round(handler: cst.CSTNode) -> bool:
    return any(isinstance(node, (cst.Continue, cst.Break)) for node in own(handler))


def _is_seen(region: Region, caught_by: cst.CSTNode, node: cst.CSTNode) -> bool:
    """Whether a mention may run behind what catches, before it is bound anew."""
    tree = region.tree
    if any(n is caught_by for n in tree.ancestors(node)) or is_bound_before(region, node):
        return False
    loops = {id(n) for n in tree.ancestors(caught_by) if isinstance(n, LOOPS)}
    return tree.unit.order(node) > tree.unit.order(caught_by) or any(id(n) in loops for n in tree.ancestors(node))


def _doubts(region: Region, program: Program) -> Iterator[Doubt]:
    """Whether who takes it over may have it already where taking it over raises."""
    for node in (n for statement in region.statements for n in own(statement) if region.hands_on(n)):
        if isinstance(node, cst.Call) and _may_keep(region, node, program):
            given = ex.last_name(reduce(node.func)) or ""
            row = region.tree.row(node)
            yield Applicability.UNSAFE, f"`{given}()` of line {row} may have `{region.name}` already where it raises"


def _may_keep(region: Region, call: cst.Call, program: Program) -> bool:
    """Whether a call that raises may have kept the connection that it is given."""
    tree = region.tree
    given = [place for place, value in arguments_of(call) if is_mentioned(tree, region.name, value)]
    instruction, callees = tree.calls.get(id(call)), tree.unit.callees
    if not given or instruction is None or callees is None:
        return bool(given)
    if callees.is_quiet(instruction) or (
        instruction.method in KEEPING_METHODS and not callees.is_resolved(instruction)
    ):
        return False
    functions = functions_called(tree, instruction)
    resource = region.found.acquisition.resource
    for function in functions:
        facts, _ = program.resolver.function(function)
        for place in given:
            bound = facts is not None and function.bound and not is_static(facts)
            name = parameter_at(facts, place, bound=bound) if facts is not None and place is not None else None
            if name is None or program.functions.parameter_effect(function, name, resource).raised != {End.BORROWED}:
                return True
    return not functions
