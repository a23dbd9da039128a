"""Functions called in a statement: those that change the session, and whether all others only compute.

    SELECT set_config('role', 'tenant', false), now()   →   SET_ROLE tenant

A function is taken to write unless it is known to compute its result and do nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck.sql.assignments import assigned, literal_or_name
from leakcheck.sql.event import HOLE, SqlEvent, SqlKind
from leakcheck.sql.tokens import PLACEHOLDER, QUOTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.sql.tokens import Token

_ACQUIRING = frozenset(
    f"pg_{attempt}advisory_{scope}lock{shared}".upper()
    for attempt in ("", "try_")
    for scope in ("", "xact_")
    for shared in ("", "_shared")
)
_LOCKS = {
    **dict.fromkeys(_ACQUIRING, SqlKind.LOCK),
    "PG_ADVISORY_UNLOCK": SqlKind.UNLOCK,
    "PG_ADVISORY_UNLOCK_SHARED": SqlKind.UNLOCK,
    "PG_ADVISORY_UNLOCK_ALL": SqlKind.UNLOCK_ALL,
    "GET_LOCK": SqlKind.GET_LOCK,
    "RELEASE_LOCK": SqlKind.RELEASE_LOCK,
    "RELEASE_ALL_LOCKS": SqlKind.RELEASE_ALL_LOCKS,
}
_SYNTAX = frozenset(
    """ALL AND ANY ARRAY AS BETWEEN BY CASE CAST CHAR CHARACTER CONFLICT DECIMAL DISTINCT ELSE EXCEPT EXISTS EXTRACT
    FILTER FROM GROUP HAVING IN INTERSECT INTERVAL IS JOIN LATERAL LIKE ILIKE LIMIT MATERIALIZED NOT NUMERIC NVARCHAR
    OFFSET ON OR OVER PARTITION POSITION PRECISION RECURSIVE RETURNING ROW SELECT SETS SIMILAR SOME SUBSTRING THEN TIME
    TIMESTAMP TRIM UNION USING VALUES VARCHAR WHEN WHERE WITH WITHIN ONLY INTO CUBE ROLLUP GROUPING BIT BINARY
    TIMESTAMPTZ OVERLAY FETCH NEXT""".split()
)
"""Words before a parenthesis that call nothing."""
_COMPUTING = frozenset(
    """ABS AGE ASCII AVG BIT_AND BIT_LENGTH BIT_OR BOOL_AND BOOL_OR BTRIM CARDINALITY CEIL CEILING CHAR_LENGTH CHR
    CLOCK_TIMESTAMP COALESCE COL_DESCRIPTION CONCAT CONCAT_WS CONNECTION_ID CONVERT CORR COUNT CUME_DIST CURDATE
    CURRENT_DATABASE CURRENT_DATE CURRENT_SCHEMA CURRENT_SCHEMAS CURRENT_SETTING CURRENT_TIME CURRENT_TIMESTAMP
    CURRENT_USER CURTIME DATABASE DATE DATEDIFF DAY DECODE DENSE_RANK ENCODE EVERY EXP FIELD FIRST_VALUE FLOOR FORMAT
    FORMAT_TYPE FOUND_ROWS FROM_UNIXTIME GEN_RANDOM_UUID GENERATE_SERIES GENERATE_SUBSCRIPTS GREATEST GROUP_CONCAT
    HASHTEXT HEX HOST HOUR IF IFNULL INET_ATON INITCAP INSTR ISNULL IS_FREE_LOCK IS_USED_LOCK JULIANDAY LAG
    LAST_INSERT_ID LAST_VALUE LCASE LEAD LEAST LEFT LENGTH LN LOCATE LOG LOWER LPAD LTRIM MAX MD5 MIN MINUTE MOD MODE
    MONTH NOW NTH_VALUE NTILE NULLIF NUM_NONNULLS NUM_NULLS OBJ_DESCRIPTION OCTET_LENGTH PERCENTILE_CONT
    PERCENTILE_DISC PERCENT_RANK PI PG_BACKEND_PID PG_COLUMN_SIZE PG_DATABASE_SIZE PG_IS_IN_RECOVERY PG_RELATION_SIZE
    PG_SIZE_PRETTY PG_SLEEP PG_TABLE_SIZE PG_TOTAL_RELATION_SIZE PG_TYPEOF POSITION POWER QUARTER QUOTE_IDENT
    QUOTE_LITERAL RANDOM RANK REPEAT REPLACE REVERSE RIGHT ROUND ROW_COUNT ROW_NUMBER RPAD RTRIM SCHEMA SECOND
    SESSION_USER SHA256 SHA512 SIGN SIMILARITY SPLIT_PART SQRT STDDEV STRFTIME STRPOS STR_TO_DATE SUBSTR SUBSTRING SUM
    SYSDATE TIMESTAMPDIFF TOTAL TRANSLATE TRUNC TXID_CURRENT TXID_CURRENT_IF_ASSIGNED TYPEOF UCASE UNIXEPOCH
    UNIX_TIMESTAMP UNNEST UPPER USER UUID VARIANCE VERSION WEEK WIDTH_BUCKET XMLAGG YEAR""".split()
)
_COMPUTING_FAMILIES = (
    "ARRAY_",
    "DATE_",
    "HAS_",
    "INET_",
    "JSON",
    "MAKE_",
    "PG_GET_",
    "PG_STAT_GET_",
    "REGEXP_",
    "REGR_",
    "ST_",
    "STDDEV_",
    "STRING_",
    "TO_",
    "TO_TS",
    "TS_",
    "VAR_",
    "WEBSEARCH_TO_",
)
_BOOLEANS = {
    **dict.fromkeys(("false", "'f'", "'false'", "'off'", "0"), False),
    **dict.fromkeys(("true", "'t'", "'true'", "'on'", "1"), True),
}


def call_events(statement: Sequence[Token]) -> Iterator[SqlEvent]:
    """The effects of the functions called in a statement, in their order."""
    for index, name in _calls(statement):
        if name == "SET_CONFIG":
            yield _set_config(_arguments(statement, index + 1))
        elif name in _LOCKS:
            yield SqlEvent(_LOCKS[name], _literals(_arguments(statement, index + 1)), local="_XACT_" in name)


def only_computes(statement: Sequence[Token]) -> bool:
    """Whether every function that the statement calls is known to change nothing but what is said of it."""
    for index, name in _calls(statement):
        if name in _LOCKS or name == "SET_CONFIG":
            continue
        qualified = index >= 2 and statement[index - 1].word == "." and statement[index - 2].word != "PG_CATALOG"
        if qualified or not computes(name):
            return False
    return True


def computes(name: str) -> bool:
    """Whether what stands before a parenthesis, in upper case, calls nothing that may do more than compute."""
    return name in _SYNTAX or name in _COMPUTING or name.startswith(_COMPUTING_FAMILIES)


def _calls(statement: Sequence[Token]) -> Iterator[tuple[int, str]]:
    """Where functions are called, each with its name."""
    for index in range(len(statement) - 1):
        token = statement[index]
        if statement[index + 1].word != "(" or not token.is_name or token.word in _SYNTAX:
            continue
        if index and statement[index - 1].word in ("AS", "WITH", "RECURSIVE", "INTO", "INDEX", "KEY"):
            continue  # the columns of an alias or a table
        if token.word == PLACEHOLDER:
            continue
        yield index, token.text[1:-1].upper() if token.word == QUOTED else token.word


def _arguments(statement: Sequence[Token], start: int) -> list[Sequence[Token]]:
    """The arguments in the parentheses that open at ``start``."""
    found: list[Sequence[Token]] = []
    depth, first = 0, start + 1
    for index in range(start, len(statement)):
        word = statement[index].word
        depth += (word == "(") - (word == ")")
        if (word == "," and depth == 1) or depth == 0:
            if index > first:
                found.append(statement[first:index])
            first = index + 1
        if depth == 0:
            break
    return found


def _uncast(argument: Sequence[Token]) -> Sequence[Token]:
    """An argument without ``::text`` and the name of its parameter."""
    if len(argument) > 2 and argument[1].word in ("=>", ":="):
        argument = argument[2:]
    cast = next((i for i, token in enumerate(argument) if token.word == "::"), len(argument))
    return argument[:cast]


def _set_config(arguments: Sequence[Sequence[Token]]) -> SqlEvent:
    """What ``set_config(name, value, is_local)`` does; a mere WRITE where it is not known for how long."""
    if len(arguments) != 3:
        return SqlEvent(SqlKind.WRITE)
    name, value, until = (_uncast(argument) for argument in arguments)
    local = _BOOLEANS.get(until[0].text.lower()) if len(until) == 1 else None
    if local is None:
        return SqlEvent(SqlKind.WRITE)
    setting = literal_or_name(name) if len(name) == 1 and name[0].word == "'" else None
    given = literal_or_name(value) if len(value) == 1 and value[0].word == "'" else None
    if [token.word for token in value] == ["NULL"]:
        given = ""
    lowered = None if setting is None else setting.lower()
    if given is not None and given.lower() == "default" and lowered != "role":
        given = None  # a value like any other here
    return assigned(lowered, given, local=local)


def _literals(arguments: Sequence[Sequence[Token]]) -> str | None:
    """The arguments as text where all of them are written out: ``1, 2`` or ``hashtext('jobs')``."""
    for argument in arguments:
        for index, token in enumerate(argument):
            called = index + 1 < len(argument) and argument[index + 1].word == "("
            cast = index > 0 and argument[index - 1].word == "::"
            if HOLE in token.text or token.word in (PLACEHOLDER, QUOTED) or (token.is_name and not called and not cast):
                return None
    return ", ".join("".join(token.text for token in argument) for argument in arguments) or None
