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
from leakcheck.fixes.roles import Role, mentions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.fixes.region import Region
    from leakcheck.ownership.program import Program

_STATE = re.compile(
    r"""(?:^|;)\s*(?:
        SET\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)(?:SESSION\s+)?\w+ | LISTEN\b | UNLISTEN\b | LOCK\s+TABLES\b
      | CREATE\s+(?:GLOBAL\s+|LOCAL\s+)?TEMP(?:ORARY)?\b | PREPARE\b | DECLARE\b.*\bWITH\s+HOLD\b | USE\s+\w+
    ) | \bset_config\s*\( | \bpg_(?:try_)?advisory_lock | \bGET_LOCK\s*\(""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_SETTERS = frozenset({
    "set_session", "set_isolation_level", "set_autocommit", "set_client_encoding", "set_read_only", "set_deferrable",
    "set_charset", "add_listener", "add_log_listener", "set_type_codec", "set_builtin_type_codec", "execution_options",
    "autocommit", "select_db", "change_user", "begin_twophase", "tpc_begin",
})  # fmt: skip
_SHOWN = 30


def dirt(region: Region, program: Program) -> tuple[cst.CSTNode, str] | None:
    """The first node of the region that changes the session, and what it does."""
    for mention in mentions(region.tree, region.name):
        if region.holds(mention.node) and (mention.role is Role.SET or mention.attribute in _SETTERS):
            return mention.node, f"changes the session (`{region.name}.{mention.attribute}`)"
    for statement in (region.checkout, *region.statements):
        for node, text in _texts(statement, region, program):
            found = _STATE.search(text)
            if found is not None:
                shown = " ".join(found.group().strip("; \n\t").split())[:_SHOWN]
                return node, f"changes the session (`{shown}`)"
    return None


def _texts(root: cst.CSTNode, region: Region, program: Program) -> Iterator[tuple[cst.CSTNode, str]]:
    """The string literals under ``root``, and those of the constants that it names."""
    module = program.facts(region.tree.unit.path)
    for node in walk(root):
        match node:
            case cst.SimpleString():
                value = node.evaluated_value
                yield node, value if isinstance(value, str) else value.decode("utf-8", "replace")
            case cst.FormattedStringText(value=value):
                yield node, value
            case cst.Name(value=name) if module is not None:
                for assigned in module.scope.assignments.get(name, ()):
                    if isinstance(assigned, ex.Constant) and isinstance(assigned.value, str):
                        yield node, assigned.value
            case _:
                pass
