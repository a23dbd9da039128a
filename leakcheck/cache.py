"""Outcomes of earlier runs, kept for as long as nothing that they looked at has changed.

    cache = Cache(root / ".leakcheck_cache")
    cache.report(key, analyse)      →   the report of the last run with this key, or that of `analyse(trail)`

A run leaves a trail: the files that it read and the folders that it listed, wherever they are, also those that turned
out to be of no use. Its report is as good as new while all of these are as they were: each by its time and size, and
where these differ, by its contents, since a fresh checkout has new times. What a key must tell apart is everything
else that decides: the version, the configuration, the files that were asked for, whether fixes were made.

A cache that cannot be read or written is none: nobody is told, and everything is analysed.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from leakcheck import __version__
from leakcheck.config import Config
from leakcheck.project.files import Discovery, read_file
from leakcheck.report import Report
from leakcheck.trail import Seen, Trail, digest, digest_of_names, stamp
from leakcheck.writing import put

NAME = ".leakcheck_cache"
"""The folder in the root of each project."""
_MOST = 32
"""Outcomes that are kept: who checks other files each time, as before a commit, must not fill the disk."""
_SIDE_FILES = {
    ".gitignore": "# Made by leakcheck: nothing here is worth a commit.\n*\n",
    "CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n",
}
"""What tells version control and backups to pass the folder over; the signature is that of bford.info/cachedir."""
_ENTRY = re.compile(r"[0-9a-f]{32}\.json")


class _Entry(Struct, frozen=True):
    trail: Trail
    report: Report


class Cache:
    """The outcomes that lie in one folder, which need not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def report(self, key: str, analyse: Callable[[Trail], Report]) -> Report:
        """The report that a run makes which has this key: of an earlier one, where that is as good."""
        path = self.folder / key
        with suppress(OSError, msgspec.MsgspecError):
            entry = msgspec.json.decode(path.read_bytes(), type=_Entry)
            now = _now(entry.trail)
            if now is not None:
                if now != entry.trail:
                    self._keep(path, _Entry(now, entry.report))  # with the new times: the next look is short again
                return entry.report
        trail = Trail()
        self._make_ready()  # first: the run may list what is beside it
        report = analyse(trail)
        if trail.is_whole and not report.breakdowns:
            self._keep(path, _Entry(trail, report))
        return report

    def _make_ready(self) -> None:
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, text in _SIDE_FILES.items():
                if not (self.folder / name).exists():
                    put(str(self.folder / name), text.encode(), durable=False)

    def _keep(self, path: Path, entry: _Entry) -> None:
        with suppress(OSError, UnicodeEncodeError):  # a name of a file may be no text
            put(str(path), msgspec.json.encode(entry), durable=False)
            for old in sorted(self._entries(), key=os.path.getmtime)[:-_MOST]:
                old.unlink()

    def clean(self) -> bool:
        """Remove what was kept, and the folder if nothing else is in it; whether there was something to remove."""
        entries = self._entries()
        found = [*entries, *(self.folder / name for name in _SIDE_FILES if entries or self._is_marked())]
        for path in found:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()
        return bool(found)

    def _is_marked(self) -> bool:
        return all((self.folder / name).exists() for name in _SIDE_FILES)

    def _entries(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if _ENTRY.fullmatch(path.name)]
        except OSError:
            return []


def key_of(config: Config, discovery: Discovery, how: object) -> str:
    """The name under which an outcome is kept: what decides it besides the files that are looked at on the way."""
    drivers = [_digest_of_file(str(config.located(each))) for each in config.drivers]
    files = (discovery.files, sorted(discovery.explicit), discovery.passed)
    version = (__version__, _own_state(), sys.version_info[:3])
    return digest(repr((version, os.getcwd(), config, drivers, files, how)).encode()) + ".json"


def _own_state() -> int:
    """Changes with each file of this package: whoever works on it has one version for long."""
    walk = os.walk(os.path.dirname(os.path.abspath(__file__)))
    files = (os.path.join(folder, name) for folder, _, names in walk for name in names if not name.endswith(".pyc"))
    return hash(tuple(stamp(path) for path in sorted(files)))


def _now(then: Trail) -> Trail | None:
    """What there is now of all that was looked at, None where it has changed."""
    files, folders = _same(then.files, _digest_of_file), _same(then.folders, _digest_of_folder)
    return Trail(files, folders) if files is not None and folders is not None else None


def _same(then: dict[str, Seen], digest_now: Callable[[str], str]) -> dict[str, Seen] | None:
    now: dict[str, Seen] = {}
    for path, seen in then.items():
        status = stamp(path)
        if status != (seen.time, seen.size) and digest_now(path) != seen.digest:
            return None
        now[path] = Seen(*status, seen.digest)
    return now


def _digest_of_file(path: str) -> str:
    """The digest of the file that is there now."""
    try:
        return digest(read_file(path))
    except OSError:
        return ""


def _digest_of_folder(folder: str) -> str:
    """The digest of the names that are in a folder now."""
    try:
        return digest_of_names(os.listdir(folder or "."))
    except OSError:
        return digest_of_names(())
