"""What becomes of the value of one call, or of one reading of a property: whether each run of its function makes it.

if _pool is None:
    _pool = create_pool()        KEPT: made once, for the next run finds it

with create_pool() as pool: …    CLOSED: nothing of it is left

self.pool = create_pool()        OWNED in __init__, or behind such a test: once for each object

return create_pool()             OPEN: once for each run

return create_engine().connect() OPEN and lent: whoever closes what it gets closes a connection, and no pool
"""

from __future__ import annotations

import ast
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.cfg.conditions import OPEN_TESTS
from leakcheck.handlers.arguments import given
from leakcheck.handlers.deciding import deciding
from leakcheck.handlers.holders import MANAGERS, Holders, whole
from leakcheck.handlers.places import Lasting, chain, lasting, places
from leakcheck.handlers.syntax import FUNCTIONS
from leakcheck.project.names import Class
from leakcheck.project.nodes import walk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from leakcheck.handlers.syntax import Definition, Loop, Tree
    from leakcheck.ownership.program import Program

_BUILDING = frozenset({"__init__", "__new__", "__post_init__", "__enter__", "__aenter__", "model_post_init"})
"""Methods that run once for each object."""
_CLOSERS = frozenset({
    "close", "aclose", "dispose", "closeall", "close_all", "close_pool", "disconnect", "terminate", "wait_closed",
    "shutdown", "stop", "close_db", "cleanup", "teardown", "__exit__", "__aexit__",
})  # fmt: skip
_ALWAYS_CLOSING = frozenset({"dispose", "closeall", "wait_closed"})
"""Methods that only pools have, so that it does not matter by what name they are reached."""


class Fate(Enum):
    """What becomes of a value."""

    OPEN = "open"
    OWNED = "owned"
    KEPT = "kept"
    CLOSED = "closed"


class Story(Struct, frozen=True):
    """The fate of a value, and where it went: ``leaves`` if it is returned, yielded or put where others find it."""

    fate: Fate
    leaves: bool = False
    name: str | None = None
    stores: frozenset[str] = frozenset()
    """The last names of the places it is put in."""
    unguarded: ast.expr | ast.stmt | None = None
    """What closes it, where that is only reached if nothing raises, and it is kept nowhere but in variables."""
    lent: bool = False
    """Whether those outside have no more than connections of it, which they may close."""


class Fates:
    """Judges values. ``transient`` are qualified names of objects that end with the request."""

    def __init__(self, program: Program, transient: frozenset[str]) -> None:
        self._program = program
        self._transient = transient

    def of(
        self,
        tree: Tree,
        call: ast.expr,
        *,
        managed: bool,
        stored_before: frozenset[str] = frozenset(),
        lent: bool = False,
    ) -> Story:
        """The fate of what ``call`` gives. ``managed``: leaving a ``with`` closes it.

        ``stored_before`` are the last names of the places where the called function itself puts the pool; ``lent``:
        the function gives only connections of it, so that nothing done with these closes it.
        """
        function = tree.within(call)
        if function is not None and _runs_outside_loops(tree, call, function):
            return Story(Fate.KEPT)
        value, entered = whole(tree, call)
        if entered and managed and not lent:
            return Story(Fate.CLOSED)
        held = Holders(tree, function, call, value)
        name = next(iter(sorted(held.names)), None)
        closings = list(self._closings(tree, call, function, held, stored_before, managed=managed, lent=lent))
        if closings:
            sure = held.stores or any(_is_guarded(tree, closing, function) for closing in closings)
            return Story(Fate.CLOSED, name=name, unguarded=None if sure else closings[0])
        if function is None:
            return Story(Fate.OPEN, held.leaves or bool(held.stores), name, lent=lent)
        held.stores |= _put_by_callees(tree, function, held.names)
        leaves = held.leaves or bool(held.stores)
        facts = tree.function(call)
        stored = {place: self._lasting(tree, function, place) for place in held.stores}
        if not lent and any(h is Lasting.CALL and _is_closed_elsewhere(tree, place) for place, h in stored.items()):
            return Story(Fate.CLOSED, name=name)
        beside = _raised(function) if held.stores else set()
        ends = frozenset(place.rpartition(".")[2] for place in (*held.stores, *beside)) | stored_before
        assigned = held.stores | _assigned(function)
        bound = tree.names(function).bound  # giving such a name a value keeps nothing in what it then stands for
        guarded = Lasting.CALL
        for place in _guards(tree, call, function):
            kept_in = (each for each in assigned if each == place or each not in bound)
            if any(_related(place, each) for each in kept_in) or place.rpartition(".")[2] in stored_before:
                guarded = max(guarded, self._lasting(tree, function, place))
        asked = _asked_whether_open(tree, call, function) if stored_before else None
        if asked is not None:
            guarded = max(guarded, self._lasting(tree, function, asked))
        longest = max(stored.values(), default=Lasting.PROCESS if stored_before else Lasting.CALL)
        kept = min(guarded, longest) if not stored_before else guarded
        if kept is Lasting.PROCESS:
            return Story(Fate.KEPT, leaves, name, ends)
        builds = facts is not None and facts.owner is not None and facts.name in _BUILDING
        if kept is Lasting.OBJECT or (builds and Lasting.OBJECT in stored.values()):
            owner = facts.owner if facts is not None else None
            lent = lent or (owner is not None and self._is_never_closed(tree, owner, call, function, held.stores))
            return Story(Fate.OWNED, leaves, name, ends, lent=lent)
        return Story(Fate.OPEN, leaves, name, ends, lent=lent or self._only_lends(tree, function, call))

    def _lasting(self, tree: Tree, function: Definition, place: str) -> Lasting:
        return lasting(self._program, tree, function, place, self._transient)

    def _closings(
        self,
        tree: Tree,
        call: ast.expr,
        function: Definition | None,
        held: Holders,
        parts: frozenset[str],
        *,
        managed: bool,
        lent: bool,
    ) -> Iterator[ast.expr | ast.stmt]:
        """What closes it in the function that made it, however it is reached there: calls, and ``with`` statements.

        It may be one of these ``parts`` of what the call gives, and where that is ``lent``, only such a part.
        """
        around = function if function is not None else tree.root
        holders = (held.names | held.stores) - self._checked_out(tree, call, around)
        receivers = {f"{holder}.{part}" for holder in holders for part in parts} | (set() if lent else holders)
        managed = managed and not lent
        called = call.func if isinstance(call, ast.Call) and not lent else None
        if isinstance(called, ast.Attribute):  # `await db.connect()` is ended by `db.disconnect()`
            receiver = chain(called.value)
            if receiver is not None and receiver not in ("self", "cls"):
                receivers.add(receiver)
        for node in tree.below(around, ast.Attribute, ast.Call, ast.With, ast.AsyncWith):
            match node:
                case ast.Attribute(value=base, attr=attr) if attr in _CLOSERS:
                    reached = (chain(base) or "").removesuffix(".connection_pool") in receivers
                    if reached or (attr in _ALWAYS_CLOSING and function is not None):
                        yield node
                case ast.Call(func=func, args=args) if any(chain(a) in receivers for a in args):
                    last = (chain(func) or "").rpartition(".")[2]
                    if last in MANAGERS or (last and self._program.calls.says_release(last)):
                        yield node
                case ast.With(items=items) | ast.AsyncWith(items=items) if managed:
                    if any(chain(item.context_expr) in receivers for item in items):
                        yield node
                case _:
                    pass

    def _checked_out(self, tree: Tree, call: ast.expr, around: ast.AST) -> set[str]:
        """The names and places that hold connections and sessions: closing ``Session(engine)`` closes no engine."""
        found: set[str | None] = set()
        for node in tree.below(around, ast.Assign, ast.AnnAssign, ast.NamedExpr, ast.withitem):
            match node:
                case (
                    ast.Assign(targets=[target], value=value)
                    | ast.AnnAssign(target=target, value=ast.expr() as value)
                    | ast.NamedExpr(target=target, value=value)
                    | ast.withitem(context_expr=value, optional_vars=ast.expr() as target)
                ) if self._is_checkout(tree, call, value):
                    found.add(chain(target))
                case _:
                    pass
        return {place for place in found if place is not None}

    def _is_checkout(self, tree: Tree, call: ast.expr, value: ast.expr) -> bool:
        """Whether a value is what some other call than ``call`` takes; an object of the project may hold more."""
        made = value.value if isinstance(value, ast.Await) else value
        if not isinstance(made, ast.Call) or made is call:
            return False
        callee, scope = ex.from_ast(made.func), tree.scope(made)
        if not self._program.acquisitions.possible(callee, scope):
            return False
        return not any(isinstance(symbol, Class) for symbol in self._program.resolver.resolve(callee, scope))

    def _only_lends(self, tree: Tree, function: Definition, call: ast.expr) -> bool:
        """Whether the function returns or yields connections and sessions and nothing else."""
        nodes: list[ast.Return | ast.Yield] = tree.below(function, ast.Return, ast.Yield)
        given = [node.value for node in nodes if node.value is not None and tree.within(node) is function]
        values = [v for v in given if not (isinstance(v, ast.Constant) and v.value is None)]
        taken = self._checked_out(tree, call, function) if values else set()
        return bool(values) and all(chain(v) in taken or self._is_checkout(tree, call, v) for v in values)

    def _is_never_closed(
        self, tree: Tree, owner: str, call: ast.expr, function: Definition, stores: AbstractSet[str]
    ) -> bool:
        """Whether no method of the class that keeps it there can close it: what its ``close()`` closes is another."""
        lineage = [cls for cls, _, _ in self._program.resolver.hierarchy.lineage(Class(tree.path, owner))]
        if any(cls.path != tree.path for cls in lineage):
            return False
        places = stores - self._checked_out(tree, call, function)
        return bool(places) and not any(
            _is_closed_elsewhere(tree, place, cls.qualname) for place in places for cls in lineage
        )


def _runs_outside_loops(tree: Tree, call: ast.expr, function: Definition) -> bool:
    """Whether it is only reached where no event loop runs, in a script: ``except RuntimeError`` of asking for one."""
    for above, child in tree.around(call):
        if above is function:
            return False
        if isinstance(above, ast.Try) and child in above.handlers:
            asked = (n for statement in above.body for n in walk(statement) if isinstance(n, ast.Call))
            if any((chain(n.func) or "").rpartition(".")[2] == "get_running_loop" for n in asked):
                return True
    return False


def _is_guarded(tree: Tree, closing: ast.AST, function: Definition | None) -> bool:
    """Whether it is reached where something raises, too: in ``finally``, in a handler, handed on to be called later."""
    parent = tree.parents.get(closing)
    if not (isinstance(closing, ast.Attribute) and isinstance(parent, ast.Call) and parent.func is closing):
        return True  # a manager, or a method that something else calls
    for above, child in tree.around(closing):
        if above is function:
            return False
        if isinstance(above, (ast.ExceptHandler, *FUNCTIONS, ast.Lambda)):
            return True
        if isinstance(above, ast.Try) and child in above.finalbody:
            return True
    return False


def _is_closed_elsewhere(tree: Tree, place: str, owner: str | None = None) -> bool:
    """Whether another function of the file closes what it takes from a place: ``g.pop("db").close()`` at the end.

    ``owner``: whether a method of this class does.
    """
    root, _, attribute = place.rpartition(".")
    functions: list[Definition] = tree.below(tree.root, *FUNCTIONS) if root else []
    for function in functions:
        facts = tree.facts_of(function) if owner is not None else None
        if owner is not None and (facts is None or facts.owner != owner):
            continue
        named = {n.value for n in walk(function) if isinstance(n, ast.Constant)}
        named |= {n.attr for n in walk(function) if isinstance(n, ast.Attribute)}
        origins = _origins(function)
        if attribute not in named and place != root:
            continue
        for node in walk(function):
            if isinstance(node, ast.Attribute) and node.attr in _CLOSERS:
                receiver = chain(node.value) or ""
                if receiver == place or any(_related(origin, root) for origin in origins.get(receiver, ())):
                    return True
    return False


def is_kept_between_turns(tree: Tree, call: ast.Call, loop: Loop, name: str | None) -> bool:
    """Whether a turn of the loop builds it only where none is left of an earlier one: ``if client is None:``."""
    if name is None or not any(name in places(test) for test, _ in deciding(tree, call, loop)):
        return False
    assignments = [list(walk(s)) for s in loop.body if isinstance(s, (ast.Assign, ast.AnnAssign))]
    anew = (n for nodes in assignments if call not in nodes for n in nodes)
    return not any(isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n.id == name for n in anew)


def _guards(tree: Tree, call: ast.expr, function: Definition) -> Iterator[str]:
    """The places that are looked at before ``call`` and decide whether it runs."""
    local = _origins(function)
    for test, _ in deciding(tree, call, function):
        for place in places(test):
            yield place
            yield from local.get(place.partition(".")[0], ()) if "." not in place else ()


def _origins(function: Definition) -> dict[str, set[str]]:
    """The places that the plain names of a function are read from: ``pool`` from ``_pools`` by ``_pools.get(key)``."""
    found: dict[str, set[str]] = {}
    for node in walk(function):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.NamedExpr(target=ast.Name(id=name), value=value)
            ):
                if not isinstance(value, ast.Call) or isinstance(value.func, ast.Attribute) or _is_getattr(value):
                    found.setdefault(name, set()).update(places(value))
            case _:
                pass
    return found


def _is_getattr(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in ("getattr", "hasattr", "vars")


def _put_by_callees(tree: Tree, function: Definition, names: AbstractSet[str]) -> set[str]:
    """The global names that functions of the file, which are given what has one of these names, put it in."""
    found: set[str] = set()
    calls: list[ast.Call] = tree.below(function, ast.Call) if names else []
    for call in calls:
        name = call.func.id if isinstance(call.func, ast.Name) else None
        for callee in tree.root.body if name is not None else ():
            if isinstance(callee, FUNCTIONS) and callee.name == name:
                values = given(call, callee, bound=False)
                found |= _put(tree, callee, {p for p, v in values if isinstance(v, ast.Name) and v.id in names})
    return found


def _put(tree: Tree, function: Definition, parameters: AbstractSet[str]) -> set[str]:
    """The global names that a function puts one of these parameters in."""
    assigned = (n for n in walk(function) if isinstance(n, ast.Assign)) if parameters else ()
    targets = (t for n in assigned if isinstance(n.value, ast.Name) and n.value.id in parameters for t in n.targets)
    return {t.id for t in targets if isinstance(t, ast.Name) and t.id in tree.names(function).declared}


def _assigned(function: Definition) -> set[str]:
    """Every place that the function assigns to: flags count as well as pools."""
    found: set[str] = set()
    for node in walk(function):
        match node:
            case ast.Attribute(ctx=ast.Store()) | ast.Subscript(ctx=ast.Store()) | ast.Name(ctx=ast.Store()):
                place = chain(node)
                if place is not None:
                    found.add(place)
            case _ if isinstance(node, FUNCTIONS) and node is not function:
                pass
            case _:
                pass
    return found


def _raised(function: Definition) -> set[str]:
    """The flags of self that the function raises: ``self.connected = True`` beside what it keeps."""
    made = (n for n in walk(function) if isinstance(n, ast.Assign))
    targets = (t for n in made if isinstance(n.value, ast.Constant) and n.value.value is True for t in n.targets)
    places = (chain(target) for target in targets if isinstance(target, ast.Attribute))
    return {place for place in places if place is not None and place.startswith("self.")}


def _asked_whether_open(tree: Tree, call: ast.expr, function: Definition) -> str | None:
    """The object whose method is called, if it is called only where that is not open: ``broker.is_connected()``."""
    func = call.func if isinstance(call, ast.Call) else None
    receiver = chain(func.value) if isinstance(func, ast.Attribute) else None
    for test, _ in deciding(tree, call, function) if receiver is not None else ():
        asked = (n for n in ast.walk(test) if isinstance(n, ast.Attribute) and n.attr in OPEN_TESTS)
        if any(chain(each.value) == receiver for each in asked):
            return receiver
    return None


def _related(one: str, other: str) -> bool:
    """Whether two places are one, or one is part of the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
