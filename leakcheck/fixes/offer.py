"""The fix of each leak of one file, or the reason why there is none: the entry of this stage.

    offered(program, "app/db.py", leaks)   →   the leaks, each with ``fix`` or ``fix_refused``

With ``every`` the other shapes that a fix may take are made, too, for somebody who chooses.

A rewrite is offered only after a gate: the changed text parses, a second analysis of it shows this fault gone and no
new one, and no comment is lost. What fails there is shown to a reader, and never written.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from leakcheck.diagnostic import Applicability, Fix
from leakcheck.fixes.apply import edited
from leakcheck.fixes.conditions import applicability_of
from leakcheck.fixes.ended import ENDED, ended_shapes
from leakcheck.fixes.entered import entered, entered_shape
from leakcheck.fixes.hoist import HOISTED, hoisted
from leakcheck.fixes.naming import is_unnamed, joined, named
from leakcheck.fixes.region import region_of
from leakcheck.fixes.restored import RESTORED, reset_shapes, restored_shapes
from leakcheck.fixes.shapes import candidates
from leakcheck.fixes.stretch import stretch_of
from leakcheck.fixes.tree import RefusedError, Tree
from leakcheck.ownership.found import SessionFound
from leakcheck.ownership.leak import LeakKind
from leakcheck.ownership.program import Failure, on_large_stack
from leakcheck.ownership.units import name_of
from leakcheck.project import gate
from leakcheck.project.facts import FunctionFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.ownership.found import Found
    from leakcheck.ownership.leak import Leak
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.facts import ModuleFacts, Statement
    from leakcheck.source import Source


_MOST_ROWS = 200_000
"""Each fix is judged by an analysis of the changed file: after this many rows, the file's other faults have none."""


def offered(program: Program, path: str, leaks: Sequence[Leak], *, every: bool = False) -> tuple[Leak, ...]:
    """The leaks of the file ``path``, those of a kind that can be fixed with a fix or the reason against one."""

    def work() -> tuple[Leak, ...]:
        offer = _Offer(program, path, every=every)
        return tuple(offer.offered(leak) for leak in leaks)

    return on_large_stack(work)


class _Offer:
    """The fixes of one file."""

    def __init__(self, program: Program, path: str, *, every: bool = False) -> None:
        self._program = program
        self._every = every
        self._others: tuple[Fix, ...] = ()
        self._path = path
        self._trees: dict[int, Tree] = {}
        source = program.source(path)
        assert not isinstance(source, Failure)
        self._source: Source = source
        self._rows = 0
        self._before: dict[str, tuple[Faults | None, int]] = {}

    def offered(self, leak: Leak) -> Leak:
        """The leak with its fix or the reason against one."""
        if leak.kind not in FIXABLE:
            return leak
        self._others = ()
        if self._rows > _MOST_ROWS:
            return replace(leak, fix_refused="the file has too many faults to rewrite them all at once")
        self._rows += self._source.text.count("\n")
        try:
            fix = self._fix_of(leak)
            return replace(leak, fix=fix, other_fixes=self._others)
        except RefusedError as refused:
            return replace(leak, fix_refused=_with_line(str(refused), leak))

    def _fix_of(self, leak: Leak) -> Fix:
        if leak.kind in HOISTED:
            return hoisted(self._program, self._path, leak, self._source)
        found = self._program.functions.origins.get((self._path, leak.kind, leak.span, leak.name))
        if found is None and leak.kind is LeakKind.RESET_DOES_NOT_RESET:
            raise RefusedError(f"what `{leak.acquire}` of line {leak.span.start.row} is to reset is not visible")
        if found is None:
            raise RefusedError(f"the checkout of line {leak.span.start.row} is not in one place")
        if isinstance(found, SessionFound):
            return self._fix_of_session(found, leak.kind)
        return self._fix(found)

    def _fix_of_session(self, found: SessionFound, kind: LeakKind) -> Fix:
        """The fix of what is held on a connection: the first shape that may be applied the most."""
        stretch = stretch_of(self._tree(found), found, self._program)
        if kind in ENDED:
            shapes = ended_shapes(stretch, kind, self._source)
        elif kind in RESTORED:
            shapes = restored_shapes(stretch, self._source)
        else:
            shapes = reset_shapes(stretch, self._source)
        fixes = [self._gated(found, Fix(shape.message, shape.edits, shape.applicability)) for shape in shapes]
        return self._best(fixes)

    def _tree(self, found: Found) -> Tree:
        key = id(found.unit)
        if key not in self._trees:
            self._trees[key] = Tree(found.unit)
        return self._trees[key]

    def _fix(self, found: Found) -> Fix:
        block = entered(self._tree(found), found)
        if block is not None:
            shape, (tier, doubt) = entered_shape(self._tree(found), found, block, self._program, self._source)
            fix = self._gated(found, Fix(shape.message, shape.edits, tier))
            return replace(fix, message=f"{fix.message}; {doubt}") if doubt else fix
        if is_unnamed(self._tree(found), found):
            return self._fix_of_named(found)
        region = region_of(self._tree(found), found)
        applicability, reason = applicability_of(region, self._program)
        fixes: list[Fix] = []
        for shape in candidates(region, self._program, self._source):
            fix = Fix(shape.message, shape.edits, min(applicability, shape.applicability))
            fix = self._gated(found, fix)
            fixes.append(replace(fix, message=f"{fix.message}; {reason}") if reason else fix)
            if fix.applicability >= applicability and not self._every:
                break
        return self._best(fixes)

    def _best(self, fixes: Sequence[Fix]) -> Fix:
        """The first of those that may be applied the most; the others that may be are kept beside it."""
        best = max(fixes, key=lambda fix: fix.applicability)
        if self._every:
            self._others = tuple(
                fix for fix in fixes if fix.edits != best.edits and fix.applicability > Applicability.DISPLAY_ONLY
            )
        return best

    def _fix_of_named(self, found: Found) -> Fix:
        """The fix of a checkout that needs a name first: that of the text in which it has one."""
        tree = self._tree(found)
        naming = named(tree, found, self._source)
        text = edited(self._source.text, [naming])
        program = self._program.with_text(self._path, text)
        module = program.facts(self._path)
        if module is None:
            raise RefusedError("the text with a name for it cannot be parsed")
        wanted = _candidates(program, module, _outer_name(found))
        leaks = program.functions.analyse(module, wanted).leaks
        row = tree.row(tree.statement(found.call.node) or found.call.node)
        leak = next((one for one in leaks if one.span.start.row == row and one.kind in FIXABLE), None)
        if leak is None:
            raise RefusedError(f"line {row} needs a name for what it takes")
        inner = _Offer(program, self._path).offered(leak)
        if inner.fix is None:
            raise RefusedError(_without_name(inner.fix_refused or "", row))
        above = [edit for edit in inner.fix.edits if edit.span.end.row < row and edit.span.start == edit.span.end]
        rest = [edit for edit in inner.fix.edits if edit not in above]
        edits = joined(self._source.text, edited(text, rest), above)
        message = f"Name the checkout; {_without_name(inner.fix.message, row)}"
        return self._gated(found, replace(inner.fix, edits=edits, message=message))

    def _gated(self, found: Found, fix: Fix) -> Fix:
        """The fix, milder where its result does not pass."""
        text = edited(self._source.text, fix.edits)
        lost = self._touches_comments(fix) and _comments(self._source.text) - _comments(text)
        if self._leaves_faults(found, text):
            return replace(fix, applicability=Applicability.DISPLAY_ONLY)
        if lost:
            message = f"{fix.message}; a comment would be lost"
            return replace(fix, message=message, applicability=min(fix.applicability, Applicability.UNSAFE))
        return fix

    def _touches_comments(self, fix: Fix) -> bool:
        """Whether a comment can be lost: one stands in the rows that the fix changes."""
        return any("#" in self._source.rows(edit.span.start.row, edit.span.end.row) for edit in fix.edits)

    def _leaves_faults(self, found: Found, text: str) -> bool:
        """Whether the changed text does not parse, still shows the fault, or shows a new one."""
        outer = _outer_name(found)
        if outer not in self._before:
            self._before[outer] = _faults(self._program, self._path, outer)
        before, skipped_before = self._before[outer]
        after, skipped_after = _faults(self._program.with_text(self._path, text), self._path, outer)
        if after is None or before is None or skipped_after > skipped_before:
            return True
        return bool(after - before) or after.total() >= before.total()


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
Faults = Counter[tuple[LeakKind, str, str]]


def _faults(program: Program, path: str, outer: str) -> tuple[Faults | None, int]:
    """The faults in an outermost function, nested ones among them, and how much in it was left out."""
    module = program.facts(path)
    if module is None:
        return None, 0
    analysis = program.functions.analyse(module, _candidates(program, module, outer))
    return Counter((leak.kind, leak.acquire, leak.name or "") for leak in analysis.leaks), len(analysis.skipped)


def _with_line(reason: str, leak: Leak) -> str:
    """The reason with the line of the finding, where it names none."""
    return reason if re.search(r"\bline \d", reason) else f"{reason} (line {leak.span.start.row})"


def _candidates(program: Program, module: ModuleFacts, outer: str) -> list[FunctionFacts | Statement]:
    """The functions in an outermost function, itself among them, or the loop of this name, that may take something."""
    items: list[FunctionFacts | Statement] = [*module.functions.values(), *module.loops]
    inside = [item for item in items if _outermost(module, item) == outer]
    return [item for item in inside if gate.matters(program, module, item)]


def _outer_name(found: Found) -> str:
    return found.unit.name.partition("@")[0] if found.unit.facts is None else _root(found.unit).name


def _root(unit: Unit) -> Unit:
    while unit.parent is not None:
        unit = unit.parent
    return unit


def _outermost(module: ModuleFacts, item: FunctionFacts | Statement) -> str:
    while isinstance(item, FunctionFacts) and item.parent is not None:
        item = module.functions[item.parent]
    return name_of(item)


def _without_name(message: str, row: int) -> str:
    """A message about the text with a name in front of line ``row``, with the lines of the text without."""
    return re.sub(r"\bline (\d+)", lambda found: f"line {int(found[1]) - (int(found[1]) > row)}", message)


def _comments(text: str) -> Counter[str]:
    """The comments of a text; none where it has no tokens, which the analysis finds out, too."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text, newline="").readline))
    except (tokenize.TokenError, SyntaxError):
        return Counter()
    return Counter(token.string for token in tokens if token.type == tokenize.COMMENT)
