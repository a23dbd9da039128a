"""The texts that an expression may be, as far as the source says: what is not known is a hole.

    "SET ROLE %s" % role             →   one text, with a hole
    sa.text(LOCK) if wait else TRY   →   two texts: the constants, wherever they are assigned

Names stand for what is assigned to them: a constant of a module or class, or a local name that is assigned once.
How libraries put SQL together is known here: ``str``'s methods, psycopg's ``sql``, SQLAlchemy's ``text`` and ``func``.
"""

from __future__ import annotations

import itertools
import re
import string
from typing import TYPE_CHECKING, Protocol

from leakcheck import expression as ex
from leakcheck.project.definitions import Definitions
from leakcheck.project.names import External, Function
from leakcheck.sql.event import HOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from leakcheck.project.facts import ModuleFacts, ScopeFacts
    from leakcheck.project.modules import Modules
    from leakcheck.project.names import Scope, Symbol
    from leakcheck.project.resolver import Resolver

Texts = tuple[str, ...]

_UNKNOWN: Texts = (HOLE,)
_ALTERNATIVES = 8
"""Texts that one expression may be; the choices of one that may be more are holes."""
_STEPS = 400
_DEPTH = 30
_SAME = frozenset(
    """strip lstrip rstrip encode decode expandtabs bindparams columns execution_options options as_string params
    order_by limit offset group_by distinct select_from join outerjoin returning values""".split()
)
"""Methods whose result does the same as what they are called on."""
_CONDITIONS = frozenset(("where", "filter", "filter_by", "having"))
_CHANGING: dict[str, Callable[[str], str]] = {"upper": str.upper, "lower": str.lower}
_WRAPPERS = frozenset(("text", "SQL", "dedent", "cleandoc", "DDL", "TextClause", "RawSQL", "str", "LiteralString"))
"""Functions that hand on the text that they are given."""
_SQLALCHEMY = frozenset(("sqlalchemy", "sqlmodel"))
_STATEMENTS = {"insert": "INSERT", "update": "UPDATE", "delete": "DELETE"}
_SELECT = "SELECT "
_PERCENT = re.compile(r"%(?P<key>\(\w*\))?[-+ #0]*[\d*]*(?:\.[\d*]+)?(?P<kind>[a-zA-Z%])")


class TextSource(Protocol):
    """What is needed of the program."""

    modules: Modules
    resolver: Resolver

    def facts(self, path: str) -> ModuleFacts | None:
        """The facts of a project file, None where it cannot be read or parsed."""


def sql_texts(expression: ex.Expression, scope: Scope, program: TextSource) -> Texts | None:
    """The texts that ``expression`` may be in ``scope``; None where nothing of it is known."""
    found = tuple(dict.fromkeys(_Reader(program).read(expression, scope)))
    return None if all(not text.strip(HOLE) and text for text in found) else found


class _Reader:
    """Reads one expression; what it meets on the way counts against one budget."""

    def __init__(self, program: TextSource) -> None:
        self._resolver = program.resolver
        self._definitions = Definitions(program)
        self._steps = 0
        self._active: list[tuple[ex.Expression, ScopeFacts]] = []

    def read(self, expression: ex.Expression, scope: Scope) -> Texts:
        """The texts that ``expression`` may be; a hole among them for each that is not known."""
        self._steps += 1
        inner = scope.functions[-1].scope if scope.functions else scope.module.scope
        repeated = any(facts is inner and known == expression for known, facts in self._active)
        if repeated or len(self._active) > _DEPTH or self._steps > _STEPS:
            return _UNKNOWN
        self._active.append((expression, inner))
        try:
            return self._read(expression, scope)
        finally:
            self._active.pop()

    def _read(self, expression: ex.Expression, scope: Scope) -> Texts:
        match expression:
            case ex.Constant(value=str() as value):
                return (value,)
            case ex.Constant(value=bytes() as value):
                return (value.decode("latin-1"),)
            case ex.Constant(value=int() as value) if not isinstance(value, bool):
                return (str(value),)
            case ex.Text(parts=parts):
                return _joined([self.read(part, scope) for part in parts])
            case ex.Formatted(template=template, values=values):
                return self._percent(self.read(template, scope), values, scope)
            case ex.Choice(options=options):
                return _choice(self.read(option, scope) for option in options)
            case ex.Attribute(base=base, name="value") if not self._definitions.of(expression, scope):
                return self.read(base, scope)  # of an enumeration's member
            case ex.Name() | ex.Attribute():
                return _choice(self.read(value, inner) for value, inner in self._definitions.of(expression, scope))
            case ex.Element(value=value):
                return _choice(self.read(item, inner) for item, inner in self._items(value, scope))
            case ex.Item(base=base, index=ex.Constant(value=int() as index)):
                items = self._items(base, scope)
                return self.read(*items[index]) if -len(items) <= index < len(items) else _UNKNOWN
            case ex.Item(base=base, index=ex.Constant(value=str() as key)):
                return self._at(base, key, scope)
            case ex.Call(func=ex.Attribute(base=base, name="get"), args=(ex.Constant(value=str() as key), *_)):
                return self._at(base, key, scope)
            case ex.Call(func=ex.Attribute(base=base, name=method)) if self._is_method(method, base, scope):
                return self._method(expression, base, method, scope)
            case ex.Call():
                return self._call(expression, scope)
            case _:
                return _UNKNOWN

    def _items(self, expression: ex.Expression, scope: Scope) -> list[tuple[ex.Expression, Scope]]:
        """The items of a tuple or list, also of one that is named; none where they are not known."""
        if isinstance(expression, ex.Sequence):
            return [(item, scope) for item in expression.items]
        found = self._definitions.of(expression, scope)
        if len(found) == 1 and isinstance(found[0][0], ex.Sequence):
            return [(item, found[0][1]) for item in found[0][0].items]
        return []

    def _at(self, expression: ex.Expression, key: str, scope: Scope) -> Texts:
        """The text that a dictionary which is written out has for a key."""
        written = isinstance(expression, ex.Sequence)
        found = [(expression, scope)] if written else self._definitions.of(expression, scope)
        display, inner = found[0] if len(found) == 1 else (ex.OPAQUE, scope)
        if not isinstance(display, ex.Sequence):
            return _UNKNOWN
        values = [value for known, value in zip(display.keys, display.items, strict=False) if known == key]
        return self.read(values[-1], inner) if values else _UNKNOWN

    # Methods of texts

    def _is_method(self, method: str, base: ex.Expression, scope: Scope) -> bool:
        known = method in _SAME or method in _CONDITIONS or method in _CHANGING
        if not known and method not in ("format", "format_map", "replace", "join", "with_for_update"):
            return False
        return not any(isinstance(s, Function) for s in self._resolver.resolve(ex.Attribute(base, method), scope))

    def _method(self, call: ex.Call, base: ex.Expression, method: str, scope: Scope) -> Texts:
        texts = self.read(base, scope)
        match method:
            case "format" | "format_map":
                return self._braces(texts, call, scope)
            case "replace":
                return self._replaced(texts, call, scope)
            case "join":
                items = self._items(call.args[0], scope) if call.args else []
                parts = [self.read(item, inner) for item, inner in items]
                return _joined([p for part in parts for p in (texts, part)][1:]) if parts else _UNKNOWN
            case "with_for_update":
                return tuple(f"{text} FOR UPDATE" for text in texts)
            case _ if method in _CONDITIONS:
                conditions = [_operand(self.read(arg, scope)) for arg in call.args]
                return tuple(f"{text} WHERE {' AND '.join(conditions) or HOLE}" for text in texts)
            case _:
                change = _CHANGING.get(method)
                return tuple(map(change, texts)) if change is not None else texts

    def _replaced(self, texts: Texts, call: ex.Call, scope: Scope) -> Texts:
        if len(call.args) < 2:
            return _UNKNOWN
        old, new = (_single(self.read(arg, scope)) for arg in call.args[:2])
        return _UNKNOWN if HOLE in old or not old else tuple(text.replace(old, new) for text in texts)

    def _braces(self, texts: Texts, call: ex.Call, scope: Scope) -> Texts:
        """``template.format(…)``: fields with their values, in psycopg's ``sql`` as in ``str``."""
        keywords = dict(call.keywords)
        found: list[str] = []
        for text in texts:
            parts: list[Texts] = []
            position = 0
            try:
                for literal, field, spec, conversion in string.Formatter().parse(text):
                    parts.append((literal,))
                    if field is None:
                        continue
                    key, position = (str(position), position + 1) if not field else (field, position)
                    value = keywords.get(key)
                    if key.isdecimal() and int(key) < len(call.args):
                        value = call.args[int(key)]
                    parts.append(_UNKNOWN if value is None or spec or conversion else self.read(value, scope))
            except ValueError:
                return _UNKNOWN
            found.extend(_joined(parts))
        return tuple(found)

    def _percent(self, texts: Texts, values: ex.Expression, scope: Scope) -> Texts:
        """``template % values``."""
        given = list(values.items) if isinstance(values, ex.Sequence) else [values]
        found: list[str] = []
        for text in texts:
            parts: list[Texts] = []
            end = used = 0
            for field in _PERCENT.finditer(text):
                parts.append((text[end : field.start()],))
                end = field.end()
                if field["kind"] == "%":
                    parts.append(("%",))
                elif field["key"] or field["kind"] not in "sd" or used >= len(given):
                    parts.append(_UNKNOWN)
                else:
                    parts.append(self.read(given[used], scope))
                    used += 1
            parts.append((text[end:],))
            found.extend(_joined(parts))
        return tuple(found)

    # Functions that make texts

    def _call(self, call: ex.Call, scope: Scope) -> Texts:
        symbols = self._resolver.resolve(call.func, scope)
        external = (s.name.rpartition(".")[2] for s in symbols if isinstance(s, External))
        name = next(external, ex.last_name(call.func) or "")  # `from sqlalchemy import text as sql`
        returned = [r for s in symbols if isinstance(s, Function) for r in self._definitions.returned(s)]
        if returned:
            return _choice(self.read(value, inner) for value, inner in returned)
        match name:
            case "Composed" if call.args:
                return _joined([self.read(item, inner) for item, inner in self._items(call.args[0], scope)]) or _UNKNOWN
            case "Identifier":
                names = [_single(self.read(arg, scope)) for arg in call.args]
                return _UNKNOWN if any(HOLE in n for n in names) else (".".join(f'"{n}"' for n in names),)
            case _ if name in _WRAPPERS and call.args:
                return self.read(call.args[0], scope)
            case "select" if _is_sqlalchemy(symbols):
                return (_SELECT + ", ".join(_operand(self.read(arg, scope)) for arg in call.args),)
            case _ if name in _STATEMENTS and _is_sqlalchemy(symbols):
                return (f"{_STATEMENTS[name]} {HOLE}",)
        if isinstance(call.func, ex.Attribute) and ex.last_name(call.func.base) == "func" and _is_sqlalchemy(symbols):
            arguments = ", ".join(self._argument(arg, scope) for arg in call.args)
            return (f"{_SELECT}{name}({arguments})",)
        return _UNKNOWN

    def _argument(self, argument: ex.Expression, scope: Scope) -> str:
        """An argument of an SQL function that is called by name."""
        if isinstance(argument, ex.Constant):
            match argument.value:
                case bool() as value:
                    return str(value).lower()
                case str() as text:
                    return "'" + text.replace("'", "''") + "'"
                case int() as number:
                    return str(number)
                case None:
                    return "NULL"
        return _operand(self.read(argument, scope)) if isinstance(argument, ex.Call) else HOLE


def _is_sqlalchemy(symbols: Iterable[Symbol]) -> bool:
    return any(isinstance(s, External) and s.name.partition(".")[0] in _SQLALCHEMY for s in symbols)


def _operand(texts: Texts) -> str:
    """A selected function without the word that makes it a statement."""
    return _single(texts).removeprefix(_SELECT)


def _single(texts: Texts) -> str:
    return texts[0] if len(texts) == 1 else HOLE


def _choice(options: Iterable[Texts]) -> Texts:
    """Any of the texts; one hole where there is none, or are too many."""
    found = tuple(dict.fromkeys(text for texts in options for text in texts))
    return found if 0 < len(found) <= _ALTERNATIVES else _UNKNOWN


def _joined(parts: Sequence[Texts]) -> Texts:
    """All texts that the parts make together; where there are too many, those of the one-sided parts."""
    count = 1
    for part in parts:
        count *= len(part)
    if count > _ALTERNATIVES:
        parts = [part if len(part) == 1 else _UNKNOWN for part in parts]
    return tuple(re.sub(f"{HOLE}+", HOLE, "".join(chosen)) for chosen in itertools.product(*parts))
