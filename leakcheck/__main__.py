"""``leakcheck`` and ``python -m leakcheck``: the shortest way from the arguments to the work.

A command line of nothing but existing paths, which is what a commit hook sends, needs no option parser.
"""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False  # as in leakcheck/__init__.py
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_COMMANDS = frozenset({"baseline", "check", "clean", "config", "explain", "init", "server"})
"""A file of one of these names is given as ``./check``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (that of the process by default) and return the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given in (["--version"], ["-V"]):
        from leakcheck import __version__

        sys.stdout.write(f"leakcheck {__version__}\n")
        return 0
    named = given[:1] == ["check"]
    force = "--force-exclude" in given[:2]  # as our own hook has it
    paths = given[named + force :]
    if paths and (named or paths[0] not in _COMMANDS) and all(map(_is_path, paths)):
        from leakcheck import fast_lane

        if fast_lane.nothing_to_say(paths):
            sys.stdout.write("All checks passed!\n")
            return 0
        from leakcheck import run

        return run.guarded(lambda: run.run(run.Options(paths=tuple(paths), force_exclude=force)))
    from leakcheck import cli

    return cli.main(given)


def process() -> NoReturn:
    """The whole life of a process: one command line, and the end.

    What a run knows lives until its end. To search it for garbage on the way, and to take it apart object by object
    before the system takes it all at once, would be a sixth of a long run.
    """
    gc.disable()
    _import_nothing_from_here()
    status = main()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        sys.exit(status)  # the interpreter says what is wrong with the stream
    os._exit(status)


def _import_nothing_from_here() -> None:
    """Let no module of the checked project stand in for one of ours: ``python -m`` looks into the working directory."""
    if sys.path and not sys.flags.safe_path and os.path.realpath(sys.path[0]) == os.path.realpath("."):
        del sys.path[0]


def _is_path(argument: str) -> bool:
    return not argument.startswith("-") and os.path.exists(argument)


if __name__ == "__main__":
    process()
