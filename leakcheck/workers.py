"""Forked workers: run one function over many items, and survive the items that kill a process.

A worker takes one item at a time and answers with bytes. When a worker dies, the item it had in hand
is reported as ``Died`` and a fresh worker takes over the rest. Results come back by index, so their
order never depends on the number of workers or on timing.

    run(["a.py", "b.py"], analyse, jobs=2)  # [b"…", Died("killed by SIGSEGV")]
"""

from __future__ import annotations

import os
import select
import signal
import struct
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

Item = TypeVar("Item")

_NUMBER = struct.Struct("!q")
_CHUNK = 1 << 16


class Died(Struct, frozen=True):
    """The worker that had this item in hand ended without an answer."""

    reason: str


def available() -> bool:
    """Whether this system can fork and poll; elsewhere the caller does the work itself."""
    return hasattr(os, "fork") and hasattr(select, "poll")


def run(
    items: Sequence[Item], work: Callable[[Item], bytes], jobs: int, progress: Callable[[int, int], None] | None = None
) -> list[bytes | Died]:
    """``work`` of each item, in the order of the items, in up to ``jobs`` processes.

    ``work`` catches what it may raise: here an exception is as good as a crash. Items are handed out in order: put the
    longest first. The workers are gone when this returns or raises.
    """
    results: dict[int, bytes | Died] = {}
    waiting = list(reversed(range(len(items))))
    crew: dict[int, _Worker[Item]] = {}
    poll = select.poll()
    try:
        while waiting or crew:
            while waiting and len(crew) < jobs:
                worker = _Worker(items, work, [end for each in crew.values() for end in each.ends])
                crew[worker.answers] = worker
                poll.register(worker.answers, select.POLLIN)
                worker.take(waiting.pop())
            for descriptor, _ in poll.poll():
                worker = crew[descriptor]
                index = worker.index
                answer = worker.answer()
                if isinstance(answer, _Partial):
                    continue
                results[index] = answer
                if progress is not None:
                    progress(len(results), len(items))
                if isinstance(answer, Died) or not waiting:
                    poll.unregister(descriptor)
                    del crew[descriptor]
                    worker.dismiss()
                else:
                    worker.take(waiting.pop())
    finally:
        for worker in crew.values():
            worker.kill()
    return [results[index] for index in range(len(items))]


class _Partial(Struct, frozen=True):
    """More of the answer is still to come."""


class _Worker(Generic[Item]):
    """A child process and the two pipes to it."""

    def __init__(self, items: Sequence[Item], work: Callable[[Item], bytes], foreign: Sequence[int]) -> None:
        orders, self._orders = os.pipe()
        self.answers, answers = os.pipe()
        self.index = -1
        self._buffer = bytearray()
        self._alive = True
        self._process = os.fork()
        if self._process == 0:
            # An end of a sibling's pipe kept open here would hide from it that its parent is done.
            for end in (*foreign, *self.ends):
                os.close(end)
            _serve(orders, answers, items, work)
        os.close(orders)
        os.close(answers)

    @property
    def ends(self) -> tuple[int, int]:
        """The parent's ends of the pipes."""
        return self._orders, self.answers

    def take(self, index: int) -> None:
        """Send the worker an item. A worker that is gone is noticed when its answer is read."""
        self.index = index
        try:
            os.write(self._orders, _NUMBER.pack(index))
        except BrokenPipeError:
            return

    def answer(self) -> bytes | Died | _Partial:
        """What has arrived: the whole answer, the news of a death, or not enough yet."""
        chunk = os.read(self.answers, _CHUNK)
        if not chunk:
            return Died(self._ending())
        self._buffer += chunk
        size = _NUMBER.unpack_from(self._buffer)[0] if len(self._buffer) >= _NUMBER.size else None
        if size is None or len(self._buffer) < _NUMBER.size + size:
            return _Partial()
        payload = bytes(self._buffer[_NUMBER.size :])
        self._buffer.clear()
        return payload

    def dismiss(self) -> None:
        """Let the worker end: with no more orders it leaves by itself."""
        os.close(self._orders)
        os.close(self.answers)
        if self._alive:
            self._ending()

    def kill(self) -> None:
        """End the worker now, whatever it is doing."""
        if self._alive:
            os.kill(self._process, signal.SIGKILL)
        self.dismiss()

    def _ending(self) -> str:
        _, status = os.waitpid(self._process, 0)
        self._alive = False
        if os.WIFSIGNALED(status):
            return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        return f"ended with status {os.WEXITSTATUS(status)}"


def _serve(orders: int, answers: int, items: Sequence[Item], work: Callable[[Item], bytes]) -> None:
    """The life of a child; it leaves by ``_exit``, so that nothing of the parent's runs twice."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends us
        while order := os.read(orders, _NUMBER.size):
            payload = work(items[_NUMBER.unpack(order)[0]])
            message = _NUMBER.pack(len(payload)) + payload
            while message:
                message = message[os.write(answers, message) :]
        status = 0
    except BrokenPipeError:
        status = 0  # the parent is gone
    finally:
        os._exit(status)
