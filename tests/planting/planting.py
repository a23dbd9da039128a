"""A host and a leak in, a text with both out; and what fixing it did.

planted(text, random)    →   Planted(text, …)
complaint(planted)       →   None, or what fixing did that it must not
"""

from __future__ import annotations

import ast
import difflib
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

from leakcheck.config import Config
from leakcheck.diagnostic import Applicability, Diagnostic, Severity
from leakcheck.fixes.apply import chosen, edited
from leakcheck.fixes.offer import offered
from leakcheck.ownership.program import Program

NAME = "planted_by_a_test"
ROUNDS = 12
_SEEDS = (
    """
    def planted_by_a_test(pool, order):
        conn = pool.getconn()
        cur = conn.cursor()  # the only one
        cur.execute('''DELETE FROM orders
            WHERE id = %s''', (order,))

        # as it was
        conn.commit()
        pool.putconn(conn)
        return order
    """,
    """
    def planted_by_a_test(path):
        import sqlite3
        conn = sqlite3.connect(path)
        rows = conn.execute(
            "SELECT 1"
            ).fetchall()
        conn.close()
        return rows
    """,
    """
    async def planted_by_a_test(dsn):
        import asyncpg
        conn = await asyncpg.connect(dsn)
        if await conn.fetchval("SELECT 1"):
            return 1
        else:
            value = await conn.fetchval("SELECT 2"); print(value)
        await conn.close()
    """,
    """
    def planted_by_a_test(pool, rows):
        for row in rows:
            conn = pool.getconn()
            try:
                conn.cursor().execute("INSERT INTO t VALUES (%s)", row)
            except ValueError:
                conn.rollback()
                continue
            conn.commit()
            pool.putconn(conn)
    """,
    '''
    def planted_by_a_test(path):
        """What it does."""
        import sqlite3
        with sqlite3.connect(path) as conn:
            conn.execute("INSERT INTO t VALUES (1)")
    ''',
    """
    def planted_by_a_test(conn, amount):
        conn.execute("BEGIN")
        conn.execute("UPDATE a SET x = x - ?", (amount,))
        conn.execute("UPDATE b SET x = x + ?", (amount,))
        conn.execute("COMMIT")
    """,
    """
    def planted_by_a_test(dsn):
        from psycopg_pool import ConnectionPool
        pool = ConnectionPool(dsn)
        with pool.connection() as conn:
            conn.execute("SET ROLE tenant")
            conn.execute("INSERT INTO t VALUES (1)")
        pool.close()
    """,
    """
    def planted_by_a_test(path):
        import sqlite3
        return sqlite3.connect(path).execute("SELECT 1").fetchall()
    """,
    """
    async def planted_by_a_test(dsn, job):
        import asyncpg
        try:
            conn = await asyncpg.connect(dsn)
            await job(dsn)
            await conn.close()  # no more
            return True
        except Exception as error:
            print(error)
            if "conn" in locals():
                await conn.close()
            return False
    """,
    """
    def planted_by_a_test(path):
        import sqlite3
        # opened here
        conn = sqlite3.connect(path)
        conn.row_factory = sqlite3.Row

        # off by default
        conn.execute("PRAGMA foreign_keys = ON")
        return conn
    """,
    """
    def planted_by_a_test(dsn, other):
        import psycopg2
        if dsn:
            conn = psycopg2.connect(dsn)
        elif other:
            conn = psycopg2.connect(other)
        else:
            return None
        cur = conn.cursor(); cur.execute("SELECT 1")
        if not cur.rowcount:
            conn.close()  # nothing there
            return None
        # it is over
        conn.close()
        return other
    """,
)
_PLACES = (
    "{}",
    "class Host:\n{1}",
    "if True:\n{1}",
    "def host():\n{1}\n    return planted_by_a_test",
    "class Host:\n    class Inner:\n        if True:\n{3}",
)


@dataclass(frozen=True, slots=True)
class Planted:
    """A host with a leak in it. ``data`` is what is in the file: with its mark and line ends."""

    host: str
    text: str


def planted(host: str, random: Random) -> Planted:
    """The host with a random leak at a random place. ``host`` ends its lines by line feeds."""
    seed = textwrap.dedent(random.choice(_SEEDS)).strip("\n")
    place = random.choice(_PLACES)
    wide = "\t" if "\n\t" in host else random.choice(("    ", "    ", "  ", "\t"))
    seed = _indented(seed, wide)
    depth = 0 if place == "{}" else int(place[place.index("{") + 1])
    body = textwrap.indent(seed, wide * depth)
    block = _indented(place, wide).replace("{}" if not depth else f"{{{depth}}}", body)
    lines = host.split("\n")
    row = _row(host, random)
    before, after = "\n".join(lines[:row]), "\n".join(lines[row:])
    text = f"{before}\n\n\n{block}\n\n\n{after}" if before.strip() else f"{block}\n\n\n{after}"
    if random.random() < 0.25:
        host, text = host.replace("\n", "\r\n"), text.replace("\n", "\r\n")
    return Planted(host, text)


def _indented(text: str, wide: str) -> str:
    """The text with each four columns of indentation written as ``wide``."""
    lines = []
    for line in text.split("\n"):
        bare = line.lstrip(" ")
        lines.append(wide * ((len(line) - len(bare)) // 4) + " " * ((len(line) - len(bare)) % 4) + bare)
    return "\n".join(lines)


def _row(host: str, random: Random) -> int:
    """The end of the host, or a row in front of a statement of its module, behind its imports."""
    body = ast.parse(host).body
    rows = [
        min([one.lineno, *(d.lineno for d in getattr(one, "decorator_list", []))]) - 1
        for before, one in pairwise(body)
        if isinstance(one, ast.FunctionDef | ast.ClassDef) and (before.end_lineno or 0) < one.lineno
    ]
    return random.choice([len(host.split("\n")), *rows])


def complaint(case: Planted, least: Applicability) -> tuple[str | None, int]:
    """What fixing does that it must not, and how many fixes there were."""
    fixed, applied = _fixed(case.text, least)
    if not applied:
        return (None if fixed == case.text else "changed without a fix"), 0
    try:
        ast.parse(fixed)
    except SyntaxError as error:
        return f"breaks the syntax: {error}", applied
    again, more = _fixed(fixed, least)
    if more or again != fixed:
        return "is not idempotent", applied
    before, after = _outside(case.text), _outside(fixed)
    for tag, first, last, start, end in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        removed, added = before[first:last], after[start:end]
        if tag != "equal" and not (_is_import(removed) and _is_import(added)):
            return f"touches {removed!r}, which becomes {added!r}", applied
    ends = {line[len(line.rstrip("\r\n")) :] for line in fixed.splitlines(keepends=True)} - {""}
    if "\r\n" in case.text and ends != {"\r\n"} and case.text.count("\n") == case.text.count("\r\n"):
        return f"mixes line ends: {ends}", applied
    return None, applied


def _is_import(lines: Sequence[str]) -> bool:
    return all(not line.strip() or line.startswith(("from contextlib import ", "import contextlib")) for line in lines)


def _outside(text: str) -> list[str]:
    """The lines of a text without those of the planted function."""
    (node,) = (n for n in ast.walk(ast.parse(text)) if getattr(n, "name", "") == NAME)
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    lines = text.splitlines(keepends=True)
    return [*lines[: node.lineno], *lines[node.end_lineno or 0 :]]


def _fixed(text: str, least: Applicability) -> tuple[str, int]:
    """The text after the fixes of the planted function, and how many they were."""
    applied = 0
    for _ in range(ROUNDS):
        picked = chosen(_diagnostics(text), least)
        if not picked:
            return text, applied
        applied += len(picked)
        text = edited(text, [edit for _, fix in picked for edit in fix.edits])
    return f"{text}\n# the fixes come to no end", applied


def _diagnostics(text: str) -> list[Diagnostic]:
    path = Path("host.py")

    def read(name: str) -> bytes:
        if Path(name) == path:
            return text.encode("utf-8", "surrogatepass")
        raise FileNotFoundError(name)

    program = Program(Config(), read, ())
    leaks = [one for one in program.analyse(str(path)).leaks if NAME in _function(text, one.span.start.row)]
    return [
        Diagnostic(one.kind.value, "", one.acquire, Severity.ERROR, str(path), one.span, one.statement, (),
                   fix=one.fix, fix_refused=one.fix_refused)
        for one in offered(program, str(path), leaks)
    ]  # fmt: skip


def _function(text: str, row: int) -> str:
    names = (
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.lineno <= row <= (node.end_lineno or 0)
    )
    return " ".join(names)
