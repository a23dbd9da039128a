"""Whether a connection may commit each statement by itself: then a transaction in its place would mean something else.

    connect(DSN)                         no
    connect(**SETTINGS)                  no, where SETTINGS is written out and says nothing of it
    get_db(), which sets autocommit      yes, perhaps

Asked of the call that makes the connection, and of every function that hands it on to here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk
from leakcheck.fixes.importing import imported
from leakcheck.fixes.roles import Role, mentions
from leakcheck.fixes.tree import RefusedError, Tree
from leakcheck.ownership.pools import pool_place
from leakcheck.project.names import Function

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leakcheck.diagnostic import Step
    from leakcheck.fixes.region import Region
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit


def check_connection(region: Region, program: Program) -> None:
    """Raise RefusedError where the connection may commit by itself."""
    words = _words(region)
    if not region.found.acquisition.steps:
        _check_taken(region.found, region.tree.unit, words, program)
    for step in region.found.acquisition.steps:
        _check_handed(step, words, program)


def check_pool(region: Region, program: Program) -> None:
    """Raise RefusedError where the connections of the pool may commit by themselves."""
    _check_pool(region.found, region.tree.unit, _words(region), program)


def _words(region: Region) -> frozenset[str]:
    """The arguments, attributes and methods that may have each statement committed by itself."""
    session = region.found.acquisition.resource.session
    if session is None:
        raise RefusedError("whether such connections commit each statement by themselves is not known")
    return session.commits_itself


def _check_handed(step: Step, words: frozenset[str], program: Program) -> None:
    """Nothing in the function where this step happens may switch it, nor may whoever is given it there."""
    unit, found = found_at(step, program)
    if any(_says(node, words) for node in walk(unit.node)):
        raise RefusedError(f"`{unit.name}` may have the connection commit each statement by itself")
    name = found.effects.bound_to
    for mention in mentions(Tree(unit), name) if name is not None else ():
        if mention.role is Role.ARGUMENT:
            raise RefusedError(f"`{unit.name}` passes the connection on before it returns it")
    if not found.acquisition.steps:
        _check_taken(found, unit, words, program)


def found_at(step: Step, program: Program) -> tuple[Unit, Found]:
    """The function where a step takes the connection, and what is found there."""
    facts = program.facts(step.path)
    for function in facts.functions_at(step.span.start.row) if facts is not None else ():
        unit = program.functions.units.of(Function(step.path, function.qualname))
        for found in program.functions.found(unit).found if unit is not None else ():
            if found.unit.part.span(found.call.node) == step.span:
                return found.unit, found
    raise RefusedError(f"what takes the connection at {step.path}:{step.span.start.row} is not in a function")


def _check_taken(found: Found, unit: Unit, words: frozenset[str], program: Program) -> None:
    """Neither the pool that it is taken from may switch it, nor an argument, also one in a mapping that is given."""
    _check_pool(found, unit, words, program)
    call = found.call.node
    for argument in call.args if isinstance(call, cst.Call) else ():
        named = argument.keyword is not None and argument.keyword.value in words
        if named or (argument.star and not _is_silent(reduce(argument.value), unit, words, program)):
            raise RefusedError("the connection may be one that commits each statement by itself")


def _check_pool(found: Found, unit: Unit, words: frozenset[str], program: Program) -> None:
    """Neither an argument of the pool may switch it, nor one in a mapping that a file around it may write."""
    pool, place, session = found.acquisition.pool, found.acquisition.place, found.acquisition.resource.session
    if session is None or (pool is None and place is None):
        return
    if pool is None and place is not None and _speaks(program.data(place[0]), words):
        raise RefusedError("the pool may be one whose connections commit each statement by themselves")
    near = (
        [place[0], *(file for _, file in imported(program, place[0]))]
        if place is not None and program.facts(place[0])
        else []
    )
    spoken = any(_speaks(program.data(path), session.autocommit) for path in near if b"**" in program.data(near[0]))
    if spoken or (pool is not None and any(program.constructor_keyword(pool, word, unit.scope) for word in words)):
        raise RefusedError(f"connections of `{pool}` may commit each statement by themselves")


def _is_silent(given: ex.Expression, unit: Unit, words: frozenset[str], program: Program) -> bool:
    """Whether a mapping is written out once, and neither it nor the file around it speaks of such arguments."""
    place = pool_place(program, unit.scope, given)
    facts = program.facts(place[0]) if place is not None else None
    if place is None or facts is None or any(_speaks(program.data(path), words) for path in (unit.path, place[0])):
        return False
    match facts.scope.assignments.get(place[1], []):
        case [ex.Sequence(keys=keys)]:
            return all(isinstance(key, str) for key in keys)
        case _:
            return False


def _says(node: cst.CSTNode, words: frozenset[str]) -> bool:
    """Whether a name, or a text such as a key, is one of the words."""
    match node:
        case cst.Name(value=value):
            return value in words
        case cst.SimpleString():
            return node.evaluated_value in words
        case _:
            return False


def _speaks(text: bytes, words: Iterable[str]) -> bool:
    """Whether one of the words stands in a text."""
    return any(re.search(rb"\b%s\b" % word.encode(), text) for word in words)
