"""The compiled form of the built-in data: all TOML sources in, two JSON documents out.

``driver_data.py`` and ``calls.py`` read the first at every start, which is ten times faster than the sources;
``framework.py`` reads the second when it is asked. Both are committed, and tests assert that they are fresh::

    python -m leakcheck.driver_compiler  # after any change of drivers/*.toml, calls.toml or frameworks/*.toml
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leakcheck import framework
from leakcheck.calls_file import read_calls
from leakcheck.diagnostic import LeakcheckError
from leakcheck.driver import DriverClass, Operation, Pooling
from leakcheck.driver_data import compiled_path
from leakcheck.driver_file import plain_calls, read_drivers
from leakcheck.driver_session import Session
from leakcheck.framework_file import compile_frameworks

if TYPE_CHECKING:
    from collections.abc import Iterable

_BUILTIN = Path(compiled_path()).parent


def builtin_sources() -> list[Path]:
    """The built-in driver files, in the order of their names."""
    return sorted(_BUILTIN.glob("*.toml"))


def compile_builtin() -> str:
    """The compiled form of all built-in data: one line per entry, so that changes read well."""
    drivers = read_drivers(builtin_sources())
    operations: dict[str, int] = {}
    classes = {class_id: _class_fields(known, operations) for class_id, known in drivers.classes.items()}
    calls = {name: _index(op, operations) for name, op in sorted(plain_calls(drivers).items())}
    parts = {
        "operations": _lines("[", (text for text in operations), "]"),
        "classes": _lines("{", (f"{_dump(name)}:{_dump(fields)}" for name, fields in classes.items()), "}"),
        "calls": _lines("{", (f"{_dump(name)}:{index}" for name, index in calls.items()), "}"),
        "packages": _dump(drivers.driver_packages),
        "roots": _dump(drivers.roots),
        "tokens": _dump(sorted(token.decode() for token in drivers.tokens)),
        "python": _dump(read_calls()),
    }
    return "{\n" + ",\n".join(f"{_dump(key)}:{value}" for key, value in parts.items()) + "\n}\n"


def _class_fields(known: DriverClass, operations: dict[str, int]) -> dict[str, Any]:
    methods = {name: _index(operation, operations) for name, operation in known.methods.items()}
    pool = {} if known.pool is None else {"pool": _changed(known.pool)}
    session = {} if known.session is None else {"session": _changed(known.session)}
    return {**_changed(known), "methods": methods, **pool, **session}


def _index(operation: Operation, operations: dict[str, int]) -> int:
    return operations.setdefault(_dump(_changed(operation)), len(operations))


def _changed(made: Operation | DriverClass | Pooling | Session) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    given = made.__struct_defaults__
    defaults = dict(zip(made.__struct_fields__[-len(given) :], given, strict=True))
    values = {name: getattr(made, name) for name in made.__struct_fields__ if name != "id"}
    # what a factory makes by default is empty
    return {n: v for n, v in values.items() if n not in defaults or v not in (defaults[n], {})}


def _lines(start: str, items: Iterable[str], end: str) -> str:
    return start + "\n" + ",\n".join(items) + "\n" + end


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def main() -> None:
    """Regenerate the compiled forms; a faulty source leaves both as they were."""
    try:
        texts = {compiled_path(): compile_builtin(), framework.compiled_path(): compile_frameworks()}
    except LeakcheckError as error:
        sys.exit(f"error: {error}")
    for path, text in texts.items():
        Path(path).write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()
