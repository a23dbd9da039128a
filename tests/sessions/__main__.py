"""The long form: ``python -m tests.sessions --driver all --programs 300``.

Prints one row per driver and some of the programs about which leakcheck and the server disagree.
"""

# ruff: noqa: T201  printing is what it is for

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from .comparison import Disagreement, compare
from .pools import opened, prepare
from .server import running
from .spelling import SPELLINGS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 1 where there is disagreement."""
    parser = argparse.ArgumentParser(prog="python -m tests.sessions", description=__doc__)
    parser.add_argument("--driver", default="all", help=f"all, or some of {', '.join(SPELLINGS)}")
    parser.add_argument("--programs", type=int, default=300, help="programs per driver")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--show", type=int, default=5, help="disagreements to print, per driver")
    options = parser.parse_args(arguments)
    names = list(SPELLINGS) if options.driver == "all" else options.driver.split(",")
    total = 0
    with running() as dsn:
        prepare(dsn)
        for name in names:
            rows, paths, found = 0, 0, list[Disagreement]()
            with opened(name, dsn) as pools:
                for seed in range(options.seed, options.seed + options.programs):
                    one = compare(seed, SPELLINGS[name], pools)
                    rows, paths, found = rows + one.rows, paths + one.paths, found + one.differences
            total += len(found)
            kinds = ", ".join(f"{count} {what}" for what, count in Counter(d.what for d in found).items())
            print(
                f"{name}: {options.programs} programs, {paths} paths, {rows} rows; {kinds or 'no difference'}",
                flush=True,
            )
            for difference in found[: options.show]:
                print(difference)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
