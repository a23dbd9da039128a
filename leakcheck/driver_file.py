"""Driver files: TOML in, checked ``Drivers`` out.

Every fault is a ``LeakcheckError`` that names file, key and remedy::

    my_driver.toml: class.Pool.methods.getconn.aquires: unknown key; did you mean "acquires"?
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec.structs import replace

from leakcheck.diagnostic import LeakcheckError
from leakcheck.driver import (
    RECEIVER,
    ClassKind,
    DriverClass,
    Drivers,
    Dropped,
    Operation,
    Protocol,
    ReleaseTwice,
    UseAfterRelease,
    WithEffect,
    assemble,
    construction,
    pooling,
)
from leakcheck.driver_session import SESSION_KEYS, AfterRelease, session_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


_TYPES = {str: "a string", bool: "true or false", int: "a whole number", list: "a list of strings", dict: "a table"}

_FILE_KEYS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "docs": (str,),
    "packages": (list,),
    "roots": (list,),
    "call": (dict,),
    "class": (dict,),
}
_CLASS_KEYS: dict[str, tuple[type, ...]] = {
    "kind": (ClassKind,),
    "extends": (str,),
    "noun": (str,),
    "names": (list,),
    "constructs": (bool,),
    "bind": (str,),
    "deferred-by": (str,),
    "shared": (bool,),
    "embedded": (bool,),
    "receivers": (list,),
    "methods": (dict,),
    "attributes": (dict,),
    "with": (WithEffect,),
    "release": (str,),
    "release-twice": (ReleaseTwice,),
    "use-after-release": (UseAfterRelease,),
    "after-release": (AfterRelease,),
    "context": (str,),
    "context-commits": (bool,),
    "docs": (str,),
    "pool": (dict,),
    "session": (dict,),
}
_POOL_KEYS: dict[str, tuple[type, ...]] = {
    "dropped": (Dropped,),
    "names": (list,),
    "not-with": (list,),
    "closes-with": (list,),
    "waits-forever": (bool,),
    "bounded-by": (list,),
    "forever-with": (list,),
    "expires-by": (list,),
}
_OPERATION_KEYS: dict[str, tuple[type, ...]] = {
    "acquires": (str,),
    "returns": (str,),
    "derives": (str,),
    "protocol": (Protocol,),
    "releases": (str, int),
    "keyword": (str,),
    "closed-by": (str,),
    "awaited": (bool,),
    "pauses": (bool,),
    "completes": (bool,),
    "near-miss": (str,),
    "near-miss-unless": (str,),
    "acquires-receiver": (bool,),
    "reopens": (str,),
    "idle": (bool,),
    "closes": (bool,),
    "distinctive": (bool,),
    "bound": (bool,),
    "most-arguments": (int,),
    "token": (str,),
    "executes": (int,),
    "connects": (bool,),
    "sends": (str,),
    "sends-if-false": (str,),
    "does-nothing": (str,),
    "commits": (bool,),
}
_CALL_KEYS = {**_OPERATION_KEYS, "aliases": (list,)}
_INHERITED = (
    "kind", "noun", "with", "release", "release-twice", "use-after-release", "after-release", "context",
    "context-commits", "docs",
)  # fmt: skip
_FIELDS = {"with": "with_effect"}


class Document:
    """One parsed file: reads values by key path and turns every fault into a message."""

    def __init__(self, path: Path) -> None:
        """Parse the file; a syntax error is reported with tomllib's own position."""
        self.path = path
        try:
            self.data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            message = f"{path}: cannot be read ({error.strerror}); check the path"
            raise LeakcheckError(message) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            message = f"{path}: not valid TOML: {error}"
            raise LeakcheckError(message) from error

    def fail(self, key: str, problem: str, remedy: str) -> NoReturn:
        """Raise the fault at ``key``."""
        message = f"{self.path}: {key}: {problem}; {remedy}"
        raise LeakcheckError(message)

    def unknown(self, key: str, problem: str, given: str, valid: Iterable[str]) -> NoReturn:
        """Raise for a word that is none of ``valid``; the remedy is the nearest of them."""
        known = sorted(valid)
        near = get_close_matches(given, known, n=1, cutoff=0.5)
        self.fail(key, problem, f'did you mean "{near[0]}"?' if near else "valid: " + ", ".join(known))

    def check(self, key: str, table: object, keys: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
        """The table at ``key``, once all its keys and the types of its values are valid."""
        if not isinstance(table, dict):
            self.fail(key or "file", "wrong type", "give a table")
        for name, value in table.items():
            where = f"{key}.{name}" if key else name
            if name not in keys:
                self.unknown(where, "unknown key", name, keys)
            self._check_value(where, value, keys[name])
        return table

    def _check_value(self, key: str, value: object, types: tuple[type, ...]) -> None:
        if issubclass(types[0], StrEnum):
            choices = [member.value for member in types[0]]
            if value not in choices:
                self.unknown(key, f"{value!r} is no choice here", str(value), choices)
        elif type(value) not in types:
            self.fail(key, "wrong type", "give " + " or ".join(_TYPES[kind] for kind in types))
        elif isinstance(value, list) and not all(isinstance(item, str) and item for item in value):
            self.fail(key, "wrong type", "give a list of strings")


class Reader:
    """Builds the classes and calls of several files, which may refer to each other and to ``base``."""

    def __init__(self, paths: Iterable[Path], base: Drivers | None) -> None:
        """Parse and check the shape of every file; references are resolved by ``read``."""
        self.base = base
        self.packages: dict[str, tuple[str, ...]] = dict(base.driver_packages) if base else {}
        self.roots: list[str] = list(base.roots) if base else []
        self.files = [(document, self._name(document)) for document in map(Document, paths)]
        self.sources: dict[str, tuple[Document, dict[str, Any]]] = {}
        for document, driver in self.files:
            for name, table in document.data.get("class", {}).items():
                self.sources[f"{driver}.{name}"] = (document, document.check(f"class.{name}", table, _CLASS_KEYS))
        self.classes: dict[str, DriverClass] = {}
        self.calls: dict[str, Operation] = {}

    def _name(self, document: Document) -> str:
        document.check("", document.data, _FILE_KEYS)
        name: str = document.data.get("name", "")
        if not name.isidentifier():
            document.fail("name", "missing or not an identifier", f'add name = "{document.path.stem}"')
        if name in self.packages:
            document.fail("name", f"a driver {name!r} is already loaded", "choose another name")
        self.packages[name] = tuple(document.data.get("packages", []))
        self.roots += document.data.get("roots", [])
        return name

    def read(self) -> Drivers:
        """Everything the files say, on top of ``base``."""
        for class_id in self.sources:
            self._class(class_id, ())
        for document, driver in self.files:
            for name, table in document.data.get("call", {}).items():
                self._call(document, driver, name, table)
        classes = {**(self.base.classes if self.base else {}), **dict(sorted(self.classes.items()))}
        calls = {**(plain_calls(self.base) if self.base else {}), **self.calls}
        self._check_names()
        self._check_releases(classes, calls)
        return assemble(classes, calls, self.packages, self.roots)

    def _reference(self, document: Document, driver: str, key: str, name: str) -> str:
        full = name if "." in name else f"{driver}.{name}"
        known = self.sources.keys() | (self.base.classes.keys() if self.base else set())
        if full not in known:
            local = [class_id.removeprefix(f"{driver}.") for class_id in known]
            document.unknown(key, f"unknown class {name!r}", name, local)
        return full

    def _class(self, class_id: str, below: tuple[str, ...]) -> DriverClass:
        if class_id in self.classes:
            return self.classes[class_id]
        if class_id not in self.sources and self.base:
            return self.base.classes[class_id]
        document, table = self.sources[class_id]
        driver, _, name = class_id.partition(".")
        key = f"class.{name}"
        if class_id in below:
            document.fail(f"{key}.extends", "a class cannot extend itself", "remove one of the extends")
        parent = None
        if "extends" in table:
            above = self._reference(document, driver, f"{key}.extends", table["extends"])
            parent = self._class(above, (*below, class_id))
        elif "kind" not in table:
            document.fail(f"{key}.kind", "missing", 'add kind = "pool", "connection", "factory" or "other"')
        self.classes[class_id] = self._build(class_id, parent)
        return self.classes[class_id]

    def _build(self, class_id: str, parent: DriverClass | None) -> DriverClass:
        document, table = self.sources[class_id]
        driver, _, name = class_id.partition(".")
        key = f"class.{name}"
        settings = {
            _FIELDS.get(word, word.replace("-", "_")): _enum(_CLASS_KEYS[word][0], table[word])
            for word in _INHERITED
            if word in table
        }
        methods = dict(parent.methods) if parent else {}
        for method, operation in table.get("methods", {}).items():
            methods[method] = self._operation(document, driver, f"{key}.methods.{method}", method, operation)
        attributes = dict(parent.attributes) if parent else {}
        for attribute, target in table.get("attributes", {}).items():
            where = f"{key}.attributes.{attribute}"
            if not isinstance(target, str):
                document.fail(where, "wrong type", "give the name of a class")
            attributes[attribute] = self._reference(document, driver, where, target)
        if "pool" in table:
            given = document.check(f"{key}.pool", table["pool"], _POOL_KEYS)
            settings["pool"] = pooling({word.replace("-", "_"): value for word, value in given.items()})
        start = parent or DriverClass(class_id, ClassKind(table["kind"]))
        said = "after-release" in table
        if "session" in table:
            session = document.check(f"{key}.session", table["session"], SESSION_KEYS)
            settings["session"] = known = session_of(session, start.session)
            if settings.setdefault("after_release", known.after_release) is known.after_release and said:
                document.fail(f"{key}.after-release", "its session table says so already", "remove it")
        built = replace(
            start,
            id=class_id,
            names=tuple(table.get("names", [])),
            receivers=tuple(table.get("receivers", [])),
            constructs=table.get("constructs", True),
            bind=table.get("bind", ""),
            deferred_by=table.get("deferred-by", ""),
            shared=table.get("shared", False),
            embedded=table.get("embedded", False),
            methods=methods,
            attributes=attributes,
            **settings,
        )
        if "{" in built.release.replace("{name}", "").replace("{pool}", ""):
            document.fail(f"{key}.release", "unknown placeholder", "use {name} and {pool} only")
        if "{" in built.context.replace("{acquire}", "").replace("{pool}", ""):
            document.fail(f"{key}.context", "unknown placeholder", "use {acquire} and {pool} only")
        return built

    def _operation(self, document: Document, driver: str, key: str, name: str, table: object) -> Operation:
        given = document.check(key, table, _CALL_KEYS if key.startswith("call.") else _OPERATION_KEYS)
        values: dict[str, Any] = {}
        for word, value in given.items():
            values[word.replace("-", "_")] = _enum(_OPERATION_KEYS[word][0], value) if word != "aliases" else value
            if word in {"acquires", "returns", "derives"}:
                values[word] = self._reference(document, driver, f"{key}.{word}", value)
        values.pop("aliases", None)
        built = Operation(name, **values)
        if isinstance(built.releases, str) and not built.releases.isidentifier():
            document.fail(
                f"{key}.releases", f"{built.releases!r} is no argument", 'give "receiver", an index or a keyword'
            )
        if built.awaited and built.releases is None and not (built.closes or built.pauses or built.sends):
            document.fail(
                f"{key}.awaited", "nothing is released here", 'remove it or add "releases", "pauses" or "closes"'
            )
        if built.sends_if_false and not built.sends:
            document.fail(f"{key}.sends-if-false", "this sends nothing otherwise", 'add "sends"')
        if built.completes and built.releases is None:
            document.fail(f"{key}.completes", "there is no release here", 'add "releases"')
        if built.near_miss_unless and not built.near_miss:
            document.fail(f"{key}.near-miss-unless", "there is no near-miss here", 'add "near-miss"')
        if built.acquires and (self._kind(built.acquires) is not ClassKind.CONNECTION):
            document.fail(
                f"{key}.acquires",
                f"{given['acquires']!r} is no connection",
                'give its class kind = "connection", or write "returns"',
            )
        return built

    def _kind(self, class_id: str) -> ClassKind:
        while class_id in self.sources:
            document, table = self.sources[class_id]
            if "kind" in table:
                return ClassKind(table["kind"])
            class_id = self._reference(document, class_id.partition(".")[0], "extends", table.get("extends", "missing"))
        return self.base.classes[class_id].kind if self.base else ClassKind.OTHER

    def _call(self, document: Document, driver: str, name: str, table: object) -> None:
        key = f'call."{name}"'
        built = self._operation(document, driver, key, name, table)
        if not (built.acquires or built.returns or built.releases is not None):
            document.fail(key, "says nothing", 'add "acquires", "returns" or "releases"')
        aliases: list[str] = table.get("aliases", []) if isinstance(table, dict) else []
        for alias in (name, *aliases):
            if alias in self.calls:
                document.fail(key, f"{alias!r} is already described", "keep one of the two")
            self.calls[alias] = replace(built, name=alias)

    def _check_names(self) -> None:
        owners: dict[str, str] = {}
        for class_id, built in self.classes.items():
            for name in built.names:
                document = self.sources[class_id][0]
                if name in owners:
                    document.fail(
                        f"class.{class_id.partition('.')[2]}.names",
                        f"{name!r} already names {owners[name]}",
                        "keep one",
                    )
                owners[name] = class_id

    def _check_releases(self, classes: Mapping[str, DriverClass], calls: Mapping[str, Operation]) -> None:
        """A connection must end somewhere: by itself, by a `with`, by its pool, or by a plain function."""
        returned_to_pool: set[str] = set()
        for known in classes.values():
            gives_back = any(op.releases not in {None, RECEIVER} for op in known.methods.values())
            for operation in known.methods.values():
                if operation.acquires and (
                    gives_back or operation.protocol in {Protocol.CONTEXT, Protocol.ASYNC_CONTEXT}
                ):
                    returned_to_pool.add(operation.acquires)
        returned_to_pool |= {op.acquires for op in calls.values() if op.acquires and op.protocol is Protocol.CONTEXT}
        for class_id, built in self.classes.items():
            ends = built.with_effect is WithEffect.RELEASES or any(
                op.releases == RECEIVER for op in built.methods.values()
            )
            if built.kind is ClassKind.CONNECTION and not ends and class_id not in returned_to_pool:
                self.sources[class_id][0].fail(
                    f"class.{class_id.partition('.')[2]}",
                    "a connection that nothing releases",
                    'add a method with releases = "receiver", or one with releases = 0 to its pool',
                )


def _enum(kind: type, value: Any) -> Any:  # noqa: ANN401 - values straight from TOML
    return kind(value) if issubclass(kind, StrEnum) else value


def plain_calls(drivers: Drivers) -> dict[str, Operation]:
    """The calls that files describe, without the constructors that follow from class names."""
    made: dict[str, Operation] = {}
    for name, class_id in drivers.class_names.items():
        known = drivers.classes[class_id]
        if known.constructs:
            made[name] = Operation(name, *construction(known))
    return {name: operation for name, operation in drivers.calls.items() if operation != made.get(name)}


def read_drivers(paths: Sequence[Path], base: Drivers | None = None) -> Drivers:
    """Read driver files on top of ``base``; a later call or class name wins over one of ``base``."""
    return Reader(paths, base).read()
