"""Expressions reduced to what name resolution needs.

Both front ends produce these: the module facts from ``ast`` (cheap, whole file) and the control-flow
graph from LibCST (one function). Resolution then has one input, whichever parser read the text.

    pool.getconn(timeout=3)   →   Call(Attribute(Name("pool"), "getconn"), (), (("timeout", Constant(3)),))
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable


SLEEP = "sleep"


SETTERS = frozenset({"setattr", "object.__setattr__"})
"""Functions that put a value in an attribute of an object whose name they are given."""


class Name(Struct, frozen=True):
    """A bare name."""

    id: str


class Attribute(Struct, frozen=True):
    """``base.name``."""

    base: Expression
    name: str


class Getter(Attribute, frozen=True):
    """The function that reading ``base.name`` runs, where that is a property."""


class Call(Struct, frozen=True):
    """A call; starred arguments are left out of ``args`` and ``**`` of ``keywords``."""

    func: Expression
    args: tuple[Expression, ...] = ()
    keywords: tuple[tuple[str, Expression], ...] = ()


class Await(Struct, frozen=True):
    """``await value``."""

    value: Expression


class Constant(Struct, frozen=True):
    """A literal string, number, boolean or None (other literals have ``value`` Ellipsis)."""

    value: object


class Item(Struct, frozen=True):
    """``base[index]``, also a subscripted annotation."""

    base: Expression
    index: Expression


class Sequence(Struct, frozen=True):
    """A tuple or list display, also the arguments of a subscripted annotation, and the values of a dict with ``keys``.

    A key that is no literal is Ellipsis.
    """

    items: tuple[Expression, ...]
    keys: tuple[object, ...] = ()


class Choice(Struct, frozen=True):
    """One of several values: a conditional expression, ``or``/``and``, ``X | None``."""

    options: tuple[Expression, ...]


class Entered(Struct, frozen=True):
    """What ``with value as x`` binds to x."""

    value: Expression


class Element(Struct, frozen=True):
    """What ``for x in value`` binds to x."""

    value: Expression


class Text(Struct, frozen=True):
    """Parts put together: an f-string, ``a + b``. Neighbouring literals are one part; see ``joined``."""

    parts: tuple[Expression, ...]


class Formatted(Struct, frozen=True):
    """``template % values``."""

    template: Expression
    values: Expression


class Opaque(Struct, frozen=True):
    """Anything else."""


Expression = (
    Name | Attribute | Call | Await | Constant | Item | Sequence | Choice | Entered | Element
    | Text | Formatted | Opaque
)  # fmt: skip
OPAQUE = Opaque()
DEPTH_LIMIT = 40
"""Nobody resolves a longer chain, and comparing two of them costs their length."""


def dotted(expression: Expression) -> str | None:
    """``a.b.c`` as text when the expression is only names and attributes, else None."""
    parts: list[str] = []
    while isinstance(expression, Attribute):
        parts.append(expression.name)
        expression = expression.base
    if not isinstance(expression, Name):
        return None
    parts.append(expression.id)
    return ".".join(reversed(parts))


def of_names(text: str) -> Expression:
    """The expression that ``dotted`` gives as this text."""
    root, *names = text.split(".")
    found: Expression = Name(root)
    for name in names:
        found = Attribute(found, name)
    return found


def spelled(expression: Expression) -> str | None:
    """``a.b.c`` as text, also where it begins with what a call gives: ``datetime.now().isoformat``."""
    if isinstance(expression, Attribute) and isinstance(expression.base, Call):
        called = dotted(expression.base.func)
        return f"{called}().{expression.name}" if called is not None else None
    return dotted(expression)


def last_name(expression: Expression) -> str | None:
    """The last word of a dotted expression or of what is called or awaited: ``pool`` of ``self.db.pool``."""
    while True:
        match expression:
            case Name(id=name) | Attribute(name=name):
                return name
            case Call(func=inner) | Await(value=inner) | Item(base=inner):
                expression = inner
            case _:
                return None


def only_lets_others_run(expression: Expression) -> bool:
    """Whether it is a call that waits no time: ``sleep(0)``."""
    return isinstance(expression, Call) and last_name(expression.func) == SLEEP and expression.args == (Constant(0),)


def called(
    func: Expression, args: tuple[Expression, ...], keywords: tuple[tuple[str, Expression], ...]
) -> Call | Attribute:
    """A call; ``getattr(x, "name", None)`` is the attribute ``x.name``, which it gives where there is one."""
    match func, args:
        case (
            Name(id="getattr") | Attribute(base=Name(id="object"), name="__getattribute__"),
            (base, Constant(value=str() as name), *_),
        ) if name.isidentifier():
            return Attribute(base, name)
        case _:
            return Call(func, args, keywords)


def joined(parts: Iterable[Expression]) -> Expression:
    """The parts as one text: texts in it are taken apart, and what is literal is one part."""
    found: list[Expression] = []
    for part in parts:
        for piece in part.parts if isinstance(part, Text) else (part,):
            last = found[-1] if found else None
            if (
                isinstance(piece, Constant)
                and isinstance(piece.value, str)
                and isinstance(last, Constant)
                and isinstance(last.value, str)
            ):
                found[-1] = Constant(last.value + piece.value)
            else:
                found.append(piece)
    match found:
        case []:
            return Constant("")
        case [Constant(value=str()) as literal]:
            return literal
        case _:
            return Text(tuple(found))


def from_ast(node: ast.expr | None, depth: int = 0) -> Expression:
    """The reduced form of an ``ast`` expression; what is nested deeper than DEPTH_LIMIT is opaque."""
    if depth > DEPTH_LIMIT:
        return OPAQUE
    depth += 1
    match node:
        case ast.Name(id=name):
            return Name(name)
        case ast.Attribute(value=value, attr=attr):
            return Attribute(from_ast(value, depth), attr)
        case ast.Call(func=func, args=args, keywords=keywords):
            return called(
                from_ast(func, depth),
                tuple(from_ast(a, depth) for a in args if not isinstance(a, ast.Starred)),
                tuple((k.arg, from_ast(k.value, depth)) for k in keywords if k.arg),
            )
        case ast.Await(value=value):
            return Await(from_ast(value, depth))
        case ast.Constant(value=value):
            return Constant(value)
        case ast.Subscript(value=value, slice=index):
            return Item(from_ast(value, depth), from_ast(index, depth))
        case ast.Dict(keys=keys, values=items):
            known = tuple(k.value if isinstance(k, ast.Constant) else ... for k in keys)
            return Sequence(tuple(from_ast(i, depth) for i in items), known)
        case ast.DictComp(value=value):
            return Sequence((from_ast(value, depth),), (...,))
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return Sequence(tuple(from_ast(i, depth) for i in items))
        case ast.IfExp(body=body, orelse=orelse):
            return Choice((from_ast(body, depth), from_ast(orelse, depth)))
        case ast.BoolOp(values=values):
            return Choice(tuple(from_ast(v, depth) for v in values))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Choice((from_ast(left, depth), from_ast(right, depth)))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return joined((from_ast(left, depth), from_ast(right, depth)))
        case ast.BinOp(left=left, op=ast.Mod(), right=right):
            return Formatted(from_ast(left, depth), from_ast(right, depth))
        case ast.JoinedStr(values=values):
            return joined(from_ast(v, depth) for v in values)
        case ast.FormattedValue(value=value, conversion=conversion, format_spec=None) if conversion < 0:
            return from_ast(value, depth)
        case ast.NamedExpr(value=value):
            return from_ast(value, depth)
        case ast.Lambda(args=ast.arguments(posonlyargs=[], args=[], kwonlyargs=[]), body=ast.Call(func=func)):
            return from_ast(func, depth)  # like a `partial`: calling it calls that
        case ast.expr() if type(node).__name__ == "TemplateStr":  # newer than some Pythons; its values are sent apart
            return joined(from_ast(v, depth) for v in getattr(node, "values", ()))
        case _:
            return OPAQUE


def annotation(expression: Expression) -> Expression:
    """An annotation with its quotes taken off: ``"Optional[Pool]"`` is parsed as the text it holds."""
    if isinstance(expression, Constant) and isinstance(expression.value, str):
        try:
            return from_ast(ast.parse(expression.value.strip(), mode="eval").body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return OPAQUE
    return expression
