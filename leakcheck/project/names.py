"""What names may mean: the symbols that expressions stand for, and the scopes that expressions stand in.

    the ``db`` of ``import app.db as db`` is ProjectModule("app/db.py"), its ``db.pool`` may be Instance("asyncpg.Pool")

``resolver`` finds the symbols; this module only says what they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from leakcheck import expression as ex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.driver import Operation
    from leakcheck.project.facts import FunctionFacts, ModuleFacts


class External(Struct, frozen=True):
    """A qualified name outside the project: a library's module, function or class."""

    name: str


class ProjectModule(Struct, frozen=True):
    """A file of the project as a module."""

    path: str


class Function(Struct, frozen=True):
    """A function of the project; ``bound`` when called on an instance (its first parameter is given)."""

    path: str
    qualname: str
    bound: bool = False


class Class(Struct, frozen=True):
    """A class of the project."""

    path: str
    qualname: str


class Instance(Struct, frozen=True):
    """An object: of a driver's class (id), of a project class, or of an external class (its name)."""

    of: str | Class | External


class Method(Struct, frozen=True):
    """A method of a driver's class, as ``pool.getconn``; ``operation`` says what calling it does."""

    of: str
    operation: Operation


Symbol = External | ProjectModule | Function | Class | Instance | Method
Symbols = tuple[Symbol, ...]
"""In the order of discovery, so that the first that answers is the same in every run."""
NOTHING: Symbols = ()


class Scope(Struct, frozen=True):
    """Where an expression stands: a module, and the functions around it from outermost to innermost."""

    module: ModuleFacts
    functions: tuple[FunctionFacts, ...] = ()
    owner: str | None = None

    @staticmethod
    def of(module: ModuleFacts, function: FunctionFacts | None) -> Scope:
        """The scope inside a function; that of the module for None."""
        chain: list[FunctionFacts] = []
        while function is not None:
            chain.append(function)
            function = module.functions.get(function.parent) if function.parent else None
        chain.reverse()
        return Scope(module, tuple(chain), chain[0].owner if chain else None)


def qualified(expression: ex.Expression, scope: Scope) -> str:
    """The dotted name of an expression, or of what it calls, as it is called where the file imports it from.

    "fastapi.Depends" for the ``D(get_db)`` of ``from fastapi import Depends as D``; "" for what has no name.
    """
    while isinstance(expression, (ex.Call, ex.Await, ex.Item)):
        expression = expression.func if isinstance(expression, ex.Call) else _inner(expression)
    text = ex.dotted(expression) or ex.last_name(expression) or ""
    root, dot, rest = text.partition(".")
    for facts in (*(function.scope for function in reversed(scope.functions)), scope.module.scope):
        if root in facts.imports:
            return f"{facts.imports[root][0]}{dot}{rest}"
    return text


def original(expression: ex.Expression, scope: Scope) -> str:
    """The last name of an expression, or of what it calls, as it is called where the file imports it from."""
    return qualified(expression, scope).rpartition(".")[2]


def _inner(expression: ex.Await | ex.Item) -> ex.Expression:
    return expression.value if isinstance(expression, ex.Await) else expression.base


def bound_by_functions(name: str, module: ModuleFacts) -> Iterator[tuple[ex.Expression, Scope]]:
    """What functions bind a name of their module to, which they declare ``global``; each where it is written."""
    for value, qualname in module.globals.get(name, ()):
        yield value, Scope.of(module, module.functions[qualname])


def narrowed(expression: ex.Expression, scope: Scope) -> Scope:
    """The outermost scope that gives the expression the same meaning, so that equal questions are asked once."""
    functions = scope.functions
    if not functions:
        return scope
    root = expression
    while True:
        match root:
            case ex.Attribute(base=inner) | ex.Call(func=inner) | ex.Await(value=inner) | ex.Item(base=inner):
                if isinstance(root, ex.Call) and (root.args or root.keywords):
                    return scope
                root = inner
            case ex.Name(id=name):
                break
            case _:
                return scope
    while functions and not functions[-1].binds(name):
        functions = functions[:-1]
    return Scope(scope.module, functions, scope.owner if functions or name == "super" else None)
