"""Fixtures: one Python file that holds a small project and what leakcheck must say about it.

The grammar. Marks are comments on the line they speak about; several may follow each other:

    conn = pool.getconn()  # error: LC102 "cur.execute"    reported here, message contains the text
    conn = pool.getconn()  # error: LC102 [note]           and the severity is `note`
    conn = pool.getconn()  # missed: LC102                 should be reported and is not (yet)
    conn = pool.getconn()  # false-alarm: LC102            is reported and should not be (yet)
    return row             # note: "exit"                  some path has a step here: "kind: message"
    def put(conn):         # summary: "releases conn"      what callers may assume, as `--debug summaries` says it
    conn = pool.getconn()  # refused: "line 9 yields"      no fix is offered, for this reason
    conn = pool.getconn()  # offered: unsafe "line 9"      a fix is, of this applicability and with this message

A line without a mark must be silent. `missed` and `false-alarm` fail when the gap closes, so that the
mark is removed. A mark stands on the first line of the call that is reported, `summary` on the line of the `def`.

Lines of their own divide the file; rows in marks are those of the section:

    # --- file: app/db.py ---        another file of the same project (text before the first one is
                                     the file named like the fixture, unless it is only comments)
    # --- fixed ---                  the first file after fixing; `# --- fixed: app/db.py ---` another; only in
                                     fixtures/fixes does a fixture without one say that nothing is fixed
    # --- cfg ---                    the control-flow graphs of the first file's functions, as comments

Headers stand in the first comment block: `# select: LC101, LC102` and `# fix: unsafe`.
Marks and sections are found by tokenising, so strings cannot fake them.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leakcheck.diagnostic import Diagnostic


class FixtureError(Exception):
    """A fixture that does not follow the grammar: file, row and reason."""


class MarkKind(StrEnum):
    """What a mark claims about its line."""

    ERROR = "error"
    MISSED = "missed"
    FALSE_ALARM = "false-alarm"
    NOTE = "note"
    SUMMARY = "summary"
    REFUSED = "refused"
    OFFERED = "offered"


@dataclass(frozen=True, slots=True)
class Mark:
    """One claim about one row of one file; ``severity`` and ``text`` are "" where nothing is claimed."""

    kind: MarkKind
    path: str
    row: int
    code: str = ""
    severity: str = ""
    text: str = ""

    def __str__(self) -> str:
        parts = [self.code, f"[{self.severity}]" if self.severity else "", f'"{self.text}"' if self.text else ""]
        return f"{self.path}:{self.row}: {self.kind}: {' '.join(part for part in parts if part)}"


@dataclass(frozen=True, slots=True)
class Fixture:
    """A parsed fixture. ``files`` are in their order; ``fixed`` holds the files that a fix changes."""

    name: str
    files: Mapping[str, str]
    marks: tuple[Mark, ...]
    select: tuple[str, ...] = ()
    unsafe: bool = False
    fixed: Mapping[str, str] | None = None
    cfg: str | None = None

    @property
    def codes(self) -> frozenset[str]:
        """The codes that the fixture expects, known gaps included."""
        return frozenset(mark.code for mark in self.marks if mark.code)


_SECTION = re.compile(r"# --- (?P<kind>file|fixed|cfg)(?:: (?P<path>\S+))? ---\s*")
_HEADER = re.compile(r"# (?P<key>select|fix): (?P<value>.+)")
_MARK = re.compile(
    r"""\#\ (?:
        (?P<kind>error|missed|false-alarm):\ (?P<code>LC\d{3})
          (?:\ \[(?P<severity>error|warning|note)\])?(?:\ "(?P<text>[^"]*)")?
      | note:\ "(?P<note>[^"]*)"
      | summary:\ "(?P<summary>[^"]*)"
      | refused:\ "(?P<refused>[^"]*)"
      | offered:\ (?P<offered>safe|unsafe|display)(?:\ "(?P<title>[^"]*)")?
    )\s*""",
    re.VERBOSE,
)
_LOOKS_LIKE_A_MARK = re.compile(r"#\s*(error|missed|false-alarm|note|summary|refused|offered)\s*:", re.IGNORECASE)


def read_fixture(location: Path) -> Fixture:
    """The fixture in the file ``location``."""
    return parse_fixture(location.name, location.read_text(encoding="utf-8"))


def parse_fixture(name: str, text: str) -> Fixture:
    """The fixture ``name`` written as ``text``."""
    comments = list(_comments(text))
    select: tuple[str, ...] = ()
    unsafe = False
    for row, column, comment in comments:
        if column or row > _first_block(text):
            continue
        header = _HEADER.fullmatch(comment)
        if header is None:
            continue
        if header["key"] == "select":
            select = tuple(code.strip() for code in header["value"].split(","))
        elif header["value"].strip() == "unsafe":
            unsafe = True
        else:
            raise FixtureError(f"{name}:{row}: `# fix:` knows only `unsafe`")
    files: dict[str, str] = {}
    fixed: dict[str, str] = {}
    marks: list[Mark] = []
    cfg: str | None = None
    for section in _sections(name, text, comments):
        match section.kind:
            case "file":
                if section.path in files:
                    raise FixtureError(f"{name}:{section.first}: `{section.path}` is there twice")
                files[section.path] = section.text
                marks.extend(_marks_in(name, section, comments))
            case "fixed":
                fixed[section.path or next(iter(files))] = section.text
            case _:
                cfg = _uncommented(section.text)
    if not files:
        raise FixtureError(f"{name}: no code")
    return Fixture(name, files, tuple(marks), select, unsafe, fixed or None, cfg)


def disagreements(fixture: Fixture, diagnostics: Iterable[Diagnostic]) -> list[str]:
    """What differs between a fixture's marks and ``diagnostics``, whose paths are those of the fixture."""
    diagnostics = list(diagnostics)
    found = list(diagnostics)
    wrong: list[str] = []
    for mark in fixture.marks:
        here = [one for one in found if (one.path, one.span.start.row, one.code) == (mark.path, mark.row, mark.code)]
        match mark.kind:
            case MarkKind.ERROR | MarkKind.FALSE_ALARM:
                hit = next((one for one in here if _agrees(mark, one)), None)
                if hit is not None:
                    found.remove(hit)
                elif mark.kind is MarkKind.FALSE_ALARM:
                    wrong.append(f"{mark}: no longer reported: delete the mark")
                else:
                    others = "; ".join(f"got [{one.severity}] {one.message}" for one in here)
                    wrong.append(f"{mark}: not reported" + (f" ({others})" if others else ""))
            case MarkKind.MISSED:
                if here:
                    found.remove(here[0])
                    wrong.append(f"{mark}: reported now: make it `# error:`")
            case MarkKind.NOTE:
                steps = (step for one in diagnostics for step in one.steps)
                if not any(
                    (step.path, step.span.start.row) == (mark.path, mark.row)
                    and mark.text in f"{step.kind}: {step.message}"
                    for step in steps
                ):
                    wrong.append(f"{mark}: no such step")
            case MarkKind.REFUSED | MarkKind.OFFERED:
                wrong.extend(_fix_disagreements(mark, diagnostics))
            case MarkKind.SUMMARY:
                pass  # see `summary_disagreements`
    wrong.extend(
        f"{one.path}:{one.span.start.row}: unexpected {one.code} [{one.severity}] {one.message}" for one in found
    )
    return wrong


_APPLICABILITY = {"safe": 2, "unsafe": 1, "display": 0}


def _fix_disagreements(mark: Mark, diagnostics: Iterable[Diagnostic]) -> list[str]:
    """What differs between a mark about a fix and the findings on its line."""
    here = [one for one in diagnostics if (one.path, one.span.start.row) == (mark.path, mark.row)]
    said = [one.fix_refused or (one.fix and f"{one.fix.applicability.name}: {one.fix.message}") or "-" for one in here]
    for one in here:
        if mark.kind is MarkKind.REFUSED and one.fix_refused is not None and mark.text in one.fix_refused:
            return []
        if mark.kind is MarkKind.OFFERED and one.fix is not None and mark.text in one.fix.message:
            same = one.fix.applicability == _APPLICABILITY[mark.severity]
            if same:
                return []
    return [f"{mark}: it is {'; '.join(said) or 'no finding'}"]


def summary_disagreements(fixture: Fixture, summaries: Mapping[str, str]) -> list[str]:
    """What differs between a fixture's `summary` marks and ``summaries``: path → lines of `row: function: facts`."""
    wrong: list[str] = []
    for mark in fixture.marks:
        if mark.kind is MarkKind.SUMMARY:
            lines = summaries.get(mark.path, "").splitlines()
            here = [line for line in lines if line.startswith(f"{mark.row}: ")]
            if not here:
                wrong.append(f"{mark}: no function is defined on this line")
            elif mark.text not in here[0]:
                wrong.append(f"{mark}: it is {here[0].partition(': ')[2]}")
    return wrong


def with_sections(fixture: Fixture, text: str, fixed: Mapping[str, str] | None, cfg: str | None) -> str:
    """The fixture's ``text`` with its `fixed` and `cfg` sections replaced; everything else stays as it is."""
    comments = list(_comments(text))
    starts = [row for row, column, comment in comments if not column and _is_result(comment)]
    kept = text.splitlines(keepends=True)[: starts[0] - 1] if starts else text.splitlines(keepends=True)
    parts = ["".join(kept).rstrip("\n") + "\n"]
    first = next(iter(fixture.files))
    for path, content in (fixed or {}).items():
        label = "fixed" if path == first else f"fixed: {path}"
        parts.append(f"\n\n# --- {label} ---\n{content.rstrip()}\n")
    if cfg is not None:
        parts.append(f"\n\n# --- cfg ---\n{_commented(cfg)}")
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class _Section:
    kind: str
    path: str
    first: int  # row of the fixture on which the section's text begins
    last: int
    text: str


def _sections(name: str, text: str, comments: list[tuple[int, int, str]]) -> Iterator[_Section]:
    lines = text.splitlines(keepends=True)
    starts = [
        (row, match) for row, column, comment in comments if not column and (match := _SECTION.fullmatch(comment))
    ]
    preamble = starts[0][0] - 1 if starts else len(lines)
    if any(line.strip() and not line.startswith("#") for line in lines[:preamble]):
        yield _Section("file", name, 1, preamble, _body(lines[:preamble]))
    for index, (row, match) in enumerate(starts):
        end = starts[index + 1][0] - 1 if index + 1 < len(starts) else len(lines)
        path = match["path"] or ""
        if (match["kind"] == "file") != bool(path) and match["kind"] != "fixed":
            raise FixtureError(f"{name}:{row}: `file` needs a path, `cfg` has none")
        yield _Section(match["kind"], path, row + 1, end, _body(lines[row:end]))


def _commented(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in text.rstrip().split("\n"))


def _uncommented(text: str) -> str:
    return "".join(line.removeprefix("#").removeprefix(" ") for line in text.splitlines(keepends=True))


def _body(lines: list[str]) -> str:
    stripped = "".join(lines).rstrip("\n")
    return f"{stripped}\n" if stripped else ""


def _marks_in(name: str, section: _Section, comments: list[tuple[int, int, str]]) -> Iterator[Mark]:
    for row, _, comment in comments:
        if section.first <= row <= section.last:
            yield from _marks_of(f"{name}:{row}", comment, section.path, row - section.first + 1)


def _marks_of(where: str, comment: str, path: str, row: int) -> Iterator[Mark]:
    for found in _MARK.finditer(comment):
        if found["kind"]:
            kind = MarkKind(found["kind"])
            yield Mark(kind, path, row, found["code"], found["severity"] or "", found["text"] or "")
        elif found["note"] is not None:
            yield Mark(MarkKind.NOTE, path, row, text=found["note"])
        elif found["refused"] is not None:
            yield Mark(MarkKind.REFUSED, path, row, text=found["refused"])
        elif found["offered"] is not None:
            yield Mark(MarkKind.OFFERED, path, row, severity=found["offered"], text=found["title"] or "")
        else:
            yield Mark(MarkKind.SUMMARY, path, row, text=found["summary"])
    if _LOOKS_LIKE_A_MARK.search(_MARK.sub("", comment)):
        raise FixtureError(f"{where}: not a mark: {comment}")


def _agrees(mark: Mark, diagnostic: Diagnostic) -> bool:
    return mark.text in diagnostic.message and mark.severity in ("", diagnostic.severity.value)


def _is_result(comment: str) -> bool:
    match = _SECTION.fullmatch(comment)
    return match is not None and match["kind"] != "file"


def _first_block(text: str) -> int:
    """The last row of the comment block that opens the file."""
    for row, line in enumerate(text.splitlines()):
        if not line.startswith("#"):
            return row
    return len(text.splitlines())


def _comments(text: str) -> Iterator[tuple[int, int, str]]:
    """Row, column and text of each comment. A file that is broken on purpose is read as far as it goes."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.start[1], token.string
    except (tokenize.TokenError, SyntaxError):
        return


def count_marks(fixtures: Iterable[Fixture]) -> Counter[MarkKind]:
    """How many marks of each kind there are: the honest table of what is covered and what is a gap."""
    return Counter(mark.kind for fixture in fixtures for mark in fixture.marks)
