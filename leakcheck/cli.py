"""The command line: options in, calls of ``run`` and ``output`` out. Nothing is decided here."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from leakcheck import __version__, output, run
from leakcheck.config import BASELINE_NAME, ConfigFinder
from leakcheck.diagnostic import LeakcheckError
from leakcheck.output import colour
from leakcheck.output.colour import Paint
from leakcheck.project.files import displayed
from leakcheck.template import DRIVERS

_EXPLAIN_FORMATS = ("text", "json", "markdown")
_CONFIG_FORMATS = ("text", "json")


def main(arguments: Sequence[str]) -> int:
    """Run a command line; the first argument names a command, or ``check`` is meant."""
    given = list(arguments)
    if not given:
        run.guarded(lambda: _invoke(["--help"]))
        return run.BROKEN  # as a usage error, like ruff's
    if given[0] not in {*commands.commands, "--help", "-h", "--version", "-V"}:
        given.insert(0, "check")
    return run.guarded(lambda: _invoke(given))


def _invoke(arguments: list[str]) -> int:
    try:
        status = commands.main(arguments, prog_name="leakcheck", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return run.BROKEN
    except click.Abort:
        return run.INTERRUPTED
    return status if isinstance(status, int) else run.CLEAN


def _split(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Options that take a list may be repeated, and separated by commas."""
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


def _targets(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """``FMT=FILE`` as a pair."""
    pairs: list[tuple[str, str]] = []
    for value in values:
        form, equals, file = value.partition("=")
        if not equals or not file or form not in output.FORMATS:
            raise click.BadParameter(f"{value!r} is not FMT=FILE with one of {', '.join(output.FORMATS)}")
        pairs.append((form, file))
    return tuple(pairs)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`leakcheck PATH...` is short for `leakcheck check PATH...`.",
)
@click.version_option(__version__, "-V", "--version", prog_name="leakcheck", message="%(prog)s %(version)s")
def commands() -> None:
    """Find database connections that are taken and not given back."""


@commands.command(short_help="Find what is not given back, and fix it.")
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--select", multiple=True, metavar="CODES", callback=_split, help="Rules to run: codes, prefixes, names.")
@click.option("--ignore", multiple=True, metavar="CODES", callback=_split, help="Rules not to run.")
@click.option("--extend-select", multiple=True, metavar="CODES", callback=_split, help="Rules to run besides.")
@click.option("--output-format", type=click.Choice(output.FORMATS), default="full", show_default=True)
@click.option("--output", "outputs", multiple=True, metavar="FMT=FILE", callback=_targets, help="Write FILE, too.")
@click.option("--fix", is_flag=True, help="Apply the safe fixes.")
@click.option("--unsafe-fixes", is_flag=True, help="With the options that fix, apply the unsafe ones, too.")
@click.option("--diff", is_flag=True, help="Print what would be fixed as a patch, and write nothing.")
@click.option("--fix-only", is_flag=True, help="Apply fixes, and say nothing of what is left.")
@click.option("--interactive", is_flag=True, help="Ask before each fix.")
@click.option("--show-fixes", is_flag=True, help="List what was fixed.")
@click.option("--add-ignore", metavar="REASON", help="Silence each finding by a comment with this reason.")
@click.option("--exit-non-zero-on-fix", is_flag=True, help="Exit with 1 if something was fixed.")
@click.option("--exit-zero", is_flag=True, help="Exit with 0 even if there are findings.")
@click.option("--config", metavar="FILE", help="Use this configuration for every file.")
@click.option("--isolated", is_flag=True, help="Use no configuration file.")
@click.option("--exclude", multiple=True, metavar="PATTERNS", callback=_split, help="Paths to leave out.")
@click.option("--force-exclude", is_flag=True, help="Leave them out even if they are named as PATHS.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Processes; by default one per processor.")
@click.option("--no-cache", is_flag=True, help="Analyse again what has not changed since an earlier run.")
@click.option("--cache-dir", metavar="DIR", help="Where outcomes are kept; by default .leakcheck_cache in the project.")
@click.option("--baseline", metavar="FILE", help="Report only what this baseline does not hold.")
@click.option("--since", metavar="REF", help="Report only on files that changed since this commit of git.")
@click.option("--strict", is_flag=True, help="Exit with 1 also where something was not analysed; say what, and why.")
@click.option("--statistics", is_flag=True, help="Show counts by rule instead of findings.")
@click.option("-v", "--verbose", is_flag=True, help="Say what was not analysed, and why.")
@click.option("-q", "--quiet", is_flag=True, help="Print findings only.")
@click.option("--color", type=click.Choice(("auto", "always", "never")), default="auto", show_default=True)
@click.option("--watch", is_flag=True, help="Check again whenever a file changes, until Ctrl-C.")
@click.option("--stdin-filename", metavar="FILE", help="The name of what `-` reads from standard input.")
@click.option("--debug", type=click.Choice(("cfg", "summaries", "states")), help="Dump what the analysis sees.")
@click.pass_context
def check(
    context: click.Context,
    *,
    paths: tuple[str, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    extend_select: tuple[str, ...],
    output_format: str,
    outputs: tuple[tuple[str, str], ...],
    fix: bool,
    unsafe_fixes: bool,
    diff: bool,
    fix_only: bool,
    interactive: bool,
    show_fixes: bool,
    add_ignore: str | None,
    exit_non_zero_on_fix: bool,
    exit_zero: bool,
    config: str | None,
    isolated: bool,
    exclude: tuple[str, ...],
    force_exclude: bool,
    jobs: int | None,
    no_cache: bool,
    cache_dir: str | None,
    baseline: str | None,
    since: str | None,
    strict: bool,
    statistics: bool,
    verbose: bool,
    quiet: bool,
    color: str,
    watch: bool,
    stdin_filename: str | None,
    debug: str | None,
) -> int:
    """Check files and directories (by default the working directory); `-` is standard input."""
    if isolated and config is not None:
        raise click.UsageError("--isolated and --config exclude each other", context)
    if verbose and quiet:
        raise click.UsageError("--verbose and --quiet exclude each other", context)
    if statistics and output_format not in {*output.TEXTS, "json"}:
        raise click.UsageError(f"--statistics cannot be shown as {output_format}", context)
    if add_ignore is not None:
        if fix or fix_only or interactive or unsafe_fixes:
            raise click.UsageError("--add-ignore and the options that fix exclude each other", context)
        if not paths and os.path.exists(add_ignore):
            raise click.UsageError(f"--add-ignore takes a reason, and {add_ignore} is a path: name both", context)
    if debug is not None:
        return _dump(debug, paths)
    _mistyped(paths)
    options = run.Options(
        paths=paths or (".",),
        select=select or None,
        ignore=ignore,
        extend_select=extend_select,
        exclude=exclude or None,
        force_exclude=force_exclude,
        output_format=output_format,
        outputs=outputs,
        fix=fix,
        unsafe_fixes=unsafe_fixes,
        diff=diff,
        fix_only=fix_only,
        interactive=interactive,
        show_fixes=show_fixes,
        exit_non_zero_on_fix=exit_non_zero_on_fix,
        add_ignore=add_ignore,
        exit_zero=exit_zero,
        config=config,
        isolated=isolated,
        jobs=jobs,
        baseline=baseline,
        since=since,
        strict=strict,
        statistics=statistics,
        verbose=verbose,
        quiet=quiet,
        colour=color,
        stdin_filename=stdin_filename,
        no_cache=no_cache,
        cache_dir=cache_dir,
    )
    if watch:
        if options.fixes or outputs or output_format not in output.TEXTS or run.STDIN in paths:
            raise click.UsageError("--watch reads files and shows findings: it neither fixes nor writes", context)
        from leakcheck import watch_run

        return watch_run.run(options)
    if options.fixes:
        from leakcheck import fix_run

        return fix_run.run(options)
    return run.run(options)


def _mistyped(paths: Sequence[str]) -> None:
    """A first path that does not exist may be a command with a slip in it."""
    import difflib

    first = paths[0] if paths else "."
    close = difflib.get_close_matches(first, commands.commands, n=1)
    if close and not os.path.exists(first):
        raise LeakcheckError(f"no such file or directory: {first}; did you mean `leakcheck {close[0]}`?")


def _dump(kind: str, paths: Sequence[str]) -> int:
    from leakcheck.ownership import debug
    from leakcheck.project.files import discover

    for path in discover(paths or ["."], run.configured(run.Options(), ConfigFinder(), ".")).files:
        run.say(debug.dump(kind, path))
    return run.CLEAN


@commands.command()
@click.argument("rule", required=False, metavar="[CODE|NAME]")
@click.option("--output-format", type=click.Choice(_EXPLAIN_FORMATS), default="text", show_default=True)
@click.option("--color", type=click.Choice(("auto", "always", "never")), default="auto", show_default=True)
def explain(*, rule: str | None, output_format: str, color: str) -> int:
    """Explain a rule; without one, list them all."""
    from leakcheck import rules
    from leakcheck.output import explain as pages

    if rule is None:
        run.say(pages.listing(rules.ALL_RULES, output_format, _paint(color)))
        return run.CLEAN
    found = rules.find(rule)
    if found is None:
        raise LeakcheckError(f"unknown rule `{rule}`{rules.nearest(rule)}")
    run.say(pages.page(found, output_format, _paint(color)))
    return run.CLEAN


@commands.command(short_help="Record the findings there are: only new ones are reported.")
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--baseline", metavar="FILE", help=f"The file; by default that of the configuration, or {BASELINE_NAME}.")
@click.option("--renew", is_flag=True, help="Record all findings, also where there is a baseline.")
@click.option("--config", metavar="FILE", help="Use this configuration for every file.")
@click.option("--isolated", is_flag=True, help="Use no configuration file.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Processes; by default one per processor.")
def baseline(
    *, paths: tuple[str, ...], baseline: str | None, renew: bool, config: str | None, isolated: bool, jobs: int | None
) -> int:
    """Record the findings there are, so that only new ones are reported; prune a record that exists."""
    options = run.Options(paths=paths or (".",), baseline=baseline, config=config, isolated=isolated, jobs=jobs)
    return run.write_baseline(options, renew=renew)


@commands.command(short_help="Write a `with_transaction` helper into the project.")
@click.option("--driver", type=click.Choice(tuple(DRIVERS)), help="The driver; by default the one that is used here.")
@click.option("--path", metavar="FILE", help="Where to write it; by default transactions.py in the project's package.")
@click.option("--check", is_flag=True, help="Show how the helper differs from what was written; exit 1 if it does.")
def init(*, driver: str | None, path: str | None, check: bool) -> int:
    """Write `with_transaction` for the project's driver, and name it in the configuration."""
    from leakcheck import template

    found = run.configured(run.Options(), ConfigFinder(), ".")
    if check:
        difference = template.drift(found)
        run.say(difference or "The helper is as it was written.\n")
        return run.FINDINGS if difference else run.CLEAN
    plan = template.planned(found, driver=driver, path=path, losses=lambda: run.losses(found))
    plan.write()
    run.say(f"{displayed(str(plan.helper))}: with_transaction for {plan.driver}.\n")
    run.say(f'{displayed(str(plan.settings))}: helper = "{plan.dotted}".\n')
    run.say("".join(f"{line}\n" for line in (plan.because, plan.advice) if line))
    return run.CLEAN


@commands.command(short_help="Show the configuration in force.")
@click.argument("path", default=".", type=click.Path(exists=True))
@click.option("--config", metavar="FILE", help="Use this configuration.")
@click.option("--isolated", is_flag=True, help="Use no configuration file.")
@click.option("--output-format", type=click.Choice(_CONFIG_FORMATS), default="text", show_default=True)
@click.option("--color", type=click.Choice(("auto", "always", "never")), default="auto", show_default=True)
def config(*, path: str, config: str | None, isolated: bool, output_format: str, color: str) -> int:
    """Show the configuration in force for PATH, and where each value comes from."""
    from leakcheck.output import settings

    options = run.Options(config=config, isolated=isolated)
    directory = path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))
    run.say(settings.render(run.configured(options, ConfigFinder(), directory), output_format, _paint(color)))
    return run.CLEAN


@commands.command(short_help="Remove what earlier runs kept.")
@click.option("--cache-dir", metavar="DIR", help="Where it is, if not in the project.")
def clean(*, cache_dir: str | None) -> int:
    """Remove the outcomes of earlier runs on this project, which are used while nothing has changed."""
    options = run.Options(cache_dir=cache_dir)
    cache = run.cache_of(options, run.configured(options, ConfigFinder(), "."))
    removed = cache.clean()
    run.say(f"{displayed(str(cache.folder))}: {'removed' if removed else 'nothing to remove'}.\n")
    return run.CLEAN


@commands.command(short_help="Run the language server, for an editor.")
def server() -> int:
    """Answer an editor: the language server, on standard streams."""
    try:
        from leakcheck.server.features import serve
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("pygls", "lsprotocol"):
            raise
        raise LeakcheckError(
            f"the language server needs {missing}, which is not installed: pip install 'leakcheck-db[lsp]'"
        ) from error
    return serve()


def _paint(choice: str) -> Paint:
    return Paint(on=colour.wanted(choice, os.environ, terminal=sys.stdout.isatty()))
