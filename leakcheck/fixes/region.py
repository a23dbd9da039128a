"""The region of a fix: the statements from the checkout to the last use, in the block of the checkout.

    conn = pool.getconn()        # the checkout
    cur = conn.cursor()          # ┐
    cur.execute(sql)             # │ the region
    pool.putconn(conn)           # ┘ with a release that the rewrite supersedes
    return 1

A mention of the variable that the region does not hold, and that may see this checkout, refuses the fix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import walk
from leakcheck.fixes.handles import handles, made_by
from leakcheck.fixes.roles import Mention, Role, is_mentioned, mentions
from leakcheck.fixes.tree import LOOPS, RefusedError, Tree, only
from leakcheck.ownership.obligation import EventKind
from leakcheck.project.names import Method

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.ownership.found import Found


@dataclass(slots=True, eq=False)
class Region:
    """A checkout ``name = call`` and the ``statements`` behind it that need it.

    ``removed`` are the releases in them, each as the expression that makes it: the call, its ``await``, or the
    operation ``conn and conn.close()``.
    """

    tree: Tree
    found: Found
    name: str
    checkout: cst.BaseStatement
    block: cst.IndentedBlock
    first: int
    last: int
    removed: dict[int, cst.CSTNode] = field(default_factory=dict)
    is_guarded: bool = False
    """Whether the code asks if the checkout gave None: then no ``with`` can take it."""
    leaves_without: bool = False
    """Whether the code leaves at once where the checkout gave None."""
    needs_test: bool = False
    """Whether it may be None where the region ends, so that the release must ask, too."""
    handles: frozenset[str] = frozenset()

    @property
    def statements(self) -> Sequence[cst.BaseStatement]:
        """The statements after the checkout that need the connection."""
        return self.block.body[self.first : self.last + 1]

    @property
    def call(self) -> cst.Call:
        """The call that takes the connection."""
        node = self.found.call.node
        assert isinstance(node, cst.Call)
        return node

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
        """Whether the last statement is a release and nothing else."""
        return is_release(self.block.body[self.last], self)

    def holds(self, node: cst.CSTNode) -> bool:
        """Whether ``node`` is part of the region."""
        for around in (node, *self.tree.ancestors(node)):
            if self.tree.parent(around) is self.block:
                return any(around is statement for statement in self.statements)
        return False


def region_of(tree: Tree, found: Found) -> Region:
    """The region of a checkout. Raises RefusedError."""
    name, checkout = _checkout(tree, found)
    block = tree.block(checkout)
    if block is None:
        raise RefusedError(f"line {tree.row(checkout)} is the one-line body of a compound statement")
    first = next(i for i, statement in enumerate(block.body) if statement is checkout) + 1
    stop = next((i for i in range(first, len(block.body)) if _rebinds(block.body[i], name)), len(block.body))
    region = Region(tree, found, name, checkout, block, first, first - 1)
    region.removed = _releases(tree, found, name)
    while first < stop and _leaves_without(block.body[first], name):
        region.first = first = first + 1
        region.is_guarded = region.leaves_without = True
    used = [i for i in range(first, stop) if is_mentioned(tree, name, block.body[i])]
    if not used:
        raise RefusedError(f"`{name}` is not used after line {tree.row(checkout)}")
    region.last = used[-1]
    region.handles = handles(name, block.body[first:stop])
    if not region.ends_with_release:
        needed = [i for i in range(first, stop) if any(is_mentioned(tree, h, block.body[i]) for h in region.handles)]
        region.last = max([region.last, *needed])
    _check_outside(region, stop)
    may_be_none = bool(found.acquisition.steps)
    asked = any(m.role is Role.TEST and region.holds(m.node) for m in mentions(tree, name))
    region.needs_test = may_be_none and asked
    region.is_guarded = region.is_guarded or region.needs_test
    return region


def _checkout(tree: Tree, found: Found) -> tuple[str, cst.SimpleStatementLine]:
    call = found.call.node
    statement = tree.statement(call)
    row = tree.row(call)
    if not isinstance(tree.root, cst.FunctionDef):
        raise RefusedError(f"line {row} is module-level code, whose names may be read elsewhere")
    if found.acquisition.takes_receiver:
        raise RefusedError(f"line {row} opens an object that is made elsewhere")
    if found.acquisition.position is not None:
        raise RefusedError(f"line {row} gets the {found.acquisition.resource.noun} as a part of another value")
    small = only(statement)
    if isinstance(statement, cst.SimpleStatementLine) and small is None:
        raise RefusedError(f"line {row} holds several statements")
    match small:
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))], value=value):
            pass
        case cst.AnnAssign(target=cst.Name(value=name), value=cst.BaseExpression() as value):
            pass
        case _:
            raise RefusedError(f"line {row} does not bind it to a plain name in a statement of its own")
    taken = value.expression if isinstance(value, cst.Await) else value
    if taken is not call:
        raise RefusedError(f"line {row} makes the value of `{name}` of more than the checkout")
    assert isinstance(statement, cst.SimpleStatementLine)
    return name, statement


def _rebinds(statement: cst.CSTNode, name: str) -> bool:
    """Whether the statement does nothing but give the name another value."""
    match only(statement):
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=target))], value=value):
            return target == name and not any(isinstance(n, cst.Name) and n.value == name for n in walk(value))
        case cst.AnnAssign(target=cst.Name(value=target)):
            return target == name
        case _:
            return False


def _leaves_without(statement: cst.CSTNode, name: str) -> bool:
    """Whether the statement leaves where the checkout gave nothing: ``if conn is None: return``."""
    match statement:
        case cst.If(test=test, body=cst.IndentedBlock(body=[*_, cst.SimpleStatementLine(body=[last])]), orelse=None):
            pass
        case _:
            return False
    match test:
        case cst.UnaryOperation(operator=cst.Not(), expression=cst.Name(value=value)):
            is_null = value == name
        case cst.Comparison(left=cst.Name(value=value), comparisons=[cst.ComparisonTarget(operator=cst.Is())]):
            is_null = value == name
        case _:
            is_null = False
    body_uses = any(isinstance(n, cst.Name) and n.value == name for n in walk(statement.body))
    return is_null and not body_uses and isinstance(last, (cst.Return, cst.Raise, cst.Continue, cst.Break))


def _releases(tree: Tree, found: Found, name: str) -> dict[int, cst.CSTNode]:
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
        if isinstance(parent, cst.BooleanOperation) and parent.right is expression and _tests(parent.left, name):
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


def _gives_back(tree: Tree, found: Found, mention: Mention) -> bool:
    """Whether a call that mentions the variable is one of the driver's releases, also where no path reaches it."""
    call, callees, graph = mention.call, tree.unit.callees, tree.unit.graph
    operation = found.acquisition.resource.methods.get(mention.attribute)
    if operation is not None:
        return bool(operation.near_miss) or operation.releases == "receiver"
    if mention.role is not Role.ARGUMENT or callees is None or graph is None:
        return False
    instructions = (i for block in graph.blocks for i in block.instructions)
    instruction = next((i for i in instructions if isinstance(i, g.Call) and i.node is call), None)
    if instruction is None:
        return False
    return any(isinstance(s, Method) and s.operation.releases is not None for s in callees.symbols(instruction))


def _tests(node: cst.CSTNode, name: str) -> bool:
    """Whether a condition asks only whether the variable holds something."""
    match node:
        case cst.Name(value=value):
            return value == name
        case cst.Comparison(left=cst.Name(value=value), comparisons=[cst.ComparisonTarget(operator=cst.IsNot())]):
            return value == name
        case _:
            return False


def guards(test: cst.CSTNode, name: str) -> bool:
    """Whether an ``if`` with this test is always entered while the variable holds the connection."""
    return _tests(test, name)


def is_release(statement: cst.CSTNode, region: Region) -> bool:
    """Whether a statement is a release of the region and nothing else."""
    small = only(statement)
    return isinstance(small, cst.Expr) and id(small.value) in region.removed


def _check_outside(region: Region, stop: int) -> None:
    """No mention outside the region may see this checkout."""
    tree, name = region.tree, region.name
    start = next(i for i, statement in enumerate(region.block.body) if statement is region.checkout)
    inside = {id(n) for statement in region.block.body[start : region.last + 1] for n in walk(statement)}
    later = {id(n) for statement in region.block.body[stop:] for n in walk(statement)}
    order = tree.unit.order(region.checkout)
    for mention in mentions(tree, name):
        node, row = mention.node, tree.row(mention.node)
        if mention.role in (Role.SHARED, Role.CAPTURED):
            raise RefusedError(f"line {row} {mention.role.value} `{name}`")
        if id(node) in inside or id(node) in later or mention.role is Role.BOUND or is_bound_before(region, node):
            continue
        if tree.unit.order(node) > order or _share_a_loop(region, node):
            raise RefusedError(f"line {row} uses `{name}` outside the block of its checkout")
    doubtful = region.handles
    if region.ends_with_release:  # what only may be lazy is as it was: the release came before it already
        derived = {n for n, o in region.found.acquisition.resource.methods.items() if o.derives}
        doubtful = made_by(derived, name, region.statements)
    for handle in sorted(doubtful):
        for mention in mentions(tree, handle):
            harmless = mention.role in (Role.BOUND, Role.READ) or mention.attribute == "close"
            outside = id(mention.node) not in inside and tree.unit.order(mention.node) > order
            if outside and not harmless and not is_bound_before(region, mention.node):
                raise RefusedError(f"line {tree.row(mention.node)} uses `{handle}` after the last use of `{name}`")
    for release in region.removed.values():
        if id(release) not in inside and id(release) not in later and not is_bound_before(region, release):
            raise RefusedError(f"line {tree.row(release)} releases `{name}` outside the block of its checkout")


def _share_a_loop(region: Region, node: cst.CSTNode) -> bool:
    around = {id(n) for n in region.tree.ancestors(region.checkout) if isinstance(n, LOOPS)}
    return any(id(n) in around for n in region.tree.ancestors(node))


def is_bound_before(region: Region, node: cst.CSTNode) -> bool:
    """Whether the mention sees another value for certain: bound earlier in a block that the checkout is not in."""
    tree = region.tree
    around = {id(n) for n in tree.ancestors(region.checkout)}
    current: cst.CSTNode = node
    name = node.value if isinstance(node, cst.Name) else region.name
    for parent in tree.ancestors(node):
        if isinstance(parent, cst.With) and any(
            isinstance(item.asname, cst.AsName) and isinstance(item.asname.name, cst.Name)
            and item.asname.name.value == name for item in parent.items
        ) and current is parent.body:  # fmt: skip
            return True
        if id(parent) in around:
            return False
        if isinstance(parent, cst.IndentedBlock):
            for statement in parent.body:
                if statement is current:
                    break
                if _rebinds(statement, name):
                    return True
        current = parent
    return False
