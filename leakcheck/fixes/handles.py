"""What still needs the connection: cursors, lazy results, whatever an unknown function made of it.

    cur = conn.cursor()          →   `cur` is a handle
    rows = cur.fetchall()        →   `rows` is data, and needs nobody

Too many handles only make a region longer, so what is not known to be data is a handle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg.walk import children, walk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_FETCHING = frozenset({
    "fetchone", "fetchall", "fetchmany", "fetch", "fetchrow", "fetchval", "fetch_all", "fetch_one", "fetch_val", "all",
    "first", "one", "one_or_none", "scalar", "scalar_one", "scalar_one_or_none", "count", "commit", "rollback", "close",
    "mogrify", "executemany", "flush", "add", "delete", "to_dict", "to_list", "to_pylist",
})  # fmt: skip
"""Methods whose result is data, or nothing."""
COUNTS = frozenset({"rowcount", "lastrowid"})
"""Attributes of a cursor that say what its statement did, also once its connection is closed."""
_PLAIN_ATTRIBUTES = COUNTS | {"description", "statusmessage", "closed", "status", "rownumber"}
READERS = frozenset({"read_sql", "read_sql_query", "read_sql_table", "to_sql"})
"""Functions of pandas whose result is data, unless it comes in chunks."""
_PLAIN_CALLS = frozenset({
    "list", "tuple", "dict", "set", "frozenset", "len", "int", "float", "str", "bool", "bytes", "sum", "min", "max",
    "any", "all", "sorted", "repr", "format", "dumps", "isinstance", "print", "round", "abs", "Decimal", "join",
})  # fmt: skip
CONSUMERS = _PLAIN_CALLS | {
    "enumerate", "zip", "map", "filter", "iter", "next", "reversed", "type", "id", "hasattr", "getattr", "writerows",
    "extend",
}  # fmt: skip
"""Functions that keep none of their arguments beyond their result."""


IsData = Callable[[cst.Call], bool]
"""Knows of calls, such as those of functions of the project, whose value needs nobody."""


def _unknown(_call: cst.Call) -> bool:
    return False


def needs(expression: cst.CSTNode, names: Collection[str], is_data: IsData = _unknown) -> bool:
    """Whether the value of an expression may need the connection that ``names`` hold or lead to."""
    match expression:
        case cst.Name(value=value):
            return value in names
        case cst.Call(func=func, args=args):
            name = func.attr.value if isinstance(func, cst.Attribute) else getattr(func, "value", "")
            if name in (_FETCHING if isinstance(func, cst.Attribute) else _PLAIN_CALLS) or name in _PLAIN_CALLS:
                return False
            if name in READERS and not any(a.keyword is not None and a.keyword.value == "chunksize" for a in args):
                return False
            receiver = isinstance(func, cst.Attribute) and needs(func.value, names, is_data)
            needed = receiver or any(needs(a.value, names, is_data) for a in args)
            return needed and not is_data(expression)
        case cst.Attribute(value=value, attr=attr):
            return attr.value not in _PLAIN_ATTRIBUTES and needs(value, names, is_data)
        case cst.Subscript(value=value):
            return needs(value, names, is_data)
        case cst.Comparison() | cst.FormattedString() | cst.ListComp() | cst.SetComp() | cst.DictComp():
            return False
        case cst.UnaryOperation() | cst.BinaryOperation() | cst.BaseString() | cst.BaseNumber():
            return False
        case _:
            return any(needs(child, names, is_data) for child in children(expression))


def handles(name: str, statements: Sequence[cst.CSTNode], is_data: IsData = _unknown) -> frozenset[str]:
    """The variables bound in the statements to what needs the connection in ``name``."""
    known = {name}
    bindings = [pair for statement in statements for pair in _bindings(statement)]
    while True:
        found = {target for target, value in bindings if needs(value, known, is_data)} - known
        if not found:
            return frozenset(known - {name})
        known |= found


def made_by(methods: Collection[str], name: str, statements: Sequence[cst.CSTNode]) -> frozenset[str]:
    """The variables bound to what one of these methods of ``name`` gives."""
    found = set()
    for statement in statements:
        for target, value in _bindings(statement):
            call = value.expression if isinstance(value, cst.Await) else value
            match call:
                case cst.Call(func=cst.Attribute(value=cst.Name(value=base), attr=cst.Name(value=method))):
                    if base == name and method in methods:
                        found.add(target)
                case _:
                    pass
    return frozenset(found)


def _bindings(root: cst.CSTNode) -> Iterator[tuple[str, cst.CSTNode]]:
    """Each variable that is bound under ``root``, with the expression it comes from."""
    for node in walk(root):
        match node:
            case cst.Assign(targets=targets, value=value):
                for target in targets:
                    yield from ((name, value) for name in _names(target.target))
            case cst.AnnAssign(target=target, value=cst.BaseExpression() as value):
                yield from ((name, value) for name in _names(target))
            case cst.NamedExpr(target=target, value=value):
                yield from ((name, value) for name in _names(target))
            case cst.WithItem(item=item, asname=cst.AsName(name=target)):
                yield from ((name, item) for name in _names(target))
            case _:
                pass


def _names(target: cst.CSTNode) -> Iterator[str]:
    if isinstance(target, cst.Name):
        yield target.value
    elif isinstance(target, (cst.Tuple, cst.List)):
        for element in target.elements:
            yield from _names(element.value)
