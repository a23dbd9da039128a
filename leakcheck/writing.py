"""Writing files: the new text stands in the place of the old at once, or the old one is as it was.

put("app/db.py", b"...")    # keeps mode and owner, a symbolic link stays one; raises OSError

A second name of the file (a hard link) keeps the old text: it may be another's, such as the cache of an installer.
What a run that was killed left beside a file is removed by the next that writes there.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress

_PREFIX, _SUFFIX = ".leakcheck-", ".tmp"
TEMPORARY = re.compile(rf"{re.escape(_PREFIX)}\w{{8}}{re.escape(_SUFFIX)}")
"""The names of temporary files, which no other file has."""
_LEFT = 3600
"""After so many seconds nobody writes a temporary file any more."""


def put(path: str, data: bytes, *, durable: bool = True) -> None:
    """Write a file through a temporary one beside it. Raises OSError, after which nothing has changed.

    What is not ``durable`` may be lost with the power, which is no loss for what can be made again.
    """
    import tempfile  # only those who write need it, and it imports much

    target = os.path.realpath(path)  # a link stays a link
    former = os.stat(target) if os.path.exists(target) else None
    directory = os.path.dirname(target)
    _tidy(directory)
    handle, temporary = tempfile.mkstemp(prefix=_PREFIX, suffix=_SUFFIX, dir=directory)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if former is not None:
            with suppress(PermissionError):
                os.chown(temporary, former.st_uid, former.st_gid)
        os.chmod(temporary, former.st_mode & 0o7777 if former is not None else _mode_of_new_files())
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _tidy(directory: str) -> None:
    """Remove the temporary files of runs that ended long ago without doing so."""
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name):
                with suppress(OSError):
                    if time.time() - entry.stat().st_mtime > _LEFT:
                        os.unlink(entry.path)


def _mode_of_new_files() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
