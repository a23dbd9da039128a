"""Expressions to instructions, in evaluation order, with the branches that operators imply.

    pool.getconn().cursor()    →   %1 = pool.getconn(); %2 = %1.cursor()

An expression is lowered to the operand that holds its value: a variable, a temporary or a literal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.conditions import ConditionLowering, asks_for_yes, null_test
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
    Iterate,
    LoadAttribute,
    LoadItem,
    Move,
    StoreAttribute,
    StoreItem,
    Test,
    TestKind,
    Yield,
)
from leakcheck.cfg.looping import takes_a_turn
from leakcheck.cfg.walk import is_pure, literal_key, names_read, parameters_of, reduce, string_value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leakcheck.cfg.meanings import Meanings


class ExpressionLowering(ConditionLowering):
    """Evaluates expressions; ``meanings`` knows what they mean."""

    def __init__(self, meanings: Meanings, *, is_async: bool) -> None:
        super().__init__()
        self.meanings = meanings
        self.is_async = is_async
        self.yields: list[tuple[cst.CSTNode, int]] = []

    def value(self, node: cst.BaseExpression) -> str:
        """Evaluate ``node``; the operand that holds its value."""
        method = _EXPRESSIONS.get(type(node))
        return OTHER if method is None else method(self, node)

    def _name(self, node: cst.Name) -> str:
        name = self.renamed.get(node.value, node.value)
        return {"None": NONE, "True": TRUE, "False": FALSE}.get(name, name)

    def _attribute(self, node: cst.Attribute) -> str:
        base = self.value(node.value)
        name, target = node.attr.value, self.temporary()
        getter = ex.Getter(reduce(node.value), name)
        if self.meanings.opens(getter):
            self.emit(Call(node, target, getter, base, name, None, ()), ANY_EXCEPTION)
        else:
            self.emit(LoadAttribute(node, target, base, name))
        return target

    def _call(self, node: cst.Call) -> str:
        match reduce(node):
            case ex.Attribute(name=name):  # `getattr(x, "name")`
                base, *_ = [self.value(a.value) for a in node.args if string_value(a.value) != name]
                target = self.temporary()
                self.emit(LoadAttribute(node, target, base, name))
                return target
            case ex.Call(func=setter, args=(owner, ex.Constant(value=str() as name), _)) if (
                ex.dotted(setter) in ex.SETTERS
            ):
                base, operand = self.value(node.args[0].value), self.value(node.args[2].value)
                self.emit(StoreAttribute(node, base, name, operand, ex.dotted(owner)))
                return NONE
        func, receiver, method, callee = self._called(node.func), None, None, None
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
        raised = self.meanings.exits_by(call.func)
        if raised is None:
            self.emit(call, ANY_EXCEPTION)
        else:
            self.emit_last(call, raised)
        return target

    def _called(self, func: cst.BaseExpression) -> cst.BaseExpression:
        """What is called: the method that a variable holds, where nothing binds it, or what it is of, anew."""
        name = func.value if isinstance(func, cst.Name) else ""
        method = self.methods.get(name) if name not in self.renamed else None
        if method is None or any(map(self.meanings.rebinds, names_read(func) | names_read(method))):
            return func
        return method

    def _await(self, node: cst.Await) -> str:
        value, target = self.value(node.expression), self.temporary()
        called = reduce(node.expression)
        raised = self.meanings.exits_by(ex.Await(called.func)) if isinstance(called, ex.Call) else None
        if raised is None:
            self.emit(Await(node, target, value), ANY_EXCEPTION, CANCELLED)
        else:
            self.emit_last(Await(node, target, value), raised, CANCELLED)
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
                key = literal_key(element.slice.value)
                self.use(element.slice.value)
            elif isinstance(element.slice, cst.Slice):
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
                key = literal_key(element.key)
                self.use(element.key)
            items.append((key, self.value(element.value)))
        return self._built(node, items)

    def _formatted(self, node: cst.FormattedString) -> str:
        self._parts(node.parts)
        return OTHER

    def _parts(self, parts: Sequence[cst.BaseFormattedStringContent]) -> None:
        """The expressions of an f-string, and those in their format: ``f"{total:{width(conn)}}"``."""
        for part in parts:
            if isinstance(part, cst.FormattedStringExpression):
                self.use(part.expression)
                self._parts(part.format_spec or ())

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
            return self.null_value(node) or self.truth_value(node)
        self.use(node.expression)
        return OTHER

    def _comparison(self, node: cst.Comparison) -> str:
        kept = self.null_value(node)
        if kept is not None:
            return kept
        if null_test(node) is not None or asks_for_yes(node):
            return self.truth_value(node)
        self.use(node.left)
        for comparison in node.comparisons:
            self.use(comparison.comparator)
        return OTHER

    def _either(self, node: cst.BooleanOperation) -> str:
        target, rest, after = self.temporary(), self.new_block(), self.new_block()
        left = self.value(node.left)
        is_and = isinstance(node.operator, cst.And)
        short = self.new_block()
        self._branch_on_left(left, node.left, *((rest, short) if is_and else (short, rest)), short)
        self.current = short
        self.emit(Move(node, target, left))
        self.link(after)
        self.current = rest
        self.drop(left, node)
        self.emit(Move(node, target, self.value(node.right)))
        self.link(after)
        self.current = after
        return target

    def _branch_on_left(
        self, operand: str, node: cst.BaseExpression, true: BasicBlock, false: BasicBlock, short: BasicBlock
    ) -> None:
        """Branch on the value left of ``or``: on an attribute as a later ``if self.conn:`` does, which then agrees."""
        reduced = reduce(node)
        if not (isinstance(reduced, ex.Attribute) and is_pure(reduced) and operand.startswith("%")):
            self.branch_on(operand, node, true, false, forget=False)
            return
        known = self.new_block()
        known.successors.append(Edge(short, Test(TestKind.TRUTH, operand, outcome=short is true)))
        self.pure(node, reduced, "", known if short is true else true, known if short is false else false)

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
        own = {p.name.value for p in parameters_of(node.params)}
        for parameter in parameters_of(node.params):
            if parameter.default is not None:
                self.use(parameter.default)
        return self.define(node, names_read(node.body) - own)

    def define(self, node: cst.CSTNode, captured: frozenset[str]) -> str:
        """A nested function, class or lambda; the operand that holds it."""
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

        outer, self.renamed = self.renamed, {**self.renamed, **self._own_names(node.for_in)}
        self._comprehension_loop(node.for_in, innermost)
        self.renamed = outer
        target = self.temporary()
        self.emit(Move(node, target, result))
        self.emit(Forget(node, (result,)))
        return target

    def _own_names(self, loop: cst.CompFor | None) -> dict[str, str]:
        """The names that a comprehension binds, which are its own: each gets a variable of its own."""
        names: set[str] = set()
        while loop is not None:
            names |= names_read(loop.target)
            loop = loop.inner_for_in
        return {name: self.internal(name) for name in sorted(names)}

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
        operand = self.internal("iterable")
        self.emit(Move(iterable, operand, self.value(iterable)))
        first = self.internal("first") if takes_a_turn(iterable, self.meanings.number) else None
        if first is not None:
            self.emit(Move(iterable, first, TRUE))
        head, element = self.new_block(), self.temporary()
        self.goto(head)
        raised = (ANY_EXCEPTION, CANCELLED) if is_async else (() if _is_finite_literal(iterable) else (ANY_EXCEPTION,))
        self.emit(Iterate(node, element, operand), *raised)
        body = self.new_block()
        exhausted = self.new_block()
        self.link(body, Test(TestKind.ITERATES, operand, outcome=True))
        self.link(exhausted, Test(TestKind.ITERATES, operand, outcome=False))
        self.current = exhausted
        if first is not None:  # there is no way on before the first turn
            self.current = self.new_block()
            exhausted.successors.append(Edge(self.current, Test(TestKind.TRUTH, first, outcome=False)))
        self.emit(Forget(node, (operand, element) if first is None else (operand, element, first)))
        self.link(after)
        self.current = body
        if first is not None:
            self.emit(Move(node, first, FALSE))
        self.assign(target, element)
        return head


def _is_finite_literal(node: cst.BaseExpression) -> bool:
    if isinstance(node, cst.Call):
        return isinstance(node.func, cst.Name) and node.func.value == "range"
    return isinstance(node, (cst.Tuple, cst.List, cst.Set, cst.Dict, cst.SimpleString))


# Loosely typed: each method takes the node type that is its key, which a dictionary's type cannot say.
_EXPRESSIONS: dict[type[cst.CSTNode], Callable[..., str]] = {
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
}
