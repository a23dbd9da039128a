"""The import that a rewrite needs: one that is there already, or one more line at the right place.

    imported(tree, "contextlib", "closing", source)   →   "closing", and the edit that adds the line

Nothing is inserted where the name might mean something else, or might not be bound yet when it is needed.
"""

from __future__ import annotations

import ast
import re
import sys
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg.walk import walk
from leakcheck.diagnostic import Edit, Position, Span
from leakcheck.fixes.splice import newline_of
from leakcheck.fixes.tree import RefusedError
from leakcheck.project import nodes
from leakcheck.project.nodes import parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.fixes.tree import Tree
    from leakcheck.source import Source

Import = ast.Import | ast.ImportFrom


def imported(tree: Tree, module: str, name: str, source: Source) -> tuple[str, tuple[Edit, ...]]:
    """How the function may call it, and the edits that this needs. Raises RefusedError."""
    facts, function = tree.unit.scope.module.scope, _outermost(tree)
    body = statements(source)
    star = _last_star(source.text) if facts.star_imports else 0
    for known, bound, target in _spellings(body, module, name, range(star + 1, function.start)):
        if _means_only(bound, target, source, function):
            return known, ()
    if name in {n.value for n in walk(tree.unit.part.module) if isinstance(n, cst.Name)}:
        raise RefusedError(f"`{name}` already means something else in this function")
    if name in facts.imports or not _means_only(name, f"{module}.{name}", source, function):
        raise RefusedError(f"`{name}` already means something else in this module")
    if star and _is_used(source.text, name):
        raise RefusedError("an `import *` of this module may bind the same name")
    return name, (_inserted(body, module, name, source, behind=star),)


def statements(source: Source) -> list[ast.stmt]:
    """The module's statements; newer grammar than the running Python's is read as older. Raises RefusedError."""
    try:
        return parsed(source.text).body
    except SyntaxError:
        raise RefusedError("the running Python cannot read this file") from None


@lru_cache(maxsize=8)
def _last_star(text: str) -> int:
    """The row of the last ``import *``: what is imported below means what it says."""
    found = (n for n in nodes.walk(parsed(text)) if isinstance(n, ast.ImportFrom) and n.names[0].name == "*")
    return max((node.end_lineno or node.lineno for node in found), default=0)


@lru_cache(maxsize=8)
def _is_used(text: str, name: str) -> bool:
    """Whether a variable has the name anywhere."""
    return any(isinstance(node, ast.Name) and node.id == name for node in nodes.walk(parsed(text)))


def _outermost(tree: Tree) -> range:
    """The rows of the outermost function around what is rewritten."""
    functions = tree.unit.scope.functions
    return range(functions[0].first_row, functions[0].last_row + 1) if functions else range(0)


def _means_only(name: str, target: str, source: Source, function: range) -> bool:
    """Whether nothing in the file gives the name another meaning than the import of ``target`` does.

    In whichever scope: that costs no more than another shape. In the function itself not even the same import may stand
    behind the place where the name is needed.
    """
    return all(meant == target and row not in function for meant, row in _meanings(source.text, name))


@lru_cache(maxsize=8)
def _meanings(text: str, name: str) -> tuple[tuple[str | None, int], ...]:
    """What the name is bound to, and where: the dotted target of an import, or None for anything else."""
    return tuple(_bindings(text, name)) if re.search(rf"\b{name}\b", text) else ()


def _bindings(text: str, name: str) -> Iterator[tuple[str | None, int]]:
    for node in nodes.walk(parsed(text)):
        match node:
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                module = f"{'.' * node.level}{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
                for alias in names:
                    if (alias.asname or alias.name) == name:
                        yield f"{module}{alias.name}", node.lineno
            case (
                ast.Name(id=bound, ctx=ast.Store() | ast.Del())
                | ast.arg(arg=bound)
                | ast.FunctionDef(name=bound)
                | ast.AsyncFunctionDef(name=bound)
                | ast.ClassDef(name=bound)
                | ast.ExceptHandler(name=bound)
                | ast.MatchAs(name=bound)
                | ast.MatchStar(name=bound)
            ) if bound == name:
                yield None, node.lineno
            case ast.MatchMapping(rest=bound) if bound == name:
                yield None, node.lineno
            case ast.Global(names=shared) if name in shared:
                yield None, node.lineno
            case _:
                pass


def _spellings(body: Sequence[ast.stmt], module: str, name: str, rows: range) -> Iterator[tuple[str, str, str]]:
    """The ways in which imports in these rows name it: each with the variable that they bind, and to what."""
    above = [statement for statement in body if statement.lineno in rows]
    for statement in above:
        if isinstance(statement, ast.ImportFrom) and statement.module == module and not statement.level:
            names = (alias.asname or name for alias in statement.names if alias.name == name)
            yield from ((bound, bound, f"{module}.{name}") for bound in names)
    for statement in above:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                if alias.name == module and (alias.asname or "." not in module):
                    bound = alias.asname or module
                    yield f"{bound}.{name}", bound, module


def _inserted(body: Sequence[ast.stmt], module: str, name: str, source: Source, *, behind: int) -> Edit:
    """The new import: beside others of its module, in its alphabetical place, or in front of the first.

    Or behind the row of an ``import *``, which may bind any name.
    """
    all_of_it = list(_import_block(body))
    block = [statement for statement in all_of_it if statement.lineno > behind]
    newline = newline_of(source)
    for statement in block:
        if isinstance(statement, ast.ImportFrom) and statement.module == module and not statement.level:
            return _extended(statement, name, source)
    line = f"from {module} import {name}{newline}"
    if behind and not block:
        if behind > max((s.end_lineno or 0 for s in all_of_it), default=0):
            raise RefusedError(f"line {behind} may bind the same name")
        return _at(_row_below(behind, source), line)
    future = [s for s in block if isinstance(s, ast.ImportFrom) and s.module == "__future__"]
    rest = [s for s in block if s not in future]
    if rest:
        return _placed(rest, module, line, source)
    if future:
        row = (future[-1].end_lineno or future[-1].lineno) + 1
        return Edit(Span(Position(row, 1), Position(row, 1)), f"{newline}{line}")
    raise RefusedError("this module has no imports to put one more beside")


def _import_block(body: Sequence[ast.stmt]) -> Iterator[Import]:
    """The imports at the top of the module, before anything else runs."""
    for index, statement in enumerate(body):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement
        elif index or not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            return


def _extended(statement: ast.ImportFrom, name: str, source: Source) -> Edit:
    """The name added to ``from module import …`` where that is one plain line."""
    row = statement.lineno
    text = source.rows(row, row)
    if statement.end_lineno != row or "(" in text or "#" in text or ";" in text or "\\" in text:
        raise RefusedError(f"line {row} imports from the same module in a way that is not extended")
    names = sorted([*(ast.unparse(a) for a in statement.names), name])
    ordered = [ast.unparse(a) for a in statement.names] == sorted(ast.unparse(a) for a in statement.names)
    shown = names if ordered else [*(ast.unparse(a) for a in statement.names), name]
    start, end = Position(row, statement.col_offset + 1), Position(row, (statement.end_col_offset or 0) + 1)
    return Edit(Span(start, end), f"from {statement.module} import {', '.join(shown)}")


def _placed(block: Sequence[Import], module: str, line: str, source: Source) -> Edit:
    """The line in its place: among the imports of its kind, in their order; a group of its own where there are none."""
    standard = [s for s in _first_group(block) if _is_standard(s)]
    newline = line[len(line.rstrip()) :]
    if _is_standard_name(module) and not standard:
        return _at(_above_comments(block[0], source), line + newline)
    kind = standard if _is_standard_name(module) else block
    for statement in kind:
        alike = _is_standard(statement) is _is_standard_name(module)
        if (
            alike
            and isinstance(statement, ast.ImportFrom)
            and not statement.level
            and (statement.module or "") > module
        ):
            return _at(statement.lineno, line)
    last = kind[-1]
    end = last.end_lineno or last.lineno
    opens_a_group = not _is_standard_name(module) and all(_is_standard(s) for s in block)
    return _at(_row_below(end, source), newline + line if opens_a_group else line)


def _row_below(row: int, source: Source) -> int:
    """The row below one that ends a statement. Raises RefusedError where another one stands there, too."""
    if ";" in source.rows(row, row):
        raise RefusedError(f"line {row} holds several statements")
    return row + 1


def _above_comments(statement: Import, source: Source) -> int:
    """The row of an import, or of the comment above that speaks about it: one at the top speaks about the file."""
    behind = max((s.end_lineno or 0 for s in statements(source) if s.lineno < statement.lineno), default=0)
    row = statement.lineno
    while row > behind + 1 and source.rows(row - 1, row - 1).startswith("#"):
        row -= 1
    return row if row > 1 else statement.lineno


def _at(row: int, text: str) -> Edit:
    return Edit(Span(Position(row, 1), Position(row, 1)), text)


def _first_group(block: Sequence[Import]) -> list[Import]:
    """The first imports that stand line by line."""
    group = [block[0]]
    for before, after in pairwise(block):
        if after.lineno != (before.end_lineno or before.lineno) + 1:
            break
        group.append(after)
    return group


def _is_standard(statement: Import) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return not statement.level and _is_standard_name(statement.module or "")
    return all(_is_standard_name(alias.name) for alias in statement.names)


def _is_standard_name(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names
