"""SET and RESET in the dialects: what of the session they change, and for how long.

    SET LOCAL ROLE tenant              →   SET_ROLE tenant (local)
    SET a = 1, @@session.b = DEFAULT   →   SET a, RESET b

What could be a sentence and no statement is UNKNOWN: "Set state to queued."
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck.sql.event import HOLE, SqlEvent, SqlKind
from leakcheck.sql.tokens import NUMBER, PLACEHOLDER, QUOTED, STRING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.sql.tokens import Token

UNKNOWN = (SqlEvent(SqlKind.UNKNOWN),)
_SYNONYMS = {
    ("TIME", "ZONE"): "timezone",
    ("NAMES",): "client_encoding",
    ("CHARACTER", "SET"): "client_encoding",
    ("CHARSET",): "client_encoding",
    ("SCHEMA",): "search_path",
    ("XML", "OPTION"): "xmloption",
    ("SESSION", "CHARACTERISTICS"): "session characteristics",
    ("SESSION", "TRANSACTION"): "session characteristics",
}
"""Settings with a syntax of their own, which has no ``=``."""
_CLEARED = frozenset({"", "off", "false", "f", "no", "0"})
"""What a setting of one's own is given where it is to have no effect any more."""
_IN_FORCE = frozenset({
    ("search_path", "public"), ("session_replication_role", "origin"), ("foreign_key_checks", "1"),
    ("foreign_key_checks", "on"), ("unique_checks", "1"), ("sql_log_bin", "1"),
})  # fmt: skip
"""Settings with the value that servers start with, and hardly one is configured to have another."""
_SWITCHES = frozenset(("ON", "OFF"))
_SIMPLE_VALUES = (STRING, NUMBER, QUOTED, PLACEHOLDER, HOLE)


def name_at(tokens: Sequence[Token], start: int) -> tuple[str | None, int]:
    """The identifier at ``start``, dotted and glued parts included, and what follows it; None where it has a hole."""
    parts: list[str] = []
    known = True
    index = start
    while index < len(tokens):
        token = tokens[index]
        if index > start and (token.spaced or (tokens[index - 1].spaced and tokens[index - 1].word == ".")):
            break
        if token.word in (HOLE, PLACEHOLDER) or HOLE in token.text:
            known = False
        elif token.word == QUOTED:
            parts.append(token.text[1:-1])
        elif token.is_name or token.word in (".", "@", "@@") or (token.word == NUMBER and index > start):
            parts.append(token.text.lower())
        else:
            break
        index += 1
    return "".join(parts) if known and parts else None, index


def literal_or_name(tokens: Sequence[Token]) -> str | None:
    """A string, number or name that is written out."""
    if len(tokens) == 1 and tokens[0].word in (STRING, NUMBER):
        text = tokens[0].text
        value = text.strip("'") if tokens[0].word == STRING else text
        return None if HOLE in value else value
    name, end = name_at(tokens, 0)
    return name if end == len(tokens) else None


def assigned(name: str | None, value: str | None, *, local: bool = False) -> SqlEvent:
    """The event of giving a setting a value; ``value`` is None where it is not known, "default" for DEFAULT.

    A setting of one's own (``app.tenant``) cannot be removed: the empty string is how it is cleared, and a switch is
    turned off. What says what is in force anyway takes nothing that whoever comes next could miss.
    """
    given = None if value is None else value.lower()
    match name:
        case "role":
            reset = given in ("none", "default")
            return SqlEvent(SqlKind.RESET_ROLE if reset else SqlKind.SET_ROLE, None if reset else value, local)
        case "session_authorization":
            reset = given == "default"
            kind = SqlKind.RESET_AUTHORIZATION if reset else SqlKind.SET_AUTHORIZATION
            return SqlEvent(kind, None if reset else value, local)
        case "autocommit":
            state = {"0": "off", "off": "off", "false": "off", "1": "on", "on": "on", "true": "on"}
            return SqlEvent(SqlKind.SET_AUTOCOMMIT, state.get(given or ""))
        case _:
            own = name is not None and "." in name
            cleared = given == "default" or (given in _CLEARED if own else (name, given) in _IN_FORCE)
            return SqlEvent(SqlKind.RESET if cleared else SqlKind.SET, name, local)


def set_events(statement: Sequence[Token]) -> tuple[SqlEvent, ...]:
    """What a SET statement does."""
    words = [token.word for token in statement[1:]]
    match words:
        case ["TRANSACTION" | "CONSTRAINTS", _, *_]:
            return (SqlEvent(SqlKind.SET_TRANSACTION),)
        case ["PASSWORD", *_] | ["DEFAULT", "ROLE", *_]:
            return (SqlEvent(SqlKind.DDL),)
        case ["GLOBAL" | "PERSIST" | "PERSIST_ONLY", _, *_]:
            return (SqlEvent(SqlKind.WRITE),)
        case ["SESSION", "CHARACTERISTICS" | "TRANSACTION" | "AUTHORIZATION", *_]:
            return _target(statement[1:], local=False)
        case ["LOCAL" | "SESSION" as scope, _, *_]:
            return _target(statement[2:], local=scope == "LOCAL")
        case _:
            return _target(statement[1:], local=False)


def _target(rest: Sequence[Token], *, local: bool) -> tuple[SqlEvent, ...]:
    """What is set, without the word for how long."""
    words = [token.word for token in rest]
    match words:
        case ["ROLE", second, *_] if second not in ("=", "TO"):
            value = literal_or_name(rest[1:])
            listed = len(rest) > 2 and words[2] in (",", "EXCEPT", "@")
            known = value is not None or listed or _is_value(rest[1:])
            return (assigned("role", value, local=local),) if known else UNKNOWN
        case ["SESSION", "AUTHORIZATION", _, *_]:
            known = _is_value(rest[2:])
            return (assigned("session_authorization", literal_or_name(rest[2:]), local=local),) if known else UNKNOWN
    for synonym, name in _SYNONYMS.items():
        size = len(synonym)
        if tuple(words[:size]) == synonym and len(words) > size and words[size] not in ("=", "TO", ":="):
            value = "default" if words[size] in ("DEFAULT", "LOCAL") else None
            return (assigned(name, value, local=local),)
    if words == [HOLE] and local:
        return (SqlEvent(SqlKind.SET, None, local=True),)
    found: list[SqlEvent] = []
    for part in _assignments(rest):
        event = _assignment(part, local=local)
        if event is None:
            return UNKNOWN
        found.append(event)
    return tuple(found) or UNKNOWN


def _assignments(rest: Sequence[Token]) -> list[Sequence[Token]]:
    """MySQL's ``a = 1, b = 2`` in parts; the commas of PostgreSQL's ``search_path = a, b`` divide nothing."""
    parts: list[Sequence[Token]] = []
    depth = start = 0
    for index, token in enumerate(rest):
        depth += (token.word == "(") - (token.word == ")")
        if token.word == "," and depth == 0 and _assigns(rest[index + 1 :]):
            parts.append(rest[start:index])
            start = index + 1
    parts.append(rest[start:])
    return parts


def _unscoped(part: Sequence[Token]) -> tuple[str | None, Sequence[Token]]:
    """A part of a MySQL assignment without its scope, which is the first value."""
    match [token.word for token in part[:3]]:
        case ["@@", "GLOBAL" | "PERSIST" | "SESSION" | "LOCAL" as scope, "."]:
            return scope, part[3:]
        case ["@@", *_]:
            return None, part[1:]
        case ["GLOBAL" | "PERSIST" | "SESSION" | "LOCAL" as scope, _, *_]:
            return scope, part[1:]
        case _:
            return None, part


def _assigns(part: Sequence[Token]) -> bool:
    """Whether ``name =`` follows."""
    target = _unscoped(part)[1]
    end = name_at(target, 0)[1]
    return 0 < end < len(target) and target[end].word in ("=", ":=")


def _assignment(part: Sequence[Token], *, local: bool) -> SqlEvent | None:
    """The event of one assignment, None where it is none."""
    scope, target = _unscoped(part)
    name, end = name_at(target, 0)
    if end == 0:
        return None
    match [token.word for token in target[end:]]:
        case ["=" | ":=", _, *_] | ["TO", _, *_] if _is_value(target[end + 1 :]) or target[end].word != "TO":
            value = target[end + 1 :]
            if value[-1].word in (".", "!"):
                return None  # the end of a sentence
        case [*_, switch] if switch in _SWITCHES and len(target) - end <= 2:
            value = target[-1:]  # T-SQL: SET NOCOUNT ON
        case _:
            return None
    if scope in ("GLOBAL", "PERSIST"):
        return SqlEvent(SqlKind.WRITE)
    variable, taken = target[0].word.startswith("@"), value[0].word
    if variable and taken.startswith("@@"):
        return SqlEvent(SqlKind.READ)  # the value in force is kept aside: SET @OLD_SQL_MODE = @@SQL_MODE
    if (variable and taken == "NULL") or (not variable and taken.startswith("@") and not taken.startswith("@@")):
        return SqlEvent(SqlKind.RESET, name, local)  # SET SQL_MODE = @OLD_SQL_MODE
    return assigned(name, literal_or_name(value), local=local)


def _is_value(tokens: Sequence[Token]) -> bool:
    """Whether it may be a value after TO: words and literals with commas between them, no sentence."""
    if not tokens or tokens[-1].word in (".", "!", ","):
        return False
    after_comma = True
    for token in tokens:
        if token.word == ",":
            after_comma = True
        elif token.is_name or token.word in _SIMPLE_VALUES or token.word in ("-", "+", "."):
            if not after_comma and token.spaced:
                return False
            after_comma = token.word in ("-", "+")
        else:
            return False
    return True


def reset_events(statement: Sequence[Token]) -> tuple[SqlEvent, ...]:
    """What a RESET statement does."""
    match [token.word for token in statement[1:]]:
        case ["ALL"]:
            return (SqlEvent(SqlKind.RESET_ALL),)
        case ["ROLE"]:
            return (SqlEvent(SqlKind.RESET_ROLE),)
        case ["SESSION", "AUTHORIZATION"] | ["SESSION_AUTHORIZATION"]:
            return (SqlEvent(SqlKind.RESET_AUTHORIZATION),)
        case ["TIME", "ZONE"]:
            return (SqlEvent(SqlKind.RESET, "timezone"),)
        case ["MASTER" | "SLAVE" | "REPLICA" | "BINARY", *_] | ["QUERY", "CACHE"] | ["PERSIST", *_]:
            return (SqlEvent(SqlKind.DDL),)
        case [_, *_] if statement[1].is_name:
            name, end = name_at(statement, 1)
            return (SqlEvent(SqlKind.RESET, name),) if end == len(statement) else UNKNOWN
        case _:
            return UNKNOWN
