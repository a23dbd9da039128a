"""Transactions and roles: programs on one pooled psycopg2 connection, executed in all ways and analysed.

    disagreement(seed, "roles")    →   None, or the program and what each says of it

The connection is a fake of server, driver and pool that does what was measured: the driver begins before the first
statement unless in autocommit, a rollback restores the role that was in force when the transaction began, the pool
rolls back what is open, unless SQL began it in autocommit. A statement that fails in a transaction aborts it: the
server refuses all others until it ends, and a COMMIT is a rollback then. Else a COMMIT that fails is one too, if
anything was written; what else ends or resets something only fails when the connection is gone.

In autocommit the programs end transactions by SQL, else by the driver: the other ways are LC304's.

    python -m tests.differential.sessions 5000 [FIRST SEED]
"""

from __future__ import annotations

import contextlib
import random
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from leakcheck.config import Config
from leakcheck.ownership.program import Program

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = """\
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def work(flag):
    conn = pool.getconn()
    try:
"""
_TAIL = """\
    finally:
        pool.putconn(conn)
"""
_FOLLOWED = ("LC301", "LC302", "LC303", "LC401", "LC402", "LC403", "LC407")
_MOST_RUNS = 20_000
_MOST_CALLS = 8

FLAVOURS = {
    "transactions": ('cur.execute("BEGIN")', 'cur.execute("INSERT INTO t VALUES (1)")'),
    "roles": ('cur.execute("SET ROLE r{}")', 'cur.execute("INSERT INTO t VALUES (1)")', 'cur.execute("RESET ROLE")'),
    "both": (
        'cur.execute("BEGIN")', 'cur.execute("INSERT INTO t VALUES (1)")', 'cur.execute("RESET ROLE")',
        'cur.execute("SET ROLE r{}")',
    ),
}  # fmt: skip
"""The statements of a flavour's programs, besides those that end a transaction."""


class Writer:
    """Writes a random program."""

    def __init__(self, seed: int, flavour: str) -> None:
        self.random = random.Random(seed)
        self._statements = FLAVOURS[flavour]
        self.lines = _HEAD.splitlines()
        self.calls = self.flags = self.loops = 0
        self.autocommit = self.random.random() < 0.5
        if self.autocommit:
            self._put(2, "conn.autocommit = True")
        self._put(2, "cur = conn.cursor()")
        self._block(2, self.random.randint(3, 6))
        self.text = "\n".join(self.lines) + "\n" + _TAIL

    def _put(self, depth: int, line: str) -> None:
        self.lines.append("    " * depth + line)

    def _block(self, depth: int, length: int) -> None:
        for _ in range(length):
            self._statement(depth)

    def _statement(self, depth: int) -> None:
        choice = self.random.random()
        if depth > 4 or self.calls >= _MOST_CALLS - 2 or choice < 0.72:
            self._call(depth)
        elif choice < 0.82 and self.flags < 3:
            self.flags += 1
            self._put(depth, f"if flag({self.flags}):")
            self._block(depth + 1, self.random.randint(1, 2))
            if self.random.random() < 0.3:
                self._put(depth + 1, "return")
            elif self.random.random() < 0.3:
                self._put(depth, "else:")
                self._block(depth + 1, 1)
        elif choice < 0.87 and self.loops < 1:
            self.loops += 1
            self._put(depth, "for _ in flag.rows():")
            self._block(depth + 1, self.random.randint(1, 2))
            if self.random.random() < 0.4:
                self._put(depth + 1, self.random.choice(["if flag(9):", "if not flag(9):"]))
                self._put(depth + 2, self.random.choice(["break", "continue", "return"]))
        else:
            self._put(depth, "try:")
            self._block(depth + 1, self.random.randint(1, 2))
            handles = choice < 0.935
            self._put(depth, "except Exception:" if handles else "finally:")
            self._call(depth + 1)
            if handles and self.random.random() < 0.6:
                self._put(depth + 1, "raise")

    def _call(self, depth: int) -> None:
        self.calls += 1
        ends = ['cur.execute("COMMIT")', 'cur.execute("ROLLBACK")'] if self.autocommit else [
            "conn.commit()", "conn.rollback()",
        ]  # fmt: skip
        others = [statement.format(len(self.lines)) for statement in self._statements]
        self._put(depth, self.random.choice(ends + others))


class RaisedError(Exception):
    """What a call raises when it is told to."""


class Choices:
    """The answers of one run; after it, those of the next."""

    def __init__(self) -> None:
        self._taken: list[bool] = []
        self._next = 0

    def ask(self) -> bool:
        """Whether a flag is set, or a call raises."""
        if self._next == len(self._taken):
            self._taken.append(False)
        self._next += 1
        return self._taken[self._next - 1]

    def advance(self) -> bool:
        """Prepare for the next run; False after the last."""
        del self._taken[self._next :]
        while self._taken and self._taken[-1]:
            self._taken.pop()
        if self._taken:
            self._taken[-1] = True
        self._next = 0
        return bool(self._taken)


@dataclass
class World:
    """Server, driver and pool in one run, and the connection that the program sees."""

    choices: Choices
    autocommit: bool = False
    begun: bool = False
    manual: bool = False
    wrote: bool = False
    aborted: bool = False
    begins: dict[int, bool] = field(default_factory=dict)
    """The rows of what began the open transaction, and whether something has raised since."""
    role: int | None = None
    before: int | None = None
    """The role in force when the transaction began."""
    gone: bool = False
    ended: set[int] = field(default_factory=set)
    """The rows whose transaction the program ended."""
    harmless: set[int] = field(default_factory=set)
    """The rows whose transaction the pool rolled back, with nothing in it."""

    def __call__(self, _: int) -> bool:
        """What the program branches on; asking may raise like any call."""
        self._may_raise()
        return self.choices.ask()

    def rows(self) -> Iterator[None]:
        """What the program loops over: at most two; each may fail to come."""
        self._may_raise()
        for _ in range(2):
            self._may_raise()
            if not self.choices.ask():
                return
            yield

    def getconn(self) -> World:
        return self

    def cursor(self) -> World:
        self._may_raise()
        return self

    def putconn(self, _: World) -> None:
        """The pool rolls back, unless it cannot know that there is something to roll back."""
        if sys.exc_info()[0] is not None:
            self.begins = dict.fromkeys(self.begins, True)
        if self.begun and self.aborted:
            self.role = self.before  # nothing but a rollback is left to whoever takes it next
        if self.begun and not (self.autocommit and self.manual):
            quiet = {row: raised for row, raised in self.begins.items() if not raised}
            self.begins, self.harmless = (quiet, set()) if self.wrote else ({}, set(quiet))
            self.role = self.before

    def commit(self) -> None:
        self._end(commit=True)

    def rollback(self) -> None:
        self._end(commit=False)

    def _end(self, *, commit: bool) -> None:
        failed = self.choices.ask()
        if failed and not (commit and self.wrote):
            self.gone = True
        if self.begun and not (commit and not failed and not self.aborted):
            undoes_reset = failed and commit and self.role is None
            self.role = None if undoes_reset else self.before
        self.begun = self.manual = self.wrote = self.aborted = False
        self.ended.update(() if self.gone else self.begins)
        self.begins = {}
        if failed:
            self._raise()

    def execute(self, sql: str) -> None:
        row = sys._getframe(1).f_lineno
        if sql in ("COMMIT", "ROLLBACK"):
            self._end(commit=sql == "COMMIT")
            return
        if self.aborted:
            self._raise()
        if sql == "BEGIN":
            self._may_fail()
            if not self.begun:
                self.begun, self.before = True, self.role
            self.manual = True
            self.begins[row] = False
            return
        if not self.autocommit and not self.begun:
            self.begun, self.before = True, self.role
        if sql == "RESET ROLE":
            self.role = None
            if self.choices.ask():
                self.gone = True
                self._raise()
            return
        self._may_fail()
        if sql.startswith("SET ROLE"):
            self.role = row
        else:
            self.wrote = self.begun

    def _may_fail(self) -> None:
        """What the server says no to, which aborts the transaction."""
        if self.choices.ask():
            self.aborted = self.begun
            self._raise()

    def _may_raise(self) -> None:
        if self.choices.ask():
            self._raise()

    def _raise(self) -> None:
        self.raises()
        raise RaisedError

    def raises(self) -> None:
        """Something raises, if only what a handler has caught, again: what has begun was left by an error."""
        self.begins = dict.fromkeys(self.begins, True)


def executed(text: str) -> set[int] | None:
    """The rows of what is left on the connection in some run; None where there are too many runs."""
    text = text.replace("from psycopg2.pool import ThreadedConnectionPool", "").replace("\npool =", "\n_ =")
    code = compile(text.replace(" raise\n", " pool.raises(); raise\n"), "p", "exec")
    choices, found, ended, harmless = Choices(), set[int](), set[int](), set[int]()
    for _ in range(_MOST_RUNS):
        world = World(choices)
        names: dict[str, object] = {"ThreadedConnectionPool": lambda *_: None, "pool": world}
        exec(code, names)
        with contextlib.suppress(RaisedError):
            names["work"](world)
        if not world.gone:
            found.update(world.begins)
            harmless |= world.harmless
            found.update({world.role} if world.role is not None else ())
        ended |= world.ended
        if not choices.advance():
            return found | (harmless - ended)
    return None


def analysed(text: str) -> dict[int, str]:
    """The rows that the analysis reports, with the rule."""
    program = Program(Config(), lambda _: text.encode(), [])
    leaks = program.analyse("program.py").leaks
    return {leak.span.start.row: leak.kind.value for leak in leaks if leak.kind.value in _FOLLOWED}


class LeftOutError(Exception):
    """A program that can run in too many ways to run in all of them."""


def disagreement(seed: int, flavour: str) -> str | None:
    """The program of a seed and what is said of it, where execution and analysis differ."""
    text = Writer(seed, flavour).text
    truth = executed(text)
    if truth is None:
        raise LeftOutError
    said = analysed(text)
    if truth == set(said):
        return None
    return f"{flavour} {seed}: left {sorted(truth)}, reported {said}\n{text}"


def compare(flavour: str, programs: int, first: int = 0) -> tuple[list[str], int]:
    """What there is disagreement about among so many programs that were executed, and how many others there were.

    The programs are those of the seeds from ``first`` on.
    """
    found: list[str] = []
    done = skipped = 0
    while done < programs:
        try:
            one = disagreement(first + done + skipped, flavour)
        except LeftOutError:
            skipped += 1
            continue
        done += 1
        found += [one] if one is not None else []
    return found, skipped


def main(arguments: list[str]) -> int:
    """Compare so many programs of each flavour, from a seed on, and print those about which there is disagreement."""
    differ = False
    first = int(arguments[1]) if len(arguments) > 1 else 0
    for flavour in FLAVOURS:
        found, skipped = compare(flavour, int(arguments[0]), first)
        differ = differ or bool(found)
        sys.stdout.write("".join(f"{one}\n" for one in found))
        sys.stdout.write(f"{flavour}: {len(found)} of {arguments[0]} programs disagree; {skipped} left out\n")
        sys.stdout.flush()
    return differ


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
