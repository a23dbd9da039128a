"""What the analysis sees of one file, as text: for ``leakcheck check --debug`` and for the fixtures.

dump("summaries", "app/db.py")    →   get_conn: returns owned psycopg2.PooledConnection
                                      put_conn: releases conn
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from leakcheck.cfg import dump as cfg_dump
from leakcheck.cfg.builder import TooLargeError
from leakcheck.config import Config
from leakcheck.driver import ClassKind
from leakcheck.ownership.program import Program
from leakcheck.ownership.summary import BORROWS, Effect, FunctionSummary
from leakcheck.project.files import read_file
from leakcheck.project.large_stack import on_large_stack
from leakcheck.project.names import External, Function
from leakcheck.source import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from leakcheck.driver import DriverClass
    from leakcheck.ownership.explore import Ending
    from leakcheck.ownership.found import Found
    from leakcheck.project.facts import FunctionFacts, ModuleFacts, Statement
    from leakcheck.project.names import Scope

_USUAL = ("psycopg2.Connection", "psycopg2.PooledConnection", "asyncpg.Connection", "asyncpg.PooledConnection")
"""What a parameter is taken to be where the file itself takes nothing: plain and pooled, with and without await."""


def dump(kind: str, path: str) -> str:
    """The ``cfg``, ``summaries`` or ``states`` of one file, under its name."""
    return f"# {path}\n{dump_of(Program(Config(), read_file, [Path('.')]), kind, path)}"


def dump_of(program: Program, kind: str, path: str) -> str:
    """The same for a file of a given program, without its name."""
    return on_large_stack(lambda: "".join(f"{line}\n" for line in _lines(program, kind, path)))


def _lines(program: Program, kind: str, path: str) -> Iterator[str]:
    module = program.parsed(path)
    if isinstance(module, Failure):
        yield f"{path}:{module.row}:{module.column}: {module.message}"
        return
    kinds: dict[str, Callable[[Program, ModuleFacts], Iterable[str]]]
    kinds = {"cfg": _graphs, "summaries": _summaries, "states": _states}
    yield from kinds[kind](program, module)


def _graphs(program: Program, module: ModuleFacts) -> Iterator[str]:
    for index, facts in enumerate(module.functions.values()):
        if index:
            yield ""
        yield f"{facts.qualname}:"
        unit = program.functions.unit(module, facts)
        try:
            text = "not analysed" if unit is None else cfg_dump.dump(program.functions.graph(unit))
        except TooLargeError:
            text = "not analysed: too many paths through nested finally blocks"
        yield from text.splitlines()


def _summaries(program: Program, module: ModuleFacts) -> Iterator[str]:
    for facts, summary in summaries(program, module):
        yield f"{facts.row}: {facts.qualname}: {'not analysed' if summary is None else summary}"


def summaries(program: Program, module: ModuleFacts) -> Iterator[tuple[FunctionFacts, FunctionSummary | None]]:
    """The functions of a file, each with its whole summary; None for what is not analysed."""
    resources = _resources(program, module)
    for facts in module.functions.values():
        function = Function(module.path, facts.qualname)
        summary = program.summary(function)
        yield facts, None if summary is None else _whole(program, function, facts, summary, resources)


def _whole(
    program: Program,
    function: Function,
    facts: FunctionFacts,
    summary: FunctionSummary,
    resources: Sequence[DriverClass],
) -> FunctionSummary:
    """The summary with what the analysis asks for one by one.

    Of the resources that a parameter may be, the first counts that is not just borrowed.
    """
    _, scope = program.resolver.function(function)
    assert scope is not None
    effects: list[tuple[str, Effect]] = []
    for parameter in facts.parameters:
        if parameter.name in ("self", "cls"):
            continue
        found = (program.functions.parameter_effect(function, parameter.name, r) for r in resources)
        effect = next((e for e in found if e != BORROWS), None)
        if effect is not None:
            effects.append((parameter.name, effect))
    return replace(
        summary,
        parameters=tuple(effects),
        may_raise=program.functions.raising.may_raise(function),
        builds=tuple(dict.fromkeys(_pools_built(program, scope, facts))),
    )


def _pools_built(program: Program, scope: Scope, facts: FunctionFacts) -> Iterator[str]:
    """The classes of the pools that the function's own calls construct."""
    for expressions in facts.calls.values():
        for symbol in (s for e in expressions for s in program.resolver.resolve(e, scope)):
            operation = program.drivers.calls.get(symbol.name) if isinstance(symbol, External) else None
            made = operation.returns if operation is not None else None
            if made is not None and program.drivers.classes[made].kind is ClassKind.POOL:
                yield made


def _resources(program: Program, module: ModuleFacts) -> list[DriverClass]:
    """The connections that the file takes, then the usual ones."""
    found = [each.acquisition.resource for item in _items(module) for each in _found(program, module, item)]
    classes = program.drivers.classes
    wanted = [r for r in found if r.kind is ClassKind.CONNECTION] + [classes[n] for n in _USUAL if n in classes]
    return list({r.id: r for r in wanted}.values())


def _states(program: Program, module: ModuleFacts) -> Iterator[str]:
    for item in _items(module):
        for each in _found(program, module, item):
            row = each.unit.part.span(each.call.node).start.row
            yield f"{row}: {each.acquisition.resource.id} in {each.unit.name}"
            yield from sorted({f"    {_ending(each, ending)}" for ending in each.exploration.endings})


def _ending(found: Found, ending: Ending) -> str:
    state, part = ending.state, found.unit.part
    graph = found.unit.graph
    assert graph is not None
    if ending.lost is not None:
        where = f"lost on line {part.span(ending.lost.node).start.row}"
    elif ending.node.block == graph.exit.index:
        where = "function returned"
    elif ending.node.block == graph.failure.index:
        where = "function raised"
    else:
        rows = [part.span(event.instruction.node).start.row for event in ending.events]
        where = f"settled on line {rows[-1]}" if rows else "settled"
    facts = [
        state.status.value,
        f"self.{state.moved_to}" if state.moved_to is not None else "",
        "paused" if state.paused else "",
        "after an exception" if state.raised else "",
        ("", "near miss: `with` that does not release", "near miss: call that does not release")[state.near_miss],
        where,
    ]
    return ", ".join(fact for fact in facts if fact)


def _items(module: ModuleFacts) -> Iterator[FunctionFacts | Statement]:
    yield from module.functions.values()
    yield from module.statements


def _found(program: Program, module: ModuleFacts, item: FunctionFacts | Statement) -> Sequence[Found]:
    unit = program.functions.unit(module, item)
    return program.functions.found(unit).found if unit is not None else ()
