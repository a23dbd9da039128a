"""What is known of variables before any resource is: None, true, false, unbound, a nested function.

A forward data-flow analysis over the whole graph, joined at merges. It seeds the exploration of one resource, so
that ``own = conn is None`` before the acquire still decides ``if own:`` after it. Also which facts a later branch
asks for: the others are dropped, which keeps paths from multiplying.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from leakcheck.cfg import graph as g
from leakcheck.cfg.worklist import Worklist
from leakcheck.ownership.reach import Reach
from leakcheck.ownership.state import Box, Closure, Fact, Link, Value, is_null, truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Facts = dict[str, Value]
LITERALS: dict[str, Fact] = {g.NONE: Fact.NONE, g.TRUE: Fact.TRUE, g.FALSE: Fact.FALSE}
"""What the operands that are literals hold."""


def refine(test: g.Test, value: Value | None) -> tuple[bool, Fact | None]:
    """Whether an edge with this test can be taken when its subject has this value, and what it teaches."""
    if test.kind is g.TestKind.BOUND:
        return (value is None) or ((value is not Fact.UNBOUND) is test.outcome), None
    if test.asked and value is Fact.ANSWER:
        return test.is_yes, None
    if test.kind is g.TestKind.YES:
        return truth(value) in (None, test.is_yes), None
    if test.kind in (g.TestKind.OPEN, g.TestKind.ITERATES):
        return True, None
    known = truth(value) if test.kind is g.TestKind.TRUTH else is_null(value)
    if known is not None:
        return known is test.outcome, None
    if value is Fact.OPTIONAL:
        return True, Fact.TRUE if test.outcome is (test.kind is g.TestKind.TRUTH) else Fact.NONE
    if test.kind is g.TestKind.TRUTH:
        if value is Fact.NOT_NULL:
            return True, Fact.TRUE if test.outcome else Fact.FALSE
        return True, Fact.TRUE if test.outcome else Fact.FALSY
    if value is Fact.FALSY:
        return test.outcome, Fact.NONE  # of what is also compared with None, nothing else is false
    return True, Fact.NONE if test.outcome else Fact.NOT_NULL


def learn(variables: Iterable[tuple[str, Value]], test: g.Test, learnt: Fact) -> dict[str, Value]:
    """All that an edge teaches: its subject, what the subject is a flag of, and the flags of the subject."""
    known = dict(variables)
    if learnt is Fact.FALSY and any(isinstance(v, Link) and v.subject == test.subject for v in known.values()):
        learnt = Fact.NONE  # of what is also compared with None, nothing else is false
    found: dict[str, Value] = {test.subject: learnt}
    link = known.get(test.subject)
    if isinstance(link, Link) and known.get(link.subject) is None:
        null = (learnt is Fact.TRUE) is not link.negated
        found[link.subject] = Fact.NONE if null else Fact.NOT_NULL
    null_now = is_null(learnt)
    for name, value in known.items():
        if isinstance(value, Link) and value.subject == test.subject and null_now is not None:
            found[name] = Fact.TRUE if null_now is not value.negated else Fact.FALSE
    return found


def flag(value: Value | None, *, negated: bool, subject: str) -> Value:
    """The value of ``subject is None``, where ``subject`` has this value."""
    null = True if value is Fact.FALSY else is_null(value)  # of what is also compared with None, nothing else is false
    if null is None:
        return Link(subject, negated)
    return Fact.TRUE if null is not negated else Fact.FALSE


def joined(value: Value, other: Value | None) -> Value | None:
    """What is known where two paths meet."""
    if value == other:
        return value
    met = {value, other}
    return Fact.OPTIONAL if met <= {Fact.NONE, Fact.TRUE, Fact.OPTIONAL} else None


def _dereferenced(value: Value | None) -> Value:
    """What is known of a variable once a method of it was called: a method of None would have raised."""
    return Fact.TRUE if value is Fact.OPTIONAL else Fact.NOT_NULL


def written(instruction: g.Instruction) -> tuple[str, ...]:
    """Variables that the instruction gives a new value, and ``.name`` for a stored attribute."""
    match instruction:
        case g.Forget(names=names):
            return names
        case g.StoreAttribute(name=name):
            return (f".{name}",)
        case g.StoreGlobal(name=name):
            return (name,)
        case g.StoreItem(base=base):
            return (base,)
        case g.Exit() | g.Point():
            return ()
        case _:
            return (instruction.target,)  # type: ignore[attr-defined]  # all other instructions have one


def _told(call: g.Call) -> frozenset[str]:
    """The variables beside another argument of a call, on which may depend what becomes of that."""
    names = frozenset(a.operand for a in call.arguments if a.operand.isidentifier())
    return names if len(call.arguments) > 1 else frozenset()


def _dereferences_none(instruction: g.Instruction, facts: Facts) -> bool:
    """Whether the instruction calls a method of None, or enters it, which does nothing but raise."""
    match instruction:
        case g.Call(receiver=str() as subject) | g.Enter(manager=subject):
            return subject == g.NONE or facts.get(subject) is Fact.NONE
        case _:
            return False


class Constants:
    """The analyses of one graph: facts at each block's start, subjects tested from there on, and what lies ahead."""

    def __init__(
        self,
        graph: g.ControlFlowGraph,
        parameters: Iterable[str],
        given_by: Callable[[g.Call], Value | None],
        shared: frozenset[str] = frozenset(),
    ) -> None:
        self.graph = graph
        self.shared = shared
        """``.name`` of each flag that another task may set while this one waits."""
        self.given_by = given_by
        self.readers: dict[str, set[str]] = {}
        for subject, names in graph.condition_reads.items():
            for name in names:
                self.readers.setdefault(name, set()).add(subject)
        self.captured = frozenset[str]().union(
            *(i.captured for b in graph.blocks for i in b.instructions if isinstance(i, g.Define))
        )
        """Variables that nested functions read."""
        self.tested = {e.test.subject for b in graph.blocks for e in b.successors if e.test is not None}
        self.lenders: dict[bool, Sequence[tuple[g.Call, Sequence[g.Test]]]] = {}
        """What ``lending`` says of this graph, once it was asked, about what it takes and about what it is given."""
        self.live = self._live()
        local = {n for b in graph.blocks for i in b.instructions for n in written(i) if n[0] not in "%.?"}
        self._unbound: Facts = dict.fromkeys(local.difference(parameters), Fact.UNBOUND)
        self.start = self._facts(dict(self._unbound))
        self.reach = Reach(graph, frozenset(id(edge) for block in graph.blocks for edge in self.taken(block)))

    def entered_with(self, known: Facts) -> Constants:
        """The same, where this is known of the parameters."""
        other = copy(self)
        other.start = self._facts({**self._unbound, **known})
        return other

    def dereferences_none(self, block: g.BasicBlock) -> bool:
        """Whether the last instruction of a block does nothing but raise."""
        position = len(block.instructions) - 1
        return position >= 0 and _dereferences_none(block.instructions[position], self.before(block, position))

    def taken(self, block: g.BasicBlock) -> Iterator[g.Edge]:
        """The edges out of a block that what is known of variables does not rule out."""
        if block.index in self.start:
            yield from (edge for edge, _ in self._flows(block, self.start[block.index]))

    def killed(self, instruction: g.Instruction) -> set[str]:
        """Subjects whose facts the instruction makes stale."""
        names = {*written(instruction), *(self.shared if isinstance(instruction, g.Await) else ())}
        for name in tuple(names):
            names |= self.readers.get(name, set())
        return names

    @staticmethod
    def _unlink(facts: Facts, names: Iterable[str]) -> None:
        """Forget the flags whose subject is written."""
        written_now = set(names)
        for name in [n for n, v in facts.items() if isinstance(v, Link) and v.subject in written_now]:
            del facts[name]

    def step(self, facts: Facts, instruction: g.Instruction) -> None:
        """Apply one instruction to ``facts`` in place."""
        match instruction:
            case g.Move(target=target, value=value):
                known = LITERALS.get(value) or facts.get(value)
            case g.Define(target=target):
                known = Closure(instruction)
            case g.Build(target=target, items=[_, *_]):
                known = Fact.TRUE
            case g.NullTest(target=target, subject=subject, negated=negated):
                known = flag(facts.get(subject), negated=negated, subject=subject)
            case g.Forget(names=names):
                self._forget(facts, instruction, names)
                return
            case g.Call(target=target, receiver=receiver) if given := self.given_by(instruction):
                known = given
                if receiver is not None and facts.get(receiver) in (None, Fact.OPTIONAL):
                    facts[receiver] = _dereferenced(facts.get(receiver))
            case g.Await(target=target, value=value) if (awaited := facts.get(value)) is Fact.TRUE or isinstance(
                awaited, Box
            ):
                known = awaited
            case g.LoadItem(target=target, base=base, key=key) if isinstance(box := facts.get(base), Box):
                known = box.at(key)
            case g.LoadAttribute(target=target, base=base, name=name) if isinstance(box := facts.get(base), Box):
                known = box.at(f".{name}")
            case g.Call(receiver=receiver) if receiver is not None and facts.get(receiver) in (None, Fact.OPTIONAL):
                target, known = receiver, _dereferenced(facts.get(receiver))
            case _:
                target, known = "", None
        for stale in self.killed(instruction):
            facts.pop(stale, None)
        self._unlink(facts, written(instruction))
        if target and known is not None:
            facts[target] = known

    def _forget(self, facts: Facts, instruction: g.Instruction, names: Iterable[str]) -> None:
        for stale in self.killed(instruction):
            facts.pop(stale, None)
        self._unlink(facts, names)
        facts.update((name, Fact.UNBOUND) for name in names if name[0] not in "%?")

    def _facts(self, initial: Facts) -> dict[int, Facts]:
        start: dict[int, Facts] = {self.graph.entry.index: initial}
        waiting = Worklist([self.graph.entry])
        for block in waiting:
            for edge, facts in self._flows(block, start[block.index]):
                if self._flow(edge, facts, start):
                    waiting.add(edge.target)
        return start

    def _flows(self, block: g.BasicBlock, start: Facts) -> Iterator[tuple[g.Edge, Facts]]:
        """The edges that can be taken out of a block entered with these facts, each with the facts behind it."""
        facts = before_last = dict(start)
        for number, instruction in enumerate(block.instructions):
            if number == len(block.instructions) - 1:
                before_last = dict(facts)
            self.step(facts, instruction)
        for edge in block.raises:
            yield edge, before_last
        if block.instructions and _dereferences_none(block.instructions[-1], before_last):
            return
        for edge in block.successors:
            if edge.test is None:
                yield edge, facts
                continue
            taken, learnt = refine(edge.test, facts.get(edge.test.subject))
            if taken:
                yield edge, facts if learnt is None else {**facts, **learn(facts.items(), edge.test, learnt)}

    @staticmethod
    def _flow(edge: g.Edge, facts: Facts, start: dict[int, Facts]) -> bool:
        """Join the facts into those at the edge's end; whether these have changed."""
        known = start.get(edge.target.index)
        if known is None:
            start[edge.target.index] = dict(facts)
            return True
        met = {name: joined(value, facts.get(name)) for name, value in known.items()}
        if met == known:
            return False
        known.clear()
        known.update((name, value) for name, value in met.items() if value is not None)
        return True

    def _live(self) -> dict[int, frozenset[str]]:
        """Subjects that a branch at or after each block's start may ask for, and what a callee may ask for."""
        live: dict[int, frozenset[str]] = {b.index: frozenset() for b in self.graph.blocks}
        told = {id(i): _told(i) for b in self.graph.blocks for i in b.instructions if isinstance(i, g.Call)}
        if not self.tested and not any(told.values()):
            return live
        predecessors: dict[int, list[g.BasicBlock]] = {}
        for block in self.graph.blocks:
            for edge in (*block.successors, *block.raises):
                predecessors.setdefault(edge.target.index, []).append(block)
        waiting = Worklist(self.graph.blocks, backward=True)
        for block in waiting:
            needed: set[str] = set()
            for edge in (*block.successors, *block.raises):
                needed |= live[edge.target.index]
                if edge.test is not None:
                    needed.add(edge.test.subject)
            for instruction in reversed(block.instructions):
                if isinstance(instruction, g.NullTest) and instruction.target in needed:
                    needed.discard(instruction.target)
                    needed.add(instruction.subject)
                elif isinstance(instruction, g.Move) and instruction.target in needed:
                    needed.discard(instruction.target)
                    if not instruction.value.startswith("#"):
                        needed.add(instruction.value)
                elif not isinstance(instruction, (g.StoreAttribute, g.StoreItem)):
                    needed -= self.killed(instruction)
                    needed |= told.get(id(instruction), frozenset())
            found = frozenset(needed)
            if found != live[block.index]:
                live[block.index] = found
                for before in predecessors.get(block.index, ()):
                    waiting.add(before)
        return live

    def before(self, block: g.BasicBlock, position: int) -> Facts:
        """The facts in front of instruction ``position`` of ``block``."""
        facts = dict(self.start.get(block.index, {}))
        for instruction in block.instructions[:position]:
            self.step(facts, instruction)
        return facts
