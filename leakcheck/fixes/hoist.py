"""A pool that is built for each request, built once instead: by ``started``, or for the module (LC201, LC202).

    def orders():                                     engine = create_engine(URL)
        engine = create_engine(URL)
        with engine.connect() as conn:         →
            …                                         def orders():
                                                          with engine.connect() as conn:

Never safe: it changes when connecting happens, how many connections there are and who closes them.
"""

from __future__ import annotations

import ast
import builtins
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk
from leakcheck.diagnostic import Applicability, Edit, Fix, Position, Span
from leakcheck.fixes.imports import statements
from leakcheck.fixes.roles import Role, mentions
from leakcheck.fixes.splice import in_place, newline_of
from leakcheck.fixes.started import started
from leakcheck.fixes.tree import TRIES, RefusedError, Tree, only, tree_at
from leakcheck.ownership.leak import LeakKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.ownership.leak import Leak
    from leakcheck.ownership.program import Program
    from leakcheck.source import Source

HOISTED = frozenset({LeakKind.POOL_IN_HANDLER, LeakKind.POOL_PER_CALL})
_ENGINES = frozenset({"create_engine", "engine_from_config"})
"""What connects only when it is asked for a connection."""
_POOLS = frozenset({"SimpleConnectionPool", "ThreadedConnectionPool"})
"""psycopg2's, which open their first argument's number of connections at once."""
_FORKING = frozenset({"job", "task"})
"""What runs in processes that fork after the module was imported."""
_CLOSING = frozenset({"close", "closeall", "dispose", "terminate", "disconnect"})


def hoisted(program: Program, path: str, leak: Leak, source: Source) -> Fix:
    """The fix that builds the pool once. Raises RefusedError."""
    row = leak.span.start.row
    tree = tree_at(program, path, row)
    call = next((n for n in walk(tree.root) if isinstance(n, cst.Call) and tree.unit.part.span(n) == leak.span), None)
    statement = tree.statement(call) if call is not None else None
    small = only(statement)
    if call is None or not isinstance(statement, cst.SimpleStatementLine) or tree.is_nested(call):
        raise RefusedError(f"line {row} builds it where no statement can be moved from")
    match small:
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))], value=value) if value is call:
            waits = False
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Attribute())]):
            raise RefusedError(f"line {row} keeps it on an object that is made as often")
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))], value=cst.Await(expression=inner)) if (
            inner is call
        ):
            waits = True
        case _:
            raise RefusedError(f"line {row} does not bind it to a plain name in a statement of its own")
    block = tree.block(statement)
    if block is None or len(block.body) == 1 or not _always_runs(tree, block):
        raise RefusedError(f"line {row} builds it under a condition, or does nothing else")
    _check_mentions(tree, name, statement)
    if any(one.comment is not None for one in statement.leading_lines):
        raise RefusedError(f"line {row} has a comment above that belongs to it where it is")
    if leak.start is not None:
        _check_arguments(tree, call, row, source, at_start=True)
        return started(tree, statement, leak, program, source)
    if waits:
        raise RefusedError(_needs_a_start(row))
    _check_time(call, leak, row)
    _check_name(tree, name, statement, source)
    _check_arguments(tree, call, row, source)
    top = _top(source, row)
    comment = statement.trailing_whitespace.comment
    newline = newline_of(source)
    text = f"{name} = {tree.text(call)}{f'  {comment.value}' if comment is not None else ''}"
    if "\n" in text:
        raise RefusedError(f"line {row} builds it over several lines")
    place = Position(top, 1)
    inserted = Edit(Span(place, place), f"{text}{newline}{newline}{newline}")
    removed = in_place(tree, block, statement, [], source)
    message = f"Build `{name}` once, for the module; forked workers must dispose of it"
    if any(_is_environment(node) for node in walk(call) if isinstance(node, cst.Call)):
        message = f"{message}, and its environment must be complete before this is imported"
    return Fix(message, (inserted, removed), Applicability.UNSAFE)


def _check_time(call: cst.Call, leak: Leak, row: int) -> None:
    """What is built must not connect, nor need a running event loop, when the module is imported."""
    name = ex.last_name(reduce(call.func)) or ""
    if leak.reason in _FORKING:
        raise RefusedError(f"line {row} runs in workers that fork after the module is imported")
    if name in _ENGINES:
        return
    if name in _POOLS:
        first = next((a for a in call.args if a.keyword is None or a.keyword.value == "minconn"), None)
        if first is not None and isinstance(first.value, cst.Integer) and first.value.value == "0":
            return
        raise RefusedError(f"line {row} connects at once, which importing the module must not do")
    raise RefusedError(_needs_a_start(row))


def _needs_a_start(row: int) -> str:
    return f"what line {row} builds must be opened, and closed, when the application starts and ends"


def _always_runs(tree: Tree, block: cst.CSTNode) -> bool:
    """Whether a block is the function's own, or the first part of a ``try`` in it."""
    around = tree.parent(block)
    while isinstance(around, TRIES) and around.body is block:
        block = tree.parent(around) or around
        around = tree.parent(block)
    return around is tree.root


def _check_mentions(tree: Tree, name: str, statement: cst.CSTNode) -> None:
    """The name must mean the pool in this function, which leaves it open."""
    order = tree.unit.order(statement)
    for mention in mentions(tree, name):
        row = tree.row(mention.node)
        if mention.role is Role.METHOD and mention.attribute in _CLOSING:
            raise RefusedError(f"line {row} closes it, which must then be done when the application ends")
        if mention.role in (Role.DELETED, Role.SHARED) or (
            mention.role is Role.BOUND and tree.statement(mention.node) is not statement
        ):
            raise RefusedError(f"line {row} {mention.role.value} `{name}`, too")
        if tree.unit.order(mention.node) < order and tree.statement(mention.node) is not statement:
            raise RefusedError(f"line {row} uses `{name}` before it is built")


def _check_name(tree: Tree, name: str, statement: cst.CSTNode, source: Source) -> None:
    """The name must mean nothing else in the module."""
    scope = tree.unit.scope.module.scope
    row = tree.row(statement)
    if any(name in names for names in (scope.assignments, scope.functions, scope.classes, scope.imports)):
        raise RefusedError(f"`{name}` of line {row} already means something else in this module")
    if scope.star_imports or hasattr(builtins, name):
        raise RefusedError(f"`{name}` of line {row} may mean something else elsewhere in this module")
    for top in statements(source):
        for node in ast.walk(top):
            if isinstance(node, ast.Global) and name in node.names:
                raise RefusedError(f"line {node.lineno} declares `{name}` as shared")


def _check_arguments(tree: Tree, call: cst.Call, row: int, source: Source, *, at_start: bool = False) -> None:
    """Every argument must be the same for each call, and known where the module is imported, or at the start."""
    end = source.text.count("\n") + 2 if at_start else _top(source, row)
    bound = dict(_bound_before(statements(source), end))
    local = set(tree.unit.facts.scope.assignments) if tree.unit.facts is not None else set()
    parameters = {p.name for p in tree.unit.facts.parameters} if tree.unit.facts is not None else set()
    for node in walk(call):
        parent = tree.parent(node)
        if isinstance(node, (cst.Await, cst.Yield, cst.Lambda, cst.NamedExpr, cst.GeneratorExp, cst.ListComp)):
            raise RefusedError(f"line {row} computes an argument anew each time")
        if isinstance(node, cst.Call) and node is not call and not _is_environment(node):
            raise RefusedError(f"line {row} calls `{tree.text(node.func)}()` for an argument")
        if not isinstance(node, cst.Name) or (isinstance(parent, cst.Attribute) and parent.attr is node):
            continue
        if isinstance(parent, cst.Arg) and parent.keyword is node:
            continue
        name = node.value
        if name in local or name in parameters:
            raise RefusedError(f"line {row} builds it of `{name}`, which differs from call to call")
        if name not in bound and not hasattr(builtins, name):
            raise RefusedError(f"line {row} builds it of `{name}`, which is not bound before the function")
        if isinstance(parent, cst.Attribute) and name != "os" and node is not _root(call.func) and not at_start:
            raise RefusedError(f"line {row} reads `{tree.text(parent)}`, which may be set after the module is imported")


def _root(node: cst.CSTNode) -> cst.CSTNode:
    while isinstance(node, cst.Attribute):
        node = node.value
    return node


def _is_environment(call: cst.Call) -> bool:
    """Whether a call reads the environment of the process."""
    match reduce(call.func):
        case ex.Attribute(base=ex.Name(id="os"), name="getenv"):
            return True
        case ex.Attribute(base=ex.Attribute(base=ex.Name(id="os"), name="environ"), name="get"):
            return True
        case _:
            return False


def _bound_before(body: Sequence[ast.stmt], row: int) -> Iterator[tuple[str, int]]:
    """The names that statements of the module bind before a row."""
    for statement in body:
        if statement.lineno >= row:
            return
        match statement:
            case ast.Import() | ast.ImportFrom():
                yield from (((a.asname or a.name).partition(".")[0], statement.lineno) for a in statement.names)
            case ast.Assign(targets=targets):
                yield from ((t.id, statement.lineno) for t in targets if isinstance(t, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)) if statement.value is not None:
                yield name, statement.lineno
            case ast.FunctionDef() | ast.ClassDef() | ast.AsyncFunctionDef():
                yield statement.name, statement.lineno
            case _:
                pass


def _top(source: Source, row: int) -> int:
    """The row of the module's statement around a row, its decorators included."""
    for statement in statements(source):
        if _decorated(statement) <= row <= (statement.end_lineno or statement.lineno):
            return _decorated(statement)
    raise RefusedError(f"line {row} is no statement of the module")


def _decorated(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(one.lineno for one in decorators)])
