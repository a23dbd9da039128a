"""Statements in a region that leave something behind in the session: a role, a setting, a lock, a temporary table.

    cur.execute("SET ROLE tenant")   →   "sets session state (SET ROLE)"

A text that is not written in the file is taken to leave nothing behind, as on the paths that release already.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import walk
from leakcheck.fixes.outliving import functions_called
from leakcheck.fixes.roles import Role, mentions
from leakcheck.fixes.speech import Speech
from leakcheck.fixes.tree import Tree, own
from leakcheck.sql.event import HOLE, SqlKind
from leakcheck.sql.events import events

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.fixes.region import Region
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.names import Function
    from leakcheck.sql.event import SqlEvent

_STATE = frozenset({
    SqlKind.SET_ROLE, SqlKind.SET_AUTHORIZATION, SqlKind.SET, SqlKind.SET_AUTOCOMMIT, SqlKind.LOCK, SqlKind.GET_LOCK,
    SqlKind.LOCK_TABLES, SqlKind.LISTEN, SqlKind.UNLISTEN, SqlKind.PREPARE, SqlKind.TEMP_TABLE, SqlKind.CURSOR_HOLD,
})  # fmt: skip
_USE = re.compile(r"\s*USE\s+(\w+|`[^`]*`)\s*;?\s*", re.IGNORECASE)
"""MySQL's way to change the database, which no other dialect has."""
_SETTERS = frozenset({
    "set_session", "set_isolation_level", "set_autocommit", "set_client_encoding", "set_read_only", "set_deferrable",
    "set_charset", "add_listener", "add_log_listener", "set_type_codec", "set_builtin_type_codec", "execution_options",
    "autocommit", "select_db", "change_user", "begin_twophase", "tpc_begin",
})  # fmt: skip
_SHOWN = 30
_MOST = 50
"""Functions that are looked into for what changes the session, at most."""


def dirt(region: Region, program: Program) -> tuple[cst.CSTNode, str] | None:
    """The first node of the region that changes the session, and what it does."""
    for mention in mentions(region.tree, region.name):
        whole = _whole(region, mention.node)
        is_set = mention.role is Role.SET or isinstance(region.tree.parent(whole), (cst.AssignTarget, cst.AugAssign))
        if region.holds(mention.node) and isinstance(whole, cst.Attribute) and (is_set or whole.attr.value in _SETTERS):
            return mention.node, f"changes the session (`{region.tree.text(whole)}`)"
    for name in sorted(region.handles):
        for mention in mentions(region.tree, name):  # what a cursor is set to is its own affair
            if region.holds(mention.node) and mention.attribute in _SETTERS:
                return mention.node, f"changes the session (`{name}.{mention.attribute}`)"
    speech = Speech(region.tree, program)
    known: dict[Function, str | None] = {}
    for statement in (region.checkout, *region.statements):
        for node in own(statement):
            if isinstance(node, cst.Call) and _is_given(region, node):
                by = _set_by(functions_called(region.tree, speech.instruction(node)), program, known)
                if by is not None:
                    return node, f"changes the session (`{by}`)"
        for call, event in speech.all_under(statement):
            if _is_kept(event):
                return call, f"changes the session (`{_shown(speech.text(call) or event.kind.value)}`)"
        for node, text in texts(statement, region, program):
            if _USE.fullmatch(text) or any(_is_kept(event) for event in events(text)):
                return node, f"changes the session (`{_shown(text)}`)"
    return None


def is_set_in(unit: Unit, program: Program) -> bool:
    """Whether a function of the project, or one that it calls, changes a session."""
    return _set_in(unit, program, {}) is not None


def _is_given(region: Region, call: cst.Call) -> bool:
    """Whether a call is given the connection, or what leads to it."""
    names = {argument.value.value for argument in call.args if isinstance(argument.value, cst.Name)}
    return not names.isdisjoint({region.name, *region.handles})


def _set_by(functions: Sequence[Function], program: Program, known: dict[Function, str | None]) -> str | None:
    """What functions of the project change of a session, or those that they call; ``known`` are those asked before."""
    for function in functions:
        if function not in known:
            known[function] = None  # for those that call each other
            unit = program.functions.units.of(function)
            known[function] = _set_in(unit, program, known) if unit is not None and len(known) <= _MOST else None
    return next((found for function in functions if (found := known[function]) is not None), None)


def _set_in(unit: Unit, program: Program, known: dict[Function, str | None]) -> str | None:
    tree = Tree(unit)
    speech = Speech(tree, program)
    for node in own(unit.node):
        match node:
            case (
                cst.AssignTarget(target=cst.Attribute(attr=cst.Name(value=name)) as part)
                | cst.Call(func=cst.Attribute(attr=cst.Name(value=name)) as part)
            ) if name in _SETTERS:
                return f"{unit.name}: {tree.text(part)}"
            case cst.Call():
                said = next((event for event in speech.said(node) if _is_kept(event)), None)
                if said is not None:
                    return f"{unit.name}: {_shown(speech.text(node) or said.kind.value)}"
                deeper = _set_by(functions_called(tree, speech.instruction(node)), program, known)
                if deeper is not None:
                    return deeper
            case _:
                pass
    return None


def _whole(region: Region, node: cst.CSTNode) -> cst.CSTNode:
    """What a name is the beginning of: ``conn.connection.autocommit`` of ``conn``."""
    parent = region.tree.parent(node)
    while isinstance(parent, cst.Attribute) and parent.value is node:
        node, parent = parent, region.tree.parent(parent)
    return node


def _is_kept(event: SqlEvent) -> bool:
    """Whether what a statement does outlives its transaction."""
    return event.kind in _STATE and not event.local


def _shown(text: str) -> str:
    words = " ".join(text.replace(HOLE, "…").split())
    return words if len(words) <= _SHOWN else f"{words[: _SHOWN - 1]}…"


def texts(root: cst.CSTNode, region: Region, program: Program) -> Iterator[tuple[cst.CSTNode, str]]:
    """The string literals under ``root``, and those of the constants that it names."""
    module = program.facts(region.tree.unit.path)
    for node in walk(root):
        match node:
            case cst.SimpleString():
                value = node.evaluated_value
                yield node, value if isinstance(value, str) else value.decode("utf-8", "replace")
            case cst.FormattedString(parts=parts):
                yield node, "".join(p.value if isinstance(p, cst.FormattedStringText) else HOLE for p in parts)
            case cst.Name(value=name) if module is not None:
                for assigned in module.scope.assignments.get(name, ()):
                    if isinstance(assigned, ex.Constant) and isinstance(assigned.value, str):
                        yield node, assigned.value
            case _:
                pass
