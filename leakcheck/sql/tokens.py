"""From SQL text to statements: lists of tokens without comments and white space.

    "BEGIN; /* x */ SET a.b TO 'c'"   →   [[BEGIN], [SET, a, ., b, TO, 'c']]

The lexer is sqlparse's, which knows the strings and comments of all dialects and never raises. What it leaves to
us: nested comments, placeholders in braces, and the bodies of routines, whose semicolons end no statement.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from leakcheck.sql.event import HOLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STRING, NUMBER, QUOTED, PLACEHOLDER = "'", "1", '"', "?"
"""The ``word`` of tokens that are no words: a literal, a quoted name, a value that the driver fills in."""
TRANSACTION_MODES = frozenset(
    "ISOLATION LEVEL SERIALIZABLE REPEATABLE READ COMMITTED UNCOMMITTED WRITE ONLY NOT DEFERRABLE WITH CONSISTENT "
    "SNAPSHOT IMMEDIATE EXCLUSIVE DEFERRED CONCURRENT TRANSACTION PRIORITY LOW NORMAL HIGH".split()
) | {",", HOLE, PLACEHOLDER}
"""What may follow BEGIN and START TRANSACTION in some dialect."""
TRANSACTION_NOUNS = ("WORK", "TRANSACTION", "TRAN")
_BRACES = re.compile(r"\{\{[^{}]*\}\}|\{[\w.!:\[\]]*\}")
_COMMENT_BOUND = re.compile(r"/\*|\*/")
_ROUTINES = frozenset(("FUNCTION", "PROCEDURE", "PROC", "TRIGGER", "EVENT", "PACKAGE"))
_ROUTINE_HEAD = 12
"""How far from CREATE the word that says what is created may stand: ``CREATE DEFINER = a@b SQL SECURITY …``."""
_INNER_ENDS = frozenset(("IF", "LOOP", "WHILE", "REPEAT", "FOR"))


class Token(Struct, frozen=True):
    """``word`` is the upper-case word, the punctuation mark, or one of the constants above. ``spaced``: not glued."""

    word: str
    text: str
    spaced: bool

    @property
    def is_name(self) -> bool:
        """Whether it may be an identifier or a part of one."""
        first = self.word[0]
        variable = first == "@" and self.word.strip("@") != ""
        return first == "_" or first.isalpha() or variable or self.word in (QUOTED, HOLE, PLACEHOLDER)


Statement = list[Token]


def statements(text: str) -> Iterator[Statement]:
    """The statements of a text in their order, none of them empty."""
    tokens = list(_tokens(_BRACES.sub(HOLE, text)))
    start = 0
    while start < len(tokens):
        end = _end(tokens, start)
        if end > start:
            yield tokens[start:end]
        start = end + 1


def _end(tokens: Statement, start: int) -> int:
    """Where the statement at ``start`` ends: at a semicolon that stands in no block, or with the text."""
    first = next((i for i in range(start, len(tokens)) if tokens[i].word == ";"), len(tokens))
    head = tokens[start:first]
    if not head or not is_block(head):
        return first
    depth, declares = 0, _declares(head)
    for index in range(start, len(tokens)):
        word = tokens[index].word
        if word == ";" and depth <= 0 and not declares:
            return index
        if word in ("BEGIN", "CASE", "END"):
            following = tokens[index + 1].word if index + 1 < len(tokens) else ""
            if not (word == "CASE" and tokens[index - 1].word == "END"):
                depth += _nesting(word, following)
            declares = False
    return len(tokens)


def is_block(statement: Sequence[Token]) -> bool:
    """Whether the statement holds others: the definition of a routine, an anonymous block, a T-SQL condition."""
    match statement[0].word:
        case "CREATE" | "ALTER" | "REPLACE":
            return any(token.word in _ROUTINES for token in statement[1:_ROUTINE_HEAD])
        case "BEGIN":
            return len(statement) > 1 and not begins_transaction(statement[1:])
        case "IF" | "WHILE":
            return True
        case _:
            return _declares(statement)


def begins_transaction(rest: Sequence[Token]) -> bool:
    """Whether what follows BEGIN leaves it the start of a transaction. Prose and blocks say something else."""
    words = [token.word for token in rest]
    named = words[:1] in (["TRANSACTION"], ["TRAN"])
    if words[:1] and words[0] in TRANSACTION_NOUNS:
        words = words[1:]
    if named and len(words) == 1 and rest[1].is_name:
        return True
    return all(word in TRANSACTION_MODES for word in words)


def _declares(statement: Sequence[Token]) -> bool:
    """Whether it is a block that starts with declarations; the DECLARE of a cursor or a T-SQL variable is none."""
    return (
        bool(statement)
        and statement[0].word == "DECLARE"
        and all(token.word != "CURSOR" and token.word[0] != "@" for token in statement[1:8])
    )


def _nesting(word: str, following: str) -> int:
    """How a word inside a block changes the depth of blocks."""
    if word == "END":
        return 0 if following in _INNER_ENDS else -1
    if word == "BEGIN":
        return 0 if following in TRANSACTION_NOUNS else 1
    return 1


def _tokens(text: str) -> Iterator[Token]:
    spaced = True
    for value in _lexed(text):
        if not value.strip():
            spaced = True
            continue
        first = value[0]
        if first in "'\"" and len(value) == 1:
            return  # the string ends nowhere
        if first.isalpha() or first == "_":
            for word in value.split():
                yield Token(word.upper(), word, spaced)
                spaced = True
        else:
            yield Token(_mark(value), value, spaced)
        spaced = False


def _mark(value: str) -> str:
    """The ``word`` of a token that is no word."""
    first = value[0]
    if first == "'" or (first == "$" and value[-1] == "$" and len(value) > 1):
        return STRING
    if first in '"`' or (first == "[" and len(value) > 1):
        return QUOTED
    if first.isdigit() or (first in "-+." and value[1:2].isdigit()):
        return NUMBER
    if value in ("?", "%s") or value.startswith("%(") or (first in "$:?" and value[1:2].isalnum()):
        return PLACEHOLDER
    return value.upper()


def _lexed(text: str) -> Iterator[str]:
    """The lexer's tokens, comments as a space; a comment ends where the comments inside it have ended."""
    from sqlparse.lexer import Lexer
    from sqlparse.tokens import Comment

    lexer = Lexer.get_default_instance()
    position = 0
    while position < len(text):
        for kind, value in lexer.get_tokens(text[position:]):
            if kind not in Comment:
                yield value
                position += len(value)
                continue
            yield " "
            nested = _comment_end(text, position) if value.count("/*") > 1 else None
            position = nested or position + len(value)
            if nested:
                break
        else:
            return


def _comment_end(text: str, start: int) -> int | None:
    """Where the comment at ``start`` ends when comments nest; None where they do not end, as in MySQL."""
    depth = 0
    for bound in _COMMENT_BOUND.finditer(text, start):
        depth += 1 if bound[0] == "/*" else -1
        if depth == 0:
            return bound.end()
    return None
