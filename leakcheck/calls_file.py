"""The source of ``calls.py``: ``calls.toml`` in, checked tables out, ready to be compiled.

Every fault is a ``LeakcheckError`` that names file, key and remedy::

    calls.toml: method.push.kind: 'registres' is no choice here; did you mean "registers"?
"""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

from leakcheck.calls import CallKind, Takes
from leakcheck.driver_file import Document

SOURCE = Path(__file__).with_name("calls.toml")

_FILE_KEYS: dict[str, tuple[type, ...]] = {
    "non-raising": (list,),
    "non-raising-given": (list,),
    "non-raising-methods": (dict,),
    "borrowing": (list,),
    "building": (list,),
    "slow": (list,),
    "transactions": (list,),
    "in-process": (list,),
    "release-names": (list,),
    "release-verbs": (list,),
    "release-objects": (list,),
    "connection-words": (list,),
    "connection-methods": (list,),
    "connection-functions": (list,),
    "session-words": (list,),
    "owning-words": (list,),
    "ending-hooks": (list,),
    "locks": (list,),
    "call": (dict,),
    "method": (dict,),
}
_GROUP_KEYS: dict[str, tuple[type, ...]] = {"receivers": (list,), "methods": (list,)}
_EFFECT_KEYS: dict[str, tuple[type, ...]] = {
    "kind": (CallKind,),
    "argument": (int,),
    "keyword": (str,),
    "takes": (Takes,),
    "arguments": (str,),
    "releases": (str,),
    "raises": (str,),
    "awaited": (bool,),
    "waits": (bool,),
    "receivers": (list,),
}


def read_calls(path: Path = SOURCE) -> dict[str, Any]:
    """The tables of the file as they are, once they are valid."""
    document = Document(path)
    data = document.check("", document.data, _FILE_KEYS)
    for key in _FILE_KEYS:
        if key not in data:
            document.fail(key, "missing", "add it, if only empty")
    for name, group in data["non-raising-methods"].items():
        where = f"non-raising-methods.{name}"
        for key in _GROUP_KEYS:
            if key not in document.check(where, group, _GROUP_KEYS):
                document.fail(f"{where}.{key}", "missing", "give a list of strings")
    for table in ("call", "method"):
        for name, effect in data[table].items():
            _check_effect(document, f'{table}."{name}"', effect)
    return data


def _check_effect(document: Document, key: str, effect: object) -> None:
    given = document.check(key, effect, _EFFECT_KEYS)
    if "kind" not in given:
        document.fail(f"{key}.kind", "missing", "valid: " + ", ".join(CallKind))
    if "receivers" in given and key.startswith("call."):
        document.fail(f"{key}.receivers", "only methods have receivers", "move it to a [method] table")
    raised = given.get("raises", "Exception")
    if not hasattr(builtins, raised):
        document.fail(f"{key}.raises", f"{raised!r} is no builtin exception", "give the nearest one above it")
