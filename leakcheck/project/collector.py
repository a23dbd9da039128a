"""From the tree of a file to its facts, in one walk.

    facts_of(path, ast.parse(text))   →   ModuleFacts

Each scope's bindings, calls and returns are collected without entering the functions and classes inside it, which are
collected on their own.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from msgspec import Struct

from leakcheck.expression import (
    OPAQUE,
    SETTERS,
    Constant,
    Element,
    Entered,
    Item,
    Sequence,
    annotation,
    dotted,
    from_ast,
    last_name,
    only_lets_others_run,
)
from leakcheck.project.endings import is_stub, last_call, never_returns
from leakcheck.project.facts import SELF, ClassFacts, FunctionFacts, ModuleFacts, ScopeFacts, Statement
from leakcheck.project.fallbacks import fallbacks_of
from leakcheck.project.named_tuples import NAMED_TUPLE, fields_of
from leakcheck.project.nodes import called_names, walk
from leakcheck.project.parameters import parameters_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from leakcheck.expression import Expression

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LEAVES = frozenset({
    ast.Constant, ast.Name, ast.Pass, ast.Break, ast.Continue, ast.Nonlocal, type(None), str, int, bool,
})  # fmt: skip
"""What a field holds that no call can stand in."""
_RUNNING = frozenset({"to_thread", "run_in_executor", "run_sync", "run_in_threadpool", "deferToThread", "partial"})
"""Calls of functions that call those given to them."""
_PLAIN_FIELDS = frozenset({
    "ctx", "op", "ops", "id", "attr", "name", "arg", "kind", "type_comment", "conversion", "level", "module", "names",
    "simple",
})  # fmt: skip
"""Fields that hold no syntax, or none with a call in it."""


_parts: WeakKeyDictionary[ast.stmt, ModuleFacts] = WeakKeyDictionary()
"""What single statements add to the facts, as long as their nodes are there: most outlive a change of the file."""


def facts_of(path: str, tree: ast.Module) -> ModuleFacts:
    """The facts of a parsed file."""
    facts = ModuleFacts(path, ScopeFacts())
    for statement in tree.body:
        part = _parts.get(statement)
        if part is None or not part.functions.keys().isdisjoint(facts.functions):
            collector = _Collector(facts.functions.keys())
            collector.statement(statement)
            part = collector.facts
            if not collector.renames:
                _parts[statement] = part
        facts.add(part)
    facts.name_decorators()
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        facts.main_calls |= called_names(tree.body[-1])
    return facts


class _Place(Struct, frozen=True):
    """Where a node stands: the scope that its names are bound in, the function and the class around it."""

    scope: ScopeFacts
    function: FunctionFacts | None
    owner: ClassFacts | None


class _Fields(dict[type[ast.AST], tuple[str, ...]]):
    """The fields of each type of node that can hold syntax with a call in it, last first."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, ...]:
        fields = () if kind in _LEAVES else tuple(name for name in reversed(kind._fields) if name not in _PLAIN_FIELDS)
        self[kind] = fields
        return fields


_FIELDS = _Fields()


class _Collector:
    """Fills the facts of one module-level statement.

    ``taken`` are the qualified names that functions before it have; ``renames`` says whether one of them was met.
    ``calls``, ``unlisted`` and ``depth`` belong to the function or statement being walked.
    """

    def __init__(self, taken: Collection[str]) -> None:
        self.facts = ModuleFacts("", ScopeFacts())
        self.taken = taken
        self.renames = False
        self.calls: dict[str, list[Expression]] = {}
        self.unlisted = False
        self.depth = 0

    def statement(self, node: ast.stmt) -> None:
        self.visit(node, _Place(self.facts.scope, None, None))
        if self.calls and not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            self.facts.statements.append(
                Statement(
                    node.lineno,
                    node.end_lineno or node.lineno,
                    self.calls,
                    self.unlisted,
                    self.depth,
                    any(isinstance(n, (ast.For, ast.While, ast.AsyncFor)) for n in walk(node)),
                )
            )
        if isinstance(node, ast.If) and any(isinstance(n, ast.Name) and n.id == "__name__" for n in walk(node.test)):
            self.facts.main_calls |= called_names(node)

    def visit(self, root: ast.AST, place: _Place) -> None:
        """Collect from ``root`` without entering the scopes that functions and classes open."""
        stack: list[tuple[ast.AST, int]] = [(root, 1)]
        deepest = self.depth
        while stack:
            node, depth = stack.pop()
            if depth > deepest:  # noqa: PLR1730 - a call of `max` for each node of each file
                deepest = depth
            kind = type(node)
            collect = _COLLECTORS.get(kind)
            if collect is not None and collect(self, node, place):
                continue
            depth += 1
            for name in _FIELDS[kind]:
                value = getattr(node, name)
                if type(value) is list:
                    stack.extend([(v, depth) for v in reversed(value) if type(v) not in _LEAVES])
                elif type(value) not in _LEAVES:
                    stack.append((value, depth))
        self.depth = max(self.depth, deepest)

    def assign_(self, node: ast.Assign, place: _Place) -> bool:
        reduced = from_ast(node.value)
        fields = fields_of(reduced)
        match node.targets:
            case [ast.Name(id=name)] if fields is not None and place.function is None and place.owner is None:
                self.facts.classes[name] = ClassFacts(name, name, (NAMED_TUPLE,), (), keys=fields)
                place.scope.classes[name] = name
                return False
        for target in node.targets:
            self.bind(target, reduced, place)
        return False

    def annotated_(self, node: ast.AnnAssign, place: _Place) -> bool:
        self.annotate(node.target, annotation(from_ast(node.annotation)), place)
        if node.value is not None:
            self.bind(node.target, from_ast(node.value), place)
        return False

    def walrus_(self, node: ast.NamedExpr, place: _Place) -> bool:
        self.bind(node.target, from_ast(node.value), place)
        return False

    def augmented_(self, node: ast.AugAssign, place: _Place) -> bool:
        if isinstance(node.target, ast.Name):
            self.bind(node.target, OPAQUE, place)
        return False

    def for_(self, node: ast.For | ast.AsyncFor, place: _Place) -> bool:
        self.bind(node.target, Element(from_ast(node.iter)), place)
        return False

    def with_(self, node: ast.With | ast.AsyncWith, place: _Place) -> bool:
        for item in node.items:
            if item.optional_vars is not None:
                self.bind(item.optional_vars, Entered(from_ast(item.context_expr)), place)
        return False

    def call_(self, node: ast.Call, place: _Place) -> bool:
        match node:
            case ast.Call(args=[ast.Constant(value=0)]) if only_lets_others_run(from_ast(node)):
                return False
        name = self.called(node.func)
        match node:
            case ast.Call(func=func, args=[base, ast.Constant(value=str() as attr), value]) if (
                dotted(from_ast(func)) in SETTERS
            ):
                self.bind(ast.Attribute(base, attr), from_ast(value), place)
        for argument in node.args if name in _RUNNING else ():
            self.called(argument)
        return False

    def called(self, func: ast.expr) -> str | None:
        """Note that a function is called; its last name, where it has one."""
        match func:
            case ast.Attribute(attr=name) | ast.Name(id=name):
                self.listed(name, func)
                return name
            case ast.Subscript() | ast.Call(func=ast.Attribute(), args=[_, *_]):  # one of the functions in a dict
                self.listed(last_name(from_ast(func)) or "", func)
        self.unlisted = True
        return None

    def listed(self, name: str, func: ast.expr) -> None:
        known, reduced = self.calls.setdefault(name, []), from_ast(func)
        if reduced not in known:
            known.append(reduced)

    def return_(self, node: ast.Return, place: _Place) -> bool:
        if place.function is not None and node.value is not None:
            place.function.returned.append(from_ast(node.value))
        return False

    def yield_(self, node: ast.Yield | ast.YieldFrom, place: _Place) -> bool:
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
                if function is not None and name in function.globals:
                    self.facts.globals.setdefault(name, []).append((value, function.qualname))
                if owner is not None and function is None:
                    owner.attributes.setdefault(name, []).append((value, None))
            case ast.Attribute(value=ast.Name(id=base), attr=attr) if base in SELF and owner is not None:
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
            case ast.Subscript(value=ast.Attribute(value=ast.Name(id=base), attr=attr), slice=key) if (
                base in SELF and owner is not None and function is not None
            ):
                owner.filled.setdefault(attr, []).append((_filled(key, value), function.qualname))
            case ast.Subscript(value=ast.Name(id=name), slice=key):
                scope.filled.setdefault(name, []).append(_filled(key, value))
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
            case ast.Attribute(value=ast.Name(id=base), attr=attr) if base in SELF and owner is not None:
                owner.annotations[attr] = note
            case _:
                return

    def import_(self, node: ast.Import | ast.ImportFrom, place: _Place) -> bool:
        scope = place.scope
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.facts.packages.add(alias.name.partition(".")[0])
                self.facts.imported.add(alias.name)
                if alias.asname:
                    scope.imports.setdefault(alias.asname, []).append(alias.name)
                else:
                    root = alias.name.partition(".")[0]
                    scope.imports.setdefault(root, []).append(root)
                    if root != alias.name:
                        scope.modules.append(alias.name)
            return True
        module = "." * node.level + (node.module or "")
        if not node.level:
            self.facts.packages.add(module.partition(".")[0])
        for alias in node.names:
            if alias.name == "*":
                scope.star_imports.append(module)
            else:
                separator = "" if module.endswith(".") else "."
                target = f"{module}{separator}{alias.name}"
                self.facts.imported.add(target)
                scope.imports.setdefault(alias.asname or alias.name, []).append(target)
        return True

    def function_(self, node: ast.FunctionDef | ast.AsyncFunctionDef, place: _Place) -> bool:
        scope, parent, owner = place.scope, place.function, place.owner
        is_method = owner is not None and parent is None
        prefix = f"{owner.qualname}." if is_method and owner is not None else (f"{parent.qualname}." if parent else "")
        qualname = prefix + node.name
        number = 2
        while qualname in self.facts.functions or qualname in self.taken:  # an overload, a setter, an `else:` variant
            self.renames = self.renames or qualname in self.taken
            qualname, number = f"{prefix}{node.name}@{number}", number + 1
        facts = FunctionFacts(
            name=node.name,
            qualname=qualname,
            owner=owner.qualname if is_method and owner is not None else None,
            parent=parent.qualname if parent else None,
            first_row=min([node.lineno, *(d.lineno for d in node.decorator_list)]),
            row=node.lineno,
            last_row=node.end_lineno or node.lineno,
            parameters=parameters_of(node.args),
            returns=annotation(from_ast(node.returns)) if node.returns else None,
            decorators=tuple(from_ast(d) for d in node.decorator_list),
            is_async=isinstance(node, ast.AsyncFunctionDef),
            scope=ScopeFacts(),
            never_returns=never_returns(node),
            is_stub=is_stub(node),
            last_call=last_call(node),
        )
        self.facts.functions[qualname] = facts
        if is_method and owner is not None:
            owner.methods.setdefault(node.name, qualname)
        else:
            scope.functions[node.name] = qualname
        outer, outer_unlisted, outer_depth = self.calls, self.unlisted, self.depth
        self.calls, self.unlisted, self.depth = facts.calls, False, 0
        inside = _Place(facts.scope, facts, owner)
        for statement in node.body:
            self.visit(statement, inside)
        facts.returned = list(map(facts.origin, facts.returned))
        facts.depth, facts.unlisted = self.depth, self.unlisted
        beside = bool(node.decorator_list or node.args.defaults or node.args.kw_defaults)
        self.unlisted = outer_unlisted or self.unlisted or beside
        self.calls, self.depth = outer, max(outer_depth, self.depth)
        if parent is not None:
            parent.calls.update({name: [*outer.get(name, ()), *found] for name, found in facts.calls.items()})
        return True

    def class_(self, node: ast.ClassDef, place: _Place) -> bool:
        scope, parent, owner = place.scope, place.function, place.owner
        prefix = f"{owner.qualname}." if owner is not None else (f"{parent.qualname}." if parent else "")
        bases = [from_ast(b) for b in node.bases]
        inherited = [(NAMED_TUPLE if keys is not None else b, keys) for b in bases for keys in [fields_of(b)]]
        facts = ClassFacts(
            node.name,
            prefix + node.name,
            tuple(base for base, _ in inherited),
            tuple(from_ast(d) for d in node.decorator_list),
            next((from_ast(k.value) for k in node.keywords if k.arg == "metaclass"), None),
            keys=[key for _, keys in inherited for key in keys or ()],
        )
        self.facts.classes[facts.qualname] = facts
        scope.classes[node.name] = facts.qualname
        self.unlisted = self.unlisted or bool(node.decorator_list or node.bases or node.keywords)
        inside = _Place(ScopeFacts(), None, facts)
        for statement in node.body:
            self.visit(statement, inside)
        return True


_COLLECTORS: dict[type[ast.AST], Callable[..., bool]] = {
    ast.FunctionDef: _Collector.function_,
    ast.AsyncFunctionDef: _Collector.function_,
    ast.ClassDef: _Collector.class_,
    ast.Import: _Collector.import_,
    ast.ImportFrom: _Collector.import_,
    ast.Assign: _Collector.assign_,
    ast.AnnAssign: _Collector.annotated_,
    ast.AugAssign: _Collector.augmented_,
    ast.NamedExpr: _Collector.walrus_,
    ast.For: _Collector.for_,
    ast.AsyncFor: _Collector.for_,
    ast.Global: lambda _, node, place: place.function is not None and place.function.globals.update(node.names) is None,
    ast.Try: lambda _, node, place: place.scope.fallbacks.update(fallbacks_of(node)) is not None,
    ast.With: _Collector.with_,
    ast.AsyncWith: _Collector.with_,
    ast.Call: _Collector.call_,
    ast.Return: _Collector.return_,
    ast.Yield: _Collector.yield_,
    ast.YieldFrom: _Collector.yield_,
}
"""What is collected from each kind of node; True: do not look inside."""


def _filled(key: ast.expr, value: Expression) -> Sequence:
    """A dict of which only one item is known."""
    return Sequence((value,), (key.value if isinstance(key, ast.Constant) else ...,))
