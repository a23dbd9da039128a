"""Which texts count as programs: valid Python without undefined names.

Input: a module's text. Output: whether the generator and the shrinker may use it. A name that is assigned nowhere
would only show that Python raises NameError, and so would a local variable whose first use stands above its
first assignment, or that the same block has just deleted; one that may be unbound on some path is kept. ``raise``
alone stands in a handler.
"""

from __future__ import annotations

import ast
import builtins
import symtable

_BUILTINS = frozenset(dir(builtins)) | {"__name__"}


def is_valid(text: str) -> bool:
    """Whether ``text`` compiles, defines the globals it uses, and yields in what it calls a context manager."""
    try:
        tree = ast.parse(text)
        compile(tree, "candidate.py", "exec")
        table = symtable.symtable(text, "candidate.py", "exec")
    except SyntaxError:
        return False
    bound = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    if _free_names(table, bound | _declared(table)):
        return False
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    if _raises_nothing(tree, in_handler=False):
        return False
    if not all(_yields_if_decorated(function) and _assigns_first(function) for function in functions):
        return False
    return "del " not in text or not any(
        _uses_deleted(block)
        for node in ast.walk(tree)
        for _, block in ast.iter_fields(node)
        if isinstance(block, list) and block and isinstance(block[0], ast.stmt)
    )


def _declared(table: symtable.SymbolTable) -> set[str]:
    """The names that some function assigns as globals."""
    found = set()
    for child in table.get_children():
        found |= {
            symbol.get_name() for symbol in child.get_symbols() if symbol.is_declared_global() and symbol.is_assigned()
        }
        found |= _declared(child)
    return found


def _free_names(table: symtable.SymbolTable, bound: set[str]) -> bool:
    """Whether ``table`` or a scope in it uses a global that nobody defines."""
    for child in table.get_children():
        for symbol in child.get_symbols():
            if symbol.is_global() and symbol.is_referenced() and symbol.get_name() not in bound | _BUILTINS:
                return True
        if _free_names(child, bound):
            return True
    return False


def _raises_nothing(node: ast.AST, *, in_handler: bool) -> bool:
    """Whether ``raise`` alone stands outside any handler: what it raises is the caller's affair."""
    if isinstance(node, ast.Raise) and node.exc is None:
        return not in_handler
    if isinstance(node, ast.ExceptHandler):
        in_handler = True
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        in_handler = False
    return any(_raises_nothing(child, in_handler=in_handler) for child in ast.iter_child_nodes(node))


def _yields_if_decorated(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the function is a generator, where it is said to be a context manager."""
    return not function.decorator_list or any(isinstance(node, ast.Yield) for node in ast.walk(function))


def _assigns_first(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether no local variable is used above the first line that assigns it, nor on that line.

    Functions inside the function are called later; an assignment expression may be used on its line.
    """
    stored: dict[str, int] = {}
    used: dict[str, int] = {}
    not_local = {argument.arg for argument in function.args.args}
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name):
            lines = stored if isinstance(node.ctx, ast.Store) else used
            lines[node.id] = min(node.lineno, lines.get(node.id, node.lineno))
            if isinstance(node.ctx, ast.Del):
                stored.setdefault(node.id, node.lineno + 1)
        elif isinstance(node, ast.NamedExpr):
            stored[node.target.id] = min(node.lineno - 1, stored.get(node.target.id, node.lineno))
        elif isinstance(node, ast.Global):
            not_local.update(node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            stored[node.name] = min(node.lineno, stored.get(node.name, node.lineno))
            continue
        elif isinstance(node, ast.ExceptHandler) and node.name is not None:
            stored[node.name] = min(node.lineno, stored.get(node.name, node.lineno))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            stored.update({alias.name.partition(".")[0]: 0 for alias in node.names})
        pending.extend(ast.iter_child_nodes(node))
    return all(used[name] > line for name, line in stored.items() if name in used and name not in not_local)


def _uses_deleted(block: list[ast.stmt]) -> bool:
    """Whether a statement uses a name that an earlier statement of the same block deletes."""
    deleted: set[str] = set()
    for statement in block:
        names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        if any(name.id in deleted and not isinstance(name.ctx, ast.Store) for name in names):
            return True
        deleted -= {name.id for name in names if isinstance(name.ctx, ast.Store)}
        if isinstance(statement, ast.Delete):
            deleted |= {name.id for name in names}
    return False
