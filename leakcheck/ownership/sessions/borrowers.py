"""Who borrows what a function of the project lends, anywhere in the project, and what they call it.

    @app.post("/orders")
    def order(db=Depends(get_db)):                            →   order, "db" borrows what get_db lends

    @app.post("/orders", dependencies=[Depends(as_tenant)])
    def order(db=Depends(get_db)):                            →   order, "db" has what as_tenant was given by get_db

Every file that names the lender is looked at, bytes first; so is every file that names an alias of it:
``Database = Annotated[Session, Depends(get_db)]``, and whatever depends on what depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk
from leakcheck.project.annotations import annotated_injections, injected
from leakcheck.project.names import Function, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.ownership.units import Units
    from leakcheck.project.facts import FunctionFacts, ModuleFacts

_DEPTH = 3
"""Functions by which one that a framework runs may depend on another."""
_DEPENDING = "dependencies"
"""The keyword by which a route or a router names functions that run before."""


class Borrowers(Struct, frozen=True):
    """Those who borrow what ``lender`` lends: all that it returns or yields.

    ``sources`` are functions that lend the same for a request, to the lender and to whoever depends on it.
    ``lends``: what it returns or yields is the connection.
    """

    program: Program
    units: Units
    lender: Function
    sources: frozenset[Function] = frozenset()
    lends: bool = True

    def all(self) -> Iterator[tuple[Unit, str]]:
        """The functions that borrow, with what they call the connection."""
        lenders = frozenset({self.lender})
        for _ in range(_DEPTH if self.sources else 1):
            depending: set[Function] = set()
            for module, facts in self._naming(lenders):
                made = list(self.program.resolver.annotations.injections(facts, module))
                depends = any(self._is_one(i.function, i.scope, lenders) for i in made)
                depends = depends or self._runs_before(facts, module, lenders)
                if depends:
                    depending.add(Function(module.path, facts.qualname))
                wanted = (self.sources if depends else frozenset()) | (lenders if self._lends_all(lenders) else set())
                names = [i.parameter.name for i in made if self._is_one(i.function, i.scope, wanted)]
                words = {lender.qualname.rpartition(".")[2] for lender in lenders}
                called = not words.isdisjoint(facts.calls) and self._lends_all(lenders)
                unit = self.units.unit(module, facts) if names or called else None
                if unit is not None:
                    yield from ((unit, name) for name in (*names, *(self._entered(unit) if called else ())))
            lenders = frozenset(depending)
            if not lenders:
                return

    def of_kept(self, path: str) -> Iterator[tuple[Unit, str]]:
        """Those who find it where it is kept: ``db.session.commit()``, ``db = request.state.db``, what returns that."""
        parts = path.split(".")
        ending = parts[1:] if len(parts) > 2 else parts  # what a request is called differs
        for module in self._files((parts[-1],)):
            for facts in module.functions.values():
                if any(_ends_with(value, ending) for value in facts.returned):
                    yield from Borrowers(self.program, self.units, Function(module.path, facts.qualname)).all()
                assigned = facts.scope.assignments.items()
                names = {name for name, values in assigned if any(_ends_with(v, ending) for v in values)}
                committed = (c.base for c in facts.calls.get("commit", ()) if isinstance(c, ex.Attribute))
                names |= {ex.dotted(base) or "" for base in committed if _ends_with(base, ending)}
                unit = self.units.unit(module, facts) if names else None
                if unit is not None:
                    yield from ((unit, name) for name in sorted(names))

    def _lends_all(self, lenders: frozenset[Function]) -> bool:
        """Whether what these lend is the connection: what depends on the lender lends something else."""
        return self.lends and self.lender in lenders

    def _naming(self, lenders: Iterable[Function]) -> Iterator[tuple[ModuleFacts, FunctionFacts]]:
        """The functions of the files in which one of the lenders, or an alias of one, stands."""
        words = {lender.qualname.rpartition(".")[2] for lender in lenders}
        for module in self._files(words):
            for name, values in module.scope.assignments.items():
                made = (m for value in values for m in annotated_injections(value, Scope(module)))
                if any(self._is_one(m, Scope(module), lenders) for m in made):
                    words.add(name)
        for module in self._files(words):
            for facts in module.functions.values():
                yield module, facts

    def _files(self, words: Iterable[str]) -> Iterator[ModuleFacts]:
        encoded = [word.encode() for word in words]
        for path in self.program.modules.around(self.lender.path):
            data = self.program.data(path)
            module = self.program.facts(path) if any(word in data for word in encoded) else None
            if module is not None:
                yield module

    def _is_one(self, named: ex.Expression, scope: Scope, functions: Iterable[Function]) -> bool:
        """Whether a name is that of one of some functions, wherever it stands in the project."""
        wanted = {replace(function, bound=False) for function in functions}
        found = self.program.resolver.resolve(named, scope) if wanted else ()
        return any(isinstance(s, Function) and replace(s, bound=False) in wanted for s in found)

    def _runs_before(self, facts: FunctionFacts, module: ModuleFacts, lenders: frozenset[Function]) -> bool:
        """Whether a route, or the router that it belongs to, names one of the lenders as what runs before."""
        calls = [call for call in facts.decorators if isinstance(call, ex.Call)]
        owners = {ex.dotted(c.func.base) for c in calls if isinstance(c.func, ex.Attribute)}
        for name, values in module.scope.assignments.items():
            calls += [v for v in values if isinstance(v, ex.Call) and name in owners]
        given = (value for call in calls for keyword, value in call.keywords if keyword == _DEPENDING)
        items = (item for value in given if isinstance(value, ex.Sequence) for item in value.items)
        found = (injected(item, Scope(module)) for item in items)
        return any(made is not None and self._is_one(made, Scope(module), lenders) for made in found)

    def _entered(self, unit: Unit) -> Iterator[str]:
        """What ``with`` blocks and assignments call what they are lent."""
        for node in walk(unit.node):
            pairs: list[tuple[cst.BaseExpression, cst.BaseExpression | None]] = []
            if isinstance(node, cst.With):
                pairs = [(i.item, i.asname.name if i.asname is not None else None) for i in node.items]
            elif isinstance(node, cst.Assign) and len(node.targets) == 1:
                pairs = [(node.value, node.targets[0].target)]
            for value, bound in pairs:
                made = reduce(value)
                made = made.value if isinstance(made, ex.Await) else made
                is_lent = isinstance(made, ex.Call) and self._is_one(made.func, unit.scope, (self.lender,))
                if is_lent and isinstance(bound, cst.Name):
                    yield bound.value


def _ends_with(value: ex.Expression, ending: list[str]) -> bool:
    """Whether a dotted name ends in these parts."""
    return (ex.dotted(value) or "").split(".")[-len(ending) :] == ending
