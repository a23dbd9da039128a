"""The files of the standard library that can hold a leak: what Python itself can read."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

_LARGEST = 60_000


def hosts(folder: str = "") -> Iterator[tuple[str, str]]:
    """Name and text of each, in the order of their names."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted((root / folder).rglob("*.py")):
        if "site-packages" in path.parts or path.stat().st_size > _LARGEST:
            continue
        try:
            data = path.read_bytes()
            text = data.decode("utf-8").replace("\r\n", "\n").removeprefix("\ufeff")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(data)  # not the text, which says nothing of an encoding that nobody knows
        except (SyntaxError, ValueError):
            continue
        if text.count("\r") == 0 and "\f" not in text:
            yield str(path.relative_to(root)), text
