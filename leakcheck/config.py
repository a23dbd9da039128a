"""Configuration: ``[tool.leakcheck]`` of a pyproject.toml, or a leakcheck.toml, as a frozen ``Config``.

One project is what one configuration file governs: the nearest one above a file decides for that file.
``load`` reads a file, ``ConfigFinder.nearest`` finds it, ``Config.overridden`` puts the command line on top.

A pyproject.toml that never mentions the table is not parsed: reading TOML costs more than checking a few files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from leakcheck.diagnostic import LeakcheckError

FILE_NAMES = ("leakcheck.toml", "pyproject.toml")  # in this order within one directory
DEFAULT = "default"
COMMAND_LINE = "command line"
BASELINE_NAME = "leakcheck-baseline.json"  # where nothing names another file

# The directories that ruff leaves out too: version control, environments, caches and build output.
EXCLUDED = (
    ".bzr",
    ".direnv",
    ".eggs",
    ".git",
    ".git-rewrite",
    ".hg",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".nox",
    ".pants.d",
    ".pyenv",
    ".pytest_cache",
    ".pytype",
    ".ruff_cache",
    ".svn",
    ".tox",
    ".venv",
    ".vscode",
    "__pypackages__",
    "_build",
    "buck-out",
    "build",
    "dist",
    "node_modules",
    "site-packages",
    "venv",
)

FIX_SHAPES = ("with-transaction", "try-finally", "context-manager")
POOLER_MODES = ("transaction", "session", "statement")

Scalar = str | int | float | bool


class Config(Struct, frozen=True):
    """The settings in force for one project; every value is plain, hashable data.

    ``root`` is the directory that the patterns and paths of the file are relative to, ``path`` the file
    itself or None. ``select`` is None where nobody chose: then the rules that are on by default run.
    ``src``, ``drivers`` and ``baseline`` are kept as written; ``located`` makes them paths.
    """

    root: Path = Path()
    path: Path | None = None
    select: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = EXCLUDED
    extend_exclude: tuple[str, ...] = ()
    per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = ()
    respect_gitignore: bool = True
    src: tuple[str, ...] = (".", "src")
    helper: str | None = None
    drivers: tuple[str, ...] = ()
    non_raising: tuple[str, ...] = ()
    handlers: tuple[str, ...] = ()
    run_once: tuple[str, ...] = ()
    fix_shape: tuple[tuple[str, str], ...] = ()
    baseline: str | None = None
    pgbouncer: str | None = None
    budget: tuple[tuple[str, Scalar], ...] = ()
    origins: tuple[tuple[str, str], ...] = ()

    def located(self, written: str) -> Path:
        """A path that the configuration names, seen from the configuration's directory."""
        return self.root / written

    def origin(self, key: str) -> str:
        """Where the value of ``key`` (as written in TOML) comes from: a file, the command line, or nowhere."""
        return dict(self.origins).get(key, DEFAULT)

    def overridden(
        self,
        *,
        select: tuple[str, ...] | None = None,
        ignore: tuple[str, ...] = (),
        extend_select: tuple[str, ...] = (),
        exclude: tuple[str, ...] | None = None,
    ) -> Config:
        """This configuration under the options of a command line.

        A new ``select`` starts from nothing, so the file's ``ignore`` and ``extend-select`` go with its
        ``select``; ``ignore`` and ``extend_select`` alone are added to what the file says, and win over it.
        """
        changed: dict[str, tuple[str, ...]] = {}
        if select is not None:
            changed = {"select": select, "ignore": ignore, "extend_select": extend_select}
        else:
            if ignore or extend_select:
                changed["ignore"] = tuple(code for code in self.ignore if code not in extend_select) + ignore
            if extend_select:
                changed["extend_select"] = self.extend_select + extend_select
        if exclude is not None:
            changed["exclude"] = exclude
        origins = dict(self.origins) | {key.replace("_", "-"): COMMAND_LINE for key in changed}
        return replace(self, **changed, origins=tuple(sorted(origins.items())))


def keys() -> tuple[str, ...]:
    """Every key of the table, as written in TOML, in the order of the documentation."""
    return tuple(_KEYS)


def settings(config: Config) -> dict[str, object]:
    """The values in force by key, as TOML and JSON can show them."""
    shown: dict[str, object] = {}
    for name in Config.__struct_fields__:
        key = name.replace("_", "-")
        if key in _KEYS:
            value = getattr(config, name)
            tabular = key in _TABLES
            shown[key] = dict(value) if tabular else list(value) if isinstance(value, tuple) else value
    return shown


class ConfigFinder:
    """Finds the configuration that governs a directory, remembering each directory it has looked at."""

    def __init__(self) -> None:
        """Start with nothing remembered."""
        self._found: dict[str, Path | None] = {}
        self._loaded: dict[Path, Config | None] = {}
        self._default = Config(root=Path.cwd())

    def nearest(self, directory: str) -> Config:
        """The configuration in ``directory`` or nearest above it, else the defaults."""
        found = self._search(os.path.abspath(directory))
        config = self._load(found) if found is not None else None
        return config if config is not None else self._default

    def _search(self, directory: str) -> Path | None:
        if directory in self._found:
            return self._found[directory]
        found: Path | None = None
        for name in FILE_NAMES:
            candidate = os.path.join(directory, name)
            if os.path.isfile(candidate) and self._load(Path(candidate)) is not None:
                found = Path(candidate)
                break
        parent = os.path.dirname(directory)
        if found is None and parent != directory:
            found = self._search(parent)
        self._found[directory] = found
        return found

    def _load(self, path: Path) -> Config | None:
        if path not in self._loaded:
            table = _table(path)
            self._loaded[path] = None if table is None else _parse(table, path, path.parent)
        return self._loaded[path]


def load(path: Path, root: Path | None = None) -> Config:
    """The configuration in ``path``; its patterns are relative to ``root``, by default the file's directory."""
    table = _table(path)
    if table is None:
        raise LeakcheckError(f"{path}: there is no [tool.leakcheck] table in this file")
    return _parse(table, path, root if root is not None else path.absolute().parent)


def _table(path: Path) -> Mapping[str, object] | None:
    """The table of settings in ``path``, or None where a pyproject.toml has none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LeakcheckError(f"{path}: cannot read the configuration: {error.strerror}") from error
    own = path.name != "pyproject.toml"
    if not own and not (b"tool.leakcheck" in data or (b"[tool]" in data and b"leakcheck" in data)):
        return None
    import tomllib  # here, because most runs never need it

    try:
        document = tomllib.loads(data.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LeakcheckError(f"{path}: not valid TOML: {error}") from error
    tool = document.get("tool")
    if own and not isinstance(tool, dict):
        return document
    if not isinstance(tool, dict) or "leakcheck" not in tool:
        return None
    table = tool["leakcheck"]
    if not isinstance(table, dict):
        raise LeakcheckError(f"{path}: tool.leakcheck must be a table, not {_described(table)}")
    return table


def _parse(table: Mapping[str, object], path: Path, root: Path) -> Config:
    """The table as a ``Config``; the first key that is unknown or has the wrong type is an error."""
    values: dict[str, object] = {}
    for key, value in table.items():
        reader = _KEYS.get(key)
        if reader is None:
            raise LeakcheckError(f"{path}: unknown key `{key}` in [tool.leakcheck]{_suggestion(key, tuple(_KEYS))}")
        values[key.replace("-", "_")] = reader(value, f"{path}: `{key}`")
    origins = tuple(sorted((key, str(path)) for key in table))
    return Config(root=root, path=path, origins=origins, **values)  # type: ignore[arg-type] # each reader checks its type


def _suggestion(word: str, known: tuple[str, ...]) -> str:
    import difflib  # only ever needed on the way out

    close = difflib.get_close_matches(word.replace("_", "-"), known, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; the keys are {', '.join(known)}"


def _described(value: object) -> str:
    names = {bool: "a boolean", str: "a string", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), type(value).__name__)


def _string(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise LeakcheckError(f"{where} must be a string, not {_described(value)}")
    return value


def _boolean(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise LeakcheckError(f"{where} must be true or false, not {_described(value)}")
    return value


def _strings(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise LeakcheckError(f"{where} must be a list of strings, not {_described(value)}")
    return tuple(_string(item, f"{where}: every item") for item in value)


def _dotted(value: object, where: str) -> str:
    """A function by module and name, such as ``app.db:with_transaction``."""
    module, colon, name = _string(value, where).partition(":")
    if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise LeakcheckError(f'{where} must look like "package.module:function", not "{value}"')
    return f"{module}:{name}"


def _items(value: object, where: str) -> list[tuple[str, object]]:
    if not isinstance(value, dict):
        raise LeakcheckError(f"{where} must be a table, not {_described(value)}")
    return list(value.items())


def _codes_by_pattern(value: object, where: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((pattern, _strings(codes, f"{where}: `{pattern}`")) for pattern, codes in _items(value, where))


def _choice(value: object, where: str, allowed: tuple[str, ...]) -> str:
    chosen = _string(value, where)
    if chosen not in allowed:
        raise LeakcheckError(f"{where} must be one of {', '.join(allowed)}, not `{chosen}`")
    return chosen


def _shapes(value: object, where: str) -> tuple[tuple[str, str], ...]:
    return tuple((key, _choice(item, f"{where}: `{key}`", FIX_SHAPES)) for key, item in _items(value, where))


def _pooler(value: object, where: str) -> str:
    return _choice(value, where, POOLER_MODES)


def _numbers(value: object, where: str) -> tuple[tuple[str, Scalar], ...]:
    found: list[tuple[str, Scalar]] = []
    for key, item in _items(value, where):
        if not isinstance(item, str | int | float):
            raise LeakcheckError(f"{where}: `{key}` must be a number or a string, not {_described(item)}")
        found.append((key, item))
    return tuple(found)


# The order is that of the documentation; each reader checks the type and returns what the Config keeps.
_KEYS: Mapping[str, Callable[[object, str], object]] = {
    "select": _strings,
    "ignore": _strings,
    "extend-select": _strings,
    "exclude": _strings,
    "extend-exclude": _strings,
    "per-file-ignores": _codes_by_pattern,
    "respect-gitignore": _boolean,
    "src": _strings,
    "helper": _dotted,
    "drivers": _strings,
    "non-raising": _strings,
    "handlers": _strings,
    "run-once": _strings,
    "fix-shape": _shapes,
    "baseline": _string,
    "pgbouncer": _pooler,
    "budget": _numbers,
}
_TABLES = frozenset({"per-file-ignores", "fix-shape", "budget"})
