"""What the analysis says about a program.

Input: files, path to text. Output: the codes reported per checkout site, e.g.
``{Site("scenario.py", 14): ["LC102"]}``.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .truth import Site

ROOT = Path("program")


class AnalysisError(Exception):
    """The analysis failed, or refused the program."""


def available() -> bool:
    """Whether there is an analysis to ask."""
    try:
        importlib.import_module("leakcheck.ownership.program")
    except ModuleNotFoundError:
        return False
    return True


def verdicts(files: Mapping[str, str]) -> dict[Site, list[str]]:
    """The codes of every fault found in ``files``, by the line of the checkout: one for each connection taken there.

    A project of several files must be on disk, where imports are looked up; a single file need not.
    """
    if len(files) == 1:
        return _on_one_stack(files, ROOT)
    with TemporaryDirectory() as folder:
        for path, text in files.items():
            Path(folder, path).write_text(text)
        return _on_one_stack(files, Path(folder))


def _on_one_stack(files: Mapping[str, str], root: Path) -> dict[Site, list[str]]:
    """``_verdicts``, in one thread for all steps of the analysis instead of one for each."""
    large_stack = importlib.import_module("leakcheck.project.large_stack")
    found: dict[Site, list[str]] = large_stack.on_large_stack(lambda: _verdicts(files, root))
    return found


def _verdicts(files: Mapping[str, str], root: Path) -> dict[Site, list[str]]:
    """The codes found in ``files``, which are in the folder ``root``."""
    texts = {str(root / path): text.encode() for path, text in files.items()}

    def read(path: str) -> bytes:
        try:
            return texts[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    program = _program(read, root)
    found: dict[Site, list[str]] = {}
    selected = program.select(list(texts))
    for path in files:
        located = str(root / path)
        if located not in selected:
            continue
        try:
            analysis = program.analyse(located)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(last.filename).name}, in {last.name}"
            raise AnalysisError(f"{path}: {type(error).__name__}: {error} ({place})") from error
        if analysis.failure is not None:
            raise AnalysisError(f"{path}: {analysis.failure.message}")
        for leak in analysis.leaks:
            found.setdefault(Site(path, leak.span.start.row), []).append(leak.kind.value)
    return found


def _program(read: Callable[[str], bytes], root: Path) -> Any:  # noqa: ANN401  the engine's class, imported when it is there
    """The analysis of one project."""
    modules = importlib.import_module("leakcheck.project.modules").Modules
    return _prototype().emptied(read, modules([str(root)], str(_prototype().config.root)))


@cache
def _prototype() -> Any:  # noqa: ANN401  as above
    """An analysis with default settings; what depends on nothing else is worked out once."""
    config = importlib.import_module("leakcheck.config").Config
    return importlib.import_module("leakcheck.ownership.program").Program(
        config(), lambda path: Path(path).read_bytes(), ()
    )
