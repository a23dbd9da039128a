"""Statements to blocks and edges: branches, loops, ``try``, ``with``, ``match``, definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.exceptions import Unwinding, handler_of
from leakcheck.cfg.graph import (
    ANY_EXCEPTION,
    CANCELLED,
    NONE,
    OTHER,
    RETURN,
    BasicBlock,
    Enter,
    Exit,
    Forget,
    Move,
    Point,
    StoreItem,
    Test,
    TestKind,
)
from leakcheck.cfg.unwind import FinallyFrame, HandlerFrame, LoopFrame, WithFrame, particular_of
from leakcheck.cfg.walk import literal_key, names_read, parameters_of, reduce, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class StatementLowering(Unwinding):
    """Lowers statements."""

    def suite(self, body: cst.BaseSuite) -> None:
        """Lower the statements of a block."""
        for statement in body.body:
            self.statement(statement)

    def statement(self, node: cst.BaseStatement | cst.BaseSmallStatement) -> None:
        """Lower one statement; one of unknown kind does nothing."""
        if isinstance(node, cst.SimpleStatementLine):
            for small in node.body:
                self.statement(small)
            return
        method = _STATEMENTS.get(type(node))
        if method is not None:
            method(self, node)

    def _expression_statement(self, node: cst.Expr) -> None:
        self.use(node.value)

    def _return(self, node: cst.Return) -> None:
        operand = NONE if node.value is None else self.value(node.value)
        self.emit(Move(node, RETURN, operand))
        self.jump(("return",), 0, self.exit)

    def _raise_statement(self, node: cst.Raise) -> None:
        if node.exc is None:
            raised = self.handling[-1][0] if self.handling else ANY_EXCEPTION
            self.emit_last(Point(node, "raises again"), raised)
            return
        reduced = reduce(node.exc)
        self.use(node.exc)
        if node.cause is not None:
            self.use(node.cause.item)
        name = ex.last_name(reduced) or ANY_EXCEPTION
        for held, bound in reversed(self.handling):
            if isinstance(reduced, ex.Name) and bound == reduced.id:
                self.emit_last(Point(node, "raises again"), held)
                return
        if isinstance(reduced, ex.Name) and not name[:1].isupper():
            name = ANY_EXCEPTION
        self.emit_last(Point(node, f"raises {name}"), name)

    def _assert(self, node: cst.Assert) -> None:
        passed, failed = self.new_block(), self.new_block()
        self.asserting = True  # that two names are one object is believed
        self.condition(node.test, passed, failed)
        self.asserting = False
        self.current = failed
        if node.msg is not None:
            self.use(node.msg)
        self.emit_last(Point(node, "the assertion fails"), "AssertionError")
        self.current = passed

    def _import(self, node: cst.Import | cst.ImportFrom) -> None:
        self.emit(Point(node, "the import may fail"), ANY_EXCEPTION)

    def _global(self, node: cst.Global | cst.Nonlocal) -> None:
        self.global_names.update(item.name.value for item in node.names)

    def _if(self, node: cst.If) -> None:
        after = self.new_block()
        branch: cst.If | cst.Else | None = node
        while isinstance(branch, cst.If):
            true, false = self.new_block(), self.new_block()
            self.condition(branch.test, true, false)
            self.current = true
            self.suite(branch.body)
            self.link(after)
            self.current = false
            branch = branch.orelse
        if branch is not None:
            self.suite(branch.body)
        self.link(after)
        self.current = after

    def _loop_body(self, body: cst.BaseSuite, head: BasicBlock, after: BasicBlock) -> None:
        self.frames.append(LoopFrame(on_break=after, on_continue=head))
        self.loop_depth += 1
        self.suite(body)
        self.loop_depth -= 1
        self.frames.pop()
        self.link(head)

    def _while(self, node: cst.While) -> None:
        head, body, orelse, after = (self.new_block() for _ in range(4))
        self.goto(head)
        already = len(self.asked)
        self.condition(node.test, body, orelse)
        self.current = body
        again = self._asked_again(node, self.asked[already:], head)
        self._loop_body(node.body, again, after)
        self._loop_else(node.orelse, orelse, after)

    def _asked_again(self, node: cst.While, subjects: Sequence[str], head: BasicBlock) -> BasicBlock:
        """Where an iteration ends: somebody else sets what `while self.running:` asks for, else it would never end."""
        changing = tuple(s for s in subjects if any(name.startswith(".") for name in self.condition_reads[s]))
        if not changing:
            return head
        body, self.current = self.current, self.new_block()
        again = self.current
        self.emit(Forget(node.test, changing))
        self.link(head)
        self.current = body
        return again

    def _for(self, node: cst.For) -> None:
        orelse, after = self.new_block(), self.new_block()
        head = self.iterate(node, node.iter, node.target, orelse, is_async=node.asynchronous is not None)
        self._loop_body(node.body, head, after)
        self._loop_else(node.orelse, orelse, after)

    def _loop_else(self, node: cst.Else | None, orelse: BasicBlock, after: BasicBlock) -> None:
        self.current = orelse
        if node is not None:
            self.suite(node.body)
        self.link(after)
        self.current = after

    def _break_or_continue(self, node: cst.Break | cst.Continue) -> None:
        for index in range(len(self.frames) - 1, -1, -1):
            frame = self.frames[index]
            if isinstance(frame, LoopFrame):
                is_break = isinstance(node, cst.Break)
                target = frame.on_break if is_break else frame.on_continue
                self.jump(("break" if is_break else "continue", id(frame)), index, target)
                return

    def _try(self, node: cst.Try | cst.TryStar) -> None:
        after = self.new_block()
        if node.finalbody is not None:
            self.frames.append(FinallyFrame(body=node.finalbody.body))
        if node.handlers:
            joined = self.new_block()
            handlers = [handler_of(h) for h in node.handlers]
            particular = particular_of(node, handlers)
            self.frames.append(HandlerFrame(handlers=handlers, after=joined, particular=particular))
            self.suite(node.body)
            self.frames.pop()
            if node.orelse is not None:
                self.suite(node.orelse.body)
            self.goto(joined)
        else:
            self.suite(node.body)
            if node.orelse is not None:
                self.suite(node.orelse.body)
        if node.finalbody is not None:
            self.frames.pop()
            self.suite(node.finalbody.body)
        self.goto(after)

    def _with(self, node: cst.With) -> None:
        is_async = node.asynchronous is not None
        opened: list[WithFrame] = []
        for item in node.items:
            manager = self.internal("with")
            self.emit(Move(item.item, manager, self.value(item.item)))
            target = self.temporary()
            self.emit(
                Enter(item, target, manager, is_async), *((ANY_EXCEPTION, CANCELLED) if is_async else (ANY_EXCEPTION,))
            )
            frame = WithFrame(
                node=item,
                manager=manager,
                is_async=is_async,
                swallowed=self.meanings.swallowed_by(reduce(item.item)),
                after=self.new_block(),
            )
            self.frames.append(frame)
            opened.append(frame)
            if item.asname is not None:
                self.assign(item.asname.name, target)
            else:
                self.drop(target, item)
        self.suite(node.body)
        for frame in reversed(opened):
            self.frames.pop()
            self.emit(Exit(frame.node, frame.manager, frame.is_async, exceptional=False))
            self.goto(frame.after)

    def _match(self, node: cst.Match) -> None:
        subject = self.internal("subject")
        shown = self.value(node.subject)
        self.emit(Move(node.subject, subject, shown))
        tested = shown if isinstance(node.subject, cst.Name) else subject
        after = self.new_block()
        taken: set[str | int] = set()
        for case in node.cases:
            body, otherwise = self.new_block(), self.new_block()
            key = literal_key(case.pattern.value) if isinstance(case.pattern, cst.MatchValue) else None
            if key in taken:
                self.link(otherwise)
            else:
                self._pattern(case.pattern, tested, body, otherwise)
            if key is not None and case.guard is None:
                taken.add(key)
            self.current = body
            self._bind_pattern(case.pattern, subject)
            if case.guard is not None:
                guarded = self.new_block()
                self.condition(case.guard, guarded, otherwise)
                self.current = guarded
            self.suite(case.body)
            self.link(after)
            self.current = otherwise
        self.link(after)
        self.current = after
        self.emit(Forget(node, (subject,)))

    def _pattern(self, pattern: cst.MatchPattern, subject: str, body: BasicBlock, otherwise: BasicBlock) -> None:
        while isinstance(pattern, cst.MatchAs) and pattern.pattern is not None:
            pattern = pattern.pattern
        if isinstance(pattern, cst.MatchAs):
            self.link(body)
        elif isinstance(pattern, cst.MatchSingleton) and pattern.value.value == "None":
            self.fork(pattern, Test(TestKind.IS_NONE, subject, outcome=True), body, otherwise)
        else:
            self.fork(pattern, None, body, otherwise)

    def _bind_pattern(self, pattern: cst.MatchPattern, subject: str) -> None:
        for part in walk(pattern):
            if isinstance(part, (cst.MatchAs, cst.MatchStar)) and part.name is not None:
                whole = part is pattern
                self.emit(Move(part, part.name.value, subject if whole else OTHER))

    def _function(self, node: cst.FunctionDef) -> None:
        for decorator in node.decorators:
            self.use(decorator.decorator)
        self._defaults(node.params)
        own = {p.name.value for p in parameters_of(node.params)}
        self.assign_name(node, node.name.value, self.define(node, names_read(node.body) - own))
        if node.decorators:
            self.emit(StoreItem(node, OTHER, node.name.value))  # the decorator may keep the function

    def _defaults(self, parameters: cst.Parameters) -> None:
        for parameter in parameters_of(parameters):
            if parameter.default is not None:
                self.use(parameter.default)

    def _class(self, node: cst.ClassDef) -> None:
        for decorator in node.decorators:
            self.use(decorator.decorator)
        for argument in (*node.bases, *node.keywords):
            self.use(argument.value)
        self.assign_name(node, node.name.value, self.define(node, names_read(node.body)))


# Loosely typed: each method takes the node type that is its key, which a dictionary's type cannot say.
_STATEMENTS: dict[type[cst.CSTNode], Callable[..., None]] = {
    cst.Expr: StatementLowering._expression_statement,
    cst.Assign: StatementLowering.assign_statement,
    cst.AnnAssign: StatementLowering.annotated_assignment,
    cst.AugAssign: StatementLowering.augmented_assignment,
    cst.Del: StatementLowering.delete,
    cst.Return: StatementLowering._return,
    cst.Raise: StatementLowering._raise_statement,
    cst.Assert: StatementLowering._assert,
    cst.Import: StatementLowering._import,
    cst.ImportFrom: StatementLowering._import,
    cst.Global: StatementLowering._global,
    cst.Nonlocal: StatementLowering._global,
    cst.If: StatementLowering._if,
    cst.While: StatementLowering._while,
    cst.For: StatementLowering._for,
    cst.Break: StatementLowering._break_or_continue,
    cst.Continue: StatementLowering._break_or_continue,
    cst.Try: StatementLowering._try,
    cst.TryStar: StatementLowering._try,
    cst.With: StatementLowering._with,
    cst.Match: StatementLowering._match,
    cst.FunctionDef: StatementLowering._function,
    cst.ClassDef: StatementLowering._class,
}
