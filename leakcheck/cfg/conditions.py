"""Conditions to branches: short circuits, null tests, and tests that give the same answer when asked again.

    if conn is not None and ready: …   →   an edge tested by `conn is not None`, then one by `ready`

Both edges of a branch carry the test, with opposite outcomes.
"""

from __future__ import annotations

import operator as comparison
from typing import TYPE_CHECKING

import libcst as cst
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg.assignment import AssignmentLowering
from leakcheck.cfg.graph import FALSE, NONE, OTHER, TRUE, BasicBlock, Edge, Forget, Move, NullTest, Test, TestKind
from leakcheck.cfg.walk import is_pure, names_in, reduce, string_value

if TYPE_CHECKING:
    from collections.abc import Callable

OPEN_TESTS = {
    "closed": False,
    "is_closed": False,
    "invalidated": False,  # of SQLAlchemy
    "broken": False,  # of psycopg 3
    "open": True,
    "is_connected": True,
    "is_open": True,
}
"""Attributes and methods that ask whether a connection is open, and the answer that means it is."""
_NEGATED = {cst.IsNot: cst.Is, cst.NotEqual: cst.Equal, cst.NotIn: cst.In}
_SYMMETRIC = (cst.Is, cst.IsNot, cst.Equal, cst.NotEqual)
"""Comparisons that say the same with their sides exchanged."""
_ORDER: dict[type[cst.BaseCompOp], Callable[[int, int], bool]] = {
    cst.Equal: comparison.eq,
    cst.Is: comparison.eq,
    cst.NotEqual: comparison.ne,
    cst.IsNot: comparison.ne,
    cst.GreaterThan: comparison.gt,
    cst.LessThan: comparison.lt,
}
_NAMESPACES = frozenset({"locals", "vars", "dir", "globals"})


class ConditionLowering(AssignmentLowering):
    """Branches on expressions."""

    def condition(self, node: cst.BaseExpression, true: BasicBlock, false: BasicBlock) -> None:
        """Evaluate ``node`` as a condition and branch."""
        match node:
            case cst.UnaryOperation(operator=cst.Not(), expression=inner):
                self.condition(inner, false, true)
            case cst.BooleanOperation(left=left, operator=operator, right=right):
                middle = self.new_block()
                if isinstance(operator, cst.And):
                    self.condition(left, middle, false)
                else:
                    self.condition(left, true, middle)
                self.current = middle
                self.condition(right, true, false)
            case cst.Name(value="True"):
                self.link(true)
            case cst.Name(value="False" | "None"):
                self.link(false)
            case cst.Integer(value=text):
                self.link(true if text.strip("0_") else false)
            case cst.Comparison():
                self._compare(node, true, false)
            case cst.Attribute() | cst.Call() if (test := _open_test(node)) is not None:
                self.use(node)
                self.fork(node, test, true, false)
            case cst.Call() if (name := _looked_up(node)) is not None:
                self.fork(node, Test(TestKind.TRUTH, name, outcome=True), true, false)
            case cst.Attribute() | cst.Call() if isinstance(reduce(node), ex.Attribute):
                self.use(node)
                self.pure(node, reduce(node), "", true, false)
            case _:
                self.branch_on(self.value(node), node, true, false, forget=True)

    def branch_on(self, operand: str, node: cst.CSTNode, true: BasicBlock, false: BasicBlock, *, forget: bool) -> None:
        """Branch on the truth of an operand; a temporary is forgotten on both ways unless still needed."""
        if operand == OTHER:
            self.fork(node, None, true, false)
        elif operand.startswith("#"):
            self.link(true if operand == TRUE else false)
        else:
            test = Test(TestKind.TRUTH, operand, outcome=True)
            self.fork(node, test, true, false, forget=operand if forget and operand.startswith("%") else None)

    def fork(
        self, node: cst.CSTNode, test: Test | None, true: BasicBlock, false: BasicBlock, *, forget: str | None = None
    ) -> None:
        """Two edges from the current block, with ``test`` and its opposite; ``forget`` is dropped on both."""
        origin = self.current
        origin.branch = node
        for target, outcome in ((true, True), (false, False)):
            kept = None if test is None else replace(test, outcome=test.outcome is outcome)
            end = target
            if forget is not None:
                self.current = end = self.new_block()
                self.emit(Forget(node, (forget,)))
                self.link(target)
            origin.successors.append(Edge(end, kept))
        self.current = origin

    def truth_value(self, node: cst.BaseExpression) -> str:
        """Whether a condition holds, as an operand."""
        target, true, false, after = self.temporary(), self.new_block(), self.new_block(), self.new_block()
        self.condition(node, true, false)
        for block, literal in ((true, TRUE), (false, FALSE)):
            self.current = block
            self.emit(Move(node, target, literal))
            self.link(after)
        self.current = after
        return target

    def null_value(self, node: cst.UnaryOperation | cst.Comparison) -> str | None:
        """What a variable's being None or not is kept in: ``own = conn is None``."""
        subject, negated = null_test(node) or (None, False)
        name = self.value(subject) if isinstance(subject, (cst.Name, cst.NamedExpr)) else NONE
        if name.startswith("#"):
            return None
        target = self.temporary()
        self.emit(NullTest(node, target, name, negated))
        return target

    def _compare(self, node: cst.Comparison, true: BasicBlock, false: BasicBlock) -> None:
        null = null_test(node)
        if null is not None:
            subject, negated = null
            operand = self.value(subject)
            if operand.startswith("#"):
                known = operand == NONE
                self.link(true if known is not negated else false)
                return
            forget = operand if operand.startswith("%") else None
            self.fork(node, Test(TestKind.IS_NONE, operand, outcome=not negated), true, false, forget=forget)
            return
        if len(node.comparisons) == 1:
            left, operator, right = _sides(node)
            bound = _bound_test(left, operator, right)
            if bound is not None:
                self.fork(node, Test(TestKind.BOUND, bound, outcome=isinstance(operator, cst.In)), true, false)
                return
            yes = _outcome_of_yes(operator, right)
            if yes is not None and asks_for_yes(node):
                operand = self.value(left)
                forget = operand if operand.startswith("%") else None
                self.fork(node, Test(TestKind.YES, operand, outcome=yes), true, false, forget=forget)
                return
            self.use(left)
            self.use(right)
            is_open = _compared_open_test(left, operator, right)
            if is_open is not None:
                self.fork(node, is_open, true, false)
                return
            negated = type(operator) in _NEGATED
            kind = _NEGATED.get(type(operator), type(operator)).__name__
            if kind == "Equal" and _is_none(right):
                kind = "Is"
            sides = ex.Sequence((reduce(left), reduce(right)))
            asks = (left.value, yes is not negated) if isinstance(left, cst.Name) and yes is not None else None
            same = _compared_names(left, right) if kind == "Is" and not self.asserting else None
            self.pure(node, sides, kind, true, false, negated=negated, asks=asks, same=same)
            return
        self.use(node)
        self.fork(node, None, true, false)

    def pure(
        self,
        node: cst.CSTNode,
        reduced: ex.Expression,
        operator: str,
        true: BasicBlock,
        false: BasicBlock,
        *,
        negated: bool = False,
        asks: tuple[str, bool] | None = None,
        same: tuple[str, str] | None = None,
    ) -> None:
        """Branch on a condition whose value stays the same until one of its names is assigned."""
        if not is_pure(reduced):
            self.fork(node, None, true, false)
            return
        subject = _pure_subject(operator, reduced)
        self.condition_reads[subject] = frozenset(names_in(reduced))
        self.asked.append(subject)
        self.fork(node, Test(TestKind.TRUTH, subject, outcome=not negated, asks=asks, same=same), true, false)


def absences(reduced: ex.Expression) -> tuple[Test, ...]:
    """The tests, with the outcome they have, by which a branch says that an expression is None, or closed."""
    if isinstance(reduced, ex.Name):
        subject = reduced.id
        return (
            Test(TestKind.TRUTH, subject, outcome=False),
            Test(TestKind.IS_NONE, subject, outcome=True),
            Test(TestKind.OPEN, subject, outcome=False),
        )
    compared = ex.Sequence((reduced, ex.Constant(None)))
    return (
        Test(TestKind.TRUTH, _pure_subject("", reduced), outcome=False),
        Test(TestKind.TRUTH, _pure_subject("Is", compared), outcome=True),
        *(
            Test(TestKind.TRUTH, _pure_subject("", ex.Attribute(reduced, name)), outcome=not is_open)
            for name, is_open in OPEN_TESTS.items()
        ),
    )


def _pure_subject(operator: str, reduced: ex.Expression) -> str:
    """What facts about a condition are kept under."""
    return f"?{operator}{reduced!r}"


def null_test(node: cst.CSTNode) -> tuple[cst.BaseExpression, bool] | None:
    """The subject of ``x is None`` or ``not None == x``, and whether the test is negated."""
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Not):
        found = null_test(node.expression)
        return (found[0], not found[1]) if found is not None else None
    if not isinstance(node, cst.Comparison) or len(node.comparisons) != 1:
        return None
    left, operator, right = _sides(node)
    if type(operator) not in _SYMMETRIC or not _is_none(right):
        return None
    if not isinstance(left, (cst.Name, cst.NamedExpr, cst.Call, cst.Await)):
        return None
    return left, type(operator) in _NEGATED


def _sides(node: cst.Comparison) -> tuple[cst.BaseExpression, cst.BaseCompOp, cst.BaseExpression]:
    """What a comparison compares first, with what stands for itself on the right: ``x is None`` of ``None is x``."""
    left, operator, right = node.left, node.comparisons[0].operator, node.comparisons[0].comparator
    literal = type(operator) in _SYMMETRIC and isinstance(reduce(left), ex.Constant)
    return (
        (right, operator, left) if literal and not isinstance(reduce(right), ex.Constant) else (left, operator, right)
    )


def _is_none(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Name) and node.value == "None"


def asks_for_yes(node: cst.Comparison) -> bool:
    """Whether it compares what a call, or an item of it, gives with true or 1: ``cur.fetchone()[0] == 1``."""
    if len(node.comparisons) != 1:
        return False
    left, operator, right = _sides(node)
    yes = _outcome_of_yes(operator, right)
    return yes is not None and isinstance(left, (cst.Subscript, cst.Call)) and not is_pure(reduce(left))


def _open_test(node: cst.BaseExpression) -> Test | None:
    """The test that ``conn.closed`` or ``conn.is_connected()`` is; its outcome is the answer of an open connection."""
    asked = node.func if isinstance(node, cst.Call) else node
    match asked:
        case cst.Attribute(value=cst.Name(value=owner), attr=cst.Name(value=name)) if name in OPEN_TESTS:
            return Test(TestKind.OPEN, owner, OPEN_TESTS[name])
        case _:
            return None


def _compared_open_test(left: cst.BaseExpression, operator: cst.BaseCompOp, right: cst.BaseExpression) -> Test | None:
    """The test that ``conn.closed == 0`` is, where the comparison tells an open connection from a closed one."""
    test, compare = _open_test(left), _ORDER.get(type(operator))
    if test is None or compare is None:
        return None
    match right:
        case cst.Name(value="True" | "False" as text):
            literal = int(text == "True")
        case cst.Integer(value=text):
            literal = int(text, 0)
        case _:
            return None
    open_answer, closed_answer = compare(int(test.outcome), literal), compare(int(not test.outcome), literal)
    return None if open_answer is closed_answer else Test(TestKind.OPEN, test.subject, outcome=open_answer)


def _outcome_of_yes(operator: cst.BaseCompOp, right: cst.BaseExpression) -> bool | None:
    """The outcome of a comparison with true, false, 1 or 0 for what says yes; None for any other comparison."""
    if type(operator) not in _SYMMETRIC:
        return None
    match right:
        case cst.Name(value="True" | "False" as text):
            same = text == "True"
        case cst.Integer(value="1" | "0" as text):
            same = text == "1"
        case _:
            return None
    return same is not (type(operator) in _NEGATED)


def _compared_names(left: cst.BaseExpression, right: cst.BaseExpression) -> tuple[str, str] | None:
    """The two variables, or attributes, that a comparison compares."""
    one, other = ex.dotted(reduce(left)), ex.dotted(reduce(right))
    return (one, other) if one is not None and other is not None else None


def _looked_up(node: cst.Call) -> str | None:
    """The name asked for by ``locals().get("name")``: None where it is unbound."""
    match node:
        case cst.Call(
            func=cst.Attribute(value=cst.Call(func=cst.Name(value=word), args=[]), attr=cst.Name(value="get")),
            args=[cst.Arg(value=name)],
        ) if word in _NAMESPACES:
            return string_value(name)
        case _:
            return None


def _bound_test(left: cst.BaseExpression, operator: cst.BaseCompOp, right: cst.BaseExpression) -> str | None:
    """The name asked for by ``"name" in locals()``."""
    if (
        isinstance(operator, (cst.In, cst.NotIn))
        and isinstance(right, cst.Call)
        and isinstance(right.func, cst.Name)
        and right.func.value in _NAMESPACES
        and not right.args
    ):
        return string_value(left)
    return None
