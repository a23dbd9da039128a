"""Suppressions: comments that silence a rule on a statement or in a file.

``apply`` takes the diagnostics of one file and its text, and returns those that no comment silences, plus
what is wrong with the comments themselves (LC901 unused, LC902 unknown).

    conn = pool.getconn()  # leakcheck: ignore[LC102] -- closed by the worker's watchdog
    # leakcheck: ignore-file[leaks-on-exception]      (before the first statement)
    conn = pool.getconn()  # noqa: LC102

Comments are found by tokenising, so a string cannot fake one; in a text that does not tokenise there are none.
A bare ``# noqa``, or one for other tools, is never unused. ``# noqa: LC102`` names our rule, so it can be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import Enum

from msgspec import Struct

from leakcheck.diagnostic import Diagnostic, Position, Severity, Span

UNUSED = "LC901"
UNKNOWN = "LC902"
_SELF = frozenset({UNUSED, UNKNOWN})  # a comment about comments is taken at its word

_OURS = re.compile(r"#\s*leakcheck:\s*(?P<verb>ignore(?:-file)?)(?![\w-])\s*(?:\[(?P<rules>[^\]]*)\])?")
_NOQA = re.compile(
    r"#\s*noqa(?![\w-])(?P<colon>\s*:\s*)?(?P<rules>[A-Z]+[0-9]+(?:[\s,]+[A-Z]+[0-9]+)*)?", re.IGNORECASE
)
_SPELLED = re.compile(r"leakcheck:|noqa", re.IGNORECASE)
_NOQA_OF_OURS = re.compile(rb"#\s*noqa\s*:[^#\n]*\bLC\d", re.IGNORECASE)


class Verb(Enum):
    """What a comment asks for."""

    IGNORE = "ignore"
    IGNORE_FILE = "ignore-file"
    NOQA = "noqa"


class Suppression(Struct, frozen=True):
    """One comment. ``rules`` are codes or names as written; None stands for every rule.

    ``counts`` is False for an ``ignore-file`` after the first statement, which silences nothing.
    """

    verb: Verb
    span: Span
    rules: tuple[str, ...] | None
    counts: bool = True


class Catalogue(Struct, frozen=True):
    """What ``apply`` must know of the rules: all of them, and those that run on this file.

    ``code`` maps a code or a name as written to the code, or None; ``hint`` says what was probably meant.
    """

    code: Callable[[str], str | None]
    hint: Callable[[str], str]
    active: Collection[str]


def may_contain(data: bytes) -> bool:
    """Whether the bytes of a file can hold a comment that LC901 or LC902 is about: a cheap test, never too strict."""
    return b"leakcheck:" in data or (b"LC" in data and _NOQA_OF_OURS.search(data) is not None)


def suppressions(text: str) -> tuple[Suppression, ...]:
    """The suppressions in ``text``, in order."""
    if _SPELLED.search(text) is None:
        return ()  # tokenising a file takes longer than parsing it
    return tuple(found for comment, at, heading in _comments(text) for found in _read(comment, at, heading=heading))


def apply(diagnostics: Iterable[Diagnostic], path: str, text: str, catalogue: Catalogue) -> tuple[Diagnostic, ...]:
    """The diagnostics of one file that stay, with those about its suppressions; unsorted."""
    found = suppressions(text)
    used: dict[Suppression, set[str]] = {each: set() for each in found}
    staying: list[Diagnostic] = []
    for diagnostic in diagnostics:
        silencing = [each for each in found if _silences(each, diagnostic, catalogue)]
        for each in silencing:
            used[each].add(diagnostic.code)
        if not silencing:
            staying.append(diagnostic)
    faults = [fault for each in found for fault in _faults(each, used[each], path, catalogue)]
    staying += [
        fault
        for fault in faults
        if fault.code in catalogue.active and not any(_silences(each, fault, catalogue) for each in found)
    ]
    return tuple(staying)


def _silences(suppression: Suppression, diagnostic: Diagnostic, catalogue: Catalogue) -> bool:
    if not suppression.counts:
        return False
    if suppression.rules is None:
        # A bare noqa beside one of our comments would otherwise silence what is wrong with the comment.
        named = diagnostic.code not in _SELF
    else:
        named = any(catalogue.code(rule) == diagnostic.code for rule in suppression.rules)
    if not named or suppression.verb is Verb.IGNORE_FILE:
        return named
    statement = diagnostic.statement
    return statement.start.row <= suppression.span.start.row <= statement.end.row


def _faults(suppression: Suppression, used: set[str], path: str, catalogue: Catalogue) -> Iterator[Diagnostic]:
    written = f"# {suppression.verb.value}" if suppression.verb is Verb.NOQA else f"`{suppression.verb.value}`"
    if suppression.rules is None:
        return
    if not suppression.rules:
        yield _fault(UNKNOWN, f"{written} names no rule: write `{suppression.verb.value}[LC102]`", path, suppression)
        return
    unused: list[str] = []
    for rule in dict.fromkeys(suppression.rules):
        code = catalogue.code(rule)
        if code is None:
            # Behind a noqa, an unknown code is probably another tool's.
            if suppression.verb is not Verb.NOQA:
                yield _fault(UNKNOWN, f"there is no rule `{rule}`{catalogue.hint(rule)}", path, suppression)
        elif code in catalogue.active and code not in used and code not in _SELF:
            unused.append(rule)
    if not suppression.counts:
        yield _fault(UNUSED, f"{written} only counts in the comments before the first statement", path, suppression)
    elif unused:
        where = "in this file" if suppression.verb is Verb.IGNORE_FILE else "here"
        yield _fault(UNUSED, f"unused suppression: nothing {where} is {' or '.join(unused)}", path, suppression)


_NAMES = {UNUSED: "unused-suppression", UNKNOWN: "unknown-rule-in-suppression"}


def _fault(code: str, message: str, path: str, suppression: Suppression) -> Diagnostic:
    return Diagnostic(
        code=code,
        name=_NAMES[code],
        message=message,
        severity=Severity.WARNING,
        path=path,
        span=suppression.span,
        statement=suppression.span,
    )


def _read(comment: str, at: Position, *, heading: bool) -> Iterator[Suppression]:
    for match in _OURS.finditer(comment):
        verb = Verb(match["verb"])
        rules = tuple(rule for rule in re.split(r"[\s,]+", match["rules"] or "") if rule)
        yield Suppression(verb, _span(match, at), rules, counts=heading or verb is Verb.IGNORE)
    for match in _NOQA.finditer(comment):
        if match["colon"] is None:
            yield Suppression(Verb.NOQA, _span(match, at), None)
        elif match["rules"]:
            yield Suppression(Verb.NOQA, _span(match, at), tuple(re.split(r"[\s,]+", match["rules"].upper())))


def _span(match: re.Match[str], at: Position) -> Span:
    end = match.start() + len(match.group().rstrip())
    return Span(Position(at.row, at.column + match.start()), Position(at.row, at.column + end))


def _comments(text: str) -> list[tuple[str, Position, bool]]:
    """The comments of a text with their places, and whether each stands before the first statement."""
    import tokenize  # here, because most files have nothing to silence

    # Not str.splitlines: it also breaks at characters that end no line of Python, such as a form feed.
    lines = (line + "\n" for line in re.split(r"\r\n?|\n", text))
    found: list[tuple[str, Position, bool]] = []
    heading = True
    quiet = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING)
    try:
        for token in tokenize.generate_tokens(lambda: next(lines, "")):
            heading = heading and token.type in quiet
            if token.type == tokenize.COMMENT:
                row, column = token.start
                found.append((token.string, Position(row, column + 1), heading))
    except (tokenize.TokenError, SyntaxError):
        return []
    return found
