"""Expressions to instructions, in evaluation order, with the branches that operators imply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.graph import (
    ANY_EXCEPTION,
    CANCELLED,
    FALSE,
    GENERATOR_EXIT,
    NONE,
    OTHER,
    TRUE,
    Argument,
    Await,
    BasicBlock,
    Build,
    Call,
    Define,
    Edge,
    Forget,
    Instruction,
    Iterate,
    LoadAttribute,
    LoadItem,
    Move,
    NullTest,
    Point,
    StoreAttribute,
    StoreGlobal,
    StoreItem,
    Test,
    TestKind,
    Yield,
)
from leakcheck.cfg.walk import is_pure, names_in, names_read, reduce, string_value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OPEN_TESTS = {"closed": False, "is_closed": False, "open": True, "is_connected": True, "is_open": True}
"""Attributes and methods that ask whether a connection is open, and the answer that means it is."""
_NEGATED = {cst.IsNot: cst.Is, cst.NotEqual: cst.Equal, cst.NotIn: cst.In}
_NAMESPACES = frozenset({"locals", "vars", "dir", "globals"})


class ExpressionLowering:
    """Emits instructions into ``current``. The statement builder supplies where exceptions go."""

    def __init__(self, exits_by: Callable[[ex.Expression], str | None]) -> None:
        self.exits_by = exits_by
        self.blocks: list[BasicBlock] = []
        self.current = self.new_block()
        self.condition_reads: dict[str, frozenset[str]] = {}
        self.global_names: set[str] = set()
        self.loop_depth = 0
        self.yields: list[tuple[cst.CSTNode, int]] = []
        self.is_async = False
        self._temporaries = 0

    def exception_target(self, raised: str) -> BasicBlock:
        """The block that an exception of class ``raised`` leads to from here."""
        raise NotImplementedError

    # Blocks and instructions

    def new_block(self) -> BasicBlock:
        block = BasicBlock(len(self.blocks))
        self.blocks.append(block)
        return block

    def temporary(self) -> str:
        self._temporaries += 1
        return f"%{self._temporaries}"

    def internal(self, kind: str) -> str:
        self._temporaries += 1
        return f"%{kind}{self._temporaries}"

    def emit(self, instruction: Instruction, *raised: str) -> None:
        """Append; an instruction that can raise ends its block."""
        self.current.instructions.append(instruction)
        if raised:
            self.current.raises = [Edge(self.exception_target(r), raised=r) for r in raised]
            self.goto(self.new_block())

    def goto(self, target: BasicBlock) -> None:
        """Fall through to ``target`` and continue there."""
        self.current.successors.append(Edge(target))
        self.current = target

    def link(self, target: BasicBlock, test: Test | None = None) -> None:
        self.current.successors.append(Edge(target, test))

    # Expressions

    def value(self, node: cst.BaseExpression) -> str:
        """Evaluate ``node``; the operand that holds its value."""
        method = _EXPRESSIONS.get(type(node))
        return OTHER if method is None else method(self, node)

    def use(self, node: cst.BaseExpression) -> None:
        """Evaluate for the effects; the value is not kept."""
        self.drop(self.value(node), node)

    def drop(self, operand: str, node: cst.CSTNode) -> None:
        if operand.startswith("%"):
            self.emit(Forget(node, (operand,)))

    def _name(self, node: cst.Name) -> str:
        return {"None": NONE, "True": TRUE, "False": FALSE}.get(node.value, node.value)

    def _attribute(self, node: cst.Attribute) -> str:
        base = self.value(node.value)
        target = self.temporary()
        self.emit(LoadAttribute(node, target, base, node.attr.value))
        return target

    def _call(self, node: cst.Call) -> str:
        func, receiver, method, callee = node.func, None, None, None
        if isinstance(func, cst.Attribute):
            receiver, method = self.value(func.value), func.attr.value
        else:
            callee = self.value(func)
        arguments = []
        for argument in node.args:
            operand = self.value(argument.value)
            arguments.append(Argument(operand, argument.keyword.value if argument.keyword else None, argument.star))
        target = self.temporary()
        call = Call(node, target, reduce(func), receiver, method, callee, tuple(arguments))
        raised = self.exits_by(call.func)
        if raised is None:
            self.emit(call, ANY_EXCEPTION)
        else:
            self.current.instructions.append(call)
            self.current.raises = [Edge(self.exception_target(raised), raised=raised)]
            self.current = self.new_block()
        return target

    def _await(self, node: cst.Await) -> str:
        value, target = self.value(node.expression), self.temporary()
        self.emit(Await(node, target, value), ANY_EXCEPTION, CANCELLED)
        return target

    def _yield(self, node: cst.Yield) -> str:
        target, delegates, operand = self.temporary(), False, NONE
        if isinstance(node.value, cst.From):
            delegates, operand = True, self.value(node.value.item)
        elif node.value is not None:
            operand = self.value(node.value)
        self.yields.append((node, self.loop_depth))
        raised = (ANY_EXCEPTION, GENERATOR_EXIT, CANCELLED) if self.is_async else (ANY_EXCEPTION, GENERATOR_EXIT)
        self.emit(Yield(node, target, operand, delegates), *raised)
        return target

    def _subscript(self, node: cst.Subscript) -> str:
        base, key, target = self.value(node.value), None, self.temporary()
        for element in node.slice:
            if isinstance(element.slice, cst.Index):
                key = _key(element.slice.value)
                self.use(element.slice.value)
            else:
                for bound in (element.slice.lower, element.slice.upper, element.slice.step):
                    if bound is not None:
                        self.use(bound)
        self.emit(LoadItem(node, target, base, key), ANY_EXCEPTION)
        return target

    def _sequence(self, node: cst.Tuple | cst.List | cst.Set) -> str:
        items: list[tuple[str | int | None, str]] = []
        for index, element in enumerate(node.elements):
            starred = isinstance(element, cst.StarredElement)
            items.append((None if starred else index, self.value(element.value)))
        return self._built(node, items)

    def _built(self, node: cst.CSTNode, items: Sequence[tuple[str | int | None, str]]) -> str:
        target = self.temporary()
        self.emit(Build(node, target, tuple(items)))
        return target

    def _dict(self, node: cst.Dict) -> str:
        items: list[tuple[str | int | None, str]] = []
        for element in node.elements:
            key: str | int | None = None
            if isinstance(element, cst.DictElement):
                key = _key(element.key)
                self.use(element.key)
            items.append((key, self.value(element.value)))
        return self._built(node, items)

    def _formatted(self, node: cst.FormattedString) -> str:
        for part in node.parts:
            if isinstance(part, cst.FormattedStringExpression):
                self.use(part.expression)
        return OTHER

    def _concatenated(self, node: cst.ConcatenatedString) -> str:
        self.use(node.left)
        self.use(node.right)
        return OTHER

    def _binary(self, node: cst.BinaryOperation) -> str:
        self.use(node.left)
        self.use(node.right)
        return OTHER

    def _unary(self, node: cst.UnaryOperation) -> str:
        if isinstance(node.operator, cst.Not):
            return self._truth_value(node)
        self.use(node.expression)
        return OTHER

    def _comparison(self, node: cst.Comparison) -> str:
        null = _null_test(node)
        if null is not None and isinstance(null[0], cst.Name) and self._name(null[0]) == null[0].value:
            target = self.temporary()
            self.emit(NullTest(node, target, null[0].value, null[1]))
            return target
        if null is not None:
            return self._truth_value(node)
        self.use(node.left)
        for target in node.comparisons:
            self.use(target.comparator)
        return OTHER

    def _truth_value(self, node: cst.BaseExpression) -> str:
        target, true, false, after = self.temporary(), self.new_block(), self.new_block(), self.new_block()
        self.condition(node, true, false)
        for block, literal in ((true, TRUE), (false, FALSE)):
            self.current = block
            self.emit(Move(node, target, literal))
            self.link(after)
        self.current = after
        return target

    def _either(self, node: cst.BooleanOperation) -> str:
        target, rest, after = self.temporary(), self.new_block(), self.new_block()
        left = self.value(node.left)
        is_and = isinstance(node.operator, cst.And)
        short = self.new_block()
        self.branch_on(left, node.left, *((rest, short) if is_and else (short, rest)), forget=False)
        self.current = short
        self.emit(Move(node, target, left))
        self.link(after)
        self.current = rest
        self.drop(left, node)
        self.emit(Move(node, target, self.value(node.right)))
        self.link(after)
        self.current = after
        return target

    def _conditional(self, node: cst.IfExp) -> str:
        target, true, false, after = self.temporary(), self.new_block(), self.new_block(), self.new_block()
        self.condition(node.test, true, false)
        for block, arm in ((true, node.body), (false, node.orelse)):
            self.current = block
            self.emit(Move(node, target, self.value(arm)))
            self.link(after)
        self.current = after
        return target

    def _walrus(self, node: cst.NamedExpr) -> str:
        operand = self.value(node.value)
        if not isinstance(node.target, cst.Name):
            return operand
        self.assign_name(node, node.target.value, operand)
        return node.target.value

    def _lambda(self, node: cst.Lambda) -> str:
        return self.define(node, frozenset(names_read(node.body)))

    def define(self, node: cst.CSTNode, captured: frozenset[str]) -> str:
        target = self.temporary()
        self.emit(Define(node, target, captured))
        return target

    def _comprehension(self, node: cst.ListComp | cst.SetComp | cst.GeneratorExp | cst.DictComp) -> str:
        result = self.internal("comprehension")
        self.emit(Build(node, result, ()))

        def innermost() -> None:
            if isinstance(node, cst.DictComp):
                self.use(node.key)
                self.emit(StoreItem(node, result, self.value(node.value)))
            else:
                self.emit(StoreItem(node, result, self.value(node.elt)))

        self._comprehension_loop(node.for_in, innermost)
        target = self.temporary()
        self.emit(Move(node, target, result))
        self.emit(Forget(node, (result,)))
        return target

    def _comprehension_loop(self, loop: cst.CompFor, innermost: Callable[[], None]) -> None:
        after = self.new_block()
        head = self.iterate(loop, loop.iter, loop.target, after, is_async=loop.asynchronous is not None)
        self.loop_depth += 1
        for condition in loop.ifs:
            body = self.new_block()
            self.condition(condition.test, body, head)
            self.current = body
        if loop.inner_for_in is not None:
            self._comprehension_loop(loop.inner_for_in, innermost)
        else:
            innermost()
        self.loop_depth -= 1
        self.link(head)
        self.current = after

    def iterate(
        self,
        node: cst.CSTNode,
        iterable: cst.BaseExpression,
        target: cst.BaseAssignTargetExpression,
        after: BasicBlock,
        *,
        is_async: bool,
    ) -> BasicBlock:
        """Start a loop: evaluate the iterable, step, bind the target. Returns the head; the body is current."""
        operand, source = self.internal("iterable"), iterable
        self.emit(Move(iterable, operand, self.value(source)))
        head, element = self.new_block(), self.temporary()
        self.goto(head)
        raised = (ANY_EXCEPTION, CANCELLED) if is_async else (() if _is_finite_literal(iterable) else (ANY_EXCEPTION,))
        self.emit(Iterate(node, element, operand), *raised)
        body = self.new_block()
        exhausted = self.new_block()
        self.link(body)
        self.link(exhausted)
        self.current = exhausted
        self.emit(Forget(node, (operand, element)))
        self.link(after)
        self.current = body
        self.assign(target, element)
        return head

    # Assignment

    def assign_name(self, node: cst.CSTNode, name: str, operand: str) -> None:
        if name in self.global_names:
            self.emit(StoreGlobal(node, name, operand))
        else:
            self.emit(Move(node, name, operand))

    def assign(self, target: cst.BaseExpression, operand: str) -> None:
        """Bind ``operand``, which is read once, to an assignment target."""
        match target:
            case cst.Name(value=name):
                self.assign_name(target, name, operand)
            case cst.Attribute(value=base, attr=attr):
                self.emit(StoreAttribute(target, self.value(base), attr.value, operand, ex.dotted(reduce(base))))
            case cst.Subscript(value=base, slice=elements):
                owner = self.value(base)
                for element in elements:
                    if isinstance(element.slice, cst.Index):
                        self.use(element.slice.value)
                self.emit(StoreItem(target, owner, operand), ANY_EXCEPTION)
            case cst.Tuple(elements=elements) | cst.List(elements=elements):
                whole = self.internal("unpacked")
                self.emit(Move(target, whole, operand))
                for index, part in enumerate(elements):
                    key = None if isinstance(part, cst.StarredElement) else index
                    item = self.temporary()
                    self.emit(LoadItem(target, item, whole, key))
                    self.assign(part.value, item)
                self.emit(Forget(target, (whole,)))
            case cst.StarredElement(value=inner):
                self.assign(inner, operand)
            case _:
                self.drop(operand, target)

    # Conditions

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
            case cst.Attribute(value=cst.Name(value=owner), attr=cst.Name(value=attr)) if attr in OPEN_TESTS:
                self.use(node)
                self._fork(node, Test(TestKind.OPEN, owner, OPEN_TESTS[attr]), true, false)
            case cst.Call(func=cst.Attribute(value=cst.Name(value=owner), attr=cst.Name(value=attr))) if (
                attr in OPEN_TESTS
            ):
                self.use(node)
                self._fork(node, Test(TestKind.OPEN, owner, OPEN_TESTS[attr]), true, false)
            case cst.Attribute():
                self.use(node)
                self._pure(node, reduce(node), "", true, false, negated=False)
            case _:
                self.branch_on(self.value(node), node, true, false, forget=True)

    def branch_on(self, operand: str, node: cst.CSTNode, true: BasicBlock, false: BasicBlock, *, forget: bool) -> None:
        """Branch on the truth of an operand; a temporary is forgotten on both ways unless still needed."""
        if operand == OTHER:
            self._fork(node, None, true, false)
        elif operand.startswith("#"):
            self.link(true if operand == TRUE else false)
        else:
            test = Test(TestKind.TRUTH, operand, outcome=True)
            self._fork(node, test, true, false, forget=operand if forget and operand.startswith("%") else None)

    def _fork(
        self, node: cst.CSTNode, test: Test | None, true: BasicBlock, false: BasicBlock, *, forget: str | None = None
    ) -> None:
        origin = self.current
        origin.branch = node
        for target, outcome in ((true, True), (false, False)):
            kept = None if test is None else Test(test.kind, test.subject, outcome=test.outcome is outcome)
            end = target
            if forget is not None:
                self.current = end = self.new_block()
                self.emit(Forget(node, (forget,)))
                self.link(target)
            origin.successors.append(Edge(end, kept))
        self.current = origin

    def _compare(self, node: cst.Comparison, true: BasicBlock, false: BasicBlock) -> None:
        null = _null_test(node)
        if null is not None:
            subject, negated = null
            operand = self.value(subject)
            if operand.startswith("#"):
                known = operand == NONE
                self.link(true if known is not negated else false)
                return
            forget = operand if operand.startswith("%") else None
            self._fork(node, Test(TestKind.IS_NONE, operand, outcome=not negated), true, false, forget=forget)
            return
        if len(node.comparisons) == 1:
            operator, right = node.comparisons[0].operator, node.comparisons[0].comparator
            bound = _bound_test(node.left, operator, right)
            if bound is not None:
                self._fork(node, Test(TestKind.BOUND, bound, outcome=isinstance(operator, cst.In)), true, false)
                return
            self.use(node.left)
            self.use(right)
            negated = type(operator) in _NEGATED
            kind = _NEGATED.get(type(operator), type(operator)).__name__
            sides = ex.Sequence((reduce(node.left), reduce(right)))
            self._pure(node, sides, kind, true, false, negated=negated)
            return
        self.use(node)
        self._fork(node, None, true, false)

    def _pure(
        self,
        node: cst.CSTNode,
        reduced: ex.Expression,
        operator: str,
        true: BasicBlock,
        false: BasicBlock,
        *,
        negated: bool,
    ) -> None:
        """Branch on a condition whose value stays the same until one of its names is assigned."""
        if not is_pure(reduced):
            self._fork(node, None, true, false)
            return
        subject = f"?{operator}{reduced!r}"
        self.condition_reads[subject] = frozenset(names_in(reduced))
        self._fork(node, Test(TestKind.TRUTH, subject, outcome=not negated), true, false)


def _key(node: cst.BaseExpression) -> str | int | None:
    if isinstance(node, cst.Integer):
        return int(node.value.replace("_", ""), 0)
    return string_value(node)


def _null_test(node: cst.Comparison) -> tuple[cst.BaseExpression, bool] | None:
    """The subject of ``x is None`` or ``None == x``, and whether the test is negated."""
    if len(node.comparisons) != 1:
        return None
    operator, right = node.comparisons[0].operator, node.comparisons[0].comparator
    if not isinstance(operator, (cst.Is, cst.IsNot, cst.Equal, cst.NotEqual)):
        return None
    negated = isinstance(operator, (cst.IsNot, cst.NotEqual))
    for subject, other in ((node.left, right), (right, node.left)):
        if isinstance(other, cst.Name) and other.value == "None":
            return (subject, negated) if isinstance(subject, (cst.Name, cst.NamedExpr, cst.Call, cst.Await)) else None
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


def _is_finite_literal(node: cst.BaseExpression) -> bool:
    if isinstance(node, cst.Call):
        return isinstance(node.func, cst.Name) and node.func.value == "range"
    return isinstance(node, (cst.Tuple, cst.List, cst.Set, cst.Dict, cst.SimpleString))


def raise_point(node: cst.CSTNode, what: str, operand: str | None = None) -> Point:
    """An instruction that only raises."""
    return Point(node, what, operand)


_EXPRESSIONS: dict[type[cst.CSTNode], Callable[[ExpressionLowering, cst.BaseExpression], str]] = {
    cst.Name: ExpressionLowering._name,
    cst.Attribute: ExpressionLowering._attribute,
    cst.Call: ExpressionLowering._call,
    cst.Await: ExpressionLowering._await,
    cst.Yield: ExpressionLowering._yield,
    cst.Subscript: ExpressionLowering._subscript,
    cst.Tuple: ExpressionLowering._sequence,
    cst.List: ExpressionLowering._sequence,
    cst.Set: ExpressionLowering._sequence,
    cst.Dict: ExpressionLowering._dict,
    cst.FormattedString: ExpressionLowering._formatted,
    cst.ConcatenatedString: ExpressionLowering._concatenated,
    cst.BinaryOperation: ExpressionLowering._binary,
    cst.UnaryOperation: ExpressionLowering._unary,
    cst.Comparison: ExpressionLowering._comparison,
    cst.BooleanOperation: ExpressionLowering._either,
    cst.IfExp: ExpressionLowering._conditional,
    cst.NamedExpr: ExpressionLowering._walrus,
    cst.Lambda: ExpressionLowering._lambda,
    cst.ListComp: ExpressionLowering._comprehension,
    cst.SetComp: ExpressionLowering._comprehension,
    cst.GeneratorExp: ExpressionLowering._comprehension,
    cst.DictComp: ExpressionLowering._comprehension,
}  # type: ignore[dict-item]  # each method takes the node type that is its key
