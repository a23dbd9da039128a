"""From an expression that is executed to the texts that it may be. ``…`` stands for a hole."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from leakcheck import expression as ex
from leakcheck.config import Config
from leakcheck.ownership.program import Program
from leakcheck.project.files import read_file
from leakcheck.project.names import Scope
from leakcheck.project.texts import sql_texts
from leakcheck.sql.events import HOLE

QUERIES = """
import enum
from textwrap import dedent
LOCK = "SELECT pg_advisory_lock(7)"
RESET = dedent(\"\"\"
    RESET ROLE
\"\"\")
try:
    import x
    LIMIT = "SET statement_timeout = 1"
except ImportError:
    LIMIT = "SET statement_timeout = 2"
BATCH = ("BEGIN", "COMMIT")
class Queries(enum.Enum):
    START = "BEGIN"
    STOP = "COMMIT"
class Base:
    role = "app"
    become = "SET ROLE " + role
    def __init__(self, tenant):
        self.own = f"SET ROLE {tenant}"
        self.twice = "BEGIN"
    def change(self):
        self.twice = "COMMIT"
def become(role, local=False):
    if local:
        return f"SET LOCAL ROLE {role}"
    return f"SET ROLE {role}"
"""

CASES = {
    # literals
    "'BEGIN'": ["BEGIN"],
    "b'BEGIN'": ["BEGIN"],
    "'SET ' 'ROLE a'": ["SET ROLE a"],
    "'SET ROLE ' + role": ["SET ROLE …"],
    "f'SET ROLE {role}'": ["SET ROLE …"],
    "f'SET ROLE {role!r}'": ["SET ROLE …"],
    "f'{role}{role}'": None,
    "role": None,
    "1": ["1"],
    "None": None,
    "'A' if role else 'B'": ["A", "B"],
    "'A' if role else role": ["A", "…"],
    "role or 'B'": ["…", "B"],
    "''": [""],
    # formatting
    "'SET ROLE %s' % role": ["SET ROLE …"],
    "'SET ROLE %s' % 'a'": ["SET ROLE a"],
    "'SET %s TO %s' % ('search_path', role)": ["SET search_path TO …"],
    "'SET %(a)s TO 5%%' % {'a': 1}": ["SET … TO 5%"],
    "'SET ROLE %s'": ["SET ROLE %s"],
    "'SET ROLE {}'.format(role)": ["SET ROLE …"],
    "'SET {1} TO {0}'.format(role, 'a')": ["SET a TO …"],
    "'SET {name} TO {value:d}'.format(name='a', value=1)": ["SET a TO …"],
    "'SET ROLE {'.format(role)": None,
    "' BEGIN '.strip().upper()": [" BEGIN "],
    "'begin'.upper().encode()": ["BEGIN"],
    "'SET ROLE x'.replace('x', role)": ["SET ROLE …"],
    "' '.join(['SET ROLE', role])": ["SET ROLE …"],
    "', '.join(role)": None,
    # names
    "local": ["SET ROLE a"],
    "twice": None,
    "grown": None,
    "argument": None,
    "MODULE": ["BEGIN"],
    "f'{MODULE}; SET ROLE {role}'": ["BEGIN; SET ROLE …"],
    "LOCK": ["SELECT pg_advisory_lock(7)"],
    "renamed": ["SELECT pg_advisory_lock(7)"],
    "queries.LOCK": ["SELECT pg_advisory_lock(7)"],
    "app.queries.LOCK": ["SELECT pg_advisory_lock(7)"],
    "queries.RESET": ["\n    RESET ROLE\n"],
    "queries.LIMIT": ["SET statement_timeout = 1", "SET statement_timeout = 2"],
    "queries.NONE": None,
    "queries.BATCH[0]": ["BEGIN"],
    "queries.BATCH[5]": None,
    "item": ["BEGIN", "COMMIT"],
    "queries.Queries.START.value": ["BEGIN"],
    "Queries.STOP": ["COMMIT"],
    "self.sql": ["LISTEN a"],
    "Base.become": ["SET ROLE app"],
    "self.become": ["SET ROLE app"],
    "self.own": ["SET ROLE …"],
    "self.twice": None,
    "itself": ["…x"],
    "RESTARRED": ["UNLISTEN *"],
    # functions of the project
    "become(role)": ["SET LOCAL ROLE …", "SET ROLE …"],
    "queries.become('a')": ["SET LOCAL ROLE …", "SET ROLE …"],
    "self.text('COMMIT')": ["ROLLBACK"],
    "unknown('COMMIT')": None,
    # libraries
    "sa.text('BEGIN')": ["BEGIN"],
    "text(f'SET ROLE {role}').bindparams(a=1)": ["SET ROLE …"],
    "sa.select(sa.func.pg_advisory_lock(7))": ["SELECT pg_advisory_lock(7)"],
    "sa.func.pg_advisory_lock(role)": ["SELECT pg_advisory_lock(…)"],
    "select(func.set_config('app.x', role, False))": ["SELECT set_config('app.x', …, false)"],
    "select(Model).where(Model.a == 1)": ["SELECT … WHERE …"],
    "select(Model).where(func.pg_try_advisory_lock(Model.id)).limit(1)": ["SELECT … WHERE pg_try_advisory_lock(…)"],
    "select(Model).with_for_update()": ["SELECT … FOR UPDATE"],
    "sa.insert(Model).values(a=1)": ["INSERT …"],
    "sql.SQL('SET ROLE {}').format(sql.Identifier('a'))": ['SET ROLE "a"'],
    "sql.SQL('SET ROLE {}').format(sql.Identifier(role))": ["SET ROLE …"],
    "sql.SQL('SET ROLE {role}').format(role=sql.Literal('a'))": ["SET ROLE …"],
    "sql.SQL('SET ROLE ') + sql.Identifier(role)": ["SET ROLE …"],
    "sql.Composed([sql.SQL('SET ROLE '), sql.Identifier('s', 'a')])": ['SET ROLE "s"."a"'],
    "sql.SQL('BEGIN').as_string(conn)": ["BEGIN"],
    "dedent('BEGIN')": ["BEGIN"],
}

MAIN = """
import sqlalchemy as sa
from sqlalchemy import func, select, text
from psycopg import sql
from textwrap import dedent
import app.queries
from app import queries
from app.queries import LOCK, Queries, Base, become
from app.queries import LOCK as renamed
from app.starred import *

MODULE = "BEGIN"

class Worker(Base):
    sql = "LISTEN a"

    def text(self, given):
        return "ROLLBACK"

    def run(self, cur, role, conn, argument="BEGIN"):
        local = "SET ROLE a"
        twice = "BEGIN"
        twice = "COMMIT"
        grown = "BEGIN"
        grown += "; COMMIT"
        itself = itself + "x"
        for item in queries.BATCH:
            pass
        return {}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "app").mkdir()
    (folder / "app/__init__.py").write_text("")
    (folder / "app/queries.py").write_text(QUERIES)
    (folder / "app/starred.py").write_text("RESTARRED = 'UNLISTEN *'\n")
    for number, expression in enumerate(CASES):
        (folder / f"main{number}.py").write_text(MAIN.format(expression))
    return folder


@pytest.fixture(scope="module")
def program(folder: Path) -> Program:
    return Program(Config(root=folder), read_file, [folder])


@pytest.mark.parametrize("expression", CASES)
def test_texts(program: Program, folder: Path, expression: str) -> None:
    facts = program.facts(str(folder / f"main{list(CASES).index(expression)}.py"))
    assert facts is not None
    function = facts.functions["Worker.run"]
    texts = sql_texts(function.returned[0], Scope.of(facts, function), program)
    shown = None if texts is None else [text.replace(HOLE, "…") for text in texts]
    assert shown == CASES[expression]


def test_many_choices_are_holes(program: Program, tmp_path: Path) -> None:
    choice = "('a' if x else 'b')"
    texts = sql_texts(*_returned(program, tmp_path, " + ".join([choice] * 20) + " + 'c'"), program)
    assert texts == (f"{HOLE}c",)


def test_functions_that_call_each_other_end(program: Program, tmp_path: Path) -> None:
    source = "f() + g()\ndef g():\n    return f() + f() + g()\n"
    assert sql_texts(*_returned(program, tmp_path, source), program) is None


def _returned(program: Program, folder: Path, source: str) -> tuple[ex.Expression, Scope]:
    path = folder / "one.py"
    path.write_text(textwrap.dedent(f"def f(x=1):\n    return {source}"))
    facts = program.facts(str(path))
    assert facts is not None
    return facts.functions["f"].returned[0], Scope.of(facts, facts.functions["f"])
