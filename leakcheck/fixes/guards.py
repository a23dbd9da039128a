"""Conditions that ask only whether a variable holds the connection.

if conn:                         if conn is not None:            if "conn" in locals():
if not conn: return              if conn is None: raise …
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg.conditions import null_test
from leakcheck.cfg.walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

_JUMPS = (cst.Return, cst.Raise, cst.Continue, cst.Break)


def guards(test: cst.CSTNode, name: str) -> bool:
    """Whether a condition always holds while the variable holds the connection, and asks for nothing else."""
    match test:
        case cst.Name(value=value):
            return value == name
        case _ if (compared := null_test(test)) is not None:
            return compared[1] and isinstance(compared[0], cst.Name) and compared[0].value == name
        case cst.BooleanOperation(left=left, operator=cst.And(), right=right):
            return guards(left, name) and guards(right, name)
        case _:
            return asks_if_bound(test, name)


def asks_if_bound(test: cst.CSTNode, name: str) -> bool:
    """Whether a condition is ``"conn" in locals()``."""
    match test:
        case cst.Comparison(
            left=cst.SimpleString() as left,
            comparisons=[cst.ComparisonTarget(operator=cst.In(), comparator=cst.Call(func=cst.Name(value="locals")))],
        ):
            return left.evaluated_value == name
        case _:
            return False


def bound_tests(root: cst.CSTNode, name: str) -> Iterator[cst.CSTNode]:
    """The conditions under ``root`` that ask whether the variable is bound."""
    yield from (node for node in walk(root) if asks_if_bound(node, name))


def leaves_without(statement: cst.CSTNode, name: str) -> bool:
    """Whether the statement leaves where the checkout gave nothing: ``if conn is None: return``."""
    match statement:
        case cst.If(test=test, body=cst.IndentedBlock(body=[*_, cst.SimpleStatementLine(body=[last])]), orelse=None):
            pass
        case _:
            return False
    match test:
        case cst.UnaryOperation(operator=cst.Not(), expression=cst.Name(value=value)):
            is_null = value == name
        case _:
            subject, negated = null_test(test) or (None, False)
            is_null = isinstance(subject, cst.Name) and subject.value == name and not negated
    body_uses = any(isinstance(n, cst.Name) and n.value == name for n in walk(statement.body))
    return is_null and not body_uses and isinstance(last, _JUMPS)
