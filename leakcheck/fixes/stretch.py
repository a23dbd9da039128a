"""The stretch of a fix of what is held on a connection: the statement that takes it, and those behind it in its block.

cur.execute("BEGIN")         # the opening
cur.execute(sql)             # ┐ the statements behind it
cur.execute("COMMIT")        # ┘
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck.cfg.walk import walk
from leakcheck.fixes.handles import handles
from leakcheck.fixes.roles import mentions
from leakcheck.fixes.speech import Speech
from leakcheck.fixes.tree import LOOPS, RefusedError, Tree, only, own
from leakcheck.project.names import Function

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.fixes.roles import Mention
    from leakcheck.ownership.found import SessionFound
    from leakcheck.ownership.program import Program

Lines = list[cst.BaseStatement]


class Stretch(Struct, frozen=True, eq=False):
    """Where something is taken on a connection.

    ``connection`` is the variable or dotted path that holds it, None where it has several; ``names`` are that
    variable and those that hold what was made of it, such as cursors.
    """

    tree: Tree
    found: SessionFound
    speech: Speech
    opening: cst.SimpleStatementLine
    block: cst.IndentedBlock
    place: int
    connection: str | None
    names: frozenset[str]

    @property
    def call(self) -> cst.Call:
        """The call that takes it."""
        node = self.found.call.node
        assert isinstance(node, cst.Call)
        return node

    @property
    def behind(self) -> Sequence[cst.BaseStatement]:
        """The statements of the block behind the opening."""
        return self.block.body[self.place + 1 :]

    @property
    def row(self) -> int:
        """The line of the opening."""
        return self.tree.row(self.call)

    @property
    def is_own(self) -> bool:
        """Whether the function took the connection itself."""
        return self.found.connection.found is not None

    def order(self, node: cst.CSTNode) -> int:
        """The place of a node in source order."""
        return self.tree.unit.order(node)

    def is_release(self, node: cst.CSTNode) -> bool:
        """Whether a node is part of a statement that gives the connection back, or closes what was made of it."""
        found = self.found.connection.found
        released = {id(i.node) for i in found.exploration.releases.values()} if found is not None else set()
        around = (node, *self.tree.ancestors(node))
        return any(id(n) in released or _is_close(n) for n in around if not isinstance(n, cst.BaseStatement))

    def uses(self, *, after: int) -> Iterator[Mention]:
        """The mentions of the connection, and of what was made of it, behind a place in source order."""
        for name in sorted(self.names):
            for mention in mentions(self.tree, name):
                if self.order(mention.node) > after and not self.is_release(mention.node):
                    yield mention

    def end_of(self, statements: Sequence[cst.CSTNode]) -> int:
        """The place of the last node of these statements in source order."""
        return max((self.order(node) for statement in statements for node in walk(statement)), default=-1)

    def loop(self) -> cst.CSTNode | None:
        """A loop that takes it again and again."""
        return next((n for n in self.tree.ancestors(self.opening) if isinstance(n, LOOPS)), None)


def stretch_of(tree: Tree, found: SessionFound, program: Program) -> Stretch:
    """Where ``found`` is taken. Raises RefusedError."""
    call = found.call.node
    row = tree.row(call)
    if not isinstance(tree.root, cst.FunctionDef) or not isinstance(call, cst.Call):
        raise RefusedError(f"line {row} is no statement of a function")
    callees = tree.unit.callees
    if callees is not None and any(isinstance(s, Function) for s in callees.symbols(found.call)):
        raise RefusedError(f"line {row} leaves it to a function of the project")
    statement = tree.statement(call)
    small = only(statement)
    value = getattr(small, "value", None) if isinstance(small, (cst.Expr, cst.Assign)) else None
    if (value.expression if isinstance(value, cst.Await) else value) is not call:
        raise RefusedError(f"line {row} does more than that in one statement")
    assert isinstance(statement, cst.SimpleStatementLine)
    block = tree.block(statement)
    if block is None:
        raise RefusedError(f"line {row} is the one-line body of a compound statement")
    connection = _connection(found)
    place = next(i for i, one in enumerate(block.body) if one is statement)
    name = (connection or "").partition(".")[0]
    names = {name, *handles(name, [tree.root])} - {""}
    return Stretch(tree, found, Speech(tree, program), statement, block, place, connection, frozenset(names))


def _connection(found: SessionFound) -> str | None:
    acquired = found.connection.found
    if acquired is not None:
        return acquired.effects.bound_to
    (name,) = found.connection.names if len(found.connection.names) == 1 else (None,)
    return name


def _is_close(node: cst.CSTNode) -> bool:
    match node:
        case cst.Call(func=cst.Attribute(attr=cst.Name(value="close")), args=[]):
            return True
        case _:
            return False


def leaving(statements: Sequence[cst.CSTNode]) -> Iterator[cst.CSTNode]:
    """The jumps that leave the statements."""
    for statement in statements:
        loops = [n for n in own(statement) if isinstance(n, LOOPS)]
        inside = {id(n) for loop in loops for n in walk(loop.body)}
        for node in own(statement):
            jumps = isinstance(node, (cst.Break, cst.Continue)) and id(node) not in inside
            if jumps or isinstance(node, cst.Return):
                yield node


def check_kept(stretch: Stretch, statements: Sequence[cst.CSTNode], expression: cst.CSTNode) -> None:
    """Raise RefusedError where the statements change, or close, what ``expression`` reads."""
    tree = stretch.tree
    read = {n.value for n in walk(expression) if isinstance(n, cst.Name)}
    bound: cst.CSTNode
    for statement in statements:
        for node in own(statement):
            match node:
                case cst.AssignTarget(target=target) | cst.AugAssign(target=target) | cst.AnnAssign(target=target):
                    bound = target
                case cst.NamedExpr(target=target) | cst.For(target=target) | cst.AsName(name=target):
                    bound = target
                case cst.Del(target=target):
                    bound = target
                case cst.Call(func=cst.Attribute(value=value, attr=cst.Name(value="close")), args=[]):
                    bound = value
                case _:
                    continue
            for name in walk(bound):
                if isinstance(name, cst.Name) and name.value in read:
                    raise RefusedError(f"line {tree.row(node)} changes `{name.value}`, which ending it needs")
