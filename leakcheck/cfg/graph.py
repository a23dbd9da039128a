"""The control-flow graph: basic blocks of instructions, with exception edges.

Instructions are three-address code over variables. A variable is a source name (``conn``), a temporary
(``%4``: written once, read once), or an internal variable (``%with2``, ``%return``: read several times).
Literals are operands too: ``#none``, ``#true``, ``#false``, ``#other``.

Of a block's instructions only the last may raise; the block's ``raises`` edges leave from there, before the
instruction had its effect (or with its exceptional effect, for calls whose summary has one).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    import libcst as cst

    from leakcheck.expression import Expression

NONE, TRUE, FALSE, OTHER = "#none", "#true", "#false", "#other"
RETURN = "%return"
CANCELLED, GENERATOR_EXIT, ANY_EXCEPTION = "CancelledError", "GeneratorExit", "Exception"


class Instruction(Struct, frozen=True, eq=False):
    """One step; ``node`` is the syntax it came from, for positions and identity."""

    node: cst.CSTNode


class Argument(Struct, frozen=True, eq=False):
    """An argument of a call: its operand, and its keyword or star when it has one."""

    operand: str
    keyword: str | None = None
    star: str = ""


class Call(Instruction, frozen=True, eq=False):
    """``target = func(*arguments)``; ``receiver`` and ``method`` are set for ``receiver.method(...)``.

    ``callee`` is the operand called where it is not a method (a name, a temporary).
    """

    target: str
    func: Expression
    receiver: str | None
    method: str | None
    callee: str | None
    arguments: tuple[Argument, ...]


class Await(Instruction, frozen=True, eq=False):
    """``target = await value``."""

    target: str
    value: str


class Move(Instruction, frozen=True, eq=False):
    """``target = value``; an unknown value is ``#other``."""

    target: str
    value: str


class NullTest(Instruction, frozen=True, eq=False):
    """``target = subject is None``, or ``is not None`` when ``negated``."""

    target: str
    subject: str
    negated: bool


class LoadAttribute(Instruction, frozen=True, eq=False):
    """``target = base.name``."""

    target: str
    base: str
    name: str


class LoadItem(Instruction, frozen=True, eq=False):
    """``target = base[key]``; ``key`` is a literal index or key, None when unknown."""

    target: str
    base: str
    key: str | int | None


class Build(Instruction, frozen=True, eq=False):
    """``target`` is a display (tuple, list, dict, set) of ``items``; keys are literal or None."""

    target: str
    items: tuple[tuple[str | int | None, str], ...]


class StoreAttribute(Instruction, frozen=True, eq=False):
    """``base.name = value``; ``path`` is the dotted text of the base where it has one."""

    base: str
    name: str
    value: str
    path: str | None


class StoreItem(Instruction, frozen=True, eq=False):
    """``base[...] = value``."""

    base: str
    value: str


class StoreGlobal(Instruction, frozen=True, eq=False):
    """Assignment to a name declared global or nonlocal, or at module level."""

    name: str
    value: str


class Forget(Instruction, frozen=True, eq=False):
    """The variables lose their values: ``del``, the end of ``except … as e``, an unused result."""

    names: tuple[str, ...]


class Enter(Instruction, frozen=True, eq=False):
    """Entering ``with manager as target``."""

    target: str
    manager: str
    is_async: bool


class Exit(Instruction, frozen=True, eq=False):
    """Leaving the block of ``manager``, in each way it is left."""

    manager: str
    is_async: bool
    exceptional: bool


class Yield(Instruction, frozen=True, eq=False):
    """``target = yield value``; ``delegates`` for ``yield from``."""

    target: str
    value: str
    delegates: bool


class Iterate(Instruction, frozen=True, eq=False):
    """One step of a loop: ``target`` is the next element of ``iterable``."""

    target: str
    iterable: str


class Define(Instruction, frozen=True, eq=False):
    """``target`` is a nested function or lambda that reads the variables ``captured``."""

    target: str
    captured: frozenset[str]


class Point(Instruction, frozen=True, eq=False):
    """A place that can raise and has no other effect (assert, import, subscript of an unknown value).

    ``what`` says it in words for the diagnostic's step; ``operand`` is what is unpacked, if that is what raises.
    """

    what: str
    operand: str | None = None


class TestKind(Enum):
    """What a branch asks about its subject."""

    TRUTH = "truth"
    IS_NONE = "is-none"
    BOUND = "bound"  # `"conn" in locals()`
    OPEN = "open"  # `conn.is_connected()`, `not conn.closed`
    ITERATES = "iterates"  # a loop over the subject takes another turn
    YES = "yes"  # `cur.fetchone()[0] == 1`: of what is an answer, whether it says yes


class Test(Struct, frozen=True):
    """The condition of an edge: ``subject`` is a variable or the text of a pure condition (``?x > 3``).

    ``asks``: the variable that a pure condition compares with true or 1, and its outcome where that is a yes.
    ``same``: the variables of which a pure condition asks whether they are one object; the outcome is the answer.
    """

    kind: TestKind
    subject: str
    outcome: bool
    asks: tuple[str, bool] | None = None
    same: tuple[str, str] | None = None

    @property
    def asked(self) -> str:
        """What is asked whether it says yes; empty for any other condition."""
        return self.subject if self.kind is TestKind.YES else self.asks[0] if self.asks is not None else ""

    @property
    def is_yes(self) -> bool:
        """Whether this edge is the one for a yes of what is asked."""
        return self.outcome is (True if self.asks is None else self.asks[1])


class Edge(Struct, eq=False):
    """An edge to ``target``; ``raised`` names the exception class on an exception edge."""

    target: BasicBlock
    test: Test | None = None
    raised: str | None = None


class BasicBlock(Struct, eq=False):
    """Straight-line code. ``successors`` are taken normally, ``raises`` when the last instruction raises.

    ``branch`` is the syntax of the condition that the successors test, for the diagnostic's steps.
    """

    index: int
    instructions: list[Instruction] = field(default_factory=list)
    successors: list[Edge] = field(default_factory=list)
    raises: list[Edge] = field(default_factory=list)
    branch: cst.CSTNode | None = None


class ControlFlowGraph(Struct, eq=False):
    """The graph of one function. ``exit`` is left by returning, ``failure`` by an exception."""

    entry: BasicBlock
    exit: BasicBlock
    failure: BasicBlock
    blocks: list[BasicBlock]
    condition_reads: dict[str, frozenset[str]]
    """For each pure condition used as a subject, the names whose assignment invalidates it."""
    is_generator: bool
    yields: list[tuple[cst.CSTNode, int]]
    """Each yield with its depth in loops."""
