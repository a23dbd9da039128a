"""Module facts: what other files and the name resolver may know of a file. ``collector`` makes them.

Imports, module-level assignments, classes with what is assigned to their attributes, and for each function its
span, parameters, annotations, and the expressions assigned to its local names. No library is known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from leakcheck.expression import Attribute, Await, Call, Constant, Name, last_name

if TYPE_CHECKING:
    from leakcheck.expression import Expression, Sequence

_PLAIN_METACLASSES = ("ABCMeta", "type")
_CACHING = frozenset({"cache", "lru_cache", "cached_property", "cache_resource", "alru_cache"})
FIXTURES = frozenset({"fixture", "yield_fixture"})
"""Decorators by which pytest runs a function before a test, and goes on with it behind."""
_MANAGING = frozenset({"contextmanager", "asynccontextmanager"})
_READ = frozenset({"property", "cached_property", "hybrid_property"})
FACTORIES = frozenset({"default_factory", "factory"})
"""What dataclasses, attrs and pydantic call the argument of a field that makes its value."""
ENTERING = frozenset({"__enter__", "__aenter__"})
"""Methods by which a context manager is entered."""
SELF = ("self", "cls")
"""What methods call their own object or class."""


class Parameter(Struct):
    """A parameter; ``kind`` is "positional", "keyword", "*" or "**"."""

    name: str
    annotation: Expression | None
    default: Expression | None
    kind: str


class ScopeFacts(Struct):
    """Names bound in one scope: imports as dotted targets, and assigned expressions in source order."""

    imports: dict[str, list[str]] = field(default_factory=dict)
    star_imports: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    """Dotted modules imported whole: ``import app.db``."""
    assignments: dict[str, list[Expression]] = field(default_factory=dict)
    filled: dict[str, list[Sequence]] = field(default_factory=dict)
    """What is put into a dict under a key, by the name of the dict: ``POOLS[key] = …``."""
    annotations: dict[str, Expression] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    fallbacks: set[str] = field(default_factory=set)
    """Imported names that are bound again where the import fails: to what counts only there."""

    def assign(self, name: str, value: Expression) -> None:
        """Add an expression to those that the name is bound to."""
        self.assignments.setdefault(name, []).append(value)

    def add(self, later: ScopeFacts) -> None:
        """Add what a later statement of the same scope binds."""
        for target, values in later.imports.items():
            self.imports.setdefault(target, []).extend(values)
        for name, bound in later.assignments.items():
            self.assignments.setdefault(name, []).extend(bound)
        for name, items in later.filled.items():
            self.filled.setdefault(name, []).extend(items)
        self.star_imports += later.star_imports
        self.modules += later.modules
        self.annotations |= later.annotations
        self.functions |= later.functions
        self.classes |= later.classes
        self.fallbacks |= later.fallbacks


class FunctionFacts(Struct):
    """A function or method. Rows are 1-based; ``first_row`` is that of its first decorator."""

    name: str
    qualname: str
    owner: str | None  # qualified name of the class it is a method of
    parent: str | None  # qualified name of the function around it
    first_row: int
    row: int
    last_row: int
    parameters: list[Parameter]
    returns: Expression | None
    decorators: tuple[Expression, ...]
    is_async: bool
    scope: ScopeFacts
    is_generator: bool = False
    calls: dict[str, list[Expression]] = field(default_factory=dict)
    """What is called, by its last name; calls of nested functions are among them."""
    unlisted: bool = False
    """Whether there may be calls beside those: of what a call returns, in decorators and defaults of what is nested."""
    depth: int = 0
    returned: list[Expression] = field(default_factory=list)
    yielded: list[Expression] = field(default_factory=list)
    globals: set[str] = field(default_factory=set)
    """The names of the module that it binds."""
    never_returns: bool = False
    """It says so, or ends by ``raise`` on every path."""
    decorator_names: frozenset[str] = frozenset()
    """The last names of its decorators, as they are called where they come from."""
    is_stub: bool = False
    """It only raises NotImplementedError: a subclass says what it does."""
    last_call: Expression | None = None
    """What its last statement calls, where no other way leads out of it."""
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

    def origin(self, value: Expression) -> Expression:
        """What a value is: of a variable that is bound once, the call or attribute that it is bound to."""
        if not isinstance(value, Name) or value.id in self.globals or self.rebinds(value.id):
            return value
        match self.scope.assignments.get(value.id):
            case [Call() | Await() | Attribute() as found]:
                return found
            case _:
                return value

    def rebinds(self, name: str) -> bool:
        """Whether a variable is bound more than once, where it is bound at all."""
        return len(self.scope.assignments.get(name, ())) + any(p.name == name for p in self.parameters) > 1


class ClassFacts(Struct):
    """A class: its bases, methods by name, and what is assigned to attributes in the body or on self."""

    name: str
    qualname: str
    bases: tuple[Expression, ...]
    decorators: tuple[Expression, ...]
    metaclass: Expression | None = None
    methods: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, list[tuple[Expression, str | None]]] = field(default_factory=dict)
    """Attribute → assigned expressions, each with the qualified name of the method that assigns it."""
    filled: dict[str, list[tuple[Sequence, str]]] = field(default_factory=dict)
    """Attribute → what methods put into it under a key, each with the qualified name of the method."""
    annotations: dict[str, Expression] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    """Annotated names of the body in order: the fields of a dataclass."""

    @property
    def factories(self) -> dict[str, Expression]:
        """What makes the value of a field for each object: ``connect`` of ``field(default_factory=connect)``."""
        assigned = [(name, values[0]) for name, values in self.attributes.items() if len(values) == 1]
        in_body = [(name, value) for name, (value, method) in assigned if method is None and isinstance(value, Call)]
        return {name: made for name, value in in_body for keyword, made in value.keywords if keyword in FACTORIES}

    @property
    def keeping(self) -> set[str]:
        """The qualified names of the methods that assign something to an attribute, constants aside."""
        assigned = (pair for values in self.attributes.values() for pair in values)
        return {method for value, method in assigned if method is not None and not isinstance(value, Constant)}

    @property
    def has_special_metaclass(self) -> bool:
        """Whether calling the class does what its metaclass says: it may give an object that others have, too."""
        return self.metaclass is not None and last_name(self.metaclass) not in _PLAIN_METACLASSES


class Statement(Struct):
    """A module-level statement that runs code: its rows and the last names of the calls in it."""

    first_row: int
    last_row: int
    calls: dict[str, list[Expression]]
    unlisted: bool
    depth: int
    is_loop: bool


class ModuleFacts(Struct):
    """What is known of a file without LibCST. ``package`` is the dotted package for relative imports."""

    path: str
    scope: ScopeFacts
    functions: dict[str, FunctionFacts] = field(default_factory=dict)
    classes: dict[str, ClassFacts] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    """Top-level packages imported anywhere in the file."""
    imported: set[str] = field(default_factory=set)
    """Dotted names of all that is imported anywhere in the file."""
    statements: list[Statement] = field(default_factory=list)
    globals: dict[str, list[tuple[Expression, str]]] = field(default_factory=dict)
    """What functions bind names of the module to, each with the qualified name of the function."""
    main_calls: set[str] = field(default_factory=set)
    """Functions of this file that a script calls: in ``if __name__ == "__main__":`` or as its last statement."""

    def add(self, later: ModuleFacts) -> None:
        """Add the facts of a later statement of the same file."""
        self.scope.add(later.scope)
        self.functions |= later.functions
        self.classes |= later.classes
        self.packages |= later.packages
        self.imported |= later.imported
        self.statements += later.statements
        self.main_calls |= later.main_calls
        for name, bound in later.globals.items():
            self.globals.setdefault(name, []).extend(bound)

    def name_decorators(self) -> None:
        """Tell what the decorators of all functions are called, now that every import is known."""
        for function in self.functions.values():
            if function.decorators:
                names = (name for decorator in function.decorators for name in self._names_of(decorator))
                function.decorator_names = frozenset(names)

    def _names_of(self, decorator: Expression) -> list[str]:
        name = last_name(decorator) or ""
        is_plain = isinstance(decorator.func if isinstance(decorator, Call) else decorator, Name)
        return [target.rpartition(".")[2] for target in self.scope.imports.get(name, ()) if is_plain] or [name]

    def functions_at(self, row: int) -> list[FunctionFacts]:
        """The functions around a row of the file."""
        return [function for function in self.functions.values() if function.first_row <= row <= function.last_row]

    @property
    def loops(self) -> list[Statement]:
        """The module-level statements that loop, in which what is taken can be lost again and again."""
        return [statement for statement in self.statements if statement.is_loop]


def is_self(expression: Expression) -> bool:
    """Whether the expression is the method's own object or class."""
    return isinstance(expression, Name) and expression.id in SELF


def is_cached(function: FunctionFacts) -> bool:
    """Whether what it returns is kept, and given to all who call it."""
    return not function.decorator_names.isdisjoint(_CACHING)


def makes_manager(function: FunctionFacts) -> bool:
    """Whether calling it makes a context manager, of which it is the inside."""
    return not function.decorator_names.isdisjoint(_MANAGING)


def is_resumed(function: FunctionFacts) -> bool:
    """Whether who enters the generator that it is goes on with it, too: a context manager does, and pytest."""
    return makes_manager(function) or is_fixture(function)


def is_fixture(function: FunctionFacts) -> bool:
    """Whether pytest runs it before a test."""
    return not function.decorator_names.isdisjoint(FIXTURES)


def is_property(function: FunctionFacts) -> bool:
    """Whether reading an attribute of its object runs it."""
    return not function.decorator_names.isdisjoint(_READ)


def gives_itself(method: FunctionFacts) -> bool:
    """Whether what a method returns is the object that it was called on: ``return self``."""
    itself = {parameter.name for parameter in method.parameters[:1]}
    return method.owner is not None and any(isinstance(r, Name) and r.id in itself for r in method.returned)


def is_static(function: FunctionFacts) -> bool:
    """Whether it is a static method: it is given no object, however it is called."""
    return "staticmethod" in function.decorator_names
