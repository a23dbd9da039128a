"""What git knows: its answers in a directory, and which files have changed since a commit.

changed_since("origin/main", ".")   →   frozenset({"/home/me/shop/app/db.py", …})
"""

from __future__ import annotations

import os

from leakcheck.diagnostic import LeakcheckError

# git answers for the directory it is run in, whatever hook or alias we were started from.
_FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")


def git(directory: str, *arguments: str) -> bytes | None:
    """The output of git in ``directory``; None where it is missing, fails, or distrusts the directory."""
    import subprocess  # a tenth of the start-up time, for a run over directories only

    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    try:
        done = subprocess.run(  # noqa: S603 - constant arguments
            # Hooks of the repository under analysis must not run: it may be anybody's.
            ["git", "-c", "core.fsmonitor=false", *arguments],  # noqa: S607 - the user's own git
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def changed_since(reference: str, directory: str) -> frozenset[str]:
    """Absolute paths of the files that differ from a commit: committed since, staged, changed or new.

    Raises LeakcheckError where git does not know the commit, or ``directory`` is in no work tree.
    """
    top = git(directory, "rev-parse", "--show-toplevel")
    if top is None:
        raise LeakcheckError("--since needs a git work tree, and git finds none here")
    root = os.fsdecode(top.rstrip(b"\n"))
    commit = git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
    if commit is None:
        raise LeakcheckError(f"--since: git knows no commit `{reference}`; in CI, fetch it first (`git fetch`)")
    name = commit.decode().strip()
    changed = git(root, "diff", "--name-only", "-z", "--no-ext-diff", "--diff-filter=d", name, "--")
    fresh = git(root, "ls-files", "-z", "--others", "--exclude-standard")
    if changed is None or fresh is None:
        raise LeakcheckError(f"--since: git cannot tell what has changed since `{reference}`")
    return frozenset(os.path.join(root, os.fsdecode(path)) for path in (changed + fresh).split(b"\0") if path)
