"""How long an editor waits for the findings after a keystroke, in a file of 1,000 lines with twenty checkouts.

    python bench/keystroke.py                 # the real server, from the change to the answer
    python bench/keystroke.py --lines 5000 --checkouts 100

Each keystroke goes to a function that takes a connection, the dearest place. Parsing the same text with ``ast`` is
measured in turn: the ratio holds while the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.editor import CAPABILITIES, Editor

_HEAD = """\
import logging

import psycopg2
from psycopg2.pool import ThreadedConnectionPool

log = logging.getLogger(__name__)
pool = ThreadedConnectionPool(1, 10, "dbname=shop")
"""
_CHECKOUT = '''

def read_{number}(key, limit=None):
    """The rows of one key."""
    conn = pool.getconn()
    try:
        cur = conn.cursor()
        cur.execute("SELECT * FROM things WHERE key = %s", (key,))
        rows = cur.fetchall()
        if limit is not None and len(rows) > limit:
            rows = rows[:limit]
        for row in rows:
            log.info("row %s", row)
        conn.commit()
    except psycopg2.Error:
        conn.rollback()
        raise
    {ending}:
        pool.putconn(conn)
    return rows
'''
_PLAIN = '''

def plain_{number}(values, *, scale=1.0):
    """Work without a connection."""
    total = 0.0
    for index, value in enumerate(values):
        if value is None:
            continue
        total += value * scale + index
        if total > 1_000:
            log.warning("large: %s", total)
            break
    names = {{str(value): value for value in values if value}}
    return total, sorted(names.items(), key=lambda pair: pair[1])
'''


def generated(lines: int, checkouts: int) -> str:
    """A file of about this many lines; every fourth checkout leaks on some paths."""
    return "".join(_parts(lines, checkouts))


def _parts(lines: int, checkouts: int) -> Iterator[str]:
    yield _HEAD
    rest = lines - _HEAD.count("\n") - checkouts * _CHECKOUT.count("\n")
    plain = max(rest // _PLAIN.count("\n"), 0)
    for number in range(max(plain, checkouts)):
        if number < checkouts:
            yield _CHECKOUT.format(number=number, ending="else" if number % 4 == 0 else "finally")
        if number < plain:
            yield _PLAIN.format(number=number)


def main() -> None:
    """Type, wait for the findings, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--checkouts", type=int, default=20)
    parser.add_argument("--keystrokes", type=int, default=60)
    given = parser.parse_args()
    text = generated(given.lines, given.checkouts)
    row = next(number for number, line in enumerate(text.splitlines()) if "for row in rows" in line) - 1
    column = len(text.splitlines()[row])
    asking = {
        **CAPABILITIES,
        "textDocument": {"diagnostic": {}},
    }  # asks for the findings, so that nothing is waited for
    waits: list[float] = []
    parses: list[float] = []
    with tempfile.TemporaryDirectory() as folder, Editor(Path(folder), capabilities=asking) as editor:
        editor.open("big.py", text)
        start = time.perf_counter()
        found = len(editor.pulled("big.py"))
        first = time.perf_counter() - start
        for number in range(given.keystrokes):
            place = {"line": row, "character": column + number}
            start = time.perf_counter()
            editor.change("big.py", "#" if number == 0 else "x", {"start": place, "end": place})
            assert len(editor.pulled("big.py")) == found
            waits.append((time.perf_counter() - start) * 1000)
            start = time.perf_counter()
            ast.parse(text)
            parses.append((time.perf_counter() - start) * 1000)
    waits.sort()
    ratio = statistics.median(waits) / statistics.median(parses)
    print(f"{text.count(chr(10))} lines, {given.checkouts} checkouts, {found} findings")  # noqa: T201 - the result
    print(f"first answer {first * 1000:.0f} ms")  # noqa: T201 - the result
    print(  # noqa: T201 - the result
        f"keystroke to findings: median {statistics.median(waits):.1f} ms, "
        f"fastest {waits[0]:.1f} ms, 90th percentile {waits[len(waits) * 9 // 10]:.1f} ms; "
        f"{ratio:.1f} times ast.parse ({statistics.median(parses):.1f} ms)"
    )


if __name__ == "__main__":
    main()
