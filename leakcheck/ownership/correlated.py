"""What a function of the project asked before it took something, and its callers ask again.

    def get(self):                              the callers of get() take something where `self.shared` is false
        return self.conn if self.shared else connect()

    conn = self.get()
    ...
    if not self.shared: conn.close()            which is always

Only of attributes of its object and of globals of its file that it never assigns: those that callers see as it does.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.ownership.state import Fact, truth
from leakcheck.project.definitions import Definitions
from leakcheck.project.facts import is_static

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.ownership.constants import Facts
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.state import State
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.facts import FunctionFacts, ModuleFacts
    from leakcheck.project.names import Function, Scope

Asked = tuple[tuple[str, Fact], ...]
"""The subjects of tests, as the graph has them, with what is known of each."""
_SELF = repr(ex.Name("self"))
_NAMES = re.compile(r"\bName\(id='(\w+)'\)")
_ATTRIBUTES = re.compile(r"\bname='(\w+)'")
_EQUAL = re.compile(
    r"\?(?:Equal|Is)Sequence\(items=\(Attribute\(base=Name\(id='(?P<of>\w+)'\), name='(?P<name>\w+)'\),"
    r" Constant\(value=(?P<value>.+)\)\), keys=\(\)\)\Z"
)
_TRUE = re.compile(r"\?Attribute\(base=Name\(id='(?P<of>\w+)'\), name='(?P<name>\w+)'\)\Z")


def asked(unit: Unit, graph: g.ControlFlowGraph, facts: Facts) -> Asked:
    """What holds of the function's object, and of the globals of its file, wherever these facts do."""
    function = unit.facts
    if function is None or function.parent is not None:
        return ()
    of_self = {"self"} if function.owner is not None else set[str]()
    known = list[tuple[str, Fact]]()
    for subject, value in facts.items():
        if not isinstance(value, Fact) or truth(value) is None:
            continue
        names = set(_names(subject))
        outside = names - of_self
        if names and _are_of_file(outside, unit.scope.module, (function,)):
            known.append((subject, value))
    if not known:
        return ()
    stored = {i.name for b in graph.blocks for i in b.instructions if isinstance(i, (g.StoreAttribute, g.StoreGlobal))}
    return tuple((subject, value) for subject, value in known if stored.isdisjoint(_attributes(subject)))


def for_caller(program: Program, known: Asked, function: Function, call: ex.Call, scope: Scope) -> Asked:
    """The same as the caller of the function asks it: of the object that it calls it on."""
    facts, _ = program.resolver.function(function)
    base = call.func.base if isinstance(call.func, ex.Attribute) and function.bound else None
    if facts is None or is_static(facts):
        base = None
    near = scope.module.path == function.path
    found = []
    for subject, value in known:
        outside = set(_names(subject)) - {"self"}
        seen = near and not any(f.binds(name) for f in scope.functions for name in outside)
        if (seen or not outside) and (base is not None or _SELF not in subject):
            found.append((subject.replace(_SELF, repr(base)), value))
    return tuple(found)


def asked_again(function: FunctionFacts, call: g.Call, state: State) -> Iterator[tuple[str, Fact]]:
    """What a caller knows of the object on which it calls a method, as that method asks it."""
    base = call.func.base if isinstance(call.func, ex.Attribute) else None
    if base is None or not function.parameters:
        return
    holder = repr(ex.Name(function.parameters[0].name))
    for subject, value in state.variables:
        if subject.startswith("?") and isinstance(value, Fact) and truth(value) is not None and repr(base) in subject:
            of_it = subject.replace(repr(base), holder)
            if set(_names(of_it)) == {function.parameters[0].name}:
                yield of_it, value


def asked_of_file(function: FunctionFacts, scope: Scope, state: State) -> Iterator[tuple[str, Fact]]:
    """What a caller knows of the globals of its file, as a function of the same file asks them."""
    if function.parent is not None:
        return
    for subject, value in state.variables:
        if isinstance(value, Fact) and truth(value) is not None:
            names = set(_names(subject))
            if names and _are_of_file(names, scope.module, (function, *scope.functions)):
                yield subject, value


def agreed(program: Program, known: Asked, facts: Facts, scope: Scope) -> Facts | None:
    """The facts with these; None where they contradict each other."""
    for subject, value in known:
        told = facts.get(subject)
        other = truth(told) if told is not None else _answer(program, subject, scope)
        if other is not None and other is not truth(value):
            return None
    return {**facts, **dict(known)}


def asks_self(subject: str) -> bool:
    """Whether a fact is the answer to a test of attributes of self, and of nothing else."""
    return subject.startswith("?") and set(_names(subject)) == {"self"}


def _answer(program: Program, subject: str, scope: Scope) -> bool | None:
    """The answer to a test of an attribute that was given a literal where its object was made."""
    match = _EQUAL.match(subject) or _TRUE.match(subject)
    if match is None:
        return None
    attribute = ex.Attribute(ex.Name(match["of"]), match["name"])
    values = [value for value, _ in Definitions(program).of(attribute, scope)]
    if len(values) != 1 or not isinstance(values[0], ex.Constant) or values[0].value is ...:
        return None
    literal = match.groupdict().get("value")
    return bool(values[0].value) if literal is None else values[0].value == ast.literal_eval(literal)


def _are_of_file(names: set[str], module: ModuleFacts, functions: Sequence[FunctionFacts]) -> bool:
    """Whether all names are globals of a file, and mean them in each of these functions."""
    return all(n in module.scope.assignments and not any(f.binds(n) for f in functions) for n in names)


def _names(subject: str) -> Iterator[str]:
    """The names that a test asks about."""
    if subject.isidentifier():
        yield subject
    elif subject.startswith("?"):
        yield from _NAMES.findall(subject)


def _attributes(subject: str) -> set[str]:
    return {subject, *_ATTRIBUTES.findall(subject), *_NAMES.findall(subject)}
