"""Statements to a control-flow graph.

    build_cfg(function) → ControlFlowGraph

The builder knows Python only. Which exceptions a ``with`` swallows is asked of the caller, since it
depends on what the manager's name resolves to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.graph import (
    ANY_EXCEPTION,
    CANCELLED,
    NONE,
    OTHER,
    RETURN,
    BasicBlock,
    ControlFlowGraph,
    Edge,
    Enter,
    Exit,
    Forget,
    Move,
    StoreItem,
    Test,
    TestKind,
)
from leakcheck.cfg.lower import ExpressionLowering, raise_point
from leakcheck.cfg.unwind import FinallyFrame, Frame, Handler, HandlerFrame, LoopFrame, WithFrame, catches
from leakcheck.cfg.walk import names_read, reduce, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

BLOCK_LIMIT = 20_000
"""Copies of nested ``finally`` bodies multiply; a function beyond this many blocks is not analysed."""


class TooLargeError(Exception):
    """The function's graph passes ``BLOCK_LIMIT``."""


def build_cfg(
    body: cst.BaseSuite | cst.BaseExpression | Sequence[cst.BaseStatement],
    *,
    is_async: bool,
    swallowed_by: Callable[[ex.Expression], tuple[str, ...]],
    exits_by: Callable[[ex.Expression], str | None],
) -> ControlFlowGraph:
    """The graph of a function's body (a lambda's is an expression, a module's a list of statements).

    ``swallowed_by(expression)`` names the exception classes that ``with expression:`` swallows;
    ``exits_by(function)`` the exception by which a call of it never returns. Raises TooLargeError.
    """
    builder = _Builder(swallowed_by, exits_by)
    builder.is_async = is_async
    return builder.build(body)


class _Builder(ExpressionLowering):
    def __init__(
        self, swallowed_by: Callable[[ex.Expression], tuple[str, ...]], exits_by: Callable[[ex.Expression], str | None]
    ) -> None:
        self.frames: list[Frame] = []
        self.handling: list[tuple[str, str | None]] = []
        self._saved: list[tuple[list[Frame], BasicBlock, list[tuple[str, str | None]], int]] = []
        self.swallowed_by = swallowed_by
        super().__init__(exits_by)
        self.entry = self.current
        self.exit = self.new_block()
        self.failure = self.new_block()

    def build(self, body: cst.BaseSuite | cst.BaseExpression | Sequence[cst.BaseStatement]) -> ControlFlowGraph:
        if isinstance(body, cst.BaseExpression):
            self.emit(Move(body, RETURN, self.value(body)))
        elif isinstance(body, cst.BaseSuite):
            self.suite(body)
        else:
            for statement in body:
                self.statement(statement)
        self.link(self.exit)
        return ControlFlowGraph(
            self.entry,
            self.exit,
            self.failure,
            _reachable(self.entry, self.exit, self.failure),
            self.condition_reads,
            bool(self.yields),
            self.yields,
        )

    def new_block(self) -> BasicBlock:
        if len(self.blocks) > BLOCK_LIMIT:
            raise TooLargeError
        return super().new_block()

    # Ways out

    def exception_target(self, raised: str) -> BasicBlock:
        return self._propagate(len(self.frames), raised)

    def _propagate(self, depth: int, raised: str) -> BasicBlock:
        """Where an exception goes from inside ``frames[:depth]``."""
        for index in range(depth - 1, -1, -1):
            frame = self.frames[index]
            if isinstance(frame, LoopFrame):
                continue
            key = ("exception", raised)
            block = frame.cache.get(key)
            if block is not None:
                return block
            frame.cache[key] = block = self.new_block()
            if isinstance(frame, HandlerFrame):
                self._dispatch(frame, index, raised, block)
            elif isinstance(frame, FinallyFrame):
                self._copy_finally(frame, index, block, raised)
                self._end_copy(lambda i=index: self._propagate(i, raised))
            elif isinstance(frame, WithFrame):
                block.instructions.append(Exit(frame.node, frame.manager, frame.is_async, exceptional=True))
                held, surely = catches(frame.swallowed, raised) if frame.swallowed else (None, False)
                if held is not None:
                    block.successors.append(Edge(frame.after))
                if not surely:
                    block.successors.append(Edge(self._propagate(index, raised)))
            return block
        return self.failure

    def _end_copy(self, target: Callable[[], BasicBlock]) -> None:
        """Close a finally copy: link its end, then restore the place that asked for it."""
        end, (frames, current, handling, depth) = self.current, self._saved.pop()
        self.frames, self.current, self.handling, self.loop_depth = frames, current, handling, depth
        end.successors.append(Edge(target()))

    def _copy_finally(self, frame: FinallyFrame, index: int, block: BasicBlock, raised: str | None) -> None:
        self._saved.append((self.frames, self.current, self.handling, self.loop_depth))
        self.frames = self.frames[:index]
        self.current = block
        if raised is not None:
            self.handling = [*self.handling, (raised, None)]
        self.suite(frame.body)

    def _dispatch(self, frame: HandlerFrame, index: int, raised: str, block: BasicBlock) -> None:
        for number, handler in enumerate(frame.handlers):
            held, surely = catches(handler.types, raised)
            if held is None:
                continue
            key = ("handler", number, held if handler.reraises else None)
            entry = frame.cache.get(key)
            if entry is None:
                frame.cache[key] = entry = self.new_block()
                self._saved.append((self.frames, self.current, self.handling, self.loop_depth))
                self.frames, self.current = self.frames[:index], entry
                self.handling = [*self.handling, (held, handler.name)]
                if handler.name:
                    self.emit(Move(handler.body, handler.name, OTHER))
                self.suite(handler.body)
                if handler.name:
                    self.emit(Forget(handler.body, (handler.name,)))
                self._end_copy(lambda: frame.after)
            block.successors.append(Edge(entry))
            if surely:
                return
        block.successors.append(Edge(self._propagate(index, raised)))

    def _leave(self, depth: int, key: tuple[object, ...], floor: int, target: BasicBlock) -> BasicBlock:
        """Where a jump to ``target`` goes first from inside ``frames[:depth]``, out to ``frames[:floor]``."""
        for index in range(depth - 1, floor - 1, -1):
            frame = self.frames[index]
            if not isinstance(frame, (FinallyFrame, WithFrame)):
                continue
            block = frame.cache.get(key)
            if block is None:
                frame.cache[key] = block = self.new_block()
                if isinstance(frame, FinallyFrame):
                    self._copy_finally(frame, index, block, None)
                    self._end_copy(lambda i=index: self._leave(i, key, floor, target))
                else:
                    block.instructions.append(Exit(frame.node, frame.manager, frame.is_async, exceptional=False))
                    block.successors.append(Edge(self._leave(index, key, floor, target)))
            return block
        return target

    def _jump(self, key: tuple[object, ...], floor: int, target: BasicBlock) -> None:
        self.link(self._leave(len(self.frames), key, floor, target))
        self.current = self.new_block()

    def _raise(self, node: cst.CSTNode, raised: str, what: str) -> None:
        self.current.instructions.append(raise_point(node, what))
        self.current.raises = [Edge(self.exception_target(raised), raised=raised)]
        self.current = self.new_block()

    # Statements

    def suite(self, body: cst.BaseSuite) -> None:
        for statement in body.body:
            self.statement(statement)

    def statement(self, node: cst.BaseStatement | cst.BaseSmallStatement) -> None:
        if isinstance(node, cst.SimpleStatementLine):
            for small in node.body:
                self.statement(small)
            return
        method = _STATEMENTS.get(type(node))
        if method is not None:
            method(self, node)

    def _expression_statement(self, node: cst.Expr) -> None:
        self.use(node.value)

    def _assign(self, node: cst.Assign) -> None:
        targets = [t.target for t in node.targets]
        if len(targets) == 1:
            if self._assign_pairwise(targets[0], node.value):
                return
            operand = self.value(node.value)
            if isinstance(targets[0], (cst.Tuple, cst.List)) and isinstance(node.value, (cst.Call, cst.Await)):
                self.emit(raise_point(node, "unpacking may raise", operand), ANY_EXCEPTION)
            self.assign(targets[0], operand)
            return
        shared = self.internal("assigned")
        self.emit(Move(node, shared, self.value(node.value)))
        for target in targets:
            self.assign(target, shared)
        self.emit(Forget(node, (shared,)))

    def _assign_pairwise(self, target: cst.BaseExpression, value: cst.BaseExpression) -> bool:
        """``a, b = x, y``: each value to its target, all values read first."""
        displays = (cst.Tuple, cst.List)
        if not (isinstance(target, displays) and isinstance(value, displays)):
            return False
        left, right = target.elements, value.elements
        if len(left) != len(right) or any(isinstance(e, cst.StarredElement) for e in (*left, *right)):
            return False
        operands = []
        for element in right:
            operand, kept = self.value(element.value), self.temporary()
            self.emit(Move(element.value, kept, operand))
            operands.append(kept)
        for element, operand in zip(left, operands, strict=True):
            self.assign(element.value, operand)
        return True

    def _annotated(self, node: cst.AnnAssign) -> None:
        if node.value is not None:
            self.assign(node.target, self.value(node.value))

    def _augmented(self, node: cst.AugAssign) -> None:
        operand = self.value(node.value)
        if isinstance(node.target, cst.Name):
            self.emit(StoreItem(node, node.target.value, operand))
        else:
            self.assign(node.target, operand)

    def _delete(self, node: cst.Del) -> None:
        targets = node.target.elements if isinstance(node.target, (cst.Tuple, cst.List)) else [node.target]
        for element in targets:
            target = element.value if isinstance(element, cst.BaseElement) else element
            if isinstance(target, cst.Name):
                self.emit(Forget(node, (target.value,)))
            else:
                self.use(target)

    def _return(self, node: cst.Return) -> None:
        operand = NONE if node.value is None else self.value(node.value)
        self.emit(Move(node, RETURN, operand))
        self._jump(("return",), 0, self.exit)

    def _raise_statement(self, node: cst.Raise) -> None:
        if node.exc is None:
            raised = self.handling[-1][0] if self.handling else ANY_EXCEPTION
            self._raise(node, raised, "raises again")
            return
        reduced = reduce(node.exc)
        self.use(node.exc)
        if node.cause is not None:
            self.use(node.cause.item)
        name = ex.last_name(reduced) or ANY_EXCEPTION
        for held, bound in reversed(self.handling):
            if isinstance(reduced, ex.Name) and bound == reduced.id:
                self._raise(node, held, "raises again")
                return
        if isinstance(reduced, ex.Name) and not name[:1].isupper():
            name = ANY_EXCEPTION
        self._raise(node, name, f"raises {name}")

    def _assert(self, node: cst.Assert) -> None:
        passed, failed = self.new_block(), self.new_block()
        self.condition(node.test, passed, failed)
        self.current = failed
        if node.msg is not None:
            self.use(node.msg)
        self._raise(node, "AssertionError", "the assertion fails")
        self.current = passed

    def _import(self, node: cst.Import | cst.ImportFrom) -> None:
        self.emit(raise_point(node, "the import may fail"), ANY_EXCEPTION)

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
        self.condition(node.test, body, orelse)
        self.current = body
        self._loop_body(node.body, head, after)
        self._loop_else(node.orelse, orelse, after)

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
                self._jump(("break" if is_break else "continue", id(frame)), index, target)
                return

    def _try(self, node: cst.Try | cst.TryStar) -> None:
        after = self.new_block()
        if node.finalbody is not None:
            self.frames.append(FinallyFrame(body=node.finalbody.body))
        if node.handlers:
            joined = self.new_block()
            self.frames.append(HandlerFrame(handlers=[_handler(h) for h in node.handlers], after=joined))
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
                swallowed=self.swallowed_by(reduce(item.item)),
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
        for case in node.cases:
            body, otherwise = self.new_block(), self.new_block()
            self._pattern(case.pattern, tested, body, otherwise)
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
            self._fork(pattern, Test(TestKind.IS_NONE, subject, outcome=True), body, otherwise)
        else:
            self._fork(pattern, None, body, otherwise)

    def _bind_pattern(self, pattern: cst.MatchPattern, subject: str) -> None:
        for part in walk(pattern):
            if isinstance(part, (cst.MatchAs, cst.MatchStar)) and part.name is not None:
                whole = part is pattern
                self.emit(Move(part, part.name.value, subject if whole else OTHER))

    def _function(self, node: cst.FunctionDef) -> None:
        for decorator in node.decorators:
            self.use(decorator.decorator)
        self._defaults(node.params)
        own = {p.name.value for p in _parameters(node.params)}
        self.assign_name(node, node.name.value, self.define(node, names_read(node.body) - own))
        if node.decorators:
            self.emit(StoreItem(node, OTHER, node.name.value))  # the decorator may keep the function

    def _defaults(self, parameters: cst.Parameters) -> None:
        for parameter in _parameters(parameters):
            if parameter.default is not None:
                self.use(parameter.default)

    def _class(self, node: cst.ClassDef) -> None:
        for decorator in node.decorators:
            self.use(decorator.decorator)
        for argument in (*node.bases, *node.keywords):
            self.use(argument.value)
        self.assign_name(node, node.name.value, self.define(node, names_read(node.body)))


def _parameters(parameters: cst.Parameters) -> Iterable[cst.Param]:
    yield from (*parameters.posonly_params, *parameters.params, *parameters.kwonly_params)


def _handler(node: cst.ExceptHandler | cst.ExceptStarHandler) -> Handler:
    types: tuple[str, ...] | None = None
    if node.type is not None:
        reduced = reduce(node.type)
        items = reduced.items if isinstance(reduced, ex.Sequence) else (reduced,)
        types = tuple(ex.last_name(i) or "?" for i in items)
    name = node.name.name.value if node.name is not None and isinstance(node.name.name, cst.Name) else None
    return Handler(types, name, node.body, any(isinstance(n, cst.Raise) for n in walk(node.body)))


def _reachable(entry: BasicBlock, *always: BasicBlock) -> list[BasicBlock]:
    seen, stack = {entry.index}, [entry]
    found = []
    while stack:
        block = stack.pop()
        found.append(block)
        for edge in (*block.successors, *block.raises):
            if edge.target.index not in seen:
                seen.add(edge.target.index)
                stack.append(edge.target)
    found.extend(b for b in always if b.index not in seen)
    return sorted(found, key=lambda b: b.index)


_STATEMENTS: dict[type[cst.CSTNode], Callable[[_Builder, cst.CSTNode], None]] = {
    cst.Expr: _Builder._expression_statement,
    cst.Assign: _Builder._assign,
    cst.AnnAssign: _Builder._annotated,
    cst.AugAssign: _Builder._augmented,
    cst.Del: _Builder._delete,
    cst.Return: _Builder._return,
    cst.Raise: _Builder._raise_statement,
    cst.Assert: _Builder._assert,
    cst.Import: _Builder._import,
    cst.ImportFrom: _Builder._import,
    cst.Global: _Builder._global,
    cst.Nonlocal: _Builder._global,
    cst.If: _Builder._if,
    cst.While: _Builder._while,
    cst.For: _Builder._for,
    cst.Break: _Builder._break_or_continue,
    cst.Continue: _Builder._break_or_continue,
    cst.Try: _Builder._try,
    cst.TryStar: _Builder._try,
    cst.With: _Builder._with,
    cst.Match: _Builder._match,
    cst.FunctionDef: _Builder._function,
    cst.ClassDef: _Builder._class,
}  # type: ignore[dict-item]  # each method takes the node type that is its key
