"""Frameworks: which functions run once for each request, and which once, read from data.

Receives the TOML files under ``frameworks/`` in their compiled form; returns ``Frameworks``, which is asked by the
names that code uses::

    frameworks = load_frameworks()
    frameworks.decorated("flask.Flask", "route")     # Run("request", …) of Flask
    frameworks.derived("flask.views.View", "get")    # the same, for a method of a class that derives from View
    frameworks.decorated("fastapi.FastAPI", "on_event").per  # "process": it runs once

After editing a TOML file run ``python -m leakcheck.driver_compiler``. The format is checked in ``framework_file.py``.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

ONCE = "process"
"""What a start-up hook runs once for."""
_ANY = "*"


class Run(Struct, frozen=True):
    """One way in which a framework comes to run a function.

    ``per`` is what it runs once for: "request", "job", …, or ONCE. The function is decorated by, given to, or assigned
    to a member of one of the ``owners`` (classes and modules, by their last name); or it is one of the ``methods`` of a
    class that derives from one of the ``bases``; or it looks like this: named as one of ``functions``, with these
    ``parameters`` ("*": any more), in a file of this name, or in a function with the parameters ``within``; or it is
    the top level of a file that calls one of ``scripts`` there. Names may hold ``*``. ``keeps`` is how a start-up hook
    that is given its application, {app}, keeps something on it.
    """

    framework: str
    packages: tuple[str, ...]
    per: str
    owners: tuple[str, ...] = ()
    decorators: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()  # keywords of the call with which it runs once
    under: tuple[str, ...] = ()  # the keywords under which the call is given it, where others say something else
    events: tuple[str, ...] = ()  # what the decorator or call must name besides, by its last name: "NewRequest"
    bases: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    switch: str | None = None  # an attribute of the class that is False where it does not run so
    functions: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    imported: bool = False  # a look counts only in files that import one of the packages
    scripts: tuple[str, ...] = ()
    forks: bool = False  # each run is a process of its own, so that nothing is kept for the next
    keeps: str = ""

    @property
    def is_once(self) -> bool:
        """Whether this runs once in a process."""
        return self.per == ONCE


class Frameworks(Struct, frozen=True):
    """All frameworks. ``memoisers`` and ``keepers`` are decorators by their last names, ``transient`` dotted names.

    ``ends`` maps those of them that code keeps things on to the hook in which these are to be given back.
    """

    runs: tuple[Run, ...]
    memoisers: frozenset[str]  # the function runs once in a process
    keepers: frozenset[str]  # the method runs once for its object
    transient: frozenset[str]  # objects that end with the request
    ends: Mapping[str, str]
    _by_member: dict[str, tuple[Run, ...]] = field(default_factory=dict)

    def decorated(self, owner: str, name: str, events: Collection[str] = ()) -> Run | None:
        """How a function decorated by ``name`` of an owner runs: a class or module by its qualified name.

        ``events`` are the last names of the decorator's arguments.
        """
        return _first(r for r in self.runs if _has(r.decorators, name) and _owns(r, owner) and _is_of(r, events))

    def given(
        self, owner: str, name: str, keywords: Iterable[str] = (), events: Collection[str] = (), under: str = ""
    ) -> Run | None:
        """How a function given to the call of ``name`` of an owner runs, with these keywords and other arguments.

        ``under``: the keyword under which it is given, if any.
        """
        used = set(keywords)
        found = [r for r in self.runs if _has(r.calls, name) and _owns(r, owner) and _is_of(r, events)]
        named = [r for r in found if under in r.under]
        found = named or [r for r in found if not r.under]
        return None if any(used.intersection(r.unless) for r in found) else _first(found)

    def assigned(self, owner: str, name: str) -> Run | None:
        """How a function kept in the attribute ``name`` of an owner runs."""
        return _first(r for r in self.runs if _has(r.attributes, name) and _owns(r, owner))

    def derived(self, base: str, method: str) -> Run | None:
        """How a method of a class with this base (a qualified name) runs."""
        return _first(r for r in self.runs if _has(r.methods, method) and _is_one_of(r.bases, r, base))

    def is_made_each_time(self, base: str) -> bool:
        """Whether an object of a class with this base (a qualified name) is made for each request, job or event."""
        run = self.derived(base, "__init__")
        return run is not None and not run.is_once

    def shaped(self, looks: Looks) -> Run | None:
        """How a function runs by its looks alone."""
        return _first(r for r in self.runs if (r.functions or r.parameters) and _looks(r, looks))

    def scripted(self, called: str) -> Run | None:
        """How the top level of a file runs that calls ``called`` (a qualified name) there."""
        return _first(r for r in self.runs if r.scripts and _is_one_of(r.scripts, r, called))

    def takes_callables(self, name: str) -> bool:
        """Whether some framework has a call of this name that is given functions."""
        return self._named(name, lambda r: r.calls)

    def takes_attributes(self, name: str) -> bool:
        """Whether some framework has an attribute of this name that holds functions."""
        return self._named(name, lambda r: r.attributes)

    def _named(self, name: str, members: Any) -> bool:  # noqa: ANN401 - a getter of one of the fields
        return any(_has(members(run), name) for run in self.runs)


class Looks(Struct, frozen=True):
    """What can be seen of a function without knowing any name: ``folders`` are its file's stem and folder."""

    name: str
    parameters: tuple[str, ...]
    files: tuple[str, ...]
    within: tuple[str, ...] | None  # parameters of the function around
    is_method: bool
    packages: frozenset[str]


def _first(found: Iterable[Run]) -> Run | None:
    """The first that runs once, else the first: what says "once" is the more exact."""
    every = list(found)
    return next((run for run in every if run.is_once), next(iter(every), None))


def _has(patterns: Sequence[str], name: str) -> bool:
    return any(name == each or (_ANY in each and fnmatchcase(name, each)) for each in patterns)


def _is_of(run: Run, events: Collection[str]) -> bool:
    return not run.events or not set(run.events).isdisjoint(events)


def _owns(run: Run, owner: str) -> bool:
    return _is_one_of(run.owners, run, owner)


def _is_one_of(names: Sequence[str], run: Run, qualified: str) -> bool:
    """Whether a qualified name is one of a framework's: its package's, and with this last name."""
    root, _, last = qualified.partition(".")[0], "", qualified.rpartition(".")[2]
    return (root in run.packages or _is_generated(names, last)) and _has(names, last)


def _is_generated(names: Sequence[str], last: str) -> bool:
    """Whether the base is one that a generator writes into the project: gRPC's servicers."""
    return "*Servicer" in names and last.endswith("Servicer")


def _looks(run: Run, looks: Looks) -> bool:
    if run.functions and not _has(run.functions, looks.name):
        return False
    if run.parameters and not _fits(run.parameters, looks.parameters):
        return False
    if run.files and not any(_has(run.files, name) for name in looks.files):
        return False
    if run.imported and looks.packages.isdisjoint(run.packages):
        return False
    if run.within:
        return looks.within is not None and set(run.within) <= set(looks.within)
    return looks.within is None and looks.is_method is (run.parameters[:1] == ("self",))


def _fits(wanted: Sequence[str], given: Sequence[str]) -> bool:
    if wanted[-1] == _ANY:
        return tuple(given[: len(wanted) - 1]) == tuple(wanted[:-1])
    return tuple(given) == tuple(wanted)


def compiled_path() -> str:
    """Where the compiled form lies, beside its sources."""
    return __file__.rpartition("framework.py")[0] + "frameworks/frameworks.json"


@cache
def load_frameworks() -> Frameworks:
    """The built-in frameworks."""
    with open(compiled_path(), encoding="utf-8") as file:
        return restored(json.load(file))


def restored(document: Mapping[str, Any]) -> Frameworks:
    """Frameworks from their compiled form."""
    return Frameworks(
        runs=tuple(Run(**{k: _restored(v) for k, v in fields.items()}) for fields in document["runs"]),
        memoisers=frozenset(document["memoisers"]),
        keepers=frozenset(document["keepers"]),
        transient=frozenset(document["transient"]),
        ends=document["ends"],
    )


def _restored(value: Any) -> Any:  # noqa: ANN401 - JSON has lists where we keep tuples
    return tuple(value) if isinstance(value, list) else value


def spellings(qualified: str) -> Iterator[tuple[str, str]]:
    """A qualified name as owner and member: "celery.shared_task" is the member "shared_task" of "celery"."""
    owner, dot, name = qualified.rpartition(".")
    if dot:
        yield owner, name
