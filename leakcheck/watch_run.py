"""``--watch``: check, print, wait until something changes, and check again, until Ctrl-C.

What is watched is what is checked, what was read on the way (a helper in another file), the configurations and the
baselines. The files are asked for their times a few times a second, which works on every file system; a walk that
takes long is made less often. A fault in the configuration is shown, and its correction awaited.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping

from leakcheck import output
from leakcheck.diagnostic import LeakcheckError
from leakcheck.run import CLEAN, Options, baseline_of, checked, complain, lent, notes, say, show

PAUSE = 0.3
"""Seconds between two looks."""
_SHARE = 5
"""How many times as long as a look took the next one waits, at least."""
_CLEAR = "\x1b[2J\x1b[3J\x1b[H"

Stamp = tuple[int, int] | None
"""The time and the size of a file, None where it is gone."""
State = dict[str, Stamp] | str
"""The stamps of the watched files; or what is wrong with the configuration."""


def run(options: Options) -> int:
    """Check again and again; the exit status once the user has seen enough."""
    try:
        while True:
            before = _state(options, ())  # what changes from here on is a change, also while it is checked
            _wait(options, before, _round(options))
    except KeyboardInterrupt:
        return CLEAN


def _round(options: Options) -> dict[str, Stamp]:
    """Check once and print; the files that were read, as they were then."""
    if sys.stdout.isatty():
        say(_CLEAR)
    seen: dict[str, Stamp] = {}
    try:
        read, projects = lent(options)

        def noted(path: str) -> bytes:
            seen.setdefault(path, _stamp(path))
            return read(path)

        report = checked(options, noted, projects)
        show(options, report, read)
        notes(options, projects, report)
        if not options.quiet:
            watched = output.counted(len(set(seen).union(*(each.files for each in projects.values()))), "file")
            complain(f"Watching {watched}; Ctrl-C ends.")
    except LeakcheckError as error:
        complain(f"error: {error}")
    return seen


def _wait(options: Options, before: State, read: Mapping[str, Stamp]) -> None:
    """Return when something that counts is not as it was before, or when it was read."""
    known = before if isinstance(before, str) else {**before, **read}
    while True:
        started = time.monotonic()
        if _state(options, read) != known:
            return
        time.sleep(max(PAUSE, _SHARE * (time.monotonic() - started)))


def _state(options: Options, read: Iterable[str]) -> State:
    try:
        _, projects = lent(options)
    except LeakcheckError as error:
        return str(error)
    names = set(read).union(*(each.files for each in projects.values()))
    for config in projects:
        names.update(str(path) for path in (config.path, baseline_of(options, config)) if path is not None)
    return {name: _stamp(name) for name in sorted(names)}


def _stamp(name: str) -> Stamp:
    try:
        status = os.stat(name)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
