"""The part of a run that changes files: ``--fix`` writes, ``--diff`` prints a patch, ``--interactive`` asks.

``--add-ignore`` writes comments instead of fixes, and ``--diff`` shows these, too.

What is printed afterwards is what is left; the counts of what was fixed come last. Text from standard input is
printed fixed, and its findings go to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from leakcheck import ignoring, output, rewriting
from leakcheck.config import Config
from leakcheck.diagnostic import Applicability, Diagnostic, Fix, LeakcheckError
from leakcheck.output.full import APPLICABILITY
from leakcheck.project.files import Discovery
from leakcheck.reader import Read
from leakcheck.report import Report
from leakcheck.rewriting import Change, Rewritten
from leakcheck.run import BROKEN, CLEAN, FINDINGS, STDIN, Options, checked, complain, lent, notes, say, show, status


def run(options: Options) -> int:
    """Check, fix as far as the options allow, print what is left; the exit status."""
    read, projects = lent(options)

    def check(fixed: Read, only: frozenset[str] | None) -> Report:
        return checked(options, fixed, projects if only is None else _restricted(projects, only))

    if options.add_ignore is not None:
        reason = ignoring.checked(options.add_ignore)
        outcome = rewriting.silenced(check(read, None), check, read, reason)
    else:
        least = Applicability.UNSAFE if options.unsafe_fixes else Applicability.SAFE
        choose = _Asking() if options.interactive else rewriting.preferred
        outcome = rewriting.rewritten(check(read, None), check, read, least, choose)
    if options.diff:
        printed = _printed(options, outcome)
        notes(options, projects, outcome.report)
        if outcome.report.breakdowns:
            return BROKEN
        return CLEAN if printed == 0 or options.exit_zero else FINDINGS
    if STDIN in options.paths:
        _passed_on(outcome, read, projects)
    failed = STDIN not in options.paths and _written(outcome)
    if options.interactive and options.output_format in output.TEXTS:
        _counted(options, outcome)  # who was asked has seen the rest
    elif not options.fix_only:
        _shown(options, outcome, read)
    _told(options, outcome)
    notes(options, projects, outcome.report)
    if failed:
        return BROKEN
    if options.exit_non_zero_on_fix and outcome.files:
        return FINDINGS
    return CLEAN if options.fix_only and not outcome.report.breakdowns else status(options, outcome.report)


def _restricted(projects: Mapping[Config, Discovery], only: frozenset[str]) -> dict[Config, Discovery]:
    """The projects with these files alone."""
    restricted = {
        config: replace(discovery, files=tuple(path for path in discovery.files if path in only), passed=())
        for config, discovery in projects.items()
    }
    return {config: discovery for config, discovery in restricted.items() if discovery.files}


def _printed(options: Options, outcome: Rewritten) -> int:
    """The patch on standard output; the number of files in it."""
    for path, change in outcome.files.items():
        sys.stdout.flush()
        sys.stdout.buffer.write(rewriting.patch(path, change))
        sys.stdout.buffer.flush()
    if outcome.files and not options.quiet:
        verb = "fix" if options.add_ignore is None else "ignore"
        complain(f"Would {verb} {output.counted(outcome.fixed, 'finding')}.")
    return len(outcome.files)


def _written(outcome: Rewritten) -> bool:
    """Write the files; whether one of them could not be written, which is said."""
    failed = False
    for path, change in outcome.files.items():
        try:
            rewriting.write(path, change)
        except LeakcheckError as error:
            complain(f"error: {error}")
            failed = True
    return failed


def _passed_on(outcome: Rewritten, read: Read, projects: Mapping[Config, Discovery]) -> None:
    """Standard input on standard output, fixed or as it was."""
    for discovery in projects.values():
        for path in discovery.files:
            change = outcome.files.get(path)
            sys.stdout.flush()
            sys.stdout.buffer.write(change.after if change is not None else read(path))
            sys.stdout.buffer.flush()


def _shown(options: Options, outcome: Rewritten, read: Read) -> None:
    """What is left, read as it is now."""
    changed = {path: change.after for path, change in outcome.files.items()}

    def fixed(path: str) -> bytes:
        return changed[path] if path in changed else read(path)

    if STDIN in options.paths:
        context = output.Context(summary=not options.quiet)
        complain(output.render(options.output_format, outcome.report, context).rstrip("\n"))
        return
    show(options, outcome.report, fixed)


def _counted(options: Options, outcome: Rewritten) -> None:
    """How much is left, where the user has gone through it."""
    if not options.quiet and not options.fix_only:
        say(f"\n{output.summary(outcome.report)}\n")


def _told(options: Options, outcome: Rewritten) -> None:
    """How much was fixed, and under ``--show-fixes`` what; what could not be silenced."""
    for one in outcome.left:
        place = f"{output.one_line(one.path)}:{one.span.start.row}"
        complain(f"{place}: {one.code} is not ignored: no line of its statement can take the comment")
    if options.quiet or not outcome.files:
        return
    lines = []
    if options.show_fixes:
        for path, change in outcome.files.items():
            lines.append(f"{path}:")
            lines += [f"  {one.code} {_title(options, one)}" for one in change.fixed]
    verb = "Fixed" if options.add_ignore is None else "Ignored"
    files = output.counted(len(outcome.files), "file")
    lines.append(f"{verb} {output.counted(outcome.fixed, 'finding')} in {files}.")
    text = "".join(f"{output.one_line(line)}\n" for line in lines)
    if STDIN in options.paths or options.output_format not in output.TEXTS:
        complain(text.rstrip("\n"))
    else:
        say(text)


def _title(options: Options, diagnostic: Diagnostic) -> str:
    if options.add_ignore is not None or diagnostic.fix is None:
        return diagnostic.message
    return diagnostic.fix.message


class _Asking:
    """Asks for each fix, with the patch of each of its shapes."""

    def __init__(self) -> None:
        self._all = False
        self._none = False

    def __call__(self, diagnostic: Diagnostic, before: bytes, fixes: Sequence[tuple[Fix, bytes]]) -> Fix | None:
        """The fix that the user wants, if any."""
        if self._all or self._none:
            return fixes[0][0] if self._all else None
        say(f"\n{diagnostic.code} {output.one_line(diagnostic.message)}\n")
        for number, (fix, after) in enumerate(fixes, start=1):
            numbered = f"{number}. " if len(fixes) > 1 else ""
            say(f"\n{numbered}{output.one_line(fix.message)} ({APPLICABILITY[fix.applicability]})\n")
            say(rewriting.patch(diagnostic.path, Change(before, after)).decode("utf-8", "replace"))
        answer = self._answer(len(fixes))
        self._all = answer == "a"
        self._none = answer == "q"
        if answer in ("n", "q"):
            return None
        return fixes[int(answer) - 1 if answer.isdigit() else 0][0]

    def _answer(self, shapes: int) -> str:
        """A key that stands for an answer; the end of the input is to quit."""
        numbers = [str(number) for number in range(1, shapes + 1)] if shapes > 1 else []
        choice = f"Apply a fix? [1] to [{shapes}]" if numbers else "Apply this fix? [y]es"
        while True:
            try:
                answer = input(f"{choice}, [n]o, [a]ll that follow, [q]uit: ").strip().lower()
            except EOFError:
                return "q"
            if answer in numbers or answer[:1] in ("n", "a", "q") or (answer[:1] == "y" and not numbers):
                return answer if answer in numbers else answer[:1]
