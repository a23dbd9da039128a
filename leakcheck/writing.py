"""Writing files: the new text stands in the place of the old at once, or the old one is as it was.

put("app/db.py", b"...")    # keeps mode and owner, a symbolic link stays one; raises OSError

A second name of the file (a hard link) keeps the old text: both cannot change at once.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress


def put(path: str, data: bytes) -> None:
    """Write a file through a temporary one beside it. Raises OSError, after which nothing has changed."""
    target = os.path.realpath(path)  # a link stays a link
    former = os.stat(target) if os.path.exists(target) else None
    handle, temporary = tempfile.mkstemp(prefix=".leakcheck-", dir=os.path.dirname(target))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
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


def _mode_of_new_files() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
