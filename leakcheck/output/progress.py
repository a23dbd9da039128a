"""How far a long run is: one line on a terminal, from the second second on, gone when the run ends.

``with shown(sys.stderr) as progress`` gives the function that the engine calls with the files done, and in all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

_AFTER = 1.0  # seconds: most runs are over by then
_EVERY = 0.1
_CLEAR = "\r\033[K"

Progress = Callable[[int, int], None]


def wanted(environment: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether somebody watches: a person at a terminal, not a hook and not a CI server's log."""
    quiet = environment.get("PRE_COMMIT") == "1" or bool(environment.get("CI")) or environment.get("TERM") == "dumb"
    return terminal and not quiet


@contextmanager
def shown(stream: TextIO, clock: Callable[[], float] = time.monotonic) -> Iterator[Progress]:
    """A function that shows progress on ``stream``; the line is cleared at the end, however that comes."""
    started = last = clock()
    drawn = False

    def progress(done: int, total: int) -> None:
        nonlocal last, drawn
        now = clock()
        if now - started >= _AFTER and now - last >= _EVERY:
            stream.write(f"{_CLEAR}Checking: {done} of {total} files that matter")
            stream.flush()
            last, drawn = now, True

    try:
        yield progress
    finally:
        if drawn:
            stream.write(_CLEAR)
            stream.flush()
