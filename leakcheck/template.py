"""``leakcheck init``: the ``with_transaction`` helper, written into a project and recorded in its configuration.

    plan = planned(config, driver=None, path=None)      # looks around and decides, or says what is missing
    plan.write()                                        # writes the helper, then the configuration
    drift(config)                                       # how the helper differs from what was written, as a diff

The text of each driver's helper is a module of ``leakcheck/templates``; this is about where it goes.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from leakcheck.config import Config
from leakcheck.diagnostic import LeakcheckError
from leakcheck.project.files import discover, displayed, read_file
from leakcheck.project.testing import is_test
from leakcheck.templates import SERVED, driver_of, helper_text
from leakcheck.writing import put

if TYPE_CHECKING:
    from leakcheck.handlers.analysis import Losses

FUNCTION = "with_transaction"
_MODULE = "transactions.py"
_TABLE = re.compile(r"^\[tool\.leakcheck\][ \t]*(?:#.*)?$\n?", re.MULTILINE)

# How each driver shows in a project's files: words of which one must be there, and words that must not.
DRIVERS: dict[str, tuple[str, str]] = {
    "psycopg2": (r"^\s*(?:import psycopg2\.pool|from psycopg2\.pool|from psycopg2 import .*\bpool)\b", r"(?!)"),
    "psycopg2-connect": (
        r"^\s*(?:import psycopg2(?!\.)|from psycopg2 import .*\bconnect)\b",
        r"^\s*(?:import|from) aiopg\b|\bpsycopg2\.pool\b|^\s*from psycopg2 import .*\bpool\b",
    ),
    "psycopg": (r"^\s*from psycopg_pool import .*(?<!Async)ConnectionPool|\bpsycopg_pool\.ConnectionPool\b", r"(?!)"),
    "psycopg-async": (r"\bAsyncConnectionPool\b", r"(?!)"),
    "asyncpg": (r"^\s*(?:import|from) asyncpg\b", r"(?!)"),
    "aiopg": (r"^\s*(?:import|from) aiopg\b", r"(?!)"),
    "sqlalchemy": (r"\bcreate_engine\(", r"(?!)"),
    "sqlalchemy-async": (r"\bcreate_async_engine\(", r"(?!)"),
    "sqlite3": (r"^\s*(?:import|from) sqlite3\b", r"^\s*(?:import|from) aiosqlite\b"),
    "aiosqlite": (r"^\s*(?:import|from) aiosqlite\b", r"(?!)"),
    "pymysql": (r"^\s*(?:import|from) pymysql\b", r"^\s*(?:import|from) aiomysql\b"),
    "mysqlclient": (r"^\s*(?:import|from) MySQLdb\b", r"(?!)"),
    "mysql-connector": (r"^\s*(?:import|from) mysql\.connector\b|^\s*from mysql import connector", r"(?!)"),
    "aiomysql": (r"^\s*(?:import|from) aiomysql\b", r"(?!)"),
}


_COMMIT_EACH = frozenset({"asyncpg", "aiopg"})
"""Drivers that commit each statement: there is no commit whose place a helper could take."""

_SESSIONS = {"sqlalchemy": "with Session() as session", "sqlalchemy-async": "async with Session() as session"}
"""Drivers with sessions, which are left by their own ``with``: the helper is for connections of an engine."""


class Plan(Struct, frozen=True):
    """What ``leakcheck init`` will write: the helper's file, and the configuration's new text.

    ``because`` says why it is for this driver, where others are used, too.
    """

    driver: str
    because: str
    helper: Path
    dotted: str
    settings: Path
    settings_text: str

    @property
    def advice(self) -> str:
        """A sentence on what will use the helper."""
        if self.driver in _COMMIT_EACH:
            return f"{self.driver} commits each statement by itself: use it where several belong together; no fix does."
        place = "where one commit ends what a connection was taken for"
        if self.driver in _SESSIONS:
            own = f"`{_SESSIONS[self.driver]}`"
            return f"`--fix` now uses it {place}, and for sessions their own {own}; `--diff` shows where."
        return f"`--fix` now uses it {place}; `--diff` shows where."

    def write(self) -> None:
        """Write the helper, then the configuration that names it; LeakcheckError where that fails."""
        _write(self.helper, helper_text(self.driver))
        _write(self.settings, self.settings_text)


def planned(config: Config, *, driver: str | None, path: str | None, losses: Callable[[], Losses]) -> Plan:
    """What to write where. Raises LeakcheckError where that is not clear, or somebody's file is in the way.

    ``losses`` tells what the project loses: of several drivers the one is served whose connections these are, and from
    where they are lost the helper can be imported.
    """
    root = Path(os.path.abspath(config.root))
    if config.helper is not None:
        message = (
            f"{config.origin('helper')}: `helper` is {config.helper} already; `leakcheck init --check` compares it"
        )
        raise LeakcheckError(message)
    uses = _uses(discover([str(root)], config).files, root)
    losses = cache(losses)
    chosen, because = (driver, "") if driver is not None else _chosen(uses, losses)
    home, starts = _home(root, config.src, uses[chosen])
    if path is None:
        home, start = _reachable(home, root, _starts_of(chosen, losses()))
        starts = (os.path.relpath(start, root),)
    target = Path(os.path.abspath(path)) if path is not None else home / _MODULE
    if target.exists():
        raise LeakcheckError(f"{displayed(str(target))} exists: name another file with --path")
    if not target.parent.is_dir():
        raise LeakcheckError(f"{displayed(str(target.parent))} is no directory: create it, or name another with --path")
    dotted = f"{_module(target, root, starts)}:{FUNCTION}"
    settings = config.path if config.path is not None else _settings(root)
    return Plan(chosen, because, target, dotted, settings, _with_helper(settings, dotted))


def drift(config: Config) -> str:
    """How the configured helper differs from what ``leakcheck init`` writes, as a diff; empty where it does not."""
    if config.helper is None:
        raise LeakcheckError("there is no `helper` in the configuration: `leakcheck init` writes one")
    module = config.helper.partition(":")[0].replace(".", "/")
    root = Path(os.path.abspath(config.root))
    places = [root / start / f"{module}{end}" for start in config.src for end in (".py", "/__init__.py")]
    places += [Path(file) for file in discover([str(root)], config).files if Path(file).name == f"{module}.py"]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise LeakcheckError(f"{config.origin('helper')}: there is no file for the helper {config.helper}")
    text = found.read_text(encoding="utf-8")
    driver = driver_of(text)
    if driver not in DRIVERS:
        raise LeakcheckError(
            f"{displayed(str(found))} was not written by `leakcheck init`: there is nothing to compare"
        )
    import difflib

    name = displayed(str(found))
    lines = difflib.unified_diff(
        helper_text(driver).splitlines(keepends=True),
        text.splitlines(keepends=True),
        f"{name} (as written)",
        name,
    )
    return "".join(lines)


def _uses(files: Iterable[str], root: Path) -> dict[str, list[Path]]:
    """For each driver the files that use it: those of tests only where nothing else uses any."""
    found = {path: is_test(os.path.relpath(path, root)) for path in files}
    uses = _used_by(path for path, tests in found.items() if not tests)
    return uses if any(uses.values()) else _used_by(found)


def _used_by(files: Iterable[str]) -> dict[str, list[Path]]:
    """For each driver those of the files that use it."""
    patterns = {name: tuple(re.compile(p.encode(), re.MULTILINE) for p in pair) for name, pair in DRIVERS.items()}
    uses: dict[str, list[Path]] = {name: [] for name in DRIVERS}
    for path in files:
        try:
            data = read_file(path)
        except OSError:
            continue
        for name, (wanted, unwanted) in patterns.items():
            if wanted.search(data) is not None and unwanted.search(data) is None:
                uses[name].append(Path(os.path.abspath(path)))
    return uses


def _chosen(uses: Mapping[str, Sequence[Path]], losses: Callable[[], Losses]) -> tuple[str, str]:
    """The driver that is used, or the one of several whose connections are lost the most, and why that one."""
    found = {name: len(files) for name, files in uses.items() if files}
    if len(found) == 1:
        return next(iter(found)), ""
    known = ", ".join(DRIVERS)
    if not found:
        raise LeakcheckError(f"no driver is used here that a helper is known for: name one with --driver ({known})")
    served: Counter[str] = Counter()
    for resource, count in losses().counts.items():
        served[SERVED.get(resource, "")] += count
    leaks = [(served[name], name) for name in found if served[name]]
    most = [name for count, name in leaks if count == max(leaks)[0]]
    if len(most) == 1:
        times = f"most findings on connections ({served[most[0]]} of {served.total()})"
        return most[0], f"{times} are on those of {most[0]}: --driver names another."
    if set(found) == {"psycopg2", "psycopg2-connect"}:
        return "psycopg2", ""
    used = ", ".join(f"{name} ({count} {'file' if count == 1 else 'files'})" for name, count in found.items())
    raise LeakcheckError(f"several drivers are used here: {used}; say which with --driver")


def _home(root: Path, sources: Sequence[str], users: Sequence[Path]) -> tuple[Path, Sequence[str]]:
    """The directory for the helper, and where imports start.

    It is the project's package where there is just one, or the directory of the scripts that use the driver, where
    these import each other by bare names; else where imports start.
    """
    for start in (root / source for source in sources):
        packages = sorted(place.parent for place in start.glob("*/__init__.py") if place.parent.name != "tests")
        if len(packages) == 1:
            return packages[0], sources
    folders = {user.parent for user in users}
    folder = folders.pop() if len(folders) == 1 else root
    if folder != root and not (folder / "__init__.py").exists() and _import_each_other(folder):
        return folder, (*sources, os.path.relpath(folder, root))
    return root, sources


def _starts_of(driver: str, losses: Losses) -> Counter[str]:
    """Where imports start in the files that lose connections of a driver, with the number of the files."""
    found: Counter[str] = Counter()
    for resource, starts in losses.starts.items():
        if SERVED.get(resource) == driver:
            found.update(starts)
    return found


def _reachable(home: Path, root: Path, starts: Counter[str]) -> tuple[Path, Path]:
    """The directory for the helper and where its import starts: this one, or where most of those who need it start."""
    own = home
    while (own / "__init__.py").exists():
        own = own.parent
    best = Path(max(starts, key=lambda start: (starts[start], -len(start)), default=own))
    if starts[str(best)] <= starts[os.path.abspath(own)] or not best.is_relative_to(root):
        return home, own
    return best, best


def _import_each_other(folder: Path) -> bool:
    """Whether a script of this folder imports another by its bare name."""
    scripts = list(folder.glob("*.py"))
    names = "|".join(re.escape(script.stem) for script in scripts)
    wanted = re.compile(rf"^[ \t]*(?:from|import)[ \t]+(?:{names})\b(?!\.)".encode(), re.MULTILINE)
    return any(wanted.search(script.read_bytes()) for script in scripts)


def _module(target: Path, root: Path, sources: Sequence[str]) -> str:
    """The dotted name of a file: seen from its topmost package, or from where imports start."""
    starts = sorted(
        (Path(os.path.abspath(root / source)) for source in sources), key=lambda start: len(start.parts), reverse=True
    )
    start = next((start for start in starts if target.is_relative_to(start)), None)
    if start is None:
        raise LeakcheckError(f"{displayed(str(target))} is outside of `src`: nothing could import it")
    parts = target.relative_to(start).with_suffix("").parts
    if not all(part.isidentifier() for part in parts):
        raise LeakcheckError(f"{displayed(str(target))} has no name that could be imported")
    return ".".join(parts)


def _settings(root: Path) -> Path:
    """The configuration file of a project that has none for leakcheck yet."""
    project = root / "pyproject.toml"
    return project if project.exists() else root / "leakcheck.toml"


def _with_helper(settings: Path, dotted: str) -> str:
    """The text of a configuration file with the helper in it, and nothing else changed."""
    text = settings.read_text(encoding="utf-8") if settings.exists() else ""
    line = f'helper = "{dotted}"\n'
    own = settings.name != "pyproject.toml" and "tool" not in _parsed(text)
    table = _TABLE.search(text)
    if own:
        changed = line + text
    elif table is not None:
        changed = f"{text[: table.end()]}{line}{text[table.end() :]}"
    else:
        changed = f"{text.rstrip()}\n\n[tool.leakcheck]\n{line}".lstrip()
    before, after = (_parsed(each) for each in (text, changed))
    wanted = {**before, "helper": dotted}
    if not own:
        tool = before.get("tool", {})
        wanted = {**before, "tool": {**tool, "leakcheck": {**tool.get("leakcheck", {}), "helper": dotted}}}
    if after != wanted:
        raise LeakcheckError(f"{displayed(str(settings))}: cannot be edited safely; add `{line.strip()}` by hand")
    return changed


def _parsed(text: str) -> dict[str, dict[str, dict[str, object]]]:
    """A TOML document, empty where it is none."""
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _write(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    try:
        put(str(path), text.encode())
    except OSError as error:
        raise LeakcheckError(f"{displayed(str(path))}: cannot be written: {error.strerror}") from error
