"""Module facts: what other files and the name resolver may know of a file, from one cheap parse.

    facts_of(path, tree) → ModuleFacts

Imports, module-level assignments, classes with what is assigned to their attributes, and for each function its
span, parameters, annotations, and the expressions assigned to its local names. No library is known here.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from leakcheck.expression import (
    OPAQUE,
    Constant,
    Element,
    Entered,
    Expression,
    Item,
    Name,
    Sequence,
    annotation,
    from_ast,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SELF = ("self", "cls")


@dataclass(slots=True)
class Parameter:
    """A parameter; ``kind`` is "positional", "keyword", "*" or "**"."""

    name: str
    annotation: Expression | None
    default: Expression | None
    kind: str


@dataclass(slots=True)
class ScopeFacts:
    """Names bound in one scope: imports as dotted targets, and assigned expressions in source order."""

    imports: dict[str, list[str]] = field(default_factory=dict)
    star_imports: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    """Dotted modules imported whole: ``import app.db``."""
    assignments: dict[str, list[Expression]] = field(default_factory=dict)
    annotations: dict[str, Expression] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)

    def assign(self, name: str, value: Expression) -> None:
        self.assignments.setdefault(name, []).append(value)


@dataclass(slots=True)
class FunctionFacts:
    """A function or method. Rows are 1-based; ``first_row`` is that of its first decorator."""

    name: str
    qualname: str
    owner: str | None  # qualified name of the class it is a method of
    parent: str | None  # qualified name of the function around it
    first_row: int
    row: int
    last_row: int
    column: int  # 1-based UTF-8 column of `def`; 0 never occurs
    parameters: list[Parameter]
    returns: Expression | None
    decorators: tuple[Expression, ...]
    is_async: bool
    scope: ScopeFacts
    is_generator: bool = False
    calls: dict[str, list[Expression]] = field(default_factory=dict)
    """What is called, by its last name; calls of nested functions are among them."""
    depth: int = 0
    returned: list[Expression] = field(default_factory=list)
    yielded: list[Expression] = field(default_factory=list)
    _bound: set[str] | None = None

    def binds(self, name: str) -> bool:
        """Whether the name is bound in this function, as a parameter or inside (also as the root of ``name.x = …``)."""
        if self._bound is None:
            scope = self.scope
            assigned = {n.partition(".")[0] for n in scope.assignments}
            bound = assigned.union(scope.imports, scope.annotations, scope.functions, scope.classes)
            bound.update(m.partition(".")[0] for m in scope.modules)
            bound.update(p.name for p in self.parameters)
            self._bound = bound
        return name in self._bound or bool(self.scope.star_imports)


@dataclass(slots=True)
class ClassFacts:
    """A class: its bases, methods by name, and what is assigned to attributes in the body or on self."""

    name: str
    qualname: str
    row: int
    bases: tuple[Expression, ...]
    decorators: tuple[Expression, ...]
    methods: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, list[tuple[Expression, str | None]]] = field(default_factory=dict)
    """Attribute → assigned expressions, each with the qualified name of the method that assigns it."""
    annotations: dict[str, Expression] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    """Annotated names of the body in order: the fields of a dataclass."""


@dataclass(slots=True)
class Statement:
    """A module-level statement that runs code: its rows and the last names of the calls in it."""

    first_row: int
    last_row: int
    calls: dict[str, list[Expression]]
    depth: int
    is_loop: bool


@dataclass(slots=True)
class ModuleFacts:
    """What is known of a file without LibCST. ``package`` is the dotted package for relative imports."""

    path: str
    scope: ScopeFacts
    functions: dict[str, FunctionFacts] = field(default_factory=dict)
    classes: dict[str, ClassFacts] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    """Top-level packages imported anywhere in the file."""
    statements: list[Statement] = field(default_factory=list)
    main_calls: set[str] = field(default_factory=set)
    """Functions of this file that a script calls: in ``if __name__ == "__main__":`` or as its last statement."""


def facts_of(path: str, tree: ast.Module) -> ModuleFacts:
    """The facts of a parsed file."""
    collector = _Collector(path)
    collector.module(tree)
    return collector.facts


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node stands."""

    scope: ScopeFacts
    function: FunctionFacts | None
    owner: ClassFacts | None


_field_names: dict[type[ast.AST], tuple[str, ...]] = {}


def _child_fields(kind: type[ast.AST]) -> tuple[str, ...]:
    """The fields of a node type that can hold syntax with a call in it, last first."""
    names = _field_names.get(kind)
    if names is None:
        skipped = {
            "ctx",
            "op",
            "ops",
            "id",
            "attr",
            "name",
            "arg",
            "kind",
            "type_comment",
            "conversion",
            "level",
            "module",
            "names",
            "simple",
        }
        leaf = kind in (ast.Constant, ast.Name, ast.Pass, ast.Break, ast.Continue, ast.Global, ast.Nonlocal)
        names = () if leaf else tuple(n for n in reversed(kind._fields) if n not in skipped)
        _field_names[kind] = names
    return names


class _Collector:
    def __init__(self, path: str) -> None:
        self.facts = ModuleFacts(path, ScopeFacts())
        self.calls: dict[str, list[Expression]] = {}
        self.depth = 0

    def module(self, tree: ast.Module) -> None:
        scope = self.facts.scope
        for node in tree.body:
            self.calls, self.depth = {}, 0
            self.visit(node, scope, None, None)
            if self.calls and not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
                self.facts.statements.append(
                    Statement(
                        node.lineno,
                        node.end_lineno or node.lineno,
                        self.calls,
                        self.depth,
                        any(isinstance(n, (ast.For, ast.While, ast.AsyncFor)) for n in ast.walk(node)),
                    )
                )
            if isinstance(node, ast.If) and any(
                isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test)
            ):
                self.facts.main_calls |= _called_names(node)
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            self.facts.main_calls |= _called_names(tree.body[-1])

    def visit(self, root: ast.AST, scope: ScopeFacts, function: FunctionFacts | None, owner: ClassFacts | None) -> None:
        """Collect from ``root`` without entering the scopes that functions and classes open."""
        place = _Place(scope, function, owner)
        stack: list[tuple[ast.AST, int]] = [(root, 1)]
        deepest = self.depth
        while stack:
            node, depth = stack.pop()
            if depth > deepest:
                deepest = depth
            kind = type(node)
            collect = _COLLECTORS.get(kind)
            if collect is not None and collect(self, node, place):
                continue
            depth += 1
            for name in _child_fields(kind):
                value = getattr(node, name)
                if isinstance(value, list):
                    stack.extend([(v, depth) for v in reversed(value) if isinstance(v, ast.AST)])
                elif isinstance(value, ast.AST):
                    stack.append((value, depth))
        self.depth = max(self.depth, deepest)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, place: _Place) -> bool:
        self.function(node, place.scope, place.function, place.owner)
        return True

    def _class(self, node: ast.ClassDef, place: _Place) -> bool:
        self.class_(node, place.scope, place.function, place.owner)
        return True

    def _import(self, node: ast.Import | ast.ImportFrom, place: _Place) -> bool:
        self.import_(node, place.scope)
        return True

    def _assign(self, node: ast.Assign, place: _Place) -> bool:
        reduced = from_ast(node.value)
        for target in node.targets:
            self.bind(target, reduced, place)
        return False

    def _annotated(self, node: ast.AnnAssign, place: _Place) -> bool:
        self.annotate(node.target, annotation(from_ast(node.annotation)), place)
        if node.value is not None:
            self.bind(node.target, from_ast(node.value), place)
        return False

    def _walrus(self, node: ast.NamedExpr, place: _Place) -> bool:
        self.bind(node.target, from_ast(node.value), place)
        return False

    def _for(self, node: ast.For | ast.AsyncFor, place: _Place) -> bool:
        self.bind(node.target, Element(from_ast(node.iter)), place)
        return False

    def _with(self, node: ast.With | ast.AsyncWith, place: _Place) -> bool:
        for item in node.items:
            if item.optional_vars is not None:
                self.bind(item.optional_vars, Entered(from_ast(item.context_expr)), place)
        return False

    def _call(self, node: ast.Call, place: _Place) -> bool:  # noqa: ARG002 - all collectors have one shape
        func = node.func
        name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", None)
        if name is not None:
            known, reduced = self.calls.setdefault(name, []), from_ast(func)
            if reduced not in known:
                known.append(reduced)
        return False

    def _return(self, node: ast.Return, place: _Place) -> bool:
        if place.function is not None and node.value is not None:
            place.function.returned.append(from_ast(node.value))
        return False

    def _yield(self, node: ast.Yield | ast.YieldFrom, place: _Place) -> bool:
        if place.function is not None:
            place.function.is_generator = True
            if isinstance(node, ast.Yield):
                place.function.yielded.append(from_ast(node.value))
        return False

    def bind(self, target: ast.expr, value: Expression, place: _Place) -> None:
        scope, function, owner = place.scope, place.function, place.owner
        match target:
            case ast.Name(id=name):
                scope.assign(name, value)
                if owner is not None and function is None:
                    owner.attributes.setdefault(name, []).append((value, None))
            case ast.Attribute(value=ast.Name(id=base), attr=attr) if base in _SELF and owner is not None:
                method = None if function is None else function.qualname
                owner.attributes.setdefault(attr, []).append((value, method))
            case ast.Attribute(value=ast.Name(id=base), attr=attr):
                scope.assign(f"{base}.{attr}", value)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                paired = isinstance(value, Sequence) and len(value.items) == len(elements)
                for index, element in enumerate(elements):
                    part = (
                        value.items[index] if paired and isinstance(value, Sequence) else Item(value, Constant(index))
                    )
                    self.bind(element, part, place)
            case ast.Starred(value=inner):
                self.bind(inner, OPAQUE, place)
            case _:
                return

    def annotate(self, target: ast.expr, note: Expression, place: _Place) -> None:
        scope, function, owner = place.scope, place.function, place.owner
        match target:
            case ast.Name(id=name):
                scope.annotations[name] = note
                if owner is not None and function is None:
                    owner.annotations[name] = note
                    owner.keys.append(name)
            case ast.Attribute(value=ast.Name(id=base), attr=attr) if base in _SELF and owner is not None:
                owner.annotations[attr] = note
            case _:
                return

    def import_(self, node: ast.Import | ast.ImportFrom, scope: ScopeFacts) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.facts.packages.add(alias.name.partition(".")[0])
                if alias.asname:
                    scope.imports.setdefault(alias.asname, []).append(alias.name)
                else:
                    root = alias.name.partition(".")[0]
                    scope.imports.setdefault(root, []).append(root)
                    if root != alias.name:
                        scope.modules.append(alias.name)
            return
        module = "." * node.level + (node.module or "")
        if not node.level:
            self.facts.packages.add(module.partition(".")[0])
        for alias in node.names:
            if alias.name == "*":
                scope.star_imports.append(module)
            else:
                separator = "" if module.endswith(".") else "."
                scope.imports.setdefault(alias.asname or alias.name, []).append(f"{module}{separator}{alias.name}")

    def function(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef,
        scope: ScopeFacts,
        parent: FunctionFacts | None,
        owner: ClassFacts | None,
    ) -> None:
        is_method = owner is not None and parent is None
        prefix = f"{owner.qualname}." if is_method and owner is not None else (f"{parent.qualname}." if parent else "")
        qualname = prefix + node.name
        number = 2
        while qualname in self.facts.functions:  # an overload, a property setter, an `else:` variant
            qualname, number = f"{prefix}{node.name}@{number}", number + 1
        facts = FunctionFacts(
            name=node.name,
            qualname=qualname,
            owner=owner.qualname if is_method and owner is not None else None,
            parent=parent.qualname if parent else None,
            first_row=min([node.lineno, *(d.lineno for d in node.decorator_list)]),
            row=node.lineno,
            last_row=node.end_lineno or node.lineno,
            column=node.col_offset + 1,
            parameters=_parameters(node.args),
            returns=annotation(from_ast(node.returns)) if node.returns else None,
            decorators=tuple(from_ast(d) for d in node.decorator_list),
            is_async=isinstance(node, ast.AsyncFunctionDef),
            scope=ScopeFacts(),
        )
        self.facts.functions[qualname] = facts
        if is_method and owner is not None:
            owner.methods.setdefault(node.name, qualname)
        else:
            scope.functions[node.name] = qualname
        outer, outer_depth = self.calls, self.depth
        self.calls, self.depth = facts.calls, 0
        for statement in node.body:
            self.visit(statement, facts.scope, facts, owner)
        facts.depth = self.depth
        self.calls, self.depth = outer, max(outer_depth, self.depth)
        if parent is not None:
            parent.calls.update({name: [*outer.get(name, ()), *found] for name, found in facts.calls.items()})

    def class_(
        self, node: ast.ClassDef, scope: ScopeFacts, parent: FunctionFacts | None, owner: ClassFacts | None
    ) -> None:
        prefix = f"{owner.qualname}." if owner is not None else (f"{parent.qualname}." if parent else "")
        facts = ClassFacts(
            node.name,
            prefix + node.name,
            node.lineno,
            tuple(from_ast(b) for b in node.bases),
            tuple(from_ast(d) for d in node.decorator_list),
        )
        self.facts.classes[facts.qualname] = facts
        scope.classes[node.name] = facts.qualname
        inner = ScopeFacts()
        for statement in node.body:
            self.visit(statement, inner, None, facts)


_COLLECTORS: dict[type[ast.AST], Callable[..., bool]] = {
    ast.FunctionDef: _Collector._function,
    ast.AsyncFunctionDef: _Collector._function,
    ast.ClassDef: _Collector._class,
    ast.Import: _Collector._import,
    ast.ImportFrom: _Collector._import,
    ast.Assign: _Collector._assign,
    ast.AnnAssign: _Collector._annotated,
    ast.NamedExpr: _Collector._walrus,
    ast.For: _Collector._for,
    ast.AsyncFor: _Collector._for,
    ast.With: _Collector._with,
    ast.AsyncWith: _Collector._with,
    ast.Call: _Collector._call,
    ast.Return: _Collector._return,
    ast.Yield: _Collector._yield,
    ast.YieldFrom: _Collector._yield,
}
"""What is collected from each kind of node; True: do not look inside."""


def _parameters(arguments: ast.arguments) -> list[Parameter]:
    found = []
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + [*arguments.defaults]
    for arg, default in zip(positional, defaults, strict=True):
        found.append(_parameter(arg, default, "positional"))
    if arguments.vararg:
        found.append(_parameter(arguments.vararg, None, "*"))
    for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found.append(_parameter(arg, default, "keyword"))
    if arguments.kwarg:
        found.append(_parameter(arguments.kwarg, None, "**"))
    return found


def _parameter(arg: ast.arg, default: ast.expr | None, kind: str) -> Parameter:
    note = annotation(from_ast(arg.annotation)) if arg.annotation else None
    return Parameter(arg.arg, note, from_ast(default) if default is not None else None, kind)


def _called_names(root: ast.AST) -> set[str]:
    """Names that are called, or passed to a call, anywhere in ``root``: ``main``, ``asyncio.run(main())``."""
    return {n.func.id for n in ast.walk(root) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


def is_self(expression: Expression) -> bool:
    """Whether the expression is the method's own object or class."""
    return isinstance(expression, Name) and expression.id in _SELF
