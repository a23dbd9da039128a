"""Random programs: the same seed and flavour give the same text.

Input: a seed and a flavour. Output: files, path to text, whose function ``scenario`` is where a path starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random

from .callees import (
    CALLEES,
    Callees,
    CalleeWriter,
    Writer,
    conditional,
    context_managers,
    helper_acquires,
    helper_releases,
    taking_and_giving,
)
from .dialect import DIALECTS, Dialect
from .filler import Filler
from .shapes import Shapes
from .tree import Body, Compound, Mutator, bodies, compound, render
from .validity import is_valid

MAIN_PATH = "scenario.py"
SMALLEST, LARGEST = 4, 40
ATTEMPTS = 50
OTHER_MODULE = "store"
QUALIFIED_SHARE = 0.4
MUTATED_CALLEES = 0.2


@dataclass(frozen=True, slots=True)
class Flavour:
    """A way of writing programs."""

    name: str
    write: Callable[[Random], Mapping[str, str]]


def generate(seed: int, flavour: str) -> dict[str, str]:
    """The program of this seed: path to text."""
    random = Random(f"{flavour}:{seed}")
    write = flavours()[flavour].write
    for _ in range(ATTEMPTS):
        files = dict(write(random))
        if _has_right_size(files) and all(is_valid(text) for text in files.values()):
            return files
    raise AssertionError(f"no program for seed {seed} of {flavour}")


def flavours() -> dict[str, Flavour]:
    """All flavours by name."""
    found = [Flavour(dialect.name, _single_function(dialect)) for dialect in DIALECTS]
    found += [Flavour(name, _several_functions(writer)) for name, writer in CALLEES.items()]
    found += [Flavour("other-module", _other_module), Flavour("holders", _holders)]
    return {flavour.name: flavour for flavour in found}


def _has_right_size(files: Mapping[str, str]) -> bool:
    """Whether the scenario is neither trivial nor long."""
    text = files[MAIN_PATH]
    return SMALLEST <= len(text[text.index("def scenario") :].splitlines()) <= LARGEST


def _single_function(dialect: Dialect) -> Callable[[Random], Mapping[str, str]]:
    """Programs of one function."""

    def write(random: Random) -> Mapping[str, str]:
        return {MAIN_PATH: "\n".join([*dialect.preamble(), *_scenario(random, dialect)])}

    return write


def _holders(random: Random) -> Mapping[str, str]:
    """Programs of one function that hold connections in less common ways."""
    dialect = random.choice(DIALECTS)
    return {MAIN_PATH: "\n".join([*dialect.preamble(), *_scenario(random, dialect, holders=True)])}


def _several_functions(write_callees: Writer) -> Callable[[Random], Mapping[str, str]]:
    """Programs whose scenario calls functions of the same module."""

    def write(random: Random) -> Mapping[str, str]:
        callees = _callees(random, write_callees)
        return {MAIN_PATH: "\n".join([*_definitions(callees), *_scenario(random, callees.dialect)])}

    return write


def _other_module(random: Random) -> Mapping[str, str]:
    """Programs whose scenario calls functions of another module."""
    choices = [helper_acquires, helper_releases, taking_and_giving, taking_and_giving, conditional, context_managers]
    callees = _callees(random, random.choice(choices))
    dialect = callees.dialect
    if random.random() < QUALIFIED_SHARE:
        import_line = f"import {OTHER_MODULE}"
        for name in callees.names:
            dialect = replace(
                dialect,
                checkout=dialect.checkout.replace(f"{name}(", f"{OTHER_MODULE}.{name}("),
                release=dialect.release.replace(f"{name}(", f"{OTHER_MODULE}.{name}("),
                managed=tuple(header.replace(f"{name}(", f"{OTHER_MODULE}.{name}(") for header in dialect.managed),
            )
    else:
        import_line = f"from {OTHER_MODULE} import {', '.join(callees.names)}"
    main = [*dialect.preamble(import_line), *_scenario(random, dialect)]
    return {MAIN_PATH: "\n".join(main), f"{OTHER_MODULE}.py": "\n".join([*_definitions(callees), ""])}


def _callees(random: Random, write: Writer) -> Callees:
    """Definitions, seldom mutated."""
    writer = CalleeWriter(random, random.choice(DIALECTS))
    callees = write(writer)
    functions = [
        node for node in callees.definitions if isinstance(node, Compound) and "def " in node.clauses[0].header
    ]
    if functions and random.random() < MUTATED_CALLEES:
        body = random.choice(functions).clauses[0].body
        Mutator(random, ["conn"], _insertions(writer.filler, ["conn"])).mutate(body)
        _drop_unreachable(body)
    return callees


def _definitions(callees: Callees) -> list[str]:
    """The module up to the scenario."""
    return [*callees.dialect.preamble(), *render(callees.definitions), "", "", *callees.setup, "", ""]


def _scenario(random: Random, dialect: Dialect, *, holders: bool = False) -> list[str]:
    """The function where paths start."""
    body, names = scenario_body(random, dialect, holders=holders)
    prefix = "async " if dialect.is_async else ""
    return [*render([compound((f"{prefix}def scenario():", [*_globals(names), *body]))]), ""]


def _globals(names: list[str]) -> list[str]:
    return [f"global {', '.join(dict.fromkeys(names))}"] if names else []


def scenario_body(random: Random, dialect: Dialect, *, holders: bool = False) -> tuple[Body, list[str]]:
    """A function's body, mutated or not, and the globals it assigns."""
    filler = Filler(random, dialect)
    shapes = Shapes(filler, random.choice((1, 2, 2, 3)), holders=holders)
    body = shapes.function_body()
    names = list(dict.fromkeys(shapes.names))
    mutator = Mutator(random, names, _insertions(filler, names))
    for _ in range(random.choice((0, 1, 1, 2, 2, 3, 4))):
        mutator.mutate(body)
    _drop_unreachable(body)
    return body, shapes.globals


def _insertions(filler: Filler, names: list[str]) -> list[str]:
    """The statements a mutation may insert."""
    dialect = filler.dialect
    statements = [filler.work(), filler.work(), "return", "break", "continue", "raise ValueError()", "raise"]
    statements.append(f"assert settings.flag{filler.number()}")
    for name in names:
        statements += [dialect.give_back(name), dialect.give_back(name), f"{name} = None", f"del {name}"]
        statements += [
            f"other = {name}",
            f"return {name}",
            f"use({name})",
            f"bag.append({name})",
            f"assert {name} is not None",
        ]
        target = f"{name}, extra" if dialect.unpacks else name
        statements.append(f"{target} = {dialect.checkout}")
    return statements


def _drop_unreachable(body: Body) -> None:
    """Cut bodies after a statement that leaves them."""
    for inner in list(bodies(body)):
        for index, node in enumerate(inner):
            if isinstance(node, str) and node.partition(" ")[0] in {"return", "raise", "break", "continue"}:
                del inner[index + 1 :]
                break
