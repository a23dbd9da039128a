"""What fixes change on a real server: ``python -m tests.sessions.equivalence --driver all --programs 400``.

Each leaky function is fixed and run, as it was and as it is now, along all ways: with each flag, and with each call
that fails. It must end alike, keep the same rows, show others the same in the same order, and leave the next borrower
with nothing that it did not leave before. That a lost connection comes back, clean, is the one difference.
"""

# ruff: noqa: T201  printing is what it is for

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from leakcheck.cli import main as leakcheck

from .leaky import DRIVERS, leaky
from .observed import TABLE, Observer, Outcome, Way
from .pools import opened, prepare
from .server import running


@dataclass(frozen=True, slots=True)
class Compared:
    """One function: its text after the fixes (None where there are none), its ways, and what differs on them."""

    original: str
    fixed: str | None
    ways: int
    differences: tuple[str, ...]


def compare(seed: int, observer: Observer, driver: str) -> Compared:
    """Fix one function and run both."""
    text = leaky(seed, DRIVERS[driver])
    new = _fixed(text)
    if new == text:
        return Compared(text, None, 0, ())
    before = observer.outcomes(text)
    after = observer.outcomes(new, before)
    differences = [d for way, old in before.items() if (d := _difference(way, old, after[way])) is not None]
    return Compared(text, new, len(before), tuple(differences))


def _fixed(text: str) -> str:
    """The text after all safe fixes, applied as users do."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "program.py")
        path.write_text(text)
        leakcheck(["--fix-only", "--quiet", str(path)])
        return path.read_text()


def _difference(way: Way, old: Outcome, new: Outcome) -> str | None:
    if (old.ending, old.rows, old.seen) != (new.ending, new.rows, new.seen):
        return f"{way}: {old} became {new}"
    if old.left is not None and (new.left is None or not new.left <= old.left):
        return f"{way}: left {old.left}, now {new.left}"
    if old.left is None and new.left:
        return f"{way}: lost the connection, now leaves {new.left}"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 1 where something differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.sessions.equivalence", description=__doc__)
    parser.add_argument("--driver", default="all", help=f"all, or some of {', '.join(DRIVERS)}")
    parser.add_argument("--programs", type=int, default=400, help="programs per driver")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--show", type=int, default=3, help="functions that differ to print, per driver")
    options = parser.parse_args(arguments)
    names = list(DRIVERS) if options.driver == "all" else options.driver.split(",")
    total = 0
    with running() as dsn:
        prepare(dsn)
        prepare(dsn, TABLE)
        for name in names:
            with opened(DRIVERS[name].pools, dsn) as pools:
                observer = Observer(DRIVERS[name], pools, dsn)
                found = [compare(s, observer, name) for s in range(options.seed, options.seed + options.programs)]
                observer.close()
            fixed = [one for one in found if one.fixed is not None]
            wrong = [one for one in fixed if one.differences]
            total += len(wrong)
            ways = sum(one.ways for one in fixed)
            print(f"{name}: {len(found)} programs, {len(fixed)} fixed, {ways} ways, {len(wrong)} differ", flush=True)
            for one in wrong[: options.show]:
                print(f"{one.original}\n---\n{one.fixed}\n", *one.differences[:3], sep="\n")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
