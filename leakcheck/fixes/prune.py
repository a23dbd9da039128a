"""A region without the releases that its rewrite supersedes, as a person would have written it.

    try:                           cur.execute(sql)
        cur.execute(sql)      →
    finally:
        pool.putconn(conn)

What stood only for a release goes with it: ``if conn:`` around it, a ``finally`` or a handler that did nothing else,
and the ``try`` that these belonged to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg.walk import is_pure as is_pure_expression
from leakcheck.cfg.walk import reduce, walk
from leakcheck.fixes.guards import guards
from leakcheck.fixes.region import is_release, is_small_release
from leakcheck.fixes.remarks import passed_on
from leakcheck.fixes.tree import RefusedError, only

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from leakcheck.fixes.region import Region

Statement = cst.BaseStatement | cst.BaseSmallStatement


def pruned(region: Region) -> list[cst.BaseStatement]:
    """The statements of the region without its releases; new nodes only where something was taken out."""
    return _Pruner(region).statements(region.statements)


class _Pruner:
    """Takes the releases of one region out."""

    def __init__(self, region: Region) -> None:
        self._region = region

    def statements(self, found: Iterable[cst.CSTNode]) -> list[cst.BaseStatement]:
        """The statements that stay, in their order."""
        kept: list[cst.BaseStatement] = []
        superseded: list[cst.SimpleStatementLine] = []
        for statement in found:
            if isinstance(statement, cst.SimpleStatementLine) and is_release(statement, self._region):
                superseded.append(statement)
                continue
            new = list(self._statement(statement))
            while new and superseded:
                new[0] = passed_on(superseded.pop(), new[0], self._region)
            kept.extend(new)
        return kept

    def _statement(self, statement: cst.CSTNode) -> Sequence[cst.BaseStatement]:
        assert isinstance(statement, cst.BaseStatement)
        if not any(id(node) in self._region.removed for node in walk(statement)):
            return [statement]
        if is_release(statement, self._region):
            return []
        match statement:
            case cst.SimpleStatementLine(body=body):
                return self._line(statement, [one for one in body if not is_small_release(one, self._region)])
            case cst.If():
                return self._if(statement)
            case cst.Try():
                return self._try(statement)
            case cst.With() | cst.For() | cst.While():
                return [statement.with_changes(body=self._suite(statement.body), **self._orelse(statement))]
            case cst.Match():
                cases = [case.with_changes(body=self._suite(case.body)) for case in statement.cases]
                return [statement.with_changes(cases=cases)]
            case _:
                row = self._region.tree.row(statement)
                raise RefusedError(f"line {row} releases it where the release cannot be taken out")

    def _line(
        self, statement: cst.SimpleStatementLine, kept: list[cst.BaseSmallStatement]
    ) -> Sequence[cst.BaseStatement]:
        """A line of several statements without those that release it."""
        if len(kept) == len(statement.body):
            row = self._region.tree.row(statement)
            raise RefusedError(f"line {row} releases it where the release cannot be taken out")
        if not kept:
            return []
        return [statement.with_changes(body=[*kept[:-1], kept[-1].with_changes(semicolon=cst.MaybeSentinel.DEFAULT)])]

    def _suite(self, suite: cst.BaseSuite) -> cst.BaseSuite:
        """The suite without its releases; LibCST writes ``pass`` into an empty one."""
        if isinstance(suite, cst.IndentedBlock):
            return suite.with_changes(body=self.statements(suite.body))
        if self._is_release_suite(suite):
            return cst.IndentedBlock(body=[])
        if any(id(node) in self._region.removed for node in walk(suite)):
            raise RefusedError(f"line {self._region.tree.row(suite)} is the one-line body of a compound statement")
        return suite

    def _is_release_suite(self, suite: cst.BaseSuite) -> bool:
        return isinstance(suite, cst.SimpleStatementSuite) and is_release(
            cst.SimpleStatementLine(body=suite.body), self._region
        )

    def _orelse(self, statement: cst.With | cst.For | cst.While) -> dict[str, cst.Else | None]:
        if isinstance(statement, cst.With) or statement.orelse is None:
            return {}
        return {"orelse": self._else(statement.orelse)}

    def _else(self, orelse: cst.Else) -> cst.Else | None:
        body = self._suite(orelse.body)
        return orelse.with_changes(body=body) if _is_filled(body) else None

    def _if(self, statement: cst.If) -> Sequence[cst.BaseStatement]:
        body = self._suite(statement.body)
        orelse = statement.orelse
        if isinstance(orelse, cst.Else):
            orelse = self._else(orelse)
        elif orelse is not None:
            inner = self._if(orelse) if any(id(n) in self._region.removed for n in walk(orelse)) else [orelse]
            chained = inner[0] if inner else None
            assert chained is None or isinstance(chained, cst.If)
            orelse = chained
        if not _is_filled(body) and orelse is None:
            if guards(statement.test, self._region.name) or is_pure_expression(reduce(statement.test)):
                return []
            row = self._region.tree.row(statement)
            raise RefusedError(f"line {row} releases it under a condition that must still be evaluated")
        return [statement.with_changes(body=body, orelse=orelse)]

    def _try(self, statement: cst.Try) -> Sequence[cst.BaseStatement]:
        body = self._suite(statement.body)
        handlers = [handler.with_changes(body=self._suite(handler.body)) for handler in statement.handlers]
        while handlers and _only_raises(handlers[-1]):
            handlers.pop()
        orelse = self._else(statement.orelse) if statement.orelse is not None else None
        final = statement.finalbody
        if final is not None:
            suite = self._suite(final.body)
            final = final.with_changes(body=suite) if _is_filled(suite) else None
        if not _is_filled(body) and any(id(n) in self._region.removed for n in walk(statement.body)):
            handlers = []  # nothing is left that could raise
        if not handlers and final is None:
            return _unwrapped(statement, [body, *([orelse.body] if orelse is not None else [])])
        if not handlers and final is not None and not _is_filled(body):
            return _unwrapped(statement, [*([orelse.body] if orelse is not None else []), final.body])
        if not handlers and orelse is not None:
            body = cst.IndentedBlock(body=[*_lines(body), *_lines(orelse.body)])
            orelse = None
        return [statement.with_changes(body=body, handlers=handlers, orelse=orelse, finalbody=final)]


def _unwrapped(statement: cst.Try, suites: Sequence[cst.BaseSuite]) -> list[cst.BaseStatement]:
    """The statements of a ``try`` of which nothing else is left."""
    inner = [line for suite in suites for line in _lines(suite)]
    if inner:
        first = inner[0]
        leading = [*statement.leading_lines, *first.leading_lines]  # type: ignore[attr-defined]  # every statement line
        inner[0] = first.with_changes(leading_lines=leading)
    return inner


def _lines(suite: cst.BaseSuite) -> list[cst.BaseStatement]:
    if isinstance(suite, cst.IndentedBlock):
        return list(suite.body)
    return [cst.SimpleStatementLine(body=suite.body)]  # type: ignore[arg-type]  # the only other kind of suite


def _is_filled(suite: cst.BaseSuite) -> bool:
    return any(not isinstance(only(line), cst.Pass) for line in _lines(suite))


def _only_raises(handler: cst.ExceptHandler) -> bool:
    """Whether a handler only passes on what it caught."""
    lines = _lines(handler.body)
    if len(lines) != 1:
        return False
    small = only(lines[0])
    return isinstance(small, cst.Raise) and small.exc is None
