"""The drivers as they are shipped, and the user's own: data in, ``Drivers`` out.

Receives the built-in TOML files under ``drivers/`` in their compiled form, ``drivers/drivers.json``::

    drivers = load_drivers()
    drivers.calls["psycopg2.connect"].acquires  # "psycopg2.Connection"

After editing a TOML file run ``python -m leakcheck.driver_compiler``. The format is checked in
``driver_file.py``, which is imported only for a user's own file.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from leakcheck.driver import (
    ClassKind,
    DriverClass,
    Drivers,
    Operation,
    Protocol,
    ReleaseTwice,
    UseAfterRelease,
    WithEffect,
    assemble,
    pooling,
)
from leakcheck.driver_session import AfterRelease, session_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


@cache
def compiled() -> Mapping[str, Any]:
    """The built-in data as one parsed document: drivers here, ordinary calls in ``calls.py``."""
    with open(compiled_path(), encoding="utf-8") as file:
        document: Mapping[str, Any] = json.load(file)
    return document


def compiled_path() -> str:
    """Where the compiled form of the built-in data lies, beside its sources."""
    return __file__.rpartition("driver_data.py")[0] + "drivers/drivers.json"


def load_drivers(extra: Sequence[Path] = ()) -> Drivers:
    """The built-in drivers and the user's; raises ``LeakcheckError`` for a faulty file."""
    builtin = _builtin()
    if not extra:
        return builtin
    from leakcheck.driver_file import read_drivers

    return read_drivers(extra, builtin)


@cache
def _builtin() -> Drivers:
    document = compiled()
    operations = [_operation(fields) for fields in document["operations"]]
    classes = {class_id: _class(class_id, fields, operations) for class_id, fields in document["classes"].items()}
    calls = {name: operations[index] for name, index in document["calls"].items()}
    packages = {name: tuple(found) for name, found in document["packages"].items()}
    return assemble(classes, calls, packages, document["roots"], document["tokens"])


def _operation(fields: dict[str, Any]) -> Operation:
    if "protocol" in fields:
        fields = {**fields, "protocol": Protocol(fields["protocol"])}
    return Operation(**fields)


_RESTORED: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("kind", ClassKind),
    ("names", tuple),
    ("receivers", tuple),
    ("with_effect", WithEffect),
    ("release_twice", ReleaseTwice),
    ("use_after_release", UseAfterRelease),
    ("after_release", AfterRelease),
)


def _class(class_id: str, fields: Mapping[str, Any], operations: Sequence[Operation]) -> DriverClass:
    methods = {name: operations[index] for name, index in fields["methods"].items()}
    values = {**fields, "id": class_id, "methods": methods}
    if "pool" in values:
        values["pool"] = pooling(values["pool"])
    if "session" in values:
        values["session"] = session_of(values["session"])
    for name, restore in _RESTORED:
        if name in values:
            values[name] = restore(values[name])
    return DriverClass(**values)
