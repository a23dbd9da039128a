"""Both front ends reduce an expression to the same form."""

from __future__ import annotations

import ast

import libcst as cst
import pytest

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce

EXPRESSIONS = [
    "a",
    "a.b(c, d=1)[0]",
    "await a.b()",
    "None if a else True",
    "a or b and c",
    "X | None",
    "(a, [b, c])",
    "'BEGIN'",
    "b'BEGIN'",
    "b'BE' b'GIN'",
    "'BE' 'GIN'",
    "'SET ROLE ' + role",
    "'SET ' + 'ROLE ' + role + ''",
    "1 + 2",
    "'SET ROLE %s' % role",
    "'SET %s TO %s' % ('a', b)",
    "f'SET ROLE {role}'",
    "f'{role}'",
    "f''",
    "f'BEGIN'",
    "f'{1}'",
    "f'a {{b}} {c}'",
    "f'a {b!r} {c:>3} {d}'",
    "f'{a=}'",
    "f'{ a = } b'",
    "'a' f'b{c}' 'd' f'{e}'",
    "f'a' 'b' + f'{c}' + 'd'",
    r"f'a\n{b}\t\x41'",
    r"rf'a\n{b}'",
    r"f'\N{BULLET} {b}'",
    'f"""a"{b}" c"""',
    r"f'a \d {b}'",
    "f'{a.b(c)} {d[0]}'",
    "(f'a' f'{b}').format(c)",
    "text('BEGIN')",
    "sql.SQL('SET ROLE {}').format(sql.Identifier(role))",
    "x - 1",
    "lambda: 0",
    "(y := 'BEGIN')",
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("text", EXPRESSIONS)
def test_the_front_ends_agree(text: str) -> None:
    from_ast = ex.from_ast(ast.parse(text, mode="eval").body)
    assert reduce(cst.parse_expression(text)) == from_ast


def test_neighbouring_literals_are_one_part() -> None:
    reduced = ex.from_ast(ast.parse("f'a{x}b' 'c' + 'd' + y", mode="eval").body)
    assert reduced == ex.Text((ex.Constant("a"), ex.Name("x"), ex.Constant("bcd"), ex.Name("y")))
