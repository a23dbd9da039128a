"""Each name in the framework files is recognised: a pool two calls away is reported, or not where that runs once.

For each table of each file a project is written, with a file for each owner, decorator, call, attribute, method and
name that the table lists. What it marks calls a function of a second file, which calls one of a third, which builds a
pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import pytest

from leakcheck.framework import Run, load_frameworks

if TYPE_CHECKING:
    from conftest import Diagnose

PER_REQUEST = {"LC201", "LC202"}
First = TypeVar("First")
RUNS = load_frameworks().runs
MIDDLE = "from pool{} import make\n\n\ndef load():\n    return str(make().url)\n"
POOL = "from sqlalchemy import create_engine\n\n\ndef make():\n    return create_engine('postgresql:///shop')\n"
SERVE = "def serve(*given):\n    return load()\n"


def plain(pattern: str) -> str:
    """A name that a pattern fits."""
    return pattern.replace("[A-Z]*", "Orders").replace("*", "some" if pattern.startswith("on_") else "Some")


def owned(run: Run, name: str) -> tuple[str, str]:
    """How an owner is imported, and what then stands for it: an object of a class, or a module or function."""
    package, owner = run.packages[0], plain(name)
    if owner in run.packages:
        return f"import {owner}", owner
    imported = f"from {package} import {owner}"
    return (f"{imported}\n\nthe = {owner}()", "the") if owner[0].isupper() else (imported, owner)


def pairs(firsts: tuple[First, ...], seconds: tuple[str, ...]) -> Iterator[tuple[First, str]]:
    """Each of the first with one of the second, and one of the first with each of the second."""
    yield from dict.fromkeys(chain(((f, seconds[0]) for f in firsts), ((firsts[0], s) for s in seconds)))


def members(run: Run) -> Iterator[str]:
    """Programs with a function that is decorated, handed over or kept."""
    event = run.events[0] if run.events else ""
    start = f"from {run.packages[0]} import {event}\n" if event else ""
    if run.decorators:
        for owner, member in pairs(run.owners, run.decorators):
            imported, written = owned(run, owner)
            yield f"{start}{imported}\n\n\n@{written}.{plain(member)}({event or repr('/')})\n{SERVE}"
    if run.calls:
        handed = [f"{keyword}=[serve], path={event or repr('/')}" for keyword in run.under]
        for (owner, member), given in pairs(
            tuple(pairs(run.owners, run.calls)), tuple(handed or [f"serve, {event or repr('/')}"])
        ):
            imported, written = owned(run, owner)
            yield f"{start}{imported}\n\n\n{SERVE}\n\n{written}.{plain(member)}({given})\n"
    if run.attributes:
        for owner, member in pairs(run.owners, run.attributes):
            imported, written = owned(run, owner)
            if written == "the":
                yield f"{imported}\n\n\n{SERVE}\n\nthe.{member} = serve\n"
            else:
                yield f"import {run.packages[0]}\n\n\n{SERVE}\n\nclass {plain(owner)}:\n    {member} = [serve]\n"


def methods(run: Run) -> Iterator[str]:
    """Programs with a method of a class with some base."""
    for base, method in pairs(run.bases, run.methods) if run.bases else ():
        name, package = plain(base), run.packages[0]
        inner = SERVE.replace("serve(", f"{plain(method)}(self, ").replace("\n", "\n    ").rstrip()
        yield f"from {package} import {name}\n\n\nclass Shop({name}):\n    {inner}\n"


def shapes(run: Run) -> Iterator[str]:
    """Programs with a function that looks like what a framework calls."""
    given = ", ".join(run.parameters).replace("*", "*more")
    for function in run.functions or (("serve",) if run.parameters else ()):
        text = SERVE.replace("serve(*given)", f"{plain(function)}({given})")
        if run.within:
            text = f"def outer({', '.join(run.within)}):\n" + "".join(f"    {row}\n" for row in text.splitlines())
        elif run.parameters[:1] == ("self",):
            text = "class Shop:\n" + "".join(f"    {row}\n" for row in text.splitlines())
        yield f"import {run.packages[0]}\n\n\n{text}"


def scripts(run: Run) -> Iterator[str]:
    """Files whose top level runs."""
    for called in run.scripts:
        package = run.packages[0]
        yield f"import {package}\n\n{package}.{called}('Orders')\nload()\n"


def programs(run: Run) -> list[str]:
    """A program for each name in a table."""
    return list(chain(members(run), methods(run), shapes(run), scripts(run)))


def label(run: Run) -> str:
    """The name of a table's test."""
    names = (*run.decorators, *run.calls, *run.attributes, *run.methods, *run.functions, *run.parameters, *run.scripts)
    return f"{run.framework}-{names[0]}"


@pytest.mark.parametrize("run", RUNS, ids=label)
def test_what_a_table_names_is_recognised(run: Run, diagnose: Diagnose) -> None:
    files: dict[str, str | bytes] = {}
    texts = programs(run)
    assert texts
    for number, text in enumerate(texts):
        folder = f"{run.files[0]}/" if run.files else ""
        files[f"{folder}app{number}.py"] = f"from middle{number} import load\n{text}"
        files[f"middle{number}.py"] = MIDDLE.format(number)
        files[f"pool{number}.py"] = POOL
    reported = {one.path for one in diagnose(files) if one.code in PER_REQUEST}
    silent = [text for number, text in enumerate(texts) if f"pool{number}.py" not in reported]
    said = [text for number, text in enumerate(texts) if f"pool{number}.py" in reported]
    assert (said if run.is_once else silent) == []


@pytest.mark.parametrize("run", [run for run in RUNS if run.unless], ids=label)
def test_a_call_with_a_keyword_that_says_once_is_silent(run: Run, diagnose: Diagnose) -> None:
    for number, text in enumerate(programs(run)):
        once = text.replace("(serve, ", f"(serve, {run.unless[0]}=True, ")
        assert once != text
        files = {"app.py": f"from middle{number} import load\n{once}", f"middle{number}.py": MIDDLE.format(number)}
        found = diagnose({**files, f"pool{number}.py": POOL})
        assert PER_REQUEST.isdisjoint(one.code for one in found)
