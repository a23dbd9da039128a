"""Fixes applied to files: choose, edit, check again, until nothing is left to apply; then one write per file.

    outcome = rewritten(report, check, read, Applicability.SAFE)
    outcome.files["app/db.py"].after   →   the new bytes

Of fixes that overlap the first is applied, and the file is checked again. A round after which a file has a finding
that it had not before, or still has one that was fixed, is taken back.

``silenced`` writes comments instead, in one round, under the same condition.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct, field

from leakcheck.diagnostic import Applicability, Diagnostic, Edit, Fix, LeakcheckError
from leakcheck.fixes.apply import edited, overlap
from leakcheck.ignoring import comments
from leakcheck.reader import Read
from leakcheck.report import Report
from leakcheck.source import encoding_of
from leakcheck.writing import put

ROUNDS = 50
"""More rounds than this mean that fixes make way for each other for ever."""
MASKED = frozenset({"LC203", "LC204"})
"""Notes about pools that are not told while there is something worse to say: a fix of that may uncover them."""
Check = Callable[[Read, frozenset[str] | None], Report]
"""Checks these files, or all, with this way to read."""
Choose = Callable[[Diagnostic, bytes, Sequence[tuple[Fix, bytes]]], Fix | None]
"""Which fix of a finding to apply, if any, given the text and what each makes of it."""


class Change(Struct, frozen=True):
    """One file before and after its fixes, and what was fixed."""

    before: bytes
    after: bytes
    fixed: tuple[Diagnostic, ...] = ()


class Rewritten(Struct, frozen=True):
    """What is left to report, the files that changed, and the findings that no comment can silence."""

    report: Report
    files: Mapping[str, Change] = field(default_factory=dict)
    left: tuple[Diagnostic, ...] = ()

    @property
    def fixed(self) -> int:
        """How many findings are gone."""
        return sum(len(change.fixed) for change in self.files.values())


def preferred(_diagnostic: Diagnostic, _before: bytes, fixes: Sequence[tuple[Fix, bytes]]) -> Fix | None:
    """Apply every fix in its preferred shape."""
    return fixes[0][0]


def rewritten(report: Report, check: Check, read: Read, least: Applicability, choose: Choose = preferred) -> Rewritten:
    """The outcome of all fixes of at least this applicability; nothing is written.

    Each round looks at the files that it changed; what their changes mean for others is asked when these are done.
    """
    work = _Work(check, read, least, choose)
    for _ in range(ROUNDS):
        fixed = work.fixed
        waiting = _by_path(report.diagnostics)
        for _ in range(ROUNDS):
            waiting = work.round(waiting)
            if not waiting:
                break
        if fixed == work.fixed:
            break
        report = check(work.lent, None)
    return Rewritten(report, work.files)


def silenced(report: Report, check: Check, read: Read, reason: str) -> Rewritten:
    """The outcome of a comment with this reason on the statement of every finding; nothing is written."""
    files: dict[str, Change] = {}
    left: list[Diagnostic] = []
    by_path = _by_path(report.diagnostics)
    for path, found in by_path.items():
        before = read(path)
        try:
            encoding = encoding_of(before)
            text = before.decode(encoding)
        except (SyntaxError, LookupError, UnicodeDecodeError):
            continue  # LC900 says so
        wanted = comments(text, found, reason)
        left += wanted.left
        try:
            after = edited(text, wanted.edits).encode(encoding)
        except UnicodeEncodeError as error:
            message = f"{path}: nothing was changed: its encoding, {encoding}, cannot hold the reason {reason!r}"
            raise LeakcheckError(message) from error
        if wanted.silenced:
            files[path] = Change(before, after, wanted.silenced)
    if not files:
        return Rewritten(report, left=tuple(left))

    def lent(path: str) -> bytes:
        return files[path].after if path in files else read(path)

    found_again = _by_path(check(lent, frozenset(files)).diagnostics)
    for path in tuple(files):
        if not _is_only_less(by_path[path], found_again.get(path, []), files[path].fixed):
            left += files.pop(path).fixed
    return Rewritten(check(lent, None), files, tuple(left))


def patch(path: str, change: Change) -> bytes:
    """The change as a patch that ``git apply`` and ``patch -p1`` take."""
    import difflib

    name = os.path.relpath(path) if os.path.isabs(path) else path
    old, new = _lines(change.before), _lines(change.after)
    out = [f"--- a/{name}\n", f"+++ b/{name}\n"]
    body = list(difflib.unified_diff(old, new))[2:]  # behind its own header, whose names it cannot keep apart
    out += [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in body]
    return "".join(out).encode("utf-8", "surrogateescape")


def _lines(data: bytes) -> list[str]:
    """The lines as ``git`` sees them; bytes that are no UTF-8 survive."""
    *whole, rest = data.decode("utf-8", "surrogateescape").split("\n")
    return [*(f"{line}\n" for line in whole), *([rest] if rest else [])]


def write(path: str, change: Change) -> None:
    """Put the new text in the place of the old: at once, or not at all. LeakcheckError where that cannot be."""
    target = os.path.realpath(path)
    try:
        with open(target, "rb") as file:
            if file.read() != change.before:
                raise LeakcheckError(f"{path}: not changed: the file changed in the meantime; run leakcheck again")
        if not os.access(target, os.W_OK):
            raise LeakcheckError(
                f"{path}: not changed: the file is read-only; make it writable and run leakcheck again"
            )
        put(target, change.after)
    except OSError as error:
        raise LeakcheckError(f"{path}: not changed: {error.strerror}") from error


class _Work:
    """The texts on their way through the rounds."""

    def __init__(self, check: Check, read: Read, least: Applicability, choose: Choose) -> None:
        self._check = check
        self._read = read
        self._least = least
        self._choose = choose
        self._promised: dict[tuple[str, str, str], str] = {}
        self._declined: set[tuple[str, str, str]] = set()
        self._single: set[str] = set()
        self._current: dict[str, bytes] = {}
        self.files: dict[str, Change] = {}

    @property
    def fixed(self) -> int:
        """How many findings are fixed by now."""
        return sum(len(change.fixed) for change in self.files.values())

    def lent(self, path: str) -> bytes:
        """The text of a file as far as it is fixed."""
        found = self._current.get(os.path.abspath(path))
        return self._read(path) if found is None else found

    def round(self, waiting: Mapping[str, list[Diagnostic]]) -> dict[str, list[Diagnostic]]:
        """Apply what can be applied together; the findings of the files that changed."""
        tried: dict[str, tuple[bytes, list[Diagnostic]]] = {}
        for path, found in waiting.items():
            before = self.lent(path)
            picked = self._picked(path, found, before)
            if picked:
                tried[path] = (before, [one for one, _ in picked])
                self._current[os.path.abspath(path)] = _edited(before, [fix for _, fix in picked])
        if not tried:
            return {}
        found_again = _by_path(self._check(self.lent, frozenset(tried)).diagnostics)
        following: dict[str, list[Diagnostic]] = {}
        for path, (before, fixed) in tried.items():
            after = found_again.get(path, [])
            if _is_better(waiting[path], after, len(fixed)):
                start = self.files.get(path, Change(before, before))
                text = self._current[os.path.abspath(path)]
                self.files[path] = Change(start.before, text, (*start.fixed, *fixed))
                following[path] = after
                continue
            self._current[os.path.abspath(path)] = before
            if len(fixed) == 1:
                self._declined.add(_key(fixed[0]))
            self._single.add(path)
            following[path] = waiting[path]
        return following

    def _picked(self, path: str, found: Iterable[Diagnostic], text: bytes) -> list[tuple[Diagnostic, Fix]]:
        picked: list[tuple[Diagnostic, Fix]] = []
        taken: list[Edit] = []
        for one in found:
            fixes = [each for each in (one.fix, *one.other_fixes) if each is not None and self._may(each)]
            if not fixes or _key(one) in self._declined or overlap(fixes[0].edits, taken):
                continue
            fix = self._wanted(one, text, fixes)
            if fix is None:
                self._declined.add(_key(one))
            elif overlap(fix.edits, taken):
                self._promised[_key(one)] = fix.message  # another shape than the preferred one: it has its turn next
            else:
                picked.append((one, fix))
                taken += fix.edits
        return picked[:1] if path in self._single else picked

    def _may(self, fix: Fix) -> bool:
        return fix.applicability >= self._least

    def _wanted(self, one: Diagnostic, text: bytes, fixes: Sequence[Fix]) -> Fix | None:
        """The shape of a finding's fix to apply: the one that was chosen before, or is chosen now."""
        promised = self._promised.get(_key(one))
        if promised is not None:
            return next((fix for fix in fixes if fix.message == promised), fixes[0])
        return self._choose(one, text, [(fix, _edited(text, [fix])) for fix in fixes])


def _key(diagnostic: Diagnostic) -> tuple[str, str, str]:
    """What stays the same of a finding while the lines around it move."""
    return diagnostic.path, diagnostic.code, f"{diagnostic.function} {diagnostic.message}"


def _edited(data: bytes, fixes: Iterable[Fix]) -> bytes:
    encoding = encoding_of(data)
    text = data.decode(encoding)
    return edited(text, [edit for fix in fixes for edit in fix.edits]).encode(encoding)


def _is_better(before: Iterable[Diagnostic], after: Iterable[Diagnostic], fixed: int) -> bool:
    """Whether as many findings are gone as were fixed, and none is new."""
    old, new = (Counter(one.code for one in found if one.code not in MASKED) for found in (before, after))
    return not new - old and new.total() <= old.total() - fixed


def _is_only_less(before: Iterable[Diagnostic], after: Iterable[Diagnostic], gone: Iterable[Diagnostic]) -> bool:
    """Whether exactly these findings are gone, and all others are where they were."""

    def places(found: Iterable[Diagnostic]) -> Counter[tuple[str, int]]:
        return Counter((one.code, one.span.start.row) for one in found)

    return places(before) - places(gone) == places(after)


def _by_path(diagnostics: Iterable[Diagnostic]) -> dict[str, list[Diagnostic]]:
    grouped: dict[str, list[Diagnostic]] = {}
    for one in diagnostics:
        grouped.setdefault(one.path, []).append(one)
    return grouped
