"""A pool that a handler builds for each request, built by the hook that the application starts and ends with (LC201).

    async def lifespan(app):                    async def lifespan(app):
        yield                                       app.state.pool = await create_pool(URL)
                                                    try:
    @app.get("/orders")                                 yield
    async def orders():                  →          finally:
        pool = await create_pool(URL)                   await app.state.pool.close()
        …
                                                @app.get("/orders")
                                                async def orders():
                                                    pool = app.state.pool

Only in the file of the hook, and of an application that the handler can name. Never safe: who calls the handler must
have started the application.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import walk
from leakcheck.diagnostic import Applicability, Edit, Fix
from leakcheck.fixes.release import without_leading_blanks
from leakcheck.fixes.speech import line
from leakcheck.fixes.splice import in_place
from leakcheck.fixes.tree import RefusedError, Tree, only, own

if TYPE_CHECKING:
    from leakcheck.ownership.leak import Leak, Start
    from leakcheck.ownership.program import Program
    from leakcheck.source import Source

_REQUEST = re.compile(r"request", re.IGNORECASE)


def started(tree: Tree, statement: cst.SimpleStatementLine, leak: Leak, program: Program, source: Source) -> Fix:
    """The fix that builds at the start what ``statement`` gives a plain variable. Raises RefusedError."""
    small, start, row = only(statement), leak.start, leak.span.start.row
    assert isinstance(small, cst.Assign)
    assert start is not None
    name, hook = leak.name or "pool", _hook(start, tree, program)
    parameter = hook.unit.facts.parameters[0].name if hook.unit.facts is not None else ""
    kept_there, kept = (start.keeps.format(app=app, name=name) for app in (parameter, _application(tree, start, row)))
    if kept_there in hook.text(hook.root):
        raise RefusedError(f"`{start.hook}()` keeps another `{kept_there}`")
    bound = {parameter, *(hook.unit.facts.scope.assignments if hook.unit.facts is not None else ())}
    shadowed = next((n.value for n in walk(small.value) if isinstance(n, cst.Name) and n.value in bound), None)
    if shadowed is not None:
        raise RefusedError(f"`{shadowed}` of line {row} means something else in `{start.hook}()`")
    release = re.sub(rf"\b{re.escape(name)}\b", lambda _: kept_there, leak.release)
    if (release.startswith("await ") or isinstance(small.value, cst.Await)) and not hook.unit.is_async:
        raise RefusedError(f"`{start.hook}()` cannot await what line {row} builds")
    built = small.with_changes(targets=[cst.AssignTarget(_expression(kept_there))])
    opened = cst.SimpleStatementLine([built])
    new = statement.with_changes(body=[small.with_changes(value=_expression(kept))])
    block = tree.block(statement)
    assert block is not None
    edits = (
        _around_the_yield(hook, opened, line(cst.parse_expression(release)), source),
        in_place(tree, block, statement, [new], source),
    )
    message = f"Build `{name}` once, in `{start.hook}()`, and close it there"
    setting = _setting(small.value)
    if setting is None:
        return Fix(message, edits, Applicability.UNSAFE)
    message = f"{message}; a test may set `{tree.text(setting)}` for each request"
    return Fix(message, edits, Applicability.DISPLAY_ONLY)


def _hook(start: Start, tree: Tree, program: Program) -> Tree:
    """The function that runs from start to end."""
    module = program.facts(tree.unit.path)
    facts = module.functions.get(start.hook) if module is not None else None
    unit = program.functions.unit(module, facts) if module is not None and facts is not None else None
    if unit is None or not isinstance(unit.node, cst.FunctionDef):
        raise RefusedError(f"`{start.hook}()` cannot be read")
    return Tree(unit)


def _application(tree: Tree, start: Start, row: int) -> str:
    """How the handler names the application that the hook is of: by its decorator, or by the request."""
    facts, assigned = tree.unit.facts, tree.unit.scope.module.scope.assignments
    for decorator in facts.decorators if facts is not None else ():
        called = decorator.func if isinstance(decorator, ex.Call) else decorator
        match called:
            case ex.Attribute(base=ex.Name(id=name)) if _is_started_by(assigned.get(name, ()), start.hook):
                return name
            case _:
                pass
    for parameter in facts.parameters if facts is not None else ():
        annotation = ex.last_name(parameter.annotation) if parameter.annotation is not None else parameter.name
        if annotation is not None and _REQUEST.fullmatch(annotation):
            return f"{parameter.name}.app"
    raise RefusedError(f"the function of line {row} is not given the application that `{start.hook}()` starts")


def _is_started_by(values: list[ex.Expression] | tuple[()], hook: str) -> bool:
    """Whether a variable is given one application only, with the hook among its arguments."""
    match list(values):
        case [ex.Call(keywords=keywords)]:
            return any(isinstance(value, ex.Name) and value.id == hook for _, value in keywords)
        case _:
            return False


def _around_the_yield(hook: Tree, opened: cst.BaseStatement, closed: cst.BaseStatement, source: Source) -> Edit:
    """The ``yield`` between the opening and a ``finally`` that closes."""
    yields = [node for node in own(hook.root) if isinstance(node, cst.Yield)]
    statement = hook.statement(yields[0]) if len(yields) == 1 else None
    small = only(statement)
    block = hook.block(statement) if statement is not None else None
    if statement is None or block is None or not isinstance(small, cst.Expr) or small.value is not yields[0]:
        raise RefusedError(f"`{hook.unit.name}()` does not yield once, in a statement of its own")
    blank, body = without_leading_blanks([statement])  # type: ignore[list-item]  # a block holds statements
    inner = cst.IndentedBlock(body=body, indent=block.indent)
    final = cst.Finally(body=cst.IndentedBlock(body=[closed], indent=block.indent))
    guarded = cst.Try(body=inner, finalbody=final)
    return in_place(hook, block, statement, [opened.with_changes(leading_lines=blank), guarded], source)


def _setting(value: cst.CSTNode) -> cst.CSTNode | None:
    """What an argument reads that may be set after the start: an attribute, an item, the environment."""
    call = value.expression if isinstance(value, cst.Await) else value
    arguments = call.args if isinstance(call, cst.Call) else ()
    reads = (cst.Attribute, cst.Subscript, cst.Call)
    return next((n for argument in arguments for n in walk(argument) if isinstance(n, reads)), None)


def _expression(text: str) -> cst.BaseAssignTargetExpression:
    parsed = cst.parse_expression(text)
    assert isinstance(parsed, cst.BaseAssignTargetExpression)
    return parsed
