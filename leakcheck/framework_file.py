"""Framework files: TOML in, a checked document out, ready to be compiled.

Every fault is a ``LeakcheckError`` that names file, key and remedy::

    flask.toml: runs.route.decoraters: unknown key; did you mean "decorators"?
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leakcheck.driver_file import Document
from leakcheck.framework import compiled_path

if TYPE_CHECKING:
    from collections.abc import Iterable

_FILE_KEYS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "title": (str,),
    "docs": (str,),
    "packages": (list,),
    "memoisers": (list,),
    "keepers": (list,),
    "transient": (list,),
    "ends": (dict,),
    "runs": (dict,),
}
_RUN_KEYS: dict[str, tuple[type, ...]] = {
    "per": (str,),
    "owners": (list,),
    "decorators": (list,),
    "calls": (list,),
    "attributes": (list,),
    "unless": (list,),
    "under": (list,),
    "events": (list,),
    "bases": (list,),
    "methods": (list,),
    "switch": (str,),
    "functions": (list,),
    "parameters": (list,),
    "files": (list,),
    "within": (list,),
    "imported": (bool,),
    "scripts": (list,),
    "forks": (bool,),
    "keeps": (str,),
}
_MEMBERS = ("decorators", "calls", "attributes")
_NEEDED = ("owners", *_MEMBERS, "bases", "methods", "functions", "parameters", "scripts")


def builtin_sources() -> list[Path]:
    """The built-in framework files, in the order of their names."""
    return sorted(Path(compiled_path()).parent.glob("*.toml"))


def read_frameworks(paths: Iterable[Path]) -> dict[str, Any]:
    """The document that ``framework.restored`` takes."""
    document: dict[str, Any] = {"runs": [], "memoisers": [], "keepers": [], "transient": [], "ends": {}}
    for path in paths:
        source = Document(path)
        data = source.check("", source.data, _FILE_KEYS)
        for key in ("name", "title", "docs", "packages", "runs"):
            if key not in data:
                source.fail(key, "missing", "add it")
        if data["name"] != path.stem:
            source.fail("name", f"{data['name']!r} is not the name of the file", f'write name = "{path.stem}"')
        for name, table in data["runs"].items():
            run = _run(source, f"runs.{name}", table)
            document["runs"].append({"framework": data["title"], "packages": data["packages"], **run})
        for key in ("memoisers", "keepers"):
            document[key] = sorted({*document[key], *data.get(key, ())})
        names = {f"{package}.{name}" for package in data["packages"] for name in data.get("transient", ())}
        document["transient"] = sorted({*document["transient"], *names})
        for name, hook in data.get("ends", {}).items():
            document["ends"].update({f"{package}.{name}": hook for package in data["packages"]})
    return document


def _run(source: Document, key: str, table: object) -> dict[str, Any]:
    given = source.check(key, table, _RUN_KEYS)
    if not given.get("per"):
        source.fail(f"{key}.per", "missing", 'say what it runs once for: "request", "job", "process", …')
    if not any(word in given for word in _NEEDED):
        source.fail(key, "says of no function how it runs", "add one of " + ", ".join(_NEEDED))
    if any(word in given for word in _MEMBERS) is not ("owners" in given):
        source.fail(key, '"owners" and their members go together', "give both, or neither")
    if ("bases" in given) is not ("methods" in given):
        source.fail(key, '"bases" and "methods" go together', "give both, or neither")
    if "switch" in given and "bases" not in given:
        source.fail(f"{key}.switch", "there is no class here", 'add "bases"')
    if "events" in given and not {"decorators", "calls"} & given.keys():
        source.fail(f"{key}.events", "there is nothing here that names one", 'add "decorators" or "calls"')
    if "keeps" in given and not all(word in given["keeps"] for word in ("{app}", "{name}")):
        source.fail(f"{key}.keeps", "does not say what is kept where", 'write it as "{app}.state.{name}"')
    if "unless" in given and "calls" not in given:
        source.fail(f"{key}.unless", "there is no call here", 'add "calls"')
    return given


def compile_frameworks() -> str:
    """The compiled form of all built-in framework files: one line per run, so that changes read well."""
    document = read_frameworks(builtin_sources())
    runs = ",\n".join(_dump(run) for run in document.pop("runs"))
    rest = ",\n".join(f"{_dump(key)}:{_dump(value)}" for key, value in document.items())
    return f'{{\n"runs":[\n{runs}\n],\n{rest}\n}}\n'


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
