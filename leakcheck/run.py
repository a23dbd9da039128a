"""One run of ``leakcheck check``: options in, text on the standard streams, exit status out.

This is all of the command that does not depend on how its options were spelled, so that a command line
of nothing but paths gets here without importing a parser for options.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from leakcheck import engine, output
from leakcheck.config import BASELINE_NAME, Config, ConfigFinder, load
from leakcheck.diagnostic import LeakcheckError
from leakcheck.project.files import Discovery, discover, displayed, is_excluded, read_file
from leakcheck.project.patterns import Patterns
from leakcheck.reader import Read, decoded
from leakcheck.report import Report, merged
from leakcheck.trail import Trail

if TYPE_CHECKING:
    from leakcheck.cache import Cache
    from leakcheck.handlers.analysis import Losses

CLEAN, FINDINGS, BROKEN, INTERRUPTED = 0, 1, 2, 130
STDIN = "-"


class Options(Struct, frozen=True):
    """What a command line of ``check`` says; the defaults are those of a line that says nothing."""

    paths: tuple[str, ...] = (".",)
    select: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    exclude: tuple[str, ...] | None = None
    force_exclude: bool = False
    output_format: str = "full"
    outputs: tuple[tuple[str, str], ...] = ()
    exit_zero: bool = False
    config: str | None = None
    isolated: bool = False
    jobs: int | None = None
    statistics: bool = False
    verbose: bool = False
    quiet: bool = False
    strict: bool = False
    since: str | None = None
    baseline: str | None = None
    fix: bool = False
    unsafe_fixes: bool = False
    diff: bool = False
    fix_only: bool = False
    interactive: bool = False
    show_fixes: bool = False
    exit_non_zero_on_fix: bool = False
    add_ignore: str | None = None
    colour: str = "auto"
    stdin_filename: str | None = None
    no_cache: bool = False
    cache_dir: str | None = None

    @property
    def fixes(self) -> bool:
        """Whether files are to be changed, or shown as they would be."""
        return self.fix or self.diff or self.fix_only or self.interactive or self.add_ignore is not None

    @property
    def build(self) -> engine.Build | None:
        """The analysis that makes as many fixes as somebody applies or sees."""
        if self.interactive:
            return engine.with_every_fix
        seen = [form for form, _ in self.outputs] + ([] if self.statistics else [self.output_format])
        applied = self.fixes and self.add_ignore is None
        return None if applied or not output.FIXLESS.issuperset(seen) else engine.without_fixes


def run(options: Options) -> int:
    """Check, print, and return the exit status; LeakcheckError where the options cannot be followed."""
    read, projects = lent(options)
    report = checked(options, read, projects)
    show(options, report, read)
    notes(options, projects, report)
    return status(options, report)


def show(options: Options, report: Report, read: Read) -> None:
    """Print a report, and write the files that were asked for."""
    context = output.Context(colour=_coloured(options), lines=_lines(read), summary=not options.quiet)
    if options.statistics:
        from leakcheck.output import statistics

        say(statistics.render(options.output_format, report, context))
    else:
        say(output.render(options.output_format, report, context))
    for form, file in options.outputs:  # last: what cannot be written hides no finding
        _save(file, output.render(form, report, output.Context(lines=_lines(read))))


def status(options: Options, report: Report) -> int:
    """The exit status that a report stands for."""
    if report.breakdowns:
        return BROKEN
    wanting = report.diagnostics or (options.strict and not all(each.is_open for each in report.not_analysed))
    return FINDINGS if wanting and not options.exit_zero else CLEAN


def write_baseline(options: Options, *, renew: bool) -> int:
    """Write each project's baseline: all findings where there is none (or to ``renew``), else prune what is there."""
    from leakcheck.baseline import Baseline

    read, projects = lent(options)
    for config, discovery in projects.items():
        report = _found(config, discovery, options, read, engine.without_fixes)
        if report.breakdowns:
            notes(options, projects, report)
            return BROKEN
        path = baseline_of(options, config) or config.located(BASELINE_NAME)
        shown, total = displayed(str(path)), output.counted(len(report.diagnostics), "finding")
        if renew or not path.exists():
            Baseline.of(report.diagnostics, path.parent).write(path)
            say(f"{shown}: {total} recorded.\n")
        else:
            applied = Baseline.read(path).apply(report.diagnostics, discovery.files)
            applied.pruned.write(path)
            say(f"{shown}: {output.counted(applied.known, 'finding')} kept, {applied.stale} removed.\n")
            if applied.new:
                say(f"{output.counted(len(applied.new), 'new finding')} not recorded: `--renew` records all.\n")
        if baseline_of(options, config) is None:
            say(_how_to_use(shown, config))
    return CLEAN


def _how_to_use(baseline: str, config: Config) -> str:
    """Where a baseline is named, so that every run finds it."""
    setting = f'baseline = "{BASELINE_NAME}"'
    if config.path is not None and config.path.name != "pyproject.toml":
        place = f"add this line to {displayed(str(config.path))}:\n\n    {setting}\n"
    else:
        place = f"add this to pyproject.toml:\n\n    [tool.leakcheck]\n    {setting}\n"
    return f"`leakcheck check --baseline {baseline}` uses it. To use it in every run, {place}"


def guarded(command: Callable[[], int]) -> int:
    """The exit status of a command that may fail, with the message of its failure."""
    try:
        return command()
    except LeakcheckError as error:
        complain(f"error: {error}")
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:  # noqa: BLE001 - the last place that can say so in our words
        import traceback

        complain(f"{traceback.format_exc()}error: internal failure; this is a bug in leakcheck, please report it")
    return BROKEN


def say(text: str) -> None:
    """Print to standard output. A reader that has seen enough (``| head``) is no failure."""
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a file name or a source line may not fit the encoding
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at its end; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(text: str) -> None:
    """Print a line to standard error."""
    sys.stderr.write(f"{text}\n")


def checked(options: Options, read: Read, projects: dict[Config, Discovery]) -> Report:
    """The report of all projects; a warning where there is nothing to check."""
    report = merged([_checked(options, config, discovery, read) for config, discovery in projects.items()])
    if not report.files_checked and options.since is None:
        complain("warning: no Python files found under the given paths")
    return report


def _checked(options: Options, config: Config, discovery: Discovery, read: Read) -> Report:
    """The report of one project, without what its baseline knows: fixes are made where something is new."""
    path = baseline_of(options, config)
    if path is None:
        return _found(config, discovery, options, read, options.build)
    from leakcheck.baseline import Baseline  # most projects have none

    baseline = Baseline.read(path)
    report = _found(config, discovery, options, read, engine.without_fixes)
    applied = baseline.apply(report.diagnostics, discovery.files)
    new = applied.new
    if new and options.build is not engine.without_fixes:
        wanted = {each.path for each in new}
        files = tuple(file for file in discovery.files if file in wanted)
        fixed = _found(config, replace(discovery, files=files, passed=()), options, read, options.build)
        by_place = {each.sort_key: each for each in fixed.diagnostics}
        new = tuple(by_place.get(each.sort_key, each) for each in new)
        report = replace(report, breakdowns=tuple(dict.fromkeys((*report.breakdowns, *fixed.breakdowns))))
    return replace(report, diagnostics=new, known=applied.known, stale=applied.stale)


def _found(config: Config, discovery: Discovery, options: Options, read: Read, build: engine.Build | None) -> Report:
    def analysed(trail: Trail | None = None) -> Report:
        jobs = options.jobs if options.jobs is not None else _processors()
        from leakcheck.output import progress

        if options.quiet or not progress.wanted(os.environ, terminal=sys.stderr.isatty()):
            return engine.check_files(discovery, config, read=read, jobs=jobs, build=build, trail=trail)
        with progress.shown(sys.stderr) as shown:
            return engine.check_files(discovery, config, read=read, jobs=jobs, build=build, progress=shown, trail=trail)

    if options.no_cache or options.fixes or read is not read_file:
        return analysed()
    from leakcheck.cache import key_of

    how = (build is engine.without_fixes, build is engine.with_every_fix)
    return cache_of(options, config).report(key_of(config, discovery, how), analysed)


def cache_of(options: Options, config: Config) -> Cache:
    """Where the outcomes of a project are kept."""
    from leakcheck.cache import NAME, Cache

    return Cache(Path(options.cache_dir) if options.cache_dir is not None else config.located(NAME))


def losses(config: Config) -> Losses:
    """What a project loses."""
    from leakcheck.handlers.analysis import Losses, Survey

    found = Losses()

    def build(config: Config, read: Read, roots: Sequence[Path]) -> engine.Analyser:
        return Survey(config, read, roots, found)

    engine.check([str(config.root)], config, build=build)
    return found


def baseline_of(options: Options, config: Config) -> Path | None:
    """The baseline of a project, if it has one: of the command line, else of its configuration."""
    if options.baseline is not None:
        return Path(options.baseline)
    return config.located(config.baseline) if config.baseline is not None else None


def configured(options: Options, finder: ConfigFinder, directory: str) -> Config:
    """The configuration for files in ``directory``, under the options."""
    if options.isolated:
        config = Config(root=Path.cwd())
    elif options.config is not None:
        config = load(Path(options.config), Path.cwd())
    else:
        config = finder.nearest(directory)
    return config.overridden(
        select=options.select, ignore=options.ignore, extend_select=options.extend_select, exclude=options.exclude
    )


def lent(options: Options) -> tuple[Read, dict[Config, Discovery]]:
    """How to read, and the projects to check: standard input is a project of one file that was named."""
    if STDIN not in options.paths:
        projects = _projects(options)
        return read_file, projects if options.since is None else _changed(projects, options.since)
    if len(options.paths) > 1:
        raise LeakcheckError("`-` reads standard input and cannot be combined with paths")
    name = displayed(options.stdin_filename) if options.stdin_filename is not None else STDIN
    config = configured(options, ConfigFinder(), os.path.dirname(os.path.abspath(name)))
    patterns = Patterns(config.exclude + config.extend_exclude, config.root)
    data = sys.stdin.buffer.read()
    if options.force_exclude and patterns.match_within(os.path.abspath(name), os.path.abspath(config.root)):
        return read_file, {config: Discovery(())}

    def read(path: str) -> bytes:
        return data if displayed(path) == name or path == name else read_file(path)

    return read, {config: Discovery((name,), frozenset({name}))}


def _projects(options: Options) -> dict[Config, Discovery]:
    """The files to check, by the configuration that governs them."""
    finder = ConfigFinder()

    @cache
    def governing(directory: str) -> Config:
        return configured(options, finder, directory)

    by_config: dict[Config, list[str]] = {}
    for path in options.paths:
        directory = path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))
        by_config.setdefault(governing(directory), []).append(path)
    files: dict[Config, list[str]] = {config: [] for config in by_config}
    explicit: set[str] = set()
    projects: dict[Config, Discovery] = {}
    for config, targets in by_config.items():
        discovery = discover(targets, config, force_exclude=options.force_exclude)
        projects[config] = discovery
        explicit |= discovery.explicit
        for file in discovery.files:
            own = governing(os.path.dirname(file) or ".")
            if own is config or own == config:
                files[config].append(file)
            elif file in discovery.explicit or not is_excluded(file, own):
                files.setdefault(own, []).append(file)
    return {
        config: Discovery(
            tuple(sorted(set(named))),
            frozenset(explicit.intersection(named)),
            projects[config].passed if config in projects else (),
        )
        for config, named in files.items()
    }


def _changed(projects: dict[Config, Discovery], since: str) -> dict[Config, Discovery]:
    """The projects, with only those files that differ from a commit."""
    from leakcheck.project.git import changed_since

    changed = {os.path.realpath(path) for path in changed_since(since, os.getcwd())}
    found: dict[Config, Discovery] = {}
    for config, discovery in projects.items():
        files = tuple(path for path in discovery.files if os.path.realpath(path) in changed)
        found[config] = replace(discovery, files=files, explicit=discovery.explicit.intersection(files))
    return found


def _coloured(options: Options) -> bool:
    from leakcheck.output import colour

    return colour.wanted(options.colour, os.environ, terminal=sys.stdout.isatty())


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _lines(read: Read) -> Callable[[str], Sequence[str]]:
    """The lines of a file for the frames; none where it cannot be read any more."""
    import re

    @cache
    def lines(path: str) -> Sequence[str]:
        try:
            return re.split(r"\r\n?|\n", decoded(read(path)))
        except OSError:
            return ()

    return lines


def _save(file: str, text: str) -> None:
    try:
        with open(file, "w", encoding="utf-8", errors="backslashreplace") as sink:
            sink.write(text)
    except OSError as error:
        raise LeakcheckError(f"{file}: cannot write the report: {error.strerror}") from error


def notes(options: Options, projects: dict[Config, Discovery], report: Report) -> None:
    """What goes to standard error: bugs of ours always, what was left out under ``--verbose``."""
    if options.verbose:
        for config, discovery in projects.items():
            source = displayed(str(config.path)) if config.path is not None else "defaults"
            complain(f"configuration: {source} ({output.counted(len(discovery.files), 'file')})")
    for each in report.not_analysed:
        if options.verbose or (options.strict and not each.is_open):
            place = f":{each.span.start.row}:{each.span.start.column}" if each.span is not None else ""
            complain(output.one_line(f"{each.path}{place}: not analysed: {each.reason}"))
    for broken in report.breakdowns:
        where = f"rule {broken.rule}" if broken.rule is not None else "the analysis"
        trace = broken.trace if options.verbose else ""
        complain(f"{trace}error: internal failure of {where} in {broken.path}: {broken.error}")
    if report.breakdowns:
        complain("This is a bug in leakcheck: please report it, with what --verbose prints.")
