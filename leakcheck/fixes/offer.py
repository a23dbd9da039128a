"""The fix of each leak of one file, or the reason why there is none: the entry of this stage.

    offered(program, "app/db.py", leaks)   →   the leaks, each with ``fix`` or ``fix_refused``

With ``every`` the other shapes that a fix may take are made, too, for somebody who chooses.

A rewrite is offered only after the ``judge`` let it pass. What fails there is shown to a reader, and never written.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from leakcheck.diagnostic import Applicability, Fix
from leakcheck.fixes.apply import edited
from leakcheck.fixes.conditions import applicability_of
from leakcheck.fixes.ended import ENDED, ended_shapes
from leakcheck.fixes.entered import entered, entered_shape
from leakcheck.fixes.handed import handed_shape, is_handed, released_behind
from leakcheck.fixes.hoist import HOISTED, hoisted
from leakcheck.fixes.judge import Judge, Proposal, candidates_in, outer_name
from leakcheck.fixes.lent import closed_behind
from leakcheck.fixes.naming import given_back, is_crowded, is_dropped, is_optional, is_unnamed, joined, named, parted
from leakcheck.fixes.owned import owned_shape
from leakcheck.fixes.region import region_of
from leakcheck.fixes.restored import RESTORED, reset_shapes, restored_shapes
from leakcheck.fixes.shapes import candidates
from leakcheck.fixes.stretch import stretch_of
from leakcheck.fixes.tree import RefusedError, Tree, tree_at
from leakcheck.ownership.found import SessionFound
from leakcheck.ownership.leak import LeakKind
from leakcheck.project.facts import ENTERING
from leakcheck.project.large_stack import on_large_stack
from leakcheck.source import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from leakcheck.diagnostic import Edit
    from leakcheck.fixes.giving import Doubt
    from leakcheck.fixes.region import Region
    from leakcheck.fixes.shapes import Shape
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.leak import Leak
    from leakcheck.ownership.program import Program
    from leakcheck.source import Source


def offered(program: Program, path: str, leaks: Sequence[Leak], *, every: bool = False) -> tuple[Leak, ...]:
    """The leaks of the file ``path``, those of a kind that can be fixed with a fix or the reason against one."""

    def work() -> tuple[Leak, ...]:
        offer = _Offer(program, path, every=every)
        drafts = [offer.draft(leak) for leak in leaks]
        offer.consider(drafts)
        return tuple(offer.offered(draft) for draft in drafts)

    return on_large_stack(work)


class _Draft(Struct, eq=False):
    """What may be done about one leak: the proposals, the preferred one first and made already, or a reason."""

    leak: Leak
    first: Proposal | None = None
    others: Iterable[Proposal] = ()
    best: Applicability = Applicability.SAFE
    """None of them may be applied more than this."""
    doubt: str = ""
    fix: Fix | None = None
    """What needs no judge any more."""
    refused: str | None = None


class _Offer:
    """The fixes of one file."""

    def __init__(self, program: Program, path: str, *, every: bool = False) -> None:
        self._program = program
        self._every = every
        self._path = path
        self._trees: dict[int, Tree] = {}
        source = program.source(path)
        assert not isinstance(source, Failure)
        self._source: Source = source
        self._judge = Judge(program, path, source)

    def draft(self, leak: Leak) -> _Draft:
        """What may be done about a leak, not yet judged."""
        if leak.kind not in FIXABLE:
            return _Draft(leak)
        try:
            return self._draft(leak)
        except RefusedError as refused:
            return _Draft(leak, refused=_with_line(str(refused), leak))

    def consider(self, drafts: Sequence[_Draft]) -> None:
        """Judge together what can be."""
        self._judge.consider([draft.first for draft in drafts if draft.first is not None])

    def offered(self, draft: _Draft) -> Leak:
        """The leak with its fix or the reason against one."""
        leak = draft.leak
        if draft.refused is not None:
            return replace(leak, fix_refused=draft.refused)
        if draft.first is None:
            return replace(leak, fix=draft.fix)
        try:
            fixes = self._judged(draft, draft.first)
        except RefusedError as refused:
            return replace(leak, fix_refused=_with_line(str(refused), leak))
        best = max(fixes, key=lambda fix: fix.applicability)
        return replace(leak, fix=best, other_fixes=self._others(fixes, best))

    def _draft(self, leak: Leak) -> _Draft:
        if leak.kind in HOISTED:
            return _Draft(leak, fix=hoisted(self._program, self._path, leak, self._source))
        found = self._program.functions.origins.get((self._path, leak.kind, leak.span, leak.name))
        if found is None and leak.kind is LeakKind.RESET_DOES_NOT_RESET:
            raise RefusedError(f"what `{leak.acquire}` of line {leak.span.start.row} is to reset is not visible")
        if found is None and leak.kind is LeakKind.ACROSS_YIELD:
            tree, row = tree_at(self._program, self._path, leak.span.start.row), leak.span.start.row
            return _Draft(leak, Proposal(tree.unit, row, closed_behind(tree, leak, self._source)))
        if found is None:
            raise RefusedError(f"the checkout of line {leak.span.start.row} is not in one place")
        if found.call.method in ENTERING:
            raise RefusedError(
                f"line {leak.span.start.row} enters a context manager by hand, which belongs in a `with`"
            )
        best, doubt, region = Applicability.SAFE, "", None
        if isinstance(found, SessionFound):
            shapes = self._shapes_of_session(found, leak.kind)
        elif (block := entered(self._tree(found), found)) is not None:
            shape, (best, doubt) = entered_shape(self._tree(found), found, block, self._program, self._source)
            shapes = iter([shape])
        elif is_crowded(self._tree(found), found):
            return _Draft(leak, fix=self._fix_of_parted(found))
        elif is_handed(found) and (region := released_behind(self._tree(found), found, self._program)) is None:
            shape, (best, doubt) = handed_shape(self._tree(found), found, self._program, self._source)
            shapes = iter([shape])
        elif is_dropped(self._tree(found), found):
            shapes = iter([given_back(self._tree(found), found, self._source)])
        elif is_unnamed(self._tree(found), found):
            return _Draft(leak, fix=self._fix_of_named(found))
        else:
            shapes, (best, doubt) = self._shapes_of_region(found, region)
        unit, row = found.unit, self._tree(found).row(found.call.node)
        made = ((Fix(s.message, s.edits, min(best, s.applicability)), s.said_again) for s in shapes)
        proposals = (Proposal(unit, row, fix, again) for fix, again in made)
        return _Draft(leak, next(proposals), proposals, best, doubt)

    def _shapes_of_region(self, found: Found, region: Region | None) -> tuple[Iterator[Shape], Doubt]:
        """The rewrites of a checkout whose release is this function's alone. Raises RefusedError."""
        tree = self._tree(found)
        try:
            region = region or region_of(tree, found, self._program)
        except RefusedError as refused:
            try:
                shape, doubt = owned_shape(tree, found, self._program, self._source)
            except RefusedError:
                raise refused from None
            return iter([shape]), doubt
        return candidates(region, self._program, self._source), applicability_of(region, self._program)

    def _shapes_of_session(self, found: SessionFound, kind: LeakKind) -> Iterator[Shape]:
        """The rewrites of what is held on a connection."""
        stretch = stretch_of(self._tree(found), found, self._program)
        if kind in ENDED:
            return ended_shapes(stretch, kind, self._source)
        if kind in RESTORED:
            return restored_shapes(stretch, self._source)
        return reset_shapes(stretch, self._source)

    def _tree(self, found: Found) -> Tree:
        key = id(found.unit)
        if key not in self._trees:
            self._trees[key] = Tree(found.unit)
        return self._trees[key]

    def _judged(self, draft: _Draft, first: Proposal) -> list[Fix]:
        """The fixes: all of them for somebody who chooses, else up to the first that may be applied the most."""
        fixes: list[Fix] = []
        for proposal in chain([first], draft.others):
            fix = self._judge.judged(proposal)
            fixes.append(replace(fix, message=f"{fix.message}; {draft.doubt}") if draft.doubt else fix)
            if fix.applicability >= draft.best and not self._every:
                break
        return fixes

    def _others(self, fixes: Sequence[Fix], best: Fix) -> tuple[Fix, ...]:
        """The other shapes that somebody may choose."""
        if not self._every:
            return ()
        return tuple(f for f in fixes if f.edits != best.edits and f.applicability > Applicability.DISPLAY_ONLY)

    def _fix_of_named(self, found: Found) -> Fix:
        """The fix of a checkout that needs a name first."""
        tree = self._tree(found)
        fix = self._fix_after(found, named(tree, found, self._source), "needs a name for what it takes")
        message = f"Name the checkout; {fix.message}"
        if not is_optional(tree, found):
            return replace(fix, message=message)
        message = f"{message}; `python -O` leaves line {tree.row(found.call.node)} out as it is"
        return replace(fix, message=message, applicability=min(fix.applicability, Applicability.UNSAFE))

    def _fix_of_parted(self, found: Found) -> Fix:
        """The fix of a checkout that needs a line of its own first."""
        return self._fix_after(found, parted(self._tree(found), found, self._source), "holds several statements")

    def _fix_after(self, found: Found, first: Edit, reason: str) -> Fix:
        """The fix in the text that a first edit of the checkout's line makes, together with that edit."""
        statement = self._tree(found).statement(found.call.node) or found.call.node
        row = self._tree(found).row(statement)
        text = edited(self._source.text, [first])
        added = text.count("\n") - self._source.text.count("\n")
        program = self._program.with_text(self._path, text)
        module = program.facts(self._path)
        if module is None:
            raise RefusedError(f"line {row} {reason}")
        leaks = program.functions.analyse(module, candidates_in(program, module, outer_name(found.unit))).leaks
        leak = next((k for k in leaks if row <= k.span.start.row <= row + added and k.kind in FIXABLE), None)
        if leak is None:
            raise RefusedError(f"line {row} {reason}")
        (inner,) = offered(program, self._path, [leak])
        if inner.fix is None:
            raise RefusedError(_as_before(inner.fix_refused or "", row, added))
        above = [edit for edit in inner.fix.edits if edit.span.end.row < row and edit.span.start == edit.span.end]
        rest = [edit for edit in inner.fix.edits if edit not in above]
        edits = joined(self._source.text, edited(text, rest), above)
        message = _as_before(inner.fix.message, row, added)
        return self._judge.judged(Proposal(found.unit, row, replace(inner.fix, edits=edits, message=message)))


FIXABLE = (
    frozenset({
        LeakKind.RELEASE_DOES_NOT_RELEASE, LeakKind.DISCARDED, LeakKind.NEVER_RELEASED, LeakKind.OVERWRITTEN,
        LeakKind.ON_PATH, LeakKind.ON_EXCEPTION, LeakKind.ACROSS_YIELD, LeakKind.RESET_DOES_NOT_RESET,
    })
    | ENDED
    | RESTORED
    | HOISTED
)  # fmt: skip
"""The faults that some rewrite ends."""


def _with_line(reason: str, leak: Leak) -> str:
    """The reason with the line of the finding, where it names none."""
    return reason if re.search(r"\bline \d", reason) else f"{reason} (line {leak.span.start.row})"


def _as_before(message: str, row: int, added: int) -> str:
    """A message about the text with lines added behind line ``row``, with the lines of the text without."""

    def line(found: re.Match[str]) -> str:
        now = int(found[1])
        return f"line {now if now <= row else max(row, now - added)}"

    return re.sub(r"\bline (\d+)", line, message)
