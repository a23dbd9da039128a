"""The region of a fix: the statements from the checkout to the last use, in the block of the checkout.

    conn = pool.getconn()        # the checkout
    cur = conn.cursor()          # ┐
    cur.execute(sql)             # │ the region
    pool.putconn(conn)           # ┘ with a release that the rewrite supersedes
    return 1

``places`` says where it may be instead: in an ``if conn:``, behind or around what holds the checkout. A mention of the
variable that the region does not hold, and that may see this checkout, refuses the fix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct, field

from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import walk
from leakcheck.fixes.around import check_around
from leakcheck.fixes.captured import helpers, is_allowed
from leakcheck.fixes.checkout import checkout_of
from leakcheck.fixes.guards import guards, leaves_without
from leakcheck.fixes.handles import handles, made_by
from leakcheck.fixes.nullness import may_be_none
from leakcheck.fixes.order import behind
from leakcheck.fixes.places import places
from leakcheck.fixes.roles import Mention, Role, is_mentioned, mentions
from leakcheck.fixes.tree import LOOPS, RefusedError, Tree, only, own
from leakcheck.ownership.obligation import EventKind
from leakcheck.project.names import Method

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.diagnostic import Applicability
    from leakcheck.fixes.places import Place
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.program import Program


class Region(Struct, eq=False):
    """A checkout ``name = call`` and the ``statements`` that need it, which a rewrite replaces from ``start`` on.

    ``removed`` are the releases in them, each as the expression that makes it: the call, its ``await``, or the
    operation ``conn and conn.close()``.
    """

    tree: Tree
    found: Found
    name: str
    checkout: cst.BaseStatement
    block: cst.IndentedBlock
    start: int
    first: int
    last: int
    removed: dict[int, cst.CSTNode] = field(default_factory=dict)
    is_guarded: bool = False
    """Whether the code asks if the checkout gave None: then no ``with`` can take it."""
    leaves_without: bool = False
    """Whether the code leaves at once where the checkout gave None."""
    needs_test: bool = False
    """Whether it may be None where the region ends, so that the release must ask, too."""
    may_be_none: bool = False
    """Whether the checkout may give None."""
    guard: cst.If | None = None
    """The ``if conn:`` whose body the region is."""
    is_handed: bool = False
    """Whether what is in the region or behind it hands the connection to the caller, or to who keeps it."""
    handing: frozenset[int] = frozenset()
    """The statements in the region that do so, by identity."""
    is_around: bool = False
    """Whether the region holds its own checkout."""
    needs_none: bool = False
    """Whether the variable must be given None first: it may be unbound where the region ends."""
    is_wrapped: bool = False
    """Whether the value is made of more than the call: it passes through another, or is a part of its result."""
    beside: frozenset[str] = frozenset()
    """The variables that the same statement binds."""
    handles: frozenset[str] = frozenset()
    doubts: tuple[tuple[Applicability, str], ...] = ()
    """What speaks for leaving it to a reader, from where the region is."""

    @property
    def statements(self) -> Sequence[cst.BaseStatement]:
        """The statements after the checkout that need the connection."""
        return self.block.body[self.first : self.last + 1]

    @property
    def call(self) -> cst.BaseExpression:
        """The call that takes the connection, or the property that is read."""
        node = self.found.call.node
        assert isinstance(node, cst.BaseExpression)
        return node

    @property
    def is_given_arguments(self) -> bool:
        """Whether the call that takes the connection has any."""
        return isinstance(self.call, cst.Call) and bool(self.call.args)

    @property
    def pool(self) -> str | None:
        """The pool that it is taken from, as it is written: a name, or the call of a function that gives the one."""
        taken = self.found.acquisition
        func = self.call.func if isinstance(self.call, cst.Call) else None
        if taken.pool is not None or taken.place is None or taken.steps or not isinstance(func, cst.Attribute):
            return taken.pool
        return self.tree.text(func.value) if isinstance(func.value, cst.Call) and not func.value.args else None

    @property
    def is_annotated(self) -> bool:
        """Whether the checkout is ``conn: Connection = …``."""
        return isinstance(only(self.checkout), cst.AnnAssign)

    @property
    def is_awaited(self) -> bool:
        """Whether the checkout is ``conn = await …``."""
        return isinstance(getattr(only(self.checkout), "value", None), cst.Await)

    @property
    def ends_with_release(self) -> bool:
        """Whether the last statement is a release."""
        last = self.block.body[self.last]
        return isinstance(last, cst.SimpleStatementLine) and is_small_release(last.body[-1], self)

    def hands_on(self, node: cst.CSTNode) -> bool:
        """Whether ``node`` is part of a statement that hands the connection on."""
        return any(id(around) in self.handing for around in self.tree.ancestors(node))

    def holds(self, node: cst.CSTNode) -> bool:
        """Whether ``node`` is part of the region."""
        for around in (node, *self.tree.ancestors(node)):
            if self.tree.parent(around) is self.block:
                return any(around is statement for statement in self.statements)
        return False


def region_of(tree: Tree, found: Found, program: Program) -> Region:
    """The region of a checkout. Raises RefusedError."""
    taken = checkout_of(tree, found)
    name, checkout = taken.name, taken.statement
    if tree.block(checkout) is None:
        raise RefusedError(f"line {tree.row(checkout)} is the one-line body of a compound statement")
    refusals: list[RefusedError] = []
    is_none = may_be_none(tree, found, program)
    for place in places(tree, found, name, checkout):
        region = Region(tree, found, name, checkout, place.block, place.start, place.first, place.first - 1)
        region.may_be_none = is_none
        region.beside, region.is_wrapped = taken.beside, taken.is_wrapped
        try:
            _extend(region, place)
        except RefusedError as error:
            refusals.append(error)
        else:
            return region
    raise next((one for one in refusals if not isinstance(one, _UnusedError)), refusals[0])


class _UnusedError(RefusedError):
    """Nothing is done with it in this place, so what speaks against another tells more."""


def _extend(region: Region, place: Place) -> None:
    """Find out how far the region reaches in its place, and what the rewrite must ask. Raises RefusedError."""
    tree, name, block, beside = region.tree, region.name, place.block, region.beside
    first = place.first
    around = tree.parent(block)
    region.guard = around if place.is_within and isinstance(around, cst.If) else None
    region.is_around = place.is_around
    behind = first + 1 if place.is_around else first
    stop = next((i for i in range(behind, len(block.body)) if _rebinds(block.body[i], name)), len(block.body))
    region.removed = releases_in(tree, region.found, name)
    while not place.is_around and first < stop and leaves_without(block.body[first], name):
        region.first = first = first + 1
        region.is_guarded = region.leaves_without = True
    seen = {
        id(m.node) for m in mentions(tree, name) if m.role is not Role.BOUND and not is_bound_before(region, m.node)
    }
    used = [
        i
        for i in range(first, stop)
        if any(id(node) in seen for node in walk(block.body[i]))
        or any(is_mentioned(tree, one, block.body[i]) for one in beside)
    ]
    if not used:
        raise _UnusedError(f"`{name}` is not used after line {tree.row(region.checkout)}")
    region.last = used[-1]
    leading = (handles(each, block.body[first:stop]) for each in (name, *beside))
    region.handles = beside.union(helpers(tree, name), *leading)
    if not region.ends_with_release:
        needed = [i for i in range(first, stop) if any(is_mentioned(tree, h, block.body[i]) for h in region.handles)]
        region.last = max([region.last, *needed])
    region.needs_test = _must_ask(region, place)
    region.is_guarded = region.is_guarded or region.needs_test or bool(beside)
    region.is_guarded = region.is_guarded or block.body[place.start] is not region.checkout or region.is_wrapped
    if place.is_around:
        check_around(region)
    _check_outside(region, stop)
    held = {key: node for key, node in region.removed.items() if region.holds(node)}
    region.removed = held
    region.removed = {key: node for key, node in held.items() if not _is_before_release(region, node)}


def _must_ask(region: Region, place: Place) -> bool:
    """Whether the release must ask if there is something to give back."""
    if place.is_around or (region.may_be_none and not region.leaves_without and not place.is_within):
        return True
    asked = any(_asks_for_it(region.tree, m) and region.holds(m.node) for m in mentions(region.tree, region.name))
    return bool(region.found.acquisition.steps) and asked and not place.is_within


def _asks_for_it(tree: Tree, mention: Mention) -> bool:
    """Whether a mention asks if there is a connection, and not whether it is another one."""
    parent = tree.parent(mention.node)
    compared = tree.parent(parent) if isinstance(parent, cst.ComparisonTarget) else parent
    if mention.role is not Role.TEST or not isinstance(compared, cst.Comparison):
        return mention.role is Role.TEST
    sides = (compared.left, *(one.comparator for one in compared.comparisons))
    return any(isinstance(side, cst.Name) and side.value == "None" for side in sides)


def _reads(value: cst.CSTNode, name: str) -> bool:
    """Whether an expression mentions the variable: ``conn.cursor()`` does not read ``cursor``."""
    parts = {id(n.attr) for n in walk(value) if isinstance(n, cst.Attribute)}
    parts |= {id(n.keyword) for n in walk(value) if isinstance(n, cst.Arg)}
    return any(isinstance(n, cst.Name) and n.value == name and id(n) not in parts for n in walk(value))


def _rebinds(statement: cst.CSTNode, name: str) -> bool:
    """Whether the statement does nothing but give the name another value."""
    match only(statement):
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=target))], value=value):
            return target == name and not _reads(value, name)
        case cst.AnnAssign(target=cst.Name(value=target)):
            return target == name
        case _:
            return False


def releases_in(tree: Tree, found: Found, name: str) -> dict[int, cst.CSTNode]:
    """The expressions that give it back on some path, or seem to, by identity. Raises RefusedError."""
    seen = {id(i.node): i.node for i in found.exploration.releases.values()}
    seen.update((id(node), node) for node in _missed(found))
    texts = {tree.text(node) for node in seen.values()}
    for mention in mentions(tree, name):
        if mention.call is not None and (tree.text(mention.call) in texts or _gives_back(tree, found, mention)):
            seen.setdefault(id(mention.call), mention.call)
    removed: dict[int, cst.CSTNode] = {}
    for node in seen.values():
        expression = node
        parent = tree.parent(expression)
        if isinstance(parent, cst.Await):
            expression, parent = parent, tree.parent(parent)
        if isinstance(parent, cst.BooleanOperation) and parent.right is expression and guards(parent.left, name):
            expression, parent = parent, tree.parent(parent)
        if not isinstance(parent, cst.Expr):
            what = "releases it at the end of a `with`" if isinstance(node, cst.WithItem) else "uses what it releases"
            raise RefusedError(f"line {tree.row(node)} {what}")
        removed[id(expression)] = expression
    return removed


def _missed(found: Found) -> Iterator[cst.CSTNode]:
    """The calls that look like a release and are none."""
    hops = [hop for hop in found.exploration.hops.values() if hop is not None]
    for events in (*(hop.events for hop in hops), *(ending.events for ending in found.exploration.endings)):
        for event in events:
            if event.kind is EventKind.NEAR_MISS and isinstance(event.instruction, g.Call):
                yield event.instruction.node


def _is_before_release(region: Region, node: cst.CSTNode) -> bool:
    """Whether another kind of release follows: who closes a connection that goes back to its pool means to lose it."""
    missed, text = {id(call) for call in _missed(region.found)}, region.tree.text(node)
    later = (inner for one in behind(region, node) for inner in own(one) if id(inner) in region.removed)
    return any(id(_call(one)) not in missed and region.tree.text(one) != text for one in later)


def _call(node: cst.CSTNode) -> cst.CSTNode:
    """The call of an expression that gives something back."""
    call = node.right if isinstance(node, cst.BooleanOperation) else node
    return call.expression if isinstance(call, cst.Await) else call


def _gives_back(tree: Tree, found: Found, mention: Mention) -> bool:
    """Whether a call that mentions the variable is one of the driver's releases, also where no path reaches it."""
    callees = tree.unit.callees
    operation = found.acquisition.resource.methods.get(mention.attribute)
    if operation is not None:
        return bool(operation.near_miss) or operation.releases == "receiver"
    instruction = tree.calls.get(id(mention.call)) if mention.role is Role.ARGUMENT else None
    if callees is None or instruction is None:
        return False
    return any(isinstance(s, Method) and s.operation.releases is not None for s in callees.symbols(instruction))


def is_release(statement: cst.CSTNode, region: Region) -> bool:
    """Whether a statement is a release of the region and nothing else."""
    small = only(statement)
    return small is not None and is_small_release(small, region)


def is_small_release(small: cst.BaseSmallStatement, region: Region) -> bool:
    """Whether one of the statements of a line is a release of the region."""
    return isinstance(small, cst.Expr) and id(small.value) in region.removed


def _check_outside(region: Region, stop: int) -> None:
    """No mention outside the region may see this checkout. Raises RefusedError."""
    tree, name = region.tree, region.name
    held = region.block.body[region.start : region.last + 1]
    inside = {id(n) for statement in (region.checkout, *held) for n in walk(statement)}
    inside |= {id(n) for n in walk(region.guard.test)} if region.guard is not None else set()
    later = {id(n) for statement in region.block.body[stop:] for n in walk(statement)}
    order = tree.unit.order(region.checkout)
    for mention in mentions(tree, name):
        node, row = mention.node, tree.row(mention.node)
        if mention.role is Role.SHARED or (mention.role is Role.CAPTURED and not is_allowed(region, mention)):
            raise RefusedError(f"line {row} {mention.role.value} `{name}`")
        if mention.role is Role.CAPTURED:
            continue
        if id(node) in inside or id(node) in later or mention.role is Role.BOUND or is_bound_before(region, node):
            continue
        if may_come_later(region, node):
            raise RefusedError(f"line {row} uses `{name}` outside the block of its checkout")
    doubtful = region.handles
    if region.ends_with_release:  # what only may be lazy is as it was: the release came before it already
        derived = {n for n, o in region.found.acquisition.resource.methods.items() if o.derives}
        doubtful = made_by(derived, name, region.statements)
    for handle in sorted(doubtful):
        for mention in mentions(tree, handle):
            closed_late = mention.attribute == "close" and region.ends_with_release  # as it was before
            harmless = mention.role in (Role.BOUND, Role.READ) or closed_late
            outside = id(mention.node) not in inside and tree.unit.order(mention.node) > order
            if outside and not harmless and not is_bound_before(region, mention.node):
                raise RefusedError(f"line {tree.row(mention.node)} uses `{handle}` after the last use of `{name}`")
    for release in region.removed.values():
        if id(release) in inside or id(release) in later or is_bound_before(region, release):
            continue
        if may_come_later(region, release):
            raise RefusedError(f"line {tree.row(release)} releases `{name}` outside the block of its checkout")


def may_come_later(region: Region, node: cst.CSTNode) -> bool:
    """Whether a place outside of the region may be reached after the checkout: below it, or around a loop."""
    tree = region.tree
    around = {id(n) for n in tree.ancestors(region.checkout) if isinstance(n, LOOPS)}
    below = tree.unit.order(node) > tree.unit.order(region.checkout)
    return below or any(id(n) in around for n in tree.ancestors(node))


def is_bound_before(region: Region, node: cst.CSTNode) -> bool:
    """Whether the mention sees another value for certain: it is bound anew on each way from the checkout to it."""
    tree = region.tree
    around = {id(n) for n in (region.checkout, *tree.ancestors(region.checkout))}
    current: cst.CSTNode = node
    name = node.value if isinstance(node, cst.Name) else region.name
    for parent in tree.ancestors(node):
        if isinstance(parent, cst.With) and any(
            isinstance(item.asname, cst.AsName) and isinstance(item.asname.name, cst.Name)
            and item.asname.name.value == name for item in parent.items
        ) and current is parent.body:  # fmt: skip
            return True
        is_shared = id(parent) in around
        if isinstance(parent, cst.IndentedBlock):
            counts = not is_shared
            for statement in parent.body:
                if statement is current:
                    break
                if counts and _rebinds(statement, name):
                    return True
                counts = counts or id(statement) in around
        if is_shared:
            return False
        current = parent
    return False
