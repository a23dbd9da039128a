"""What a run looks at: the files that it reads and the folders that it lists, each as it was then.

trail = Trail()
trail.noted("app/db.py", read)      →   its bytes, and `trail.files["app/db.py"]`
trail.listed("app", ["db.py"])      →   `trail.folders["app"]`
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from msgspec import Struct, field


class Seen(Struct, frozen=True, array_like=True):
    """A file that was read, or a folder that was listed: its time and size just before, and a digest of what was in it.

    What could not be read has no digest.
    """

    time: int
    size: int
    digest: str


class Trail(Struct):
    """What a run looked at: its outcome is the same for as long as this is."""

    files: dict[str, Seen] = field(default_factory=dict)
    folders: dict[str, Seen] = field(default_factory=dict)
    is_whole: bool = True
    """Every file was analysed, or failed for what is in it: nothing ran out of memory, and no process was killed."""

    def noted(self, path: str, read: Callable[[str], bytes]) -> bytes:
        """The bytes of a file, which are noted; OSError, which is noted, too."""
        status = stamp(path)
        try:
            data = read(path)
        except OSError:
            self.files[path] = Seen(*status, "")
            raise
        self.files[path] = Seen(*status, digest(data))
        return data

    def listed(self, folder: str, names: Iterable[str]) -> None:
        """Note what is in a folder."""
        if folder not in self.folders:
            self.folders[folder] = Seen(*stamp(folder), digest_of_names(names))

    def add(self, other: Trail) -> None:
        """Note what another process looked at."""
        self.files |= other.files
        self.folders |= other.folders

    def taken(self) -> Trail:
        """What was noted since this was asked last."""
        new = Trail(self.files, self.folders)
        self.files, self.folders = {}, {}
        return new


def stamp(path: str) -> tuple[int, int]:
    """The time and the size of a file or folder; zeros where there is none."""
    try:
        status = os.stat(path or ".")
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def digest(data: bytes) -> str:
    """What tells the contents of one file from those of another."""
    import hashlib  # only those who keep outcomes need it

    return hashlib.blake2b(data, digest_size=16).hexdigest()


def digest_of_names(names: Iterable[str]) -> str:
    """What tells the entries of one folder from those of another."""
    return digest("\0".join(sorted({*names} - {"__pycache__"})).encode("utf-8", "surrogatepass"))
