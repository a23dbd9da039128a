"""The long form: ``python -m tests.differential --flavour all --programs 5000 --jobs 2 --save FOLDER``.

Prints one row per flavour and, small, the programs of it about which analysis and execution disagree.
``--truth`` needs no analysis: it shows what the generator writes.
"""

# ruff: noqa: T201  printing is what it is for

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from .adapter import available, verdicts
from .campaign import Finding, Tally, minimal, run_campaign
from .comparison import Fault, Verdicts
from .executor import MAX_RUNS, execute
from .generator import flavours, generate
from .truth import CHECKOUT_CODES

CHUNK = 100
COLUMNS = (
    "flavour",
    "programs",
    "discarded",
    "checkouts",
    "leaks",
    "missed",
    "false",
    "wrong kind",
    "failed",
    "seconds",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; 1 where there is disagreement."""
    options = _parser().parse_args(arguments)
    names = list(flavours()) if options.flavour == "all" else options.flavour.split(",")
    if options.truth:
        for name in names:
            for seed in range(options.seed, options.seed + options.programs):
                _show(name, seed)
        return 0
    if not available():
        sys.exit("there is no analysis to compare with yet; --truth shows programs and their truth")
    print("".join(f"{column:>12}" for column in COLUMNS))
    findings: list[Finding] = []
    with ProcessPoolExecutor(options.jobs) as executor:
        for name in names:
            started = time.perf_counter()
            tally = Tally()
            starts = range(options.seed, options.seed + options.programs, CHUNK)
            last = options.seed + options.programs
            jobs = [
                executor.submit(_chunk, name, start, min(start + CHUNK, last), options.max_runs) for start in starts
            ]
            for job in jobs:
                tally.add(job.result())
            print(_row(name, tally, time.perf_counter() - started), flush=True)
            shown = tally.findings[: max(options.show - len(findings), 0)]
            findings += tally.findings
            minima = [executor.submit(minimal, finding, verdicts, options.max_runs) for finding in shown]
            for finding, smaller in zip(shown, minima, strict=True):
                _report(finding, smaller.result(), options.save)
    if len(findings) > options.show:
        print(f"\n{len(findings) - options.show} more programs disagree; --show prints more of them")
    return 1 if findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--flavour", default="all", help=f"all, or some of {', '.join(flavours())}")
    parser.add_argument("--programs", type=int, default=5000, help="programs per flavour")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--max-runs", type=int, default=MAX_RUNS, help="discard programs with more paths")
    parser.add_argument("--show", type=int, default=20, help="print and shrink at most so many programs")
    parser.add_argument("--save", type=Path, help="write the shrunken programs to this folder")
    parser.add_argument("--truth", action="store_true", help="only print programs and their truth")
    return parser


def _chunk(flavour: str, first: int, last: int, max_runs: int) -> Tally:
    """A part of a campaign, in its own process."""
    return run_campaign(flavour, range(first, last), verdicts, max_runs)


def _row(name: str, tally: Tally, seconds: float) -> str:
    numbers = [
        tally.programs,
        tally.discarded,
        tally.sites,
        tally.leaks,
        tally.faults[Fault.MISSED],
        tally.faults[Fault.FALSE],
        tally.faults[Fault.WRONG_KIND],
        tally.failures,
        round(seconds),
    ]
    return f"{name:>12}" + "".join(f"{number:>12}" for number in numbers)


def _report(finding: Finding, smaller: Finding, folder: Path | None) -> None:
    """Print a shrunken program, and keep it and its original."""
    print(f"\n{smaller}\n", flush=True)
    if folder is None:
        return
    base = folder / f"{finding.flavour}-{finding.seed}"
    for part, one in (("original", finding), ("minimal", smaller)):
        for path, text in one.files.items():
            target = base / part / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        (base / part / "verdict.txt").write_text(f"{one}\n")


def _show(flavour: str, seed: int) -> None:
    """Print a program, each checkout line with what execution found and what the analysis says."""
    files = generate(seed, flavour)
    execution = execute(files)
    said: Verdicts = verdicts(files) if available() else {}
    print(f"\n{flavour}, seed {seed}: {execution.runs} runs")
    print("\n".join(_annotated(files, {site: truth.allowed() for site, truth in execution.truths.items()}, said)))


def _annotated(
    files: Mapping[str, str],
    truths: Mapping[object, frozenset[str]],
    said: Verdicts,
) -> list[str]:
    lines = []
    by_place = {str(site): codes for site, codes in truths.items()}
    said_at = {str(site): CHECKOUT_CODES.intersection(codes) for site, codes in said.items()}
    for path, text in files.items():
        lines.append(f"--- {path}")
        for number, content in enumerate(text.splitlines(), 1):
            place = f"{path}:{number}"
            notes = []
            if place in by_place:
                notes.append("truth: " + (" ".join(sorted(by_place[place])) or "ok"))
            if place in said_at:
                notes.append("said: " + " ".join(sorted(said_at[place])))
            lines.append(f"{content:70}  # {', '.join(notes)}" if notes else content)
    return lines


if __name__ == "__main__":
    sys.exit(main())
