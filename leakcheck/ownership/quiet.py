"""Which calls of one function are taken not to raise, and what each of them may be.

    quiet.is_quiet(call)   →   True for `logger.info(...)`, `conn.close()` and `"{} rows".format(count)`

The base of ``callees``, which says what calls do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import literal_key, reduce
from leakcheck.ownership.usage import Usage, usage_of
from leakcheck.project.facts import is_self
from leakcheck.project.names import Class, External, Function, Method, Scope
from leakcheck.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.names import Symbols


_CONTAINERS = frozenset({"bytearray", "bytes", "dict", "frozenset", "list", "object", "set", "tuple"})


_SAYING = frozenset({"__bool__", "__len__", "__new__"})
"""Methods by which an object may be false, or no object of its class."""


class QuietCalls:
    """Answers about the calls in one unit."""

    def __init__(self, unit: Unit, program: Program) -> None:
        self._unit = unit
        self._program = program
        self._symbols: dict[int, Symbols] = {}
        self._quiet: dict[int, bool] = {}
        self._cancelled: set[int] = set()  # the calls of coroutines that nothing but a cancellation leaves

    def symbols(self, call: g.Call) -> Symbols:
        """What the callee may be."""
        key = id(call.node)
        if key not in self._symbols:
            self._symbols[key] = self._program.resolver.resolve(call.func, self._unit.scope)
        return self._symbols[key]

    def makes_an_object(self, call: g.Call) -> bool:
        """Whether it makes an object of the project, of a class that never says that it is false."""
        if not (ex.last_name(call.func) or "").lstrip("_")[:1].isupper():
            return False
        symbols, hierarchy = self.symbols(call), self._program.resolver.hierarchy
        classes = [s for s in symbols if isinstance(s, Class)]
        lineage = [facts for cls in classes for _, facts, _ in hierarchy.lineage(cls)]
        known = bool(classes) and len(classes) == len(symbols)
        known = known and not any(hierarchy.has_unknown_base(cls, lambda _: False) for cls in classes)
        return known and all(_SAYING.isdisjoint(facts.methods) for facts in lineage)

    def is_resolved(self, call: g.Call) -> bool:
        """Whether the callee is a function or class of the project, or one of a driver or the standard library."""
        return bool(self.symbols(call)) and not any(isinstance(s, External) for s in self.symbols(call))

    def is_quiet(self, call: g.Call) -> bool:
        """Whether the call is taken not to raise: it is known not to, or it releases something."""
        key = id(call.node)
        if key not in self._quiet:
            self._quiet[key] = self._never_raises(call)
        return self._quiet[key]

    def _never_raises(self, call: g.Call) -> bool:
        if id(call.node) in self._used.fetching:
            return True  # the pool was there when the connection was taken from it
        if id(call.node) in self._used.raised:
            return True  # making an exception raises no other one
        match call.func:
            case ex.Attribute(base=ex.Constant(value=str()), name="format"):
                return True  # as an f-string
            case ex.Name(id=name) if name in self._program.calls.non_raising_given:
                return self._is_given_around(name)
        methods = [s.operation for s in self.symbols(call) if isinstance(s, Method)]
        if methods:
            return all(o.releases is not None or bool(o.near_miss) for o in methods)
        functions = self._program.functions
        classes = [s for s in self.symbols(call) if isinstance(s, Class)]
        if any(functions.owners.is_record(c) or not functions.raising.may_raise_building(c) for c in classes):
            return True
        called = [s for s in self.symbols(call) if isinstance(s, Function)]
        if called:
            ways = [functions.raising.ways_called(f, call) for f in called]
            if not any(w.fails for w in ways) and any(w.raises for w in ways):
                self._cancelled.add(id(call.node))
            return not any(w.raises for w in ways)
        if not call.arguments and isinstance(call.func, ex.Name) and call.func.id in _CONTAINERS:
            return True  # it makes an empty one
        names = [s.name for s in self.symbols(call) if isinstance(s, External)]
        names.append(ex.spelled(call.func) or f"_.{call.method}")
        calls, last = self._program.calls, names[-1].rpartition(".")[2]
        return any(calls.is_non_raising(n) for n in names) or (not last[:1].isupper() and calls.says_release(last))

    def _is_given_around(self, name: str) -> bool:
        """Whether a name is a parameter of a function around this one, and no other thing in between."""
        around = next((f for f in reversed(self._unit.scope.functions) if f.binds(name)), None)
        given = around is not None and any(p.name == name for p in around.parameters)
        return given and around is not self._unit.facts

    def is_quiet_instruction(self, instruction: g.Instruction) -> bool:
        """Whether an instruction that has exception edges is taken not to raise."""
        match instruction:
            case g.Call():
                return self.is_quiet(instruction)
            case g.Await():
                return self.is_quiet_await(instruction)
            case g.Enter():
                return self.is_quiet_enter(instruction)
            case g.Iterate():
                return self.is_quiet_iterate(instruction)
            case g.Yield():
                return self._unit.is_fixture
            case g.LoadItem(node=node) if id(node) in self._used.fetching:
                return True  # as above: `pools[name].putconn(conn)`
            case g.LoadItem(node=cst.Subscript(value=base), key=str() as key):
                return self.has_item(base, key)
            case g.StoreItem(node=cst.Subscript(value=base) as node):
                return self.has_item(base, None) and self._is_text(node)
            case g.Point(node=cst.ImportFrom() as node):
                return self.is_quiet_import(node)
            case _:
                return False

    def is_quiet_import(self, node: cst.ImportFrom) -> bool:
        """Whether an import is taken not to raise: what it imports from is there."""
        key = id(node)
        if key not in self._quiet:
            self._quiet[key] = self._is_loaded(node)
        return self._quiet[key]

    def _is_loaded(self, node: cst.ImportFrom) -> bool:
        """Whether it takes functions and classes from where the file itself takes some: those modules are there."""
        if isinstance(node.names, cst.ImportStar):
            return False
        resolve, module = self._program.resolver.resolve, Scope(self._unit.scope.module)
        above = [symbol for name in module.module.scope.imports for symbol in resolve(ex.Name(name), module)]
        loaded = {symbol.path for symbol in above if isinstance(symbol, (Function, Class))}
        for alias in node.names:
            symbols = resolve(ex.Name(alias.evaluated_alias or alias.evaluated_name), self._unit.scope)
            if not symbols or not all(isinstance(s, (Function, Class)) and s.path in loaded for s in symbols):
                return False
        return True

    def is_quiet_await(self, instruction: g.Await) -> bool:
        """Whether what is awaited is a call that is taken not to raise."""
        node = instruction.node
        return isinstance(node, cst.Await) and self._quiet.get(id(node.expression), False)

    def passed(self, instruction: g.Instruction, edges: Iterable[g.Edge]) -> Iterable[g.Edge]:
        """The edges taken where the instruction raises: a cancellation alone leaves some coroutines, when awaited."""
        node = instruction.node
        if isinstance(node, cst.Await) and id(node.expression) in self._cancelled:
            return [edge for edge in edges if edge.raised == g.CANCELLED]
        return () if id(node) in self._cancelled else edges

    def is_quiet_enter(self, instruction: g.Enter) -> bool:
        """Whether entering this ``with`` is taken not to raise: a lock, or a manager made by a quiet call."""
        node = instruction.node
        if not isinstance(node, cst.WithItem):
            return False
        if isinstance(node.item, cst.Call):
            classes = [s for s in self._symbols.get(id(node.item), ()) if isinstance(s, Class)]
            raising = self._program.functions.raising
            return self._quiet.get(id(node.item), False) and not any(raising.may_raise_entering(c) for c in classes)
        return not instruction.is_async and self._is_lock(reduce(node.item))

    def _is_lock(self, entered: ex.Expression) -> bool:
        """Whether what a ``with`` enters is called a lock, or is only ever bound to new ones."""
        if self._program.calls.is_lock(ex.last_name(entered) or ""):
            return True
        made = [v.func if isinstance(v, ex.Call) else None for v in self._only_bound_to(entered) or ()]
        return bool(made) and all(func and self._program.calls.is_lock(ex.last_name(func) or "") for func in made)

    def is_quiet_iterate(self, instruction: g.Iterate) -> bool:
        """Whether the loop is over what is only ever bound to lists and tuples: a local name, or ``self.x``."""
        node = instruction.node
        bound = self._only_bound_to(reduce(node.iter)) if isinstance(node, (cst.For, cst.CompFor)) else None
        return bound is not None and all(isinstance(value, ex.Sequence) for value in bound)

    def has_item(self, base: cst.BaseExpression, key: str | None) -> bool:
        """Whether what is only ever bound to dict displays holds a key from the start; None: whether it is a dict."""
        expression = reduce(base)
        bound = self._only_bound_to(expression)
        if not bound or not all(isinstance(value, ex.Sequence) for value in bound):
            return False
        if key is None:
            return True
        has_key = all(isinstance(value, ex.Sequence) and key in value.keys for value in bound)
        return has_key and not self._loses_items(ex.dotted(expression) or "")

    def _is_text(self, node: cst.Subscript) -> bool:
        """Whether a key is a text: a literal, or a name that is only bound to some, as by a loop over them."""
        if isinstance(subscript_key(node), str):
            return True
        only = node.slice[0].slice if len(node.slice) == 1 else None
        bound = self._only_bound_to(reduce(only.value)) if isinstance(only, cst.Index) else None
        values: list[ex.Expression] = []
        for value in bound or (ex.OPAQUE,):
            inner = value.value if isinstance(value, ex.Element) else ex.Sequence((value,))
            values += inner.items if isinstance(inner, ex.Sequence) and not inner.keys else (ex.OPAQUE,)
        return all(isinstance(v, ex.Constant) and isinstance(v.value, str) for v in values)

    def _loses_items(self, name: str) -> bool:
        """Whether the text of the file takes something out of what has this name."""
        source = self._program.source(self._unit.path)
        losing = rf"\bdel\b[^\n]*\b{re.escape(name)}\b|\b{re.escape(name)}\.(?:pop|popitem|clear)\("
        return not isinstance(source, Source) or re.search(losing, source.text) is not None

    def _only_bound_to(self, expression: ex.Expression) -> Sequence[ex.Expression] | None:
        """All that a name of the function or its module, or ``self.x``, is bound to; None where that is not seen."""
        facts, module = self._unit.facts, self._unit.scope.module
        match expression:
            case ex.Name(id=name):
                scopes = [f for f in self._unit.scope.functions if f.binds(name)]
                kinds = [p.kind for f in scopes for p in f.parameters if p.name == name]
                bound = (scopes[-1].scope if scopes else module.scope).assignments.get(name, ())
                if kinds:
                    return [ex.Sequence(())] if kinds == ["*"] and not bound else None
                return bound or None
            case ex.Attribute(base=base, name=name) if is_self(base) and facts is not None and facts.owner is not None:
                return [value for value, _ in module.classes[facts.owner].attributes.get(name, ())] or None
            case _:
                return None

    @property
    def expected_to_raise(self) -> frozenset[int]:
        """The calls of which a test expects that they raise."""
        return self._used.expected

    @property
    def tried(self) -> frozenset[int]:
        """The calls that a ``try`` or ``suppress()`` makes alone or to end something, and goes on where they raise."""
        return self._used.tried

    def is_entered(self, call: g.Call) -> bool:
        """Whether the call's result is what a ``with`` statement enters, awaited or not."""
        return id(call.node) in self._used.entered

    def swallows(self, manager: cst.BaseExpression) -> bool:
        """Whether a context manager swallows exceptions: ``suppress()``, one of the project's."""
        return bool(self._program.functions.units.swallowed(reduce(manager), self._unit.scope))

    @property
    def _used(self) -> Usage:
        if self._unit.usage is None:
            self._unit.usage = usage_of(self._unit.node, self._gives_back, self.swallows)
        return self._unit.usage

    def _gives_back(self, name: str) -> bool:
        """Whether methods of this name take what they give back as an argument."""
        return any(isinstance(o.releases, int) for _, o in self._program.drivers.methods_named(name))


def subscript_key(node: cst.Subscript) -> str | int | None:
    """The key of a subscript, where it is a literal."""
    only = node.slice[0].slice if len(node.slice) == 1 else None
    return literal_key(only.value) if isinstance(only, cst.Index) else None
