"""Methods after which an object that closed what it keeps has it open again.

    def reconnect(self):
        self.conn.close()
        self.conn = connect()      →   True: whoever has the object owes a `close()` afterwards, too

Which of the two comes last is read off the text: a method that opens, works and closes is none of these.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import children, reduce, walk
from leakcheck.project.names import Class, Function

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts


class _Last(Enum):
    """What a method does last of all to what its object keeps."""

    OPENS = "opens"
    OPENS_AGAIN = "opens again"  # only where something raised
    CLOSES = "closes"


_EVERYTHING = {False: frozenset({None, "Exception", "BaseException"}), True: frozenset({None, "BaseException"})}
"""What a handler names that takes all that a method may raise; True: an async one, which can be cancelled."""


def _caught(handler: cst.ExceptHandler | cst.ExceptStarHandler) -> str | None:
    """What a handler names; None for all."""
    return ex.last_name(reduce(handler.type)) or "" if handler.type is not None else None


class Reopening:
    """Answers about one attribute of a class; ``releasing`` are the methods that give it back on some path."""

    def __init__(self, program: Program, cls: Class, attribute: str, releasing: Collection[str]) -> None:
        self._program = program
        self._attribute = attribute
        self._releasing = releasing
        self._methods: dict[str, tuple[Function, FunctionFacts]] = {}
        for owner, facts, module in program.resolver.hierarchy.lineage(cls):
            for name, qualname in facts.methods.items():
                self._methods.setdefault(name, (Function(owner.path, qualname), module.functions[qualname]))
        self._last: dict[str, _Last | None] = {}

    def methods(self) -> dict[str, bool]:
        """Those that leave it open again, and whether they are there to open it: others only try once more."""
        says_release = self._program.calls.says_release
        found = {name: self._of(name) for name in self._releasing if name in self._methods and not says_release(name)}
        return {name: last is _Last.OPENS for name, last in found.items() if last not in (_Last.CLOSES, None)}

    def may_raise_open(self, name: str) -> bool:
        """Whether a method that opens it and then works with it can raise, and leave it open.

        Not where all of that stands in a ``try`` whose handlers close it, or go on without raising.
        """
        function, facts = self._methods[name]
        unit = self._program.functions.units.of(function)
        if unit is None or not facts.parameters:
            return True
        return self._works(unit.node, facts.parameters[0].name, cancelled=facts.is_async)

    def _works(self, node: cst.CSTNode, holder: str, *, cancelled: bool) -> bool:
        """Whether a piece of a method runs a statement where nothing closes it when that raises."""
        match node:
            case cst.Try(handlers=handlers) if any(map(_EVERYTHING[cancelled].__contains__, map(_caught, handlers))):
                if all(self._closes(h, holder) or not any(isinstance(n, cst.Raise) for n in walk(h)) for h in handlers):
                    rest = (*handlers, *(part for part in (node.orelse, node.finalbody) if part is not None))
                    return any(self._works(part, holder, cancelled=cancelled) for part in rest)
            case cst.Call(func=func) if ex.last_name(reduce(func)) in self._program.vocabulary.executing:
                return True
            case _:
                pass
        return any(self._works(child, holder, cancelled=cancelled) for child in children(node))

    def _closes(self, node: cst.CSTNode, holder: str) -> bool:
        """Whether a handler gives it back."""
        kept = ex.Attribute(ex.Name(holder), self._attribute)
        calls = (reduce(each) for each in walk(node) if isinstance(each, cst.Call))
        return any(self._by_call(call, holder, kept) is _Last.CLOSES for call in calls)

    def _of(self, name: str) -> _Last | None:
        if name not in self._last:
            self._last[name] = None  # of methods that call each other
            function, facts = self._methods[name]
            unit = self._program.functions.units.of(function)
            if unit is not None and facts.parameters:
                for last in self._acts(unit.node, facts.parameters[0].name, handling=False):
                    self._last[name] = last
        return self._last[name]

    def _acts(self, node: cst.CSTNode, holder: str, *, handling: bool) -> Iterator[_Last]:
        """What a piece of a method does to the attribute, in the order of the text."""
        handling = handling or isinstance(node, (cst.ExceptHandler, cst.ExceptStarHandler))
        for child in children(node):
            yield from self._acts(child, holder, handling=handling)
        kept = ex.Attribute(ex.Name(holder), self._attribute)
        match node:
            case cst.Assign(targets=targets, value=value):
                if any(reduce(t.target) == kept for t in targets) and not isinstance(reduce(value), ex.Constant):
                    yield _Last.OPENS_AGAIN if handling else _Last.OPENS
            case cst.AnnAssign(target=target, value=cst.BaseExpression() as value):
                if reduce(target) == kept and not isinstance(reduce(value), ex.Constant):
                    yield _Last.OPENS_AGAIN if handling else _Last.OPENS
            case cst.Call():
                last = self._by_call(reduce(node), holder, kept)
                if last is not None and not (handling and last is _Last.CLOSES):  # it is open where nothing raised
                    yield _Last.OPENS_AGAIN if handling and last is _Last.OPENS else last
            case _:
                pass

    def _by_call(self, call: ex.Expression, holder: str, kept: ex.Expression) -> _Last | None:
        if not isinstance(call, ex.Call) or not isinstance(call.func, ex.Attribute):
            return None
        name, base = call.func.name, call.func.base
        if base == ex.Name(holder) and name in self._methods:
            return self._of(name) or (_Last.CLOSES if name in self._releasing else None)
        asked = isinstance(base, ex.Call) and isinstance(base.func, ex.Attribute) and base.func.base == ex.Name(holder)
        concerned = asked or base == kept or kept in call.args
        return _Last.CLOSES if concerned and self._program.calls.says_release(name) else None
