"""The long form: ``python -m tests.planting --files 2000``: leaks planted into the standard library, and fixed."""

# ruff: noqa: T201  printing is what it is for

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from random import Random

from leakcheck.diagnostic import Applicability

from .hosts import hosts
from .planting import complaint, planted


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant and fix; 1 where a fix did what it must not."""
    parser = argparse.ArgumentParser(prog="python -m tests.planting", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="hosts, at most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    random = Random(options.seed)
    chosen = list(hosts())
    random.shuffle(chosen)
    count = fixes = wrong = 0
    for path, text in chosen[: options.files]:
        case = planted(text, random)
        least = random.choice((Applicability.SAFE, Applicability.UNSAFE))
        try:
            found, applied = complaint(case, least)
        except Exception as error:  # noqa: BLE001  whatever it is, it is a bug
            found, applied = f"raises {type(error).__name__}: {error}", 0
        count, fixes = count + 1, fixes + applied
        if found is not None:
            wrong += 1
            print(f"{path}, seed {options.seed}: {found[:2000]}", flush=True)
    print(f"{count} files, {fixes} fixes, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
