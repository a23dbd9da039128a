"""Programs as text, in the words of each driver. The text is what leakcheck reads, and what is run."""

from __future__ import annotations

from dataclasses import dataclass

from .program import Attempt, Body, Branch, Driver, Kind, Leave, Node, Python, Say


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a driver is spoken to. ``{sql}`` is a literal; without a class the pool is a name of the module."""

    name: str
    imports: str
    pool: str
    acquire: tuple[str, ...]
    execute: str
    release: str
    autocommit: bool
    is_async: bool = False
    methods: tuple[str, ...] = ("commit", "rollback")


SPELLINGS = {
    spelling.name: spelling
    for spelling in (
        Spelling(
            "psycopg2",
            "from psycopg2.pool import ThreadedConnectionPool",
            "ThreadedConnectionPool",
            ("conn = pool.getconn()", "cur = conn.cursor()"),
            "cur.execute({sql})",
            "pool.putconn(conn)",
            autocommit=False,
        ),
        Spelling(
            "psycopg2-autocommit",
            "from psycopg2.pool import ThreadedConnectionPool",
            "ThreadedConnectionPool",
            ("conn = pool.getconn()", "conn.autocommit = True", "cur = conn.cursor()"),
            "cur.execute({sql})",
            "pool.putconn(conn)",
            autocommit=True,
            methods=(),  # they do nothing there, which is LC304
        ),
        Spelling(
            "psycopg",
            "from psycopg_pool import ConnectionPool",
            "ConnectionPool",
            ("conn = pool.getconn()",),
            "conn.execute({sql})",
            "pool.putconn(conn)",
            autocommit=False,
        ),
        Spelling(
            "psycopg-autocommit",
            "from psycopg_pool import ConnectionPool",
            "ConnectionPool",
            ("conn = pool.getconn()", "conn.autocommit = True"),
            "conn.execute({sql})",
            "pool.putconn(conn)",
            autocommit=True,
        ),
        Spelling(
            "asyncpg",
            "from asyncpg import Pool",
            "Pool",
            ("conn = await pool.acquire()",),
            "await conn.execute({sql})",
            "await pool.release(conn)",
            autocommit=True,
            is_async=True,
            methods=(),
        ),
        Spelling(
            "sqlalchemy",
            'from sqlalchemy import create_engine, text\n\npool = create_engine("postgresql+psycopg2://")',
            "",
            ("conn = pool.connect()",),
            "conn.execute(text({sql}))",
            "conn.close()",
            autocommit=False,
        ),
        Spelling(
            "sqlalchemy-autocommit",
            "from sqlalchemy import create_engine\n\n"
            'pool = create_engine("postgresql+psycopg2://", isolation_level="AUTOCOMMIT")',
            "",
            ("conn = pool.connect()",),
            "conn.exec_driver_sql({sql})",
            "conn.close()",
            autocommit=True,
            methods=(),  # same
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Written:
    """A program's text, and the rows where it opens or sets something, or says what may have no effect."""

    text: str
    rows: dict[int, Kind]


def written(body: Body, spelling: Spelling) -> Written:
    """The program as the text of a module with one function, ``handle``."""
    writer = _Writer(spelling)
    writer.lines = [*spelling.imports.split("\n"), "", ""]
    keyword = "async def" if spelling.is_async else "def"
    parameter = f"pool: {spelling.pool}, " if spelling.pool else ""
    writer.line(0, f"{keyword} handle({parameter}flags, work):")
    writer.line(1, spelling.acquire[0])
    writer.line(1, "try:")
    for line in spelling.acquire[1:]:
        writer.line(2, line)
    writer.body(2, body)
    writer.line(1, "finally:")
    writer.line(2, spelling.release)
    return Written("\n".join(writer.lines) + "\n", writer.rows)


def kind_of(text: str) -> Kind | None:
    """What a statement is about that may have no effect where it is said."""
    if text in ("COMMIT", "END"):
        return Kind.COMMIT
    return Kind.LOCAL if text.startswith("SET LOCAL") else None


class _Writer:
    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self.lines: list[str] = []
        self.rows: dict[int, Kind] = {}

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def body(self, depth: int, body: Body) -> None:
        for node in body:
            self._node(depth, node)
        if not body:
            self.line(depth, "pass")

    def _node(self, depth: int, node: Node) -> None:
        match node:
            case Say(text=text, opens=opens):
                self.line(depth, self._spelling.execute.format(sql=f'"{text}"'))
                kind = opens or kind_of(text)
                if kind is not None:
                    self.rows[len(self.lines)] = kind
            case Driver(method=method):
                self.line(depth, f"conn.{method}()")
                if method == "commit":
                    self.rows[len(self.lines)] = Kind.COMMIT
            case Python():
                self.line(depth, "work()")
            case Leave():
                self.line(depth, "return")
            case Branch(flag=flag, body=body, orelse=orelse):
                self.line(depth, f"if flags.{flag}:")
                self.body(depth + 1, body)
                if orelse:
                    self.line(depth, "else:")
                    self.body(depth + 1, orelse)
            case Attempt(body=body, handler=handler, passes_on=passes_on, final=final):
                self.line(depth, "try:")
                self.body(depth + 1, body)
                if handler is not None:
                    self.line(depth, "except Exception:")
                    self.body(depth + 1, handler)
                    if passes_on:
                        self.line(depth + 1, "raise")
                if final or handler is None:
                    self.line(depth, "finally:")
                    self.body(depth + 1, final)
