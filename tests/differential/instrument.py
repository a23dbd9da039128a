"""Rewriting a program so that a run can be bounded, its raises seen and its functions' exits noticed.

Input: the text of one module. Output: code that behaves the same and calls these hooks of the world:

* ``_iterate(n)`` at the start of a loop body and ``_may_iterate(n)`` in an opaque test bound the iterations,
  ``_enter_loop(n)`` before the loop starts the count;
* ``_check()`` opens every handler and ``finally``: it notes exceptions and ends a run that has been given up;
* ``_raising()`` precedes ``raise``; ``_stored(value)`` wraps what is assigned to a global;
* ``_unbound()`` is what a local name holds until it is assigned and after ``del``, ``_is_null(x)`` asks ``x is None``;
* ``_leaving()`` is the last thing a project function does, ``_project`` wraps it; ``_resumed()`` is the first that a
  context manager does when it is left;

Line numbers stay those of the text: ``while cond(1):`` on line 7 still calls ``cond`` from line 7.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

OPAQUE_CALLS = frozenset({"cond"})
OPAQUE_OWNERS = frozenset({"settings"})


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the program that can be called from outside."""

    name: str
    parameters: tuple[str, ...]
    is_async: bool
    is_generator: bool


@dataclass(frozen=True, slots=True)
class HandledRegion:
    """The lines of a ``try`` body, and the types its handlers name (None for a bare one)."""

    first: int
    last: int
    types: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Body:
    """The lines of a function without those of functions inside it, and where it may be called: by name and line."""

    name: str
    lines: frozenset[int]
    calls: tuple[tuple[str, int], ...]
    mentions: frozenset[str]  # names that are used otherwise: who calls what they hold is not known


@dataclass(frozen=True, slots=True)
class Instrumented:
    """A module ready to run."""

    tree: ast.Module
    functions: tuple[Function, ...]
    regions: tuple[HandledRegion, ...]
    bodies: tuple[Body, ...]


def instrument(text: str) -> Instrumented:
    """Rewrite the module ``text``."""
    tree = ast.parse(text)
    regions = tuple(_regions(tree))
    functions = tuple(
        Function(
            statement.name,
            tuple(argument.arg for argument in statement.args.args),
            isinstance(statement, ast.AsyncFunctionDef),
            _is_generator(statement),
        )
        for statement in tree.body
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    bodies = tuple(_body(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    _Rewriter().visit(tree)
    ast.fix_missing_locations(tree)
    return Instrumented(tree, functions, regions, bodies)


def _body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Body:
    """What the function's own statements call, and where."""
    lines = set(range(function.lineno, (function.end_lineno or 0) + 1))
    calls: list[tuple[str, int]] = []
    mentions: set[str] = set()
    pending: list[tuple[ast.AST, bool]] = [(statement, False) for statement in function.body]
    while pending:
        node, later = pending.pop()
        later = later or isinstance(node, ast.Lambda)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute) and not later:
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            calls.append((name, node.lineno))
            pending += [(child, later) for child in ast.iter_child_nodes(node) if child is not node.func]
            pending += [(child, later) for child in ast.iter_child_nodes(node.func)]
            continue
        if isinstance(node, ast.Name | ast.Attribute):
            mentions.add(node.id if isinstance(node, ast.Name) else node.attr)
        pending += [(child, later) for child in ast.iter_child_nodes(node)]
    return Body(function.name, frozenset(lines), tuple(calls), frozenset(mentions))


def _regions(tree: ast.Module) -> list[HandledRegion]:
    """The regions of all ``try`` statements that have handlers."""
    regions = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and node.handlers:
            types: list[str | None] = []
            for handler in node.handlers:
                if handler.type is None:
                    types.append(None)
                elif isinstance(handler.type, ast.Tuple):
                    types.extend(ast.unparse(element) for element in handler.type.elts)
                else:
                    types.append(ast.unparse(handler.type))
            regions.append(HandledRegion(node.body[0].lineno, node.body[-1].end_lineno or 0, tuple(types)))
    return regions


def _is_generator(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the function's own body yields."""
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            pending.extend(ast.iter_child_nodes(node))
    return False


def _hook(name: str, at: ast.AST, *arguments: ast.expr) -> ast.Expr:
    """The statement ``name(arguments)`` at the place of ``at``."""
    call = ast.Call(ast.Name(name, ast.Load()), list(arguments), [])
    return ast.copy_location(ast.Expr(ast.copy_location(call, at)), at)


def _unbind(name: str, at: ast.AST) -> ast.stmt:
    """The statement by which a local name holds nothing."""
    nothing = ast.Call(ast.Name("_unbound", ast.Load()), [], [])
    return ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], nothing), at)


def _locals(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names that the function's own statements bind."""
    bound: set[str] = set()
    elsewhere = {argument.arg for argument in function.args.args}
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            bound.add(node.name)
            continue
        if isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere.update(node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        pending.extend(ast.iter_child_nodes(node))
    return bound - elsewhere


def _is_opaque(test: ast.expr) -> bool:
    """Whether nothing the program knows decides the test, so that a loop may as well end at it."""
    if isinstance(test, ast.Call):
        return isinstance(test.func, ast.Name) and test.func.id in OPAQUE_CALLS
    if isinstance(test, ast.Attribute):
        return isinstance(test.value, ast.Name) and test.value.id in OPAQUE_OWNERS
    return False


class _Rewriter(ast.NodeTransformer):
    """Inserts the hooks."""

    def __init__(self) -> None:
        """Start outside any function."""
        self._loops = 0
        self._globals: set[str] = set()

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        generator = _is_generator(node)
        outer, self._globals = self._globals, set()
        self.generic_visit(node)
        self._globals = outer
        first = node.body[0]
        node.body[0:0] = [_unbind(name, first) for name in sorted(_locals(node))]
        leave = _hook("_leaving_generator" if generator else "_leaving", first)
        node.body = [ast.copy_location(ast.Try(node.body, [], [], [leave]), first)]
        if not generator:
            name = "_project_async" if isinstance(node, ast.AsyncFunctionDef) else "_project"
            node.decorator_list.append(ast.copy_location(ast.Name(name, ast.Load()), node))
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Wrap a function."""
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """Wrap a coroutine function."""
        return self._function(node)

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        """Notice how a context manager goes on."""
        if not isinstance(node.value, ast.Yield):
            self.generic_visit(node)
            return node
        return ast.copy_location(ast.Try([node], [], [], [_hook("_resumed", node)]), node)

    def visit_Global(self, node: ast.Global) -> ast.AST:
        """Remember which names are global."""
        self._globals.update(node.names)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """Note a store to a global."""
        self.generic_visit(node)
        if any(isinstance(target, ast.Name) and target.id in self._globals for target in node.targets):
            node.value = ast.copy_location(
                ast.Call(ast.Name("_stored", ast.Load()), [node.value], []),
                node.value,
            )
        return node

    def visit_Delete(self, node: ast.Delete) -> list[ast.stmt]:
        """Let the names hold nothing."""
        return [_unbind(target.id, node) for target in node.targets if isinstance(target, ast.Name)]

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """Ask what an unbound name holds."""
        self.generic_visit(node)
        match node:
            case ast.Compare(left=left, ops=[ast.Is() | ast.IsNot() as test], comparators=[ast.Constant(value=None)]):
                asked: ast.expr = ast.Call(ast.Name("_is_null", ast.Load()), [left], [])
                asked = asked if isinstance(test, ast.Is) else ast.UnaryOp(ast.Not(), asked)
                return ast.copy_location(asked, node)
            case _:
                return node

    def visit_Raise(self, node: ast.Raise) -> list[ast.stmt]:
        """Announce a raise."""
        return [_hook("_raising", node), node]

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        """Open a handler with the check."""
        self.generic_visit(node)
        node.body.insert(0, _hook("_check", node.body[0]))
        return node

    def visit_Try(self, node: ast.Try) -> ast.AST:
        """Open a ``finally`` with the check."""
        self.generic_visit(node)
        if node.finalbody:
            node.finalbody.insert(0, _hook("_check", node.finalbody[0]))
        return node

    def visit_While(self, node: ast.While) -> list[ast.stmt]:
        """Bound a loop."""
        self.generic_visit(node)
        self._loops += 1
        number = ast.copy_location(ast.Constant(self._loops), node)
        if _is_opaque(node.test):
            ask = ast.copy_location(ast.Call(ast.Name("_may_iterate", ast.Load()), [number], []), node.test)
            node.test = ast.copy_location(ast.BoolOp(ast.And(), [ask, node.test]), node.test)
        else:
            node.body.insert(0, _hook("_iterate", node.body[0], number))
        return [_hook("_enter_loop", node, number), node]
