"""Work that recurses deeper than an ordinary thread's stack allows: LibCST's parser ends the process there.

on_large_stack(lambda: parse_module(text))   →   what the function returns, or raises
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")
_WORKER = "leakcheck-analysis"
_STACK_BYTES = 256 * 1024 * 1024
_RECURSION_LIMIT = 20_000


def on_large_stack(work: Callable[[], _Result]) -> _Result:
    """Run ``work`` in a thread whose stack LibCST's recursion does not exhaust."""
    if threading.current_thread().name == _WORKER:
        return work()
    result: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            errors.append(error)

    former, limit = threading.stack_size(_STACK_BYTES), sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _RECURSION_LIMIT))
    try:
        thread = threading.Thread(target=run, name=_WORKER)
        thread.start()
    finally:
        threading.stack_size(former)
    thread.join()
    sys.setrecursionlimit(limit)
    if errors:
        raise errors[0]
    return result[0]
