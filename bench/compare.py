"""CPU time of leakcheck against another tool over the same folder, in turn, as medians and ratios.

    python bench/compare.py FOLDER                       # against ruff's default rules, uncached
    python bench/compare.py FOLDER --against 'pylint -j 1 --disable=all --enable=W0611 FOLDER'

Seconds of one machine say little; the ratio is taken inside each pair of runs, so it holds while the machine's speed
drifts. POSIX only.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys


def cpu_seconds(command: list[str]) -> float:
    """User and system time of one run of ``command``, its children included; its output and status are ignored."""
    with open(os.devnull, "wb") as nothing:
        child = subprocess.Popen(command, stdout=nothing, stderr=nothing)  # noqa: S603 - the caller's own commands
        _, _, usage = os.wait4(child.pid, 0)
        child.returncode = 0  # reaped above
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run both commands in turn and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--against", default="ruff check --no-cache --isolated FOLDER")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    ours = [sys.executable, "-m", "leakcheck", "check", "--isolated", "--jobs", "1", "--no-cache", "--exit-zero"]
    ours += [given.folder]
    theirs = [given.folder if word == "FOLDER" else word for word in shlex.split(given.against)]
    for command in (ours, theirs):
        cpu_seconds(command)  # the first run fills the page cache
    pairs = [(cpu_seconds(ours), cpu_seconds(theirs)) for _ in range(given.runs)]
    print(f"leakcheck {statistics.median(a for a, _ in pairs):.2f} s")  # noqa: T201 - the result
    print(f"{theirs[0]} {statistics.median(b for _, b in pairs):.2f} s")  # noqa: T201 - the result
    print(f"ratio {statistics.median(a / b for a, b in pairs):.2f}")  # noqa: T201 - the result


if __name__ == "__main__":
    main()
