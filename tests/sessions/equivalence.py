"""What fixes change on a real server: ``python -m tests.sessions.equivalence --driver all --programs 400``.

Each leaky function is fixed and run, as it was and as it is now, along all ways: with each flag, and with each call
that fails. It must end alike, keep the same rows, show others the same in the same order, and leave the next borrower
with nothing that it did not leave before. That a lost connection comes back, clean, is one difference; the other, that
where the server is gone the error of a rollback does not stand in for the first one any more. With ``--helper`` the
project has the ``with_transaction`` that `leakcheck init` writes.
"""

# ruff: noqa: T201  printing is what it is for

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from leakcheck.cli import main as leakcheck
from leakcheck.templates import helper_text

from .leaky import DRIVERS, leaky
from .observed import TABLE, Failure, Observer, Outcome, Way
from .pools import opened, prepare
from .server import running

HELPERS = {
    "psycopg2": "psycopg2",
    "psycopg2-plain": "psycopg2-connect",
    "psycopg": "psycopg",
    "sqlalchemy": "sqlalchemy",
}
"""The helper for each kind of program whose fixes use one."""
_MODULE, FUNCTION = "transactions", "with_transaction"


@dataclass(frozen=True, slots=True)
class Compared:
    """One function: its text after the fixes (None where there are none), its ways, and what differs on them."""

    original: str
    fixed: str | None
    ways: int
    differences: tuple[str, ...]


def compare(seed: int, observer: Observer, driver: str, *, helper: bool = False) -> Compared:
    """Fix one function, with the helper for its driver or without, and run both."""
    text = leaky(seed, DRIVERS[driver], commits=helper and seed % 4 > 0)
    if helper:
        sys.modules[_MODULE] = import_module(f"leakcheck.templates.{HELPERS[driver].replace('-', '_')}")
    new = _fixed(text, HELPERS[driver] if helper else None)
    if new == text:
        return Compared(text, None, 0, ())
    before = observer.outcomes(text)
    after = observer.outcomes(new, before)
    differences = [d for way, old in before.items() if (d := _difference(way, old, after[way])) is not None]
    return Compared(text, new, len(before), tuple(differences))


def _fixed(text: str, helper: str | None) -> str:
    """The text after all safe fixes, applied as users do."""
    with TemporaryDirectory() as folder:
        if helper is not None:
            Path(folder, f"{_MODULE}.py").write_text(helper_text(helper))
            Path(folder, "leakcheck.toml").write_text(f'helper = "{_MODULE}:with_transaction"\n')
        path = Path(folder, "program.py")
        path.write_text(text)
        leakcheck(["--fix-only", "--quiet", str(path)])
        return path.read_text()


def _difference(way: Way, old: Outcome, new: Outcome) -> str | None:
    endings = (old.ending, old.first) if way[2] is Failure.KILLED else (old.ending,)
    if new.ending not in endings or (old.rows, old.seen) != (new.rows, new.seen):
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
    parser.add_argument("--helper", action="store_true", help="with a helper in the project")
    options = parser.parse_args(arguments)
    names = list(DRIVERS) if options.driver == "all" else options.driver.split(",")
    names = [name for name in names if name in HELPERS or not options.helper]
    total = 0
    logging.disable()  # helpers say which rollbacks fail
    with running() as dsn:
        prepare(dsn)
        prepare(dsn, TABLE)
        for name in names:
            with opened(DRIVERS[name].pools, dsn) as pools:
                observer = Observer(DRIVERS[name], pools, dsn)
                seeds = range(options.seed, options.seed + options.programs)
                found = [compare(seed, observer, name, helper=options.helper) for seed in seeds]
                observer.close()
            fixed = [one for one in found if one.fixed is not None]
            wrong = [one for one in fixed if one.differences]
            total += len(wrong)
            ways = sum(one.ways for one in fixed)
            helped = sum(f"import {FUNCTION}" in (one.fixed or "") for one in fixed)
            begun = sum("suppress(" in (one.fixed or "") for one in fixed)
            counts = f"{len(fixed)} fixed ({helped} by the helper, {begun} transactions that are begun), {ways} ways"
            print(f"{name}: {len(found)} programs, {counts}, {len(wrong)} differ", flush=True)
            for one in wrong[: options.show]:
                print(f"{one.original}\n---\n{one.fixed}\n", *one.differences[:3], sep="\n")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
