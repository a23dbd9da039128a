"""What each mention of a variable does with its value.

    conn.commit()        →   METHOD           load(conn)     →   ARGUMENT
    if conn is None:     →   TEST             rows = conn    →   ALIAS

The table is closed: a mention in any other place is OTHER, which no rewrite accepts.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import libcst as cst
from msgspec import Struct

from leakcheck.fixes.tree import is_variable, own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.fixes.tree import Tree

_EAGER = frozenset({"list", "tuple", "set", "frozenset", "dict", "sum", "any", "all", "min", "max", "sorted", "join"})
"""Callees that use up a generator expression before they return."""


class Role(Enum):
    """What a mention does."""

    METHOD = "calls a method of"
    READ = "reads an attribute of"
    SET = "sets an attribute of"
    ARGUMENT = "passes on"
    TEST = "tests"
    SHOWN = "shows"
    MANAGED = "enters"
    ITERATED = "iterates over"
    YIELDED = "yields"
    RETURNED = "returns"
    ALIAS = "gives another name to"
    KEPT = "puts away"
    BOUND = "binds"
    DELETED = "deletes"
    SHARED = "declares as shared"
    CAPTURED = "captures"
    OTHER = "uses"


class Mention(Struct, frozen=True, eq=False):
    """One place that names the variable. ``call`` is the call it is passed to or whose receiver it is."""

    node: cst.Name
    role: Role
    call: cst.Call | None = None
    attribute: str = ""


_KNOWN: WeakKeyDictionary[Tree, dict[str, tuple[Mention, ...]]] = WeakKeyDictionary()
"""Those of a whole function, which every one of its checkouts asks for."""


def mentions(tree: Tree, name: str, root: cst.CSTNode | None = None) -> Iterator[Mention]:
    """Every mention of ``name`` under ``root`` (by default in the whole function), in source order."""
    if root is not None:
        yield from _mentions(tree, name, root)
        return
    known = _KNOWN.setdefault(tree, {})
    if name not in known:
        known[name] = tuple(_mentions(tree, name, None))
    yield from known[name]


def _mentions(tree: Tree, name: str, root: cst.CSTNode | None) -> Iterator[Mention]:
    named = (node for node in tree.names(name, root) if is_variable(node, tree.parent(node)))
    return (_mention(tree, node) for node in named if not _is_another(tree, node))


def _is_another(tree: Tree, node: cst.Name) -> bool:
    """Whether a name stands for a variable that a function inside of this one has for itself."""
    current: cst.CSTNode = node
    parameter = tree.parent(node)
    if isinstance(parameter, cst.Param) and parameter.name is node:
        return tree.is_nested(node)
    for around in tree.ancestors(node):
        if around is tree.root:
            return False
        if isinstance(around, (cst.FunctionDef, cst.Lambda)) and current is around.body and _binds(tree, around, node):
            return True
        current = around
    return False


def _binds(tree: Tree, function: cst.FunctionDef | cst.Lambda, name: cst.Name) -> bool:
    """Whether a function has a variable of this name: a parameter, or what it assigns and does not declare."""
    bound = False
    for node in (n for n in own(function) if isinstance(n, cst.Name) and n.value == name.value):
        parent = tree.parent(node)
        if isinstance(parent, cst.NameItem):
            return False
        is_parameter = isinstance(parent, cst.Param) and parent.name is node
        assigns = isinstance(parent, (cst.AssignTarget, cst.AsName)) or (
            isinstance(parent, (cst.AnnAssign, cst.For)) and parent.target is node
        )
        bound = bound or is_parameter or assigns
    return bound


def is_mentioned(tree: Tree, name: str, root: cst.CSTNode) -> bool:
    """Whether ``root`` mentions the variable at all."""
    return next(mentions(tree, name, root), None) is not None


def _mention(tree: Tree, node: cst.Name) -> Mention:
    parent = tree.parent(node)
    if isinstance(parent, cst.NameItem):
        return Mention(node, Role.SHARED)
    if tree.is_nested(node) or _outlives(tree, node):
        return Mention(node, Role.CAPTURED)
    match parent:
        case cst.Attribute():
            return _attribute(tree, node, parent)
        case cst.Arg() if not parent.star:
            call = tree.parent(parent)
            return Mention(node, Role.ARGUMENT, call if isinstance(call, cst.Call) else None)
        case cst.ComparisonTarget() | cst.Comparison() | cst.BooleanOperation() | cst.UnaryOperation():
            return Mention(node, Role.TEST if _is_tested(tree, node) else Role.ALIAS)
        case cst.If() | cst.While() | cst.Assert():
            return Mention(node, Role.TEST)
        case cst.IfExp():
            return Mention(node, Role.TEST if parent.test is node else Role.ALIAS)
        case cst.FormattedStringExpression():
            return Mention(node, Role.SHOWN)
        case cst.WithItem():
            return Mention(node, Role.MANAGED)
        case cst.Yield():
            return Mention(node, Role.YIELDED)
        case cst.Return():
            return Mention(node, Role.RETURNED)
        case cst.Assign() | cst.AnnAssign():
            return Mention(node, Role.ALIAS if parent.value is node else Role.BOUND)
        case cst.NamedExpr():
            return Mention(node, Role.ALIAS if parent.value is node else Role.BOUND)
        case cst.For() | cst.CompFor():
            return Mention(node, Role.ITERATED if parent.iter is node else Role.BOUND)
        case cst.AssignTarget() | cst.AsName() | cst.AugAssign() | cst.ImportAlias():
            return Mention(node, Role.BOUND)
        case cst.Element():
            return Mention(node, Role.BOUND if _is_target(tree, parent) else Role.KEPT)
        case cst.DictElement() | cst.StarredElement():
            return Mention(node, Role.KEPT)
        case cst.Del():
            return Mention(node, Role.DELETED)
        case _:
            return Mention(node, Role.OTHER)


def _attribute(tree: Tree, node: cst.Name, attribute: cst.Attribute) -> Mention:
    name = attribute.attr.value
    around = tree.parent(attribute)
    if isinstance(around, cst.Call) and around.func is attribute:
        return Mention(node, Role.METHOD, around, name)
    if isinstance(around, (cst.AssignTarget, cst.AugAssign, cst.Del)) or (
        isinstance(around, cst.AnnAssign) and around.target is attribute
    ):
        return Mention(node, Role.SET, attribute=name)
    return Mention(node, Role.READ, attribute=name)


def _is_tested(tree: Tree, node: cst.CSTNode) -> bool:
    """Whether an operation only decides something, and does not pass the value on."""
    current = node
    for parent in tree.ancestors(node):
        if isinstance(parent, cst.Comparison) or (
            isinstance(parent, cst.UnaryOperation) and isinstance(parent.operator, cst.Not)
        ):
            return True
        if not isinstance(parent, (cst.ComparisonTarget, cst.BooleanOperation)):
            decides = isinstance(parent, (cst.If, cst.While, cst.Assert, cst.Expr))
            return decides or (isinstance(parent, cst.IfExp) and parent.test is current)
        current = parent
    return False


def _is_target(tree: Tree, element: cst.Element) -> bool:
    """Whether the display that the element is part of is assigned to."""
    display = tree.parent(element)
    around = tree.parent(display) if display is not None else None
    if isinstance(around, cst.Element):
        return _is_target(tree, around)
    if isinstance(around, (cst.For, cst.CompFor)):
        return around.target is display
    return isinstance(around, (cst.AssignTarget, cst.AsName))


def _outlives(tree: Tree, node: cst.CSTNode) -> bool:
    """Whether the mention is in a generator expression that may run later."""
    for parent in tree.ancestors(node):
        if isinstance(parent, cst.GeneratorExp):
            return not _is_used_up(tree, parent)
        if isinstance(parent, cst.BaseStatement):
            return False
    return False


def _is_used_up(tree: Tree, generator: cst.GeneratorExp) -> bool:
    argument = tree.parent(generator)
    call = tree.parent(argument) if isinstance(argument, cst.Arg) else None
    if not isinstance(call, cst.Call):
        return False
    func = call.func
    name = func.attr.value if isinstance(func, cst.Attribute) else func.value if isinstance(func, cst.Name) else ""
    return name in _EAGER
