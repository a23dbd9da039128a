"""Random functions that take a connection, work on it and lose it on some way: what fixes are made for.

The same seed and driver give the same text. What a function is given besides its pool: ``flags``, ``work``, which may
raise, and ``log``, which notes what others see. The connection comes from the driver, or from another function, which
may lose it, too, or give None; it is taken in front of a ``try``, or in one.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Driver:
    """How leaky code speaks to a driver. ``pools`` names the pool that it runs on."""

    name: str
    pools: str
    imports: tuple[str, ...]
    pool: str
    take: str
    prepare: tuple[str, ...]
    execute: str
    release: str
    methods: bool = True
    begins: bool = False
    is_async: bool = False
    managers: tuple[str, ...] = ()
    """What ``with`` statements enter that end a transaction and not the checkout."""
    begun: tuple[tuple[str, ...], str] | None = None
    """How a transaction is begun that a variable holds, and how that is committed."""


_PSYCOPG2 = "from psycopg2.pool import ThreadedConnectionPool"
DRIVERS = {
    driver.name: driver
    for driver in (
        Driver(
            "psycopg2", "psycopg2", (_PSYCOPG2,), "pool: ThreadedConnectionPool", "pool.getconn()",
            ("cur = conn.cursor()",), "cur.execute({})", "pool.putconn(conn)",
            managers=("conn", "conn.cursor() as cur"),
        ),
        Driver(
            "psycopg2-autocommit", "psycopg2", (_PSYCOPG2,), "pool: ThreadedConnectionPool", "pool.getconn()",
            ("conn.autocommit = True", "cur = conn.cursor()"), "cur.execute({})", "pool.putconn(conn)",
            methods=False, begins=True,
        ),
        Driver(
            "psycopg2-plain", "psycopg2", ("import psycopg2",), "dsn", "psycopg2.connect(dsn)",
            ("cur = conn.cursor()",), "cur.execute({})", "conn.close()", managers=("conn",),
        ),
        Driver(
            "psycopg", "psycopg", ("from psycopg_pool import ConnectionPool",), "pool: ConnectionPool",
            "pool.getconn()", (), "conn.execute({})", "pool.putconn(conn)", managers=("conn.transaction()",),
        ),
        Driver(
            "sqlalchemy", "sqlalchemy", ("from sqlalchemy import Engine, text",), "pool: Engine", "pool.connect()",
            (), "conn.execute(text({}))", "conn.close()", begun=(("begun = conn.begin()",), "begun.commit()"),
        ),
        Driver(
            "asyncpg", "asyncpg", ("from asyncpg import Pool",), "pool: Pool", "await pool.acquire()",
            (), "await conn.execute({})", "await pool.release(conn)",
            methods=False, begins=True, is_async=True, managers=("conn.transaction()",),
            begun=(("begun = conn.transaction()", "await begun.start()"), "await begun.commit()"),
        ),
    )
}  # fmt: skip
FLAGS = ("a", "b")


def leaky(seed: int, driver: Driver, *, commits: bool = False) -> str:
    """The text of a module with one function, ``handle``; where it ``commits``, mostly on every way that ends well."""
    return _Writer(Random(f"{driver.name}:{seed}{':commits' * commits}"), driver).text(commits=commits)


class _Writer:
    def __init__(self, random: Random, driver: Driver) -> None:
        self._random = random
        self._driver = driver
        self._lines: list[str] = [*driver.imports, "", ""]
        self._number = 0
        self._loops = 0
        self._begun = False  # a variable holds the transaction: its driver's own ways to end one would end it, too

    def text(self, *, commits: bool) -> str:
        """The module."""
        if commits:
            self._committing()
            return "\n".join(self._lines) + "\n"
        tidy = self._driver.begins and not self._driver.is_async  # its pool passes on what is set and begun
        ways = ("plain", "plain", "plain", "opened", "pair", "maybe", "tried", "bound")
        way = "plain" if tidy else self._random.choice(ways)
        if way == "pair" and not self._driver.prepare:
            way = "opened"
        take, prepare = self._driver.take, self._driver.prepare
        if way in ("opened", "pair", "maybe"):
            take = self._opening(way)
            prepare = prepare if way == "maybe" else ()
        self._put(0, f"{self._keyword} handle({self._driver.pool}, flags, work, log):")
        if self._chance(0.3):
            self._put(1, self._other())
        if way == "bound":
            self._bound()
            return "\n".join(self._lines) + "\n"
        self._take(way, take)
        guarded = tidy or self._chance(0.3)
        depth = 2 if guarded else 1
        if guarded:
            self._put(1, "try:")
        for line in prepare:
            self._put(depth, line)
        often = 0.6 if self._driver.begins else 0.2 if self._driver.begun is not None else 0
        if tidy or self._chance(often):
            self._transaction(depth)
        else:
            self._block(depth, self._random.randint(2, 5))
        if guarded:
            self._put(1, "finally:" if tidy else self._random.choice(("finally:", "except Exception:")))
            self._after_handler(released=tidy)
        else:
            self._end(1)
        return "\n".join(self._lines) + "\n"

    @property
    def _keyword(self) -> str:
        return "async def" if self._driver.is_async else "def"

    def _take(self, way: str, take: str) -> None:
        target = "conn, cur" if way == "pair" else "conn"
        if way != "tried":
            self._put(1, f"{target} = {take}")
            if way == "maybe" and self._chance(0.5):
                self._put(1, self._random.choice(("if not conn:", "if conn is None:")))
                self._put(2, "return 'none'")
            return
        self._put(1, "try:")
        self._put(2, f"conn = {take}")
        if self._chance(0.4):
            self._put(
                2, self._random.choice((self._other(), self._insert()) if not self._driver.prepare else ("print()",))
            )
        self._put(1, "except Exception:")
        self._put(2, "log('no connection')")
        self._put(2, self._random.choice(("return 'none'", "raise")))

    def _opening(self, way: str) -> str:
        """Another function that takes the connection; the call of it."""
        name, given = self._driver.pool.partition(":")[0], "flags, work, log"
        self._put(0, f"{self._keyword} opened({self._driver.pool}, {given}):")
        if way == "maybe":
            self._put(1, "try:")
            self._put(2, self._other())
            self._put(2, f"return {self._driver.take}")
            self._put(1, "except Exception:")
            self._put(2, "return None")
        else:
            self._put(1, f"conn = {self._driver.take}")
            for line in self._driver.prepare:
                self._put(1, line)
            for _ in range(self._random.randint(1, 2)):
                self._put(1, self._random.choice((self._insert(), self._other())))
            self._put(1, "return conn, cur" if way == "pair" else "return conn")
        self._lines += ["", ""]
        return f"{'await ' if self._driver.is_async else ''}opened({name}, {given})"

    def _bound(self) -> None:
        """All of it in a ``try`` whose handler gives back what was taken."""
        is_none = self._chance(0.5)
        if is_none:
            self._put(1, "conn = None")
        self._put(1, "try:")
        if self._chance(0.3):
            self._put(2, self._other())
        self._put(2, f"conn = {self._driver.take}")
        for line in self._driver.prepare:
            self._put(2, line)
        self._block(2, self._random.randint(1, 3))
        if self._driver.methods:
            self._put(2, "conn.commit()")
        self._put(2, self._driver.release)
        self._put(2, "return 'done'")
        self._put(1, f"except {self._random.choice(('Exception', 'ValueError'))}:")
        self._put(2, "log('failed')")
        self._put(2, "if conn is not None:" if is_none else 'if "conn" in locals():')
        self._put(3, self._driver.release)
        self._put(2, self._random.choice(("raise", "return 'failed'")))

    def _committing(self) -> None:
        """One commit at the end of the work: what a helper that commits is for, or one step from it."""
        self._put(0, f"{self._keyword} handle({self._driver.pool}, flags, work, log):")
        if self._chance(0.3):
            self._put(1, self._other())
        self._put(1, f"conn = {self._driver.take}")
        guarded = self._chance(0.25)
        depth = 2 if guarded else 1
        if guarded:
            self._put(1, "try:")
        is_block = bool(self._driver.prepare) and self._chance(0.2)
        if is_block:
            self._put(depth, "with conn.cursor() as cur:")
            depth += 1
        for line in self._driver.prepare if not is_block else ():
            self._put(depth, line)
        if self._chance(0.3):
            self._asked_first(depth)
        self._work(depth, self._random.randint(1, 4))
        self._put(depth, "conn.commit()")
        depth -= is_block
        if self._driver.prepare and not is_block and self._chance(0.5):
            self._put(depth, self._random.choice(("rows = cur.rowcount", "cur.close()")))
        if self._chance(0.4):
            self._put(depth, self._other())
        if self._chance(0.8):
            self._put(depth, self._driver.release)
        if self._chance(0.4):
            self._put(depth, self._other())
        self._put(depth, "return 'done'")
        if guarded:
            self._put(1, self._random.choice(("except Exception:", "except BaseException:", "except ValueError:")))
            self._rollback(2)
            if self._chance(0.4):
                self._put(2, self._driver.release)
            self._put(2, self._random.choice(("raise", "raise", "return 'failed'")))

    def _asked_first(self, depth: int) -> None:
        """A way out before anything is written."""
        self._number += 1
        self._put(depth, self._say(f"SELECT {self._number} FROM kept"))
        self._put(depth, f"if flags.{self._random.choice(FLAGS)}:")
        if self._chance(0.5):
            self._put(depth + 1, self._driver.release)
        self._put(depth + 1, "return 'nothing'")

    def _work(self, depth: int, length: int) -> None:
        """Statements that go on to the commit or raise; now and then any other."""
        for _ in range(length):
            choice = self._random.random()
            if depth > 3 or choice < 0.4:
                self._put(depth, self._insert())
            elif choice < 0.55:
                self._put(depth, self._other())
            elif choice < 0.7:
                self._put(depth, f"if flags.{self._random.choice(FLAGS)}:")
                self._work(depth + 1, self._random.randint(1, 2))
                if self._chance(0.4):
                    if self._chance(0.5):
                        self._put(depth + 1, self._driver.release)
                    self._put(depth + 1, "raise ValueError('early')")
            elif choice < 0.8:
                self._put(depth, "for item in (1, 2):")
                self._work(depth + 1, self._random.randint(1, 2))
                if self._chance(0.4):
                    self._put(depth + 1, f"if flags.{self._random.choice(FLAGS)}:")
                    self._put(depth + 2, self._random.choice(("break", "continue")))
            elif choice < 0.88:
                self._put(depth, "try:")
                self._work(depth + 1, self._random.randint(1, 2))
                self._put(depth, "except Exception:")
                self._put(depth + 1, "log('failed')")
                self._put(depth + 1, "raise")
            elif choice < 0.92:
                self._put(depth, "conn.commit()")
            else:
                self._statement(depth)

    def _after_handler(self, *, released: bool) -> None:
        if self._lines[-1].endswith("finally:"):
            self._put(2, self._driver.release if released or self._chance(0.5) else "log('done')")
            return
        self._rollback(2)
        if self._chance(0.5):
            self._put(2, self._driver.release)
        self._put(2, self._random.choice(("raise", "return 'failed'")))
        self._end(1)

    def _end(self, depth: int) -> None:
        """The end of the function: mostly a commit and the release."""
        if self._driver.methods and self._chance(0.7):
            self._put(depth, "conn.commit()")
            if self._driver.prepare and self._chance(0.3):
                self._put(depth, self._random.choice(("rows = cur.rowcount", "cur.close()")))
        if self._chance(0.3):
            self._put(depth, self._other())
        if self._chance(0.85):
            self._put(depth, self._driver.release)
        if self._chance(0.3):
            self._put(depth, self._other())
        self._put(depth, "return 'done'")

    def _transaction(self, depth: int) -> None:
        begin, commit = (self._say("BEGIN"),), self._say("COMMIT")
        self._begun = self._driver.begun is not None and (not self._driver.begins or self._chance(0.5))
        if self._driver.begun is not None and self._begun:
            begin, commit = self._driver.begun
        for line in begin:
            self._put(depth, line)
        self._block(depth, self._random.randint(1, 3))
        self._put(depth, commit)
        self._begun = False
        if self._chance(0.3):
            self._put(depth, self._other())

    def _block(self, depth: int, length: int) -> None:
        for _ in range(length):
            self._statement(depth)

    def _statement(self, depth: int) -> None:
        choice = self._random.random()
        if depth > 3 or choice < 0.45:
            self._put(depth, self._insert())
        elif choice < 0.6:
            self._put(depth, self._other())
        elif choice < 0.68 and self._driver.methods and not self._begun:
            self._put(depth, self._random.choice(("conn.commit()", "conn.commit()", "conn.rollback()")))
        elif choice < 0.82:
            self._put(depth, f"if flags.{self._random.choice(FLAGS)}:")
            self._block(depth + 1, self._random.randint(0, 1))
            self._exit(depth + 1)
        elif choice < 0.88:
            self._put(depth, "for item in (1, 2):")
            self._loops += 1
            self._block(depth + 1, self._random.randint(1, 2))
            self._loops -= 1
        elif choice < 0.94 and self._driver.managers:
            keyword = "async with" if self._driver.is_async else "with"
            self._put(depth, f"{keyword} {self._random.choice(self._driver.managers)}:")
            self._put(depth + 1, self._insert())
            if self._driver.methods and self._chance(0.3):
                self._put(depth + 1, "conn.commit()")
        else:
            self._put(depth, "try:")
            self._block(depth + 1, self._random.randint(1, 2))
            self._put(depth, f"except {self._random.choice(('Exception', 'ValueError', 'BaseException'))}:")
            self._rollback(depth + 1)
            self._exit(depth + 1)

    def _exit(self, depth: int) -> None:
        """Leave, with the release in front or without."""
        if self._chance(0.5) and not self._loops:
            self._put(depth, self._driver.release)
        exits = ["return 'early'", "return 'early'", "raise ValueError('early')"]
        self._put(depth, self._random.choice([*exits, "break", "continue"] if self._loops else exits))

    def _rollback(self, depth: int) -> None:
        if self._driver.methods and not self._begun and self._chance(0.7):
            self._put(depth, "conn.rollback()")
        else:
            self._put(depth, "log('failed')")

    def _insert(self) -> str:
        self._number += 1
        if self._chance(0.15):
            return self._say(f"SELECT {self._number} FROM kept")
        return self._say(f"INSERT INTO kept VALUES ({self._number})")

    def _other(self) -> str:
        self._number += 1
        return self._random.choice(("work({})", "log({})")).format(self._number)

    def _say(self, text: str) -> str:
        return self._driver.execute.format(f'"{text}"')

    def _put(self, depth: int, line: str) -> None:
        self._lines.append("    " * depth + line)

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability
