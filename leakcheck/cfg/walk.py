"""Walks over LibCST syntax by a table of child fields, and LibCST expressions reduced.

``node.children`` and ``visit`` rebuild every node and see whitespace; reading the syntax fields alone is
about thirty times cheaper, and it needs no recursion.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import warnings
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.cfg.graph import Call

_SKIPPED_TYPES = (cst.BaseParenthesizableWhitespace, cst.TrailingWhitespace, cst.EmptyLine, cst.Comment)
_SKIPPED_FIELDS = (
    "asname_whitespace",
    "colon",
    "comma",
    "dot",
    "equal",
    "footer",
    "header",
    "lbracket",
    "leading_lines",
    "lines_after_decorators",
    "lpar",
    "rbracket",
    "rpar",
    "semicolon",
    "whitespace",
)


@functools.cache
def _fields_of(kind: type[cst.CSTNode]) -> tuple[str, ...]:
    """The fields of a node type that can hold syntax, last first."""
    return tuple(f.name for f in reversed(dataclasses.fields(kind)) if not f.name.startswith(_SKIPPED_FIELDS))


class _Syntax(dict[type, bool]):
    """Whether values of a type are nodes that ``walk`` visits; asking LibCST's types by ``isinstance`` is slow."""

    def __missing__(self, kind: type) -> bool:
        known = self[kind] = issubclass(kind, cst.CSTNode) and not issubclass(kind, _SKIPPED_TYPES)
        return known


_IS_SYNTAX = _Syntax()


def walk(root: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Every syntax node under ``root``, itself first, in source order, without whitespace and punctuation."""
    stack: list[cst.CSTNode] = [root]
    while stack:
        node = stack.pop()
        yield node
        for name in _fields_of(type(node)):
            value = getattr(node, name)
            kind = type(value)
            if kind is list or kind is tuple:
                stack.extend([v for v in reversed(value) if _IS_SYNTAX[type(v)]])
            elif _IS_SYNTAX[kind]:
                stack.append(value)


def children(node: cst.CSTNode) -> list[cst.CSTNode]:
    """The syntax nodes directly under ``node``, in source order, without whitespace and punctuation."""
    found: list[cst.CSTNode] = []
    for name in reversed(_fields_of(type(node))):
        value = getattr(node, name)
        if isinstance(value, (list, tuple)):
            found.extend(v for v in value if _IS_SYNTAX[type(v)])
        elif _IS_SYNTAX[type(value)]:
            found.append(value)
    return found


def names_read(root: cst.CSTNode) -> frozenset[str]:
    """All bare names that occur under ``root``."""
    return frozenset(n.value for n in walk(root) if isinstance(n, cst.Name))


def string_value(node: cst.BaseExpression) -> str | None:
    """The text of a plain string literal."""
    if isinstance(node, (cst.SimpleString, cst.ConcatenatedString)):
        value = node.evaluated_value
        return value if isinstance(value, str) else None
    return None


def literal_key(node: cst.BaseExpression) -> str | int | None:
    """The key or index that an expression is, where it is a literal."""
    if isinstance(node, cst.Integer):
        return int(node.value.replace("_", ""), 0)
    return string_value(node)


def call_of(instruction: Call) -> ex.Call:
    """A call as it is written; reading a property is one without arguments."""
    reduced = reduce(instruction.node) if isinstance(instruction.node, cst.Call) else None
    return reduced if isinstance(reduced, ex.Call) else ex.Call(instruction.func)


_LITERALS = {"None": ex.Constant(None), "True": ex.Constant(value=True), "False": ex.Constant(value=False)}


def reduce(node: cst.BaseExpression) -> ex.Expression:
    """The reduced form of a LibCST expression (see ``leakcheck.expression``)."""
    match node:
        case cst.Name(value=value):  # one case for all names: LibCST's types are slow to tell apart
            return _LITERALS.get(value) or ex.Name(value)
        case cst.Attribute(value=base, attr=attr):
            return ex.Attribute(reduce(base), attr.value)
        case cst.Call(func=func, args=args):
            return ex.called(
                reduce(func),
                tuple(reduce(a.value) for a in args if not a.star and a.keyword is None),
                tuple((a.keyword.value, reduce(a.value)) for a in args if a.keyword is not None),
            )
        case cst.Await(expression=value):
            return ex.Await(reduce(value))
        case cst.SimpleString() | cst.ConcatenatedString() if (literal := node.evaluated_value) is not None:
            return ex.Constant(literal)
        case cst.ConcatenatedString(left=left, right=right):
            return ex.joined((reduce(left), reduce(right)))
        case cst.FormattedString(parts=parts) | cst.TemplatedString(parts=parts):
            return ex.joined(_part(part, node) for part in parts)
        case cst.Integer(value=value):
            return ex.Constant(int(value.replace("_", ""), 0))
        case cst.Float() | cst.Imaginary():
            return ex.Constant(...)
        case cst.Subscript(value=base, slice=[cst.SubscriptElement(slice=cst.Index(value=index))]):
            return ex.Item(reduce(base), reduce(index))
        case cst.Subscript(value=base, slice=elements):
            items = [reduce(e.slice.value) for e in elements if isinstance(e.slice, cst.Index)]
            return ex.Item(reduce(base), ex.Sequence(tuple(items)))
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            return ex.Sequence(tuple(reduce(e.value) for e in elements))
        case cst.IfExp(body=body, orelse=orelse):
            return ex.Choice((reduce(body), reduce(orelse)))
        case cst.BooleanOperation(left=left, right=right):
            return ex.Choice((reduce(left), reduce(right)))
        case cst.BinaryOperation(left=left, operator=cst.BitOr(), right=right):
            return ex.Choice((reduce(left), reduce(right)))
        case cst.BinaryOperation(left=left, operator=cst.Add(), right=right):
            return ex.joined((reduce(left), reduce(right)))
        case cst.BinaryOperation(left=left, operator=cst.Modulo(), right=right):
            return ex.Formatted(reduce(left), reduce(right))
        case cst.NamedExpr(value=value):
            return reduce(value)
        case _:
            return ex.OPAQUE


def _part(part: cst.CSTNode, whole: cst.FormattedString | cst.TemplatedString) -> ex.Expression:
    """A part of an f-string or t-string; what a t-string holds is sent apart from its text."""
    match part:
        case cst.FormattedStringText(value=text) | cst.TemplatedStringText(value=text):
            text = text.replace("{{", "{").replace("}}", "}")
            plain = "\\" not in text or "r" in whole.prefix.lower()
            return ex.Constant(text) if plain else _unescaped(text, whole.quote)
        case cst.FormattedStringExpression(expression=value, conversion=None, format_spec=None, equal=None):
            return reduce(value)
        case (
            cst.FormattedStringExpression(equal=cst.AssignEqual())
            | cst.TemplatedStringExpression(equal=cst.AssignEqual())
        ):
            written = part.with_changes(conversion=None, format_spec=None)
            return ex.Text((ex.Constant(cst.Module(()).code_for_node(written)[1:-1]), ex.OPAQUE))
        case _:
            return ex.OPAQUE


def _unescaped(text: str, quote: str) -> ex.Expression:
    """A part of a literal with its escapes resolved; the space keeps its last character apart from the quote."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ex.Constant(ast.literal_eval(f"{quote}{text} {quote}")[:-1])
    except (SyntaxError, ValueError):
        return ex.OPAQUE


def is_pure(expression: ex.Expression) -> bool:
    """Whether evaluating it twice gives the same value unless one of its names is assigned."""
    match expression:
        case ex.Name() | ex.Constant():
            return True
        case ex.Attribute(base=base):
            return is_pure(base)
        case ex.Sequence(items=items):
            return all(is_pure(i) for i in items)
        case _:
            return False


def names_in(expression: ex.Expression) -> Iterator[str]:
    """The bare names of a pure expression, and ``.name`` for each attribute in it."""
    match expression:
        case ex.Name(id=name):
            yield name
        case ex.Attribute(base=base, name=name):
            yield from names_in(base)
            yield "." + name
        case ex.Sequence(items=items):
            for item in items:
                yield from names_in(item)
        case _:
            return


def parameters_of(parameters: cst.Parameters) -> Iterator[cst.Param]:
    """The named parameters, without ``*args`` and ``**kwargs``."""
    yield from (*parameters.posonly_params, *parameters.params, *parameters.kwonly_params)
