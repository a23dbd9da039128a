"""Which files hold tests, and what these share."""

from __future__ import annotations

_FOLDERS = frozenset({"test", "tests"})


def is_test(path: str) -> bool:
    """Whether a file holds tests: what these call serves no request, however often they do."""
    *folders, name = path.split("/")
    tests = name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"
    return tests or not _FOLDERS.isdisjoint(folders)
