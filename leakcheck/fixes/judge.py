"""The gate that every fix passes: the changed text parses, shows this fault no more, no new one, no comment less.

    judge = Judge(program, "app/db.py")
    judge.consider(proposals)            # all of a file at once: one analysis of the changed text
    judge.judged(proposals[0])           →   its fix; where it does not pass, for display only, with the reason

What a fix changes is in one outermost function, so many are judged together, each by its own function; only those of a
function that does not come out well are judged one by one.
"""

from __future__ import annotations

import io
import tokenize
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from leakcheck.diagnostic import Applicability, Edit, Fix
from leakcheck.fixes.apply import edited, overlap
from leakcheck.fixes.splice import lines_of
from leakcheck.fixes.tree import RefusedError
from leakcheck.ownership.leak import LeakKind
from leakcheck.ownership.units import name_of
from leakcheck.project import gate
from leakcheck.project.facts import FunctionFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.facts import ModuleFacts, Statement
    from leakcheck.source import Source

_MOST_ROWS = 200_000
"""Each fix that is judged alone costs an analysis of the file: after this many rows, the others are not made."""
Fault = tuple[LeakKind, str, str]


class Faults(Struct, frozen=True, eq=False):
    """What is wrong in an outermost function, nested ones among them, and what in it was left out; or no text at all.

    ``rows`` are where each fault stands.
    """

    counts: Counter[Fault] = field(default_factory=Counter)
    rows: tuple[tuple[Fault, int], ...] = ()
    skipped: tuple[str, ...] = ()
    is_readable: bool = True


class Proposal(Struct, frozen=True, eq=False):
    """A fix of one fault, which is found in a row of a function, before anybody has judged it."""

    unit: Unit
    row: int
    fix: Fix
    said_again: Counter[str] = field(default_factory=Counter)
    """Comments that may go, since they are there already."""

    @property
    def outer(self) -> str:
        """The outermost function that it changes, or the loop at module level."""
        return outer_name(self.unit)


class Judge:
    """The judge of the fixes of one file."""

    def __init__(self, program: Program, path: str, source: Source) -> None:
        self._program = program
        self._path = path
        self._source = source
        self._rows = 0
        self._before: dict[str, Faults] = {}
        self._passed: set[tuple[str, tuple[Edit, ...]]] = set()

    def consider(self, proposals: Sequence[Proposal]) -> None:
        """Judge all that can be applied at once, in one analysis of the changed text."""
        edits: list[Edit] = []
        joined: dict[str, list[Proposal]] = {}
        for one in proposals:
            new = [edit for edit in one.fix.edits if edit not in edits]
            if one.fix.applicability > Applicability.DISPLAY_ONLY and not overlap(new, edits):
                edits += new
                joined.setdefault(one.outer, []).append(one)
        if sum(map(len, joined.values())) < 2:
            return
        changed = self._program.with_text(self._path, edited(self._source.text, edits))
        for outer, fixes in joined.items():
            if not self._complaint(fixes[0], changed, by=len(fixes)):
                self._passed |= {(outer, one.fix.edits) for one in fixes}

    def judged(self, proposal: Proposal) -> Fix:
        """The fix, milder where its result does not pass. Raises RefusedError where too much was judged already."""
        fix = proposal.fix
        if fix.applicability is Applicability.DISPLAY_ONLY:
            return fix  # and its message says why
        text = edited(self._source.text, fix.edits)
        if (proposal.outer, fix.edits) not in self._passed:
            complaint = self._complaint_alone(proposal, text)
            if complaint:
                message = f"{fix.message}; {complaint}"
                return replace(fix, message=message, applicability=Applicability.DISPLAY_ONLY)
        if self._loses_comments(proposal, text):
            message = f"{fix.message}; a comment would be lost"
            return replace(fix, message=message, applicability=min(fix.applicability, Applicability.UNSAFE))
        return fix

    def _complaint_alone(self, proposal: Proposal, text: str) -> str:
        if self._rows > _MOST_ROWS:
            raise RefusedError("the file has too many faults to rewrite them all at once")
        self._rows += self._source.text.count("\n")
        return self._complaint(proposal, self._program.with_text(self._path, text), by=1)

    def _complaint(self, proposal: Proposal, changed: Program, *, by: int) -> str:
        """Why the function is no better then: it does not parse, as many faults are there still, or one is new."""
        outer = proposal.outer
        if outer not in self._before:
            self._before[outer] = _faults(self._program, self._path, outer)
        before, after = self._before[outer], _faults(changed, self._path, outer)
        if not before.is_readable or not after.is_readable:
            return "the result cannot be read"
        if len(after.skipped) > len(before.skipped):
            return f"the result cannot be checked: {after.skipped[-1]}"
        for fault, row in after.rows:
            if after.counts[fault] > before.counts[fault]:
                return f"line {row} would then be reported as {fault[0].value}"
        if after.counts.total() > before.counts.total() - by:
            fault, row = min(after.rows, key=lambda one: abs(one[1] - proposal.row))
            return f"line {row} would still be reported as {fault[0].value}"
        return ""

    def _loses_comments(self, proposal: Proposal, text: str) -> bool:
        """Whether a comment of the function is not there any more: asked only where one stands in a changed row."""
        edits = proposal.fix.edits
        if not any("#" in self._source.rows(edit.span.start.row, edit.span.end.row) for edit in edits):
            return False
        first, last = _rows_of(proposal)
        grown = text.count("\n") - self._source.text.count("\n")
        above = sum(e.content.count("\n") for e in edits if e.span.start == e.span.end and e.span.start.row < first)
        after = "".join(lines_of(text)[first - 1 + above : last + grown])
        return bool(_comments(self._source.rows(first, last)) - _comments(after) - proposal.said_again)


def _rows_of(proposal: Proposal) -> tuple[int, int]:
    """The rows of the function that a fix changes, and what it changes behind it."""
    unit = _root(proposal.unit)
    span = unit.part.span(unit.node)
    return span.start.row, max(span.end.row, *(edit.span.end.row for edit in proposal.fix.edits))


def candidates_in(program: Program, module: ModuleFacts, outer: str) -> list[FunctionFacts | Statement]:
    """The functions in an outermost function, itself among them, or the loop of this name, that may take something."""
    items: list[FunctionFacts | Statement] = [*module.functions.values(), *module.loops]
    inside = [item for item in items if _outermost(module, item) == outer]
    return [item for item in inside if gate.matters(program, module, item)]


def outer_name(unit: Unit) -> str:
    """The name of the outermost function around a unit, or of the loop at module level."""
    return unit.name.partition("@")[0] if unit.facts is None else _root(unit).name


def _faults(program: Program, path: str, outer: str) -> Faults:
    """The faults in an outermost function, nested ones among them."""
    module = program.facts(path)
    if module is None:
        return Faults(is_readable=False)
    analysis = program.functions.analyse(module, candidates_in(program, module, outer))
    rows = tuple(((leak.kind, leak.acquire, leak.name or ""), leak.span.start.row) for leak in analysis.leaks)
    return Faults(Counter(fault for fault, _ in rows), rows, tuple(skip.reason for skip in analysis.skipped))


def _root(unit: Unit) -> Unit:
    while unit.parent is not None:
        unit = unit.parent
    return unit


def _outermost(module: ModuleFacts, item: FunctionFacts | Statement) -> str:
    while isinstance(item, FunctionFacts) and item.parent is not None:
        item = module.functions[item.parent]
    return name_of(item)


def _comments(text: str) -> Counter[str]:
    """The comments of a text, as far as it has tokens: whether it parses is for the analysis to find out."""
    return Counter(token.string for token in _tokens(text) if token.type == tokenize.COMMENT)


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    try:
        yield from tokenize.generate_tokens(io.StringIO(text, newline="").readline)
    except (tokenize.TokenError, SyntaxError):
        return
