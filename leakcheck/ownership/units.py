"""From the facts of functions to units: slices of source text, parsed, each with its graph and its callees.

    unit = units.unit(module, facts)
    units.graph(unit)    →   ControlFlowGraph

A file is never parsed by LibCST as a whole: an outermost function is a slice, and its nested functions are units of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.calls import CallKind
from leakcheck.cfg.builder import TooLargeError, build_cfg
from leakcheck.cfg.graph import ANY_EXCEPTION
from leakcheck.cfg.looping import literal_number
from leakcheck.cfg.meanings import Meanings
from leakcheck.cfg.walk import walk
from leakcheck.ownership.callees import Callees
from leakcheck.ownership.constants import Constants
from leakcheck.ownership.program import DEPTH_LIMIT
from leakcheck.ownership.swallowing import swallowed_at_yield, swallowed_on_exit
from leakcheck.ownership.unit import Slice, Unit
from leakcheck.project.facts import FunctionFacts
from leakcheck.project.getters import opens
from leakcheck.project.names import Class, Function, Scope
from leakcheck.source import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from leakcheck.calls import CallEffect
    from leakcheck.cfg.graph import ControlFlowGraph
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import ModuleFacts, Statement
    from leakcheck.project.names import Symbol


_MAY_SWALLOW = re.compile(r"\b(?:except|finally|with)\b")
"""What the text of a generator has that swallows an exception of its consumer's."""


class Units:
    """Makes units; each is made once, when first asked for."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._units: dict[tuple[str, str], Unit | None] = {}
        self._by_node: dict[int, Unit] = {}
        """The units of functions, nested functions and lambdas by the identity of their syntax, which they keep."""
        self._building: set[int] = set()
        self._endings: dict[Function, str | None] = {}
        self._swallowing: dict[Symbol, tuple[str, ...]] = {}

    def unit(self, module: ModuleFacts, item: FunctionFacts | Statement) -> Unit | None:
        """The unit of a function (found in the slice of its outermost function) or module-level statement."""
        key = (module.path, name_of(item))
        if key not in self._units:
            self._units[key] = None
            self._make_units(module, item)
        return self._units[key]

    def of(self, function: Function) -> Unit | None:
        """The unit of a project function, None where it cannot be parsed."""
        module = self._program.facts(function.path)
        facts = module.functions.get(function.qualname) if module is not None else None
        return self.unit(module, facts) if module is not None and facts is not None else None

    def nested(self, unit: Unit, node: cst.CSTNode) -> Unit | None:
        """The unit of a function or lambda nested in another; None for a class, or where there is none."""
        inner = self._by_node.get(id(node))
        if inner is None and isinstance(node, cst.Lambda):
            name = f"{unit.name}.<lambda {unit.order(node)}>"
            inner = Unit(unit.part, node, name, unit.scope, None, is_async=False, parent=unit)
            self._units[unit.path, name] = self._by_node[id(node)] = inner
        return inner

    def _make_units(self, module: ModuleFacts, item: FunctionFacts | Statement) -> None:
        outer = item
        while isinstance(outer, FunctionFacts) and outer.parent is not None:
            outer = module.functions[outer.parent]
        if outer.depth > DEPTH_LIMIT:
            return
        part = self._slice(module, outer.first_row, outer.last_row)
        if part is None:
            return
        if not isinstance(outer, FunctionFacts):
            unit = Unit(part, part.module, name_of(outer), Scope(module), None, is_async=False)
            self._units[module.path, name_of(outer)] = unit
            return
        body: Sequence[cst.CSTNode] = part.module.body
        if part.row_offset < outer.first_row - 1 and isinstance(body[0], cst.If):
            body = body[0].body.body  # the slice of a method stands below `if 1:`
        node = next((s for s in body if isinstance(s, cst.FunctionDef)), None)
        if node is not None:
            self._register(module, part, node, outer, None)

    def _register(
        self, module: ModuleFacts, part: Slice, node: cst.FunctionDef, facts: FunctionFacts, parent: Unit | None
    ) -> None:
        unit = Unit(part, node, facts.qualname, Scope.of(module, facts), facts, facts.is_async, parent)
        self._units[module.path, facts.qualname] = self._by_node[id(node)] = unit
        source = self._program.source(module.path)
        if facts.is_async and facts.is_generator and not isinstance(source, Failure):
            closed = re.compile(rf"\baclosing\(\s*(?:\w+\.)*{re.escape(facts.name)}\(")
            unit.consumed_by_aclosing = closed.search(source.text) is not None
        counts: dict[str, int] = {}
        for inner in _directly_nested(node.body):
            name = inner.name.value
            counts[name] = counts.get(name, 0) + 1
            suffix = "" if counts[name] == 1 else f"@{counts[name]}"
            found = module.functions.get(f"{facts.qualname}.{name}{suffix}")
            if found is not None and found.parent == facts.qualname:
                self._register(module, part, inner, found, unit)

    def _slice(self, module: ModuleFacts, first: int, last: int) -> Slice | None:
        source = self._program.source(module.path)
        if isinstance(source, Failure):
            return None
        text = source.rows(first, last)
        text = text.replace("\f", "")  # a form feed only resets the indentation
        indented = text[:1] in (" ", "\t")
        try:
            syntax = self._program.syntax("if 1:\n" + text if indented else text)
        except Exception:  # noqa: BLE001 - LibCST raises several unrelated types; the function is skipped and said to be
            return None
        return Slice(module.path, syntax, first - 1 - int(indented))

    def graph(self, unit: Unit) -> ControlFlowGraph:
        """The unit's graph; its constants are made with it. Raises TooLargeError."""
        if unit.graph is None:
            if id(unit) in self._building:
                raise TooLargeError  # asked for itself while it is made: a class that its own method constructs
            self._building.add(id(unit))
            graph = build_cfg(
                unit.node.body,
                is_async=unit.is_async,
                meanings=Meanings(
                    lambda e: self.swallowed(e, unit.scope),
                    lambda e: self._exits(e, unit.scope),
                    lambda e: opens(self._program, e, unit.scope),
                    lambda e: self._number(e, unit.scope),
                    lambda name: unit.facts is None or unit.facts.rebinds(name),
                ),
            )
            parameters = [p.name for p in unit.facts.parameters] if unit.facts else []
            unit.constants = Constants(graph, parameters, self.callees(unit).given_by, _set_by_others(unit))
            unit.graph = graph
            self._building.discard(id(unit))
        return unit.graph

    def _number(self, expression: ex.Expression, scope: Scope) -> int | None:
        """The number that an expression is, or a name that says that it stands for one: ``MOST_ATTEMPTS``."""
        if not isinstance(expression, ex.Name) or not expression.id.isupper():
            return literal_number(expression)
        around = next((f for f in reversed(scope.functions) if f.binds(expression.id)), None)
        if around is not None and any(p.name == expression.id for p in around.parameters):
            return None
        values = (around.scope if around is not None else scope.module.scope).assignments.get(expression.id, ())
        return literal_number(values[0]) if len(values) == 1 else None

    def constants(self, unit: Unit) -> Constants:
        """What is known of the variables in the unit's graph. Raises TooLargeError."""
        self.graph(unit)
        assert unit.constants is not None
        return unit.constants

    def callees(self, unit: Unit) -> Callees:
        """The answers about the calls in the unit."""
        if unit.callees is None:
            unit.callees = Callees(unit, self._program)
        return unit.callees

    def swallowed(self, manager: ex.Expression, scope: Scope) -> tuple[str, ...]:
        """The exceptions that a context manager swallows."""
        if not isinstance(manager, ex.Call):
            return ()
        effect = self._known(manager.func, scope)
        if effect is not None:
            return tuple(ex.last_name(a) or "?" for a in manager.args) if effect.kind is CallKind.SUPPRESSES else ()
        ways = {self._swallowed_by(s) for s in self._program.resolver.resolve(manager.func, scope)}
        return ways.pop() if len(ways) == 1 else ()

    def _swallowed_by(self, symbol: Symbol) -> tuple[str, ...]:
        """The exceptions that a context manager of the project swallows."""
        if symbol not in self._swallowing:
            self._swallowing[symbol] = ()  # what a recursive call sees
            match symbol:
                case Function() if self._program.is_manager(symbol):
                    self._swallowing[symbol] = self._swallowed_at_yield(symbol)
                case Class():
                    for _, facts, module in self._program.resolver.hierarchy.lineage(symbol):
                        name = next((n for n in ("__exit__", "__aexit__") if n in facts.methods), None)
                        if name is not None:
                            self._swallowing[symbol] = swallowed_on_exit(module.functions[facts.methods[name]])
                            break
                case _:
                    pass
        return self._swallowing[symbol]

    def _swallowed_at_yield(self, function: Function) -> tuple[str, ...]:
        facts, scope = self._program.resolver.function(function)
        source = self._program.source(function.path)
        if facts is None or scope is None or isinstance(source, Failure):
            return ()
        if _MAY_SWALLOW.search(source.rows(facts.first_row, facts.last_row)) is None:
            return ()
        unit = self.of(function)
        if unit is None or not isinstance(unit.node, cst.FunctionDef):
            return ()
        return swallowed_at_yield(unit.node, lambda e: self.swallowed(e, scope))

    def _exits(self, function: ex.Expression, scope: Scope) -> str | None:
        called, awaited = (function.value, True) if isinstance(function, ex.Await) else (function, False)
        effect = None if awaited else self._known(called, scope)
        if effect is not None and effect.kind is CallKind.EXITS:
            return effect.raises or "SystemExit"
        symbols = self._program.resolver.resolve(called, scope)
        ways = {self._raised_by(s, awaited=awaited) if isinstance(s, Function) else None for s in symbols}
        return ways.pop() if len(ways) == 1 else None

    def _raised_by(self, function: Function, *, awaited: bool) -> str | None:
        """The exception by which a project function never returns; a method may be another one in a subclass."""
        facts, scope = self._program.resolver.function(function)
        if facts is None or scope is None or facts.owner is not None or facts.decorators or facts.is_generator:
            return None
        if facts.is_async is not awaited:
            return None
        if function not in self._endings:
            self._endings[function] = ANY_EXCEPTION if facts.never_returns else None  # None: what a recursive call sees
            if not facts.never_returns and facts.last_call is not None:
                self._endings[function] = self._exits(facts.last_call, scope)
        return self._endings[function]

    def _known(self, function: ex.Expression, scope: Scope) -> CallEffect | None:
        """What is known of a call of Python's own library; only names and plain attributes are looked up."""
        text = ex.dotted(function)
        if text is None:
            return None
        found = self._program.calls.effect(text)
        root = text.partition(".")[0]
        for target in scope.module.scope.imports.get(root, ()):
            found = self._program.calls.effect(target + text[len(root) :]) or found
        return found


def name_of(item: FunctionFacts | Statement) -> str:
    """The name of an item's unit: unique in its file."""
    return item.qualname if isinstance(item, FunctionFacts) else f"<line {item.first_row}>"


def _set_by_others(unit: Unit) -> frozenset[str]:
    """``.name`` of the flags of its object that methods set, as ``self.closed = True`` in ``close()``, for a coroutine.

    Flags hold nothing but true and false: what else an attribute holds is seldom asked for since it may have changed.
    """
    if not unit.is_async or unit.facts is None or unit.facts.owner is None:
        return frozenset()
    attributes = unit.scope.module.classes[unit.facts.owner].attributes
    return frozenset(
        f".{name}"
        for name, values in attributes.items()
        if any(method not in (None, "__init__") for _, method in values)
        and all(isinstance(value, ex.Constant) and isinstance(value.value, bool) for value, _ in values)
    )


def _directly_nested(body: cst.BaseSuite) -> Iterable[cst.FunctionDef]:
    """Functions nested in a body, not those inside them or inside classes."""
    found: list[cst.FunctionDef] = []
    skip: set[int] = set()
    for node in walk(body):
        if id(node) in skip:
            continue
        if type(node) in (cst.FunctionDef, cst.ClassDef):
            if isinstance(node, cst.FunctionDef):
                found.append(node)
            skip.update(id(n) for n in walk(node))
    return found
