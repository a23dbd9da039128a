"""The control-flow graph: what holds for every body, and agreement with what Python does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import libcst as cst
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakcheck import expression as ex
from leakcheck.cfg.builder import BLOCK_LIMIT, TooLargeError, build_cfg
from leakcheck.cfg.dump import dump
from leakcheck.cfg.graph import BasicBlock, Call, ControlFlowGraph, Edge, Move
from leakcheck.cfg.meanings import Meanings
from leakcheck.cfg.unwind import catches

EXAMPLES = 300
DEPTH = 3
WRITER = cst.Module([])


def graph_of(body: str) -> ControlFlowGraph:
    """The graph of a function with this body, in which nothing is known of any name."""
    module = cst.parse_module("def f():\n" + "".join(f"    {line}\n" for line in body.splitlines()))
    function = module.body[0]
    assert isinstance(function, cst.FunctionDef)
    return build_cfg(function.body, is_async=False, meanings=Meanings(exits_by=_exits))


def _exits(function: ex.Expression) -> str | None:
    return "SystemExit" if ex.dotted(function) == "sys.exit" else None


def ways(block: BasicBlock) -> list[Edge]:
    """All edges out of a block."""
    return [*block.successors, *block.raises]


def calls_in(block: BasicBlock) -> list[str]:
    """The calls in a block, as they are written."""
    return [WRITER.code_for_node(one.node) for one in block.instructions if isinstance(one, Call)]


# Bodies: random nestings of statements. Every call is `step(n)` with a number of its own, every condition `ask(n)`.


class Bodies:
    """Writes random bodies; ``choice(n)`` decides, by a number below n."""

    def __init__(self, choice: Callable[[int], int]) -> None:
        self.choice = choice
        self.numbers = 0

    def body(self, depth: int = DEPTH, *, loop: bool = False, handler: bool = False) -> list[str]:
        """Some statements."""
        return [line for _ in range(1 + self.choice(3)) for line in self.statement(depth, loop=loop, handler=handler)]

    def statement(self, depth: int, *, loop: bool, handler: bool) -> list[str]:
        """One statement."""
        kinds = ["step", "step", "return", "raise"]
        kinds += ["break", "continue"] if loop else []
        kinds += ["again"] if handler else []
        kinds += ["if", "while", "for", "finally", "finally", "except", "with"] if depth else []
        kind = kinds[self.choice(len(kinds))]
        number = self.number()
        inside = {"loop": loop, "handler": handler}
        match kind:
            case "step":
                return [f"step({number})"]
            case "return":
                return [f"return step({number})"]
            case "raise":
                return [("raise ValueError", "raise KeyError")[self.choice(2)]]
            case "again":
                return ["raise"]
            case "break" | "continue":
                return [kind]
            case "if":
                return [
                    f"if ask({number}):",
                    *self.block(depth, **inside),
                    *(["else:", *self.block(depth, **inside)] if self.choice(2) else []),
                ]
            case "while" | "for":
                head = f"while ask({number}):" if kind == "while" else f"for item in items({number}):"
                body = self.block(depth, loop=True, handler=handler)
                return [head, *body, *(["else:", *self.block(depth, **inside)] if self.choice(2) else [])]
            case "finally":
                return ["try:", *self.block(depth, **inside), "finally:", *self.block(depth, **inside)]
            case "except":
                clause = ("except ValueError:", "except Exception:", "except (KeyError, OSError) as error:", "except:")
                lines = ["try:", *self.block(depth, **inside)]
                lines += [clause[self.choice(4)], *self.block(depth, loop=loop, handler=True)]
                lines += ["else:", *self.block(depth, **inside)] if self.choice(2) else []
                return lines + (["finally:", *self.block(depth, **inside)] if self.choice(2) else [])
            case _:
                return [f"with manager({number}):", *self.block(depth, **inside)]

    def block(self, depth: int, *, loop: bool, handler: bool) -> list[str]:
        """An indented body."""
        return [f"    {line}" for line in self.body(depth - 1, loop=loop, handler=handler)]

    def number(self) -> int:
        """A number that nothing else has."""
        self.numbers += 1
        return self.numbers


def bodies(count: int, seed: int) -> Iterator[str]:
    """Random bodies, the same each time."""
    source = random.Random(seed)
    for _ in range(count):
        yield "\n".join(Bodies(source.randrange).body())


@pytest.fixture(scope="module")
def built() -> list[tuple[str, ControlFlowGraph]]:
    """Random bodies with their graphs."""
    return [(body, graph_of(body)) for body in bodies(EXAMPLES * 2, 1)]


class TestEveryGraph:
    """What holds whatever the body is."""

    def test_blocks_lead_somewhere(self, built: list[tuple[str, ControlFlowGraph]]) -> None:
        for body, graph in built:
            ends = {graph.exit.index, graph.failure.index}
            for block in graph.blocks:
                assert (block.index in ends) != bool(ways(block)), body

    def test_an_end_can_be_reached_from_every_block(self, built: list[tuple[str, ControlFlowGraph]]) -> None:
        for body, graph in built:
            before: dict[int, list[int]] = {}
            for block in graph.blocks:
                for edge in ways(block):
                    before.setdefault(edge.target.index, []).append(block.index)
            found = {graph.exit.index, graph.failure.index}
            stack = list(found)
            while stack:
                for index in before.get(stack.pop(), ()):
                    if index not in found:
                        found.add(index)
                        stack.append(index)
            assert {block.index for block in graph.blocks} <= found, body

    def test_all_blocks_are_listed_and_reached(self, built: list[tuple[str, ControlFlowGraph]]) -> None:
        for body, graph in built:
            listed = {block.index for block in graph.blocks}
            targets = {edge.target.index for block in graph.blocks for edge in ways(block)}
            assert targets <= listed, body
            assert listed <= {*targets, graph.entry.index, graph.exit.index, graph.failure.index}, body

    def test_only_the_last_instruction_raises(self, built: list[tuple[str, ControlFlowGraph]]) -> None:
        for body, graph in built:
            for block in graph.blocks:
                assert all(not isinstance(one, Call) for one in block.instructions[:-1]), body
                assert all(edge.raised for edge in block.raises), body
                assert block.instructions or not block.raises, body

    def test_branches_test_opposites(self, built: list[tuple[str, ControlFlowGraph]]) -> None:
        for body, graph in built:
            for block in graph.blocks:
                tests = [edge.test for edge in block.successors if edge.test is not None]
                if tests:
                    yes, no = tests
                    assert (yes.kind, yes.subject, yes.outcome) == (no.kind, no.subject, not no.outcome), body

    def test_the_same_body_gives_the_same_text(self, built: list[tuple[str, ControlFlowGraph]]) -> None:
        for body, graph in built:
            assert dump(graph) == dump(graph_of(body))


# Python as the judge: a body is run with calls that answer or raise as a script says, then the graph is followed by
# the same script. A path that does the same calls must be there, and it must end alike.


class Script:
    """Decides what each call does, by its number and how often it came: the same for Python and for the graph."""

    LIMIT = 60

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.trace: list[str] = []

    def decide(self, call: str) -> int:
        """What happens in a call: a number below 100."""
        self.trace.append(call)
        if len(self.trace) > self.LIMIT:
            raise _TooLongError
        return random.Random(f"{self.seed} {call} {len(self.trace)}").randrange(100)


class _TooLongError(BaseException):
    """The run goes on and on."""


class Boom(Exception):  # noqa: N818 - what an unknown function raises; no handler names it
    """Raised by steps."""


RAISES = 15


def run_python(body: str, script: Script) -> str:
    """How the body ends when Python runs it: "returned" or the class that it raised."""

    def step(number: int) -> int:
        if script.decide(f"step({number})") < RAISES:
            raise Boom
        return number

    def ask(number: int) -> bool:
        found = script.decide(f"ask({number})")
        if found < RAISES:
            raise Boom
        return found % 2 == 0

    def items(number: int) -> range:
        found = script.decide(f"items({number})")
        if found < RAISES:
            raise Boom
        return range(found % 3)

    def manager(number: int) -> nullcontext[None]:
        if script.decide(f"manager({number})") < RAISES:
            raise Boom
        return nullcontext()

    source = "def f():\n" + "".join(f"    {line}\n" for line in body.splitlines())
    names: dict[str, object] = {"step": step, "ask": ask, "items": items, "manager": manager}
    exec(compile(source, "body", "exec"), names)
    function = names["f"]
    assert callable(function)
    try:
        function()
    except _TooLongError:
        return "too long"
    except Exception as error:  # noqa: BLE001 - the end of the run, whatever it is
        return type(error).__name__
    return "returned"


def follow(graph: ControlFlowGraph, script: Script) -> set[str]:
    """How paths end that do the calls of the script's trace and nothing else; an edge is taken unless it is decided."""
    ends: set[str] = set()
    calls_of = {block.index: calls_in(block) for block in graph.blocks}
    stack: list[tuple[BasicBlock, int]] = [(graph.entry, 0)]
    seen: set[tuple[int, int]] = set()
    expected = script.trace
    while stack:
        block, position = stack.pop()
        if (block.index, position) in seen:
            continue
        seen.add((block.index, position))
        if block in (graph.exit, graph.failure):
            if position == len(expected):
                ends.add("returned" if block is graph.exit else "raised")
            continue
        calls = calls_of[block.index]
        if not calls:
            stack += [(edge.target, position) for edge in ways(block)]
            continue
        (call,) = calls
        if position < len(expected) and expected[position] == call:
            chance = random.Random(f"{script.seed} {call} {position + 1}").randrange(100)
            edges = block.raises if chance < RAISES else block.successors
            if call.startswith("ask") and chance >= RAISES:
                edges = [_answered(block, answer=chance % 2 == 0)]
            stack += [(edge.target, position + 1) for edge in edges]
    return ends


def _answered(block: BasicBlock, *, answer: bool) -> Edge:
    """The edge that a call's answer takes: the branch stands in the block after the call's."""
    (edge,) = block.successors
    for one in edge.target.successors:
        if one.test is not None and one.test.outcome == answer:
            return one
    return edge


UNDECIDED = ("except", "for item", "with manager")
"""Where the graph has more paths than one for one script: which class is caught, how often a loop runs."""


@pytest.mark.parametrize("seed", range(3))
def test_graphs_do_what_python_does(seed: int) -> None:
    compared = exact = 0
    for number, body in enumerate(bodies(EXAMPLES * 2, 100 + seed)):
        graph = graph_of(body)
        for answers in range(4):
            script = Script(seed * 100_000 + number * 10 + answers)
            end = run_python(body, script)
            if end == "too long":
                continue
            compared += 1
            expected = "returned" if end == "returned" else "raised"
            found = follow(graph, script)
            assert expected in found, f"{body}\n{script.trace}\n{dump(graph)}"
            if not any(word in body for word in UNDECIDED):
                exact += 1
                assert found == {expected}, f"{body}\n{script.trace}\n{dump(graph)}"
    assert compared > EXAMPLES * 4
    assert exact > EXAMPLES // 2


def _next_calls(graph: ControlFlowGraph, block: BasicBlock) -> set[str]:
    """The calls, or ends, that come next when a block is left normally."""
    found: set[str] = set()
    seen: set[int] = set()
    stack = [edge.target for edge in block.successors]
    while stack:
        block = stack.pop()
        if block in (graph.exit, graph.failure):
            found.add("exit" if block is graph.exit else "failure")
        elif calls_in(block):
            found.update(calls_in(block))
        elif block.index not in seen:
            seen.add(block.index)
            stack += [edge.target for edge in ways(block)]
    return found


class TestFinally:
    """Ways out through nested ``finally`` blocks."""

    @settings(max_examples=100, deadline=None)
    @given(st.sampled_from(["return", "break", "continue"]), st.integers(1, 5), st.integers(0, 5))
    def test_jumps_run_them_from_the_inside(self, jump: str, inside: int, outside: int) -> None:
        lines = [jump]
        for number in range(inside):
            lines = ["try:", *(f"    {line}" for line in lines), "finally:", f"    step({number})"]
        lines = ["while True:", *(f"    {line}" for line in lines)]
        for number in range(outside):
            lines = ["try:", *(f"    {line}" for line in lines), "finally:", f"    step({inside + number})"]
        graph = graph_of("\n".join(lines))
        trace, block = [], graph.entry
        while block is not graph.exit and len(trace) < inside + outside:
            trace += calls_in(block)
            (edge,) = block.successors
            block = edge.target
        in_loop = [f"step({number})" for number in range(inside)]
        after = [f"step({inside + number})" for number in range(outside)]
        if jump == "continue":
            assert trace == (in_loop * (outside + 1))[: inside + outside]
        else:
            assert trace == in_loop + after

    def test_each_copy_has_one_way_out(self) -> None:
        source = random.Random(7)
        for _ in range(EXAMPLES):
            body = Bodies(source.randrange).body(loop=True)
            lines = "\n".join(f"        {line}" for line in body)
            graph = graph_of(f"while ask(0):\n    try:\n{lines}\n    finally:\n        last(0)\nafter(0)")
            for block in graph.blocks:
                if calls_in(block) == ["last(0)"]:
                    assert len(_next_calls(graph, block)) == 1, f"{body}\n{dump(graph)}"

    def test_copies_for_the_same_destination_are_shared(self) -> None:
        returns = "\n".join(f"    if ask({n}): return {n}" for n in range(50))
        graph = graph_of(f"try:\n{returns}\nfinally:\n    last(0)")
        copies = [block for block in graph.blocks if calls_in(block) == ["last(0)"]]
        assert len(copies) == 3  # for the returns, the end of the body, and exceptions

    def test_a_return_in_it_swallows_the_exception(self) -> None:
        graph = graph_of("try:\n    step(1)\nfinally:\n    return 1")
        reached = {edge.target.index for block in graph.blocks for edge in ways(block)}
        assert graph.failure.index not in reached


class TestStraightLines:
    """Code without branches."""

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.sampled_from(["a = 1", "a = b", "step(1)", "a.b = c", "a, b = b, a", "pass", "x: int = 3"])))
    def test_is_one_path(self, lines: list[str]) -> None:
        graph = graph_of("\n".join(lines or ["pass"]))
        block, seen = graph.entry, [graph.entry]
        while block is not graph.exit:
            (edge,) = block.successors
            assert all(way.target is graph.failure for way in block.raises)
            block = edge.target
            seen.append(block)
        assert {one.index for one in graph.blocks} == {one.index for one in seen} | {graph.failure.index}
        assert [call for one in seen for call in calls_in(one)] == ["step(1)"] * lines.count("step(1)")

    def test_what_follows_a_way_out_is_out_of_reach(self) -> None:
        for way in ("return", "raise ValueError", "sys.exit()", "while True: pass"):
            graph = graph_of(f"{way}\nstep(1)")
            assert "step(1)" not in [call for block in graph.blocks for call in calls_in(block)]


class TestSize:
    """Graphs stay small, or are refused."""

    def test_statements_one_after_the_other(self) -> None:
        one = (
            "try:\n    if ask(1): return step(2)\n    step(3)\nexcept ValueError:\n    step(4)\nfinally:\n    step(5)\n"
        )
        small, large = len(graph_of(one * 20).blocks), len(graph_of(one * 200).blocks)
        assert large <= 10 * small + 20
        assert large < 200 * 40

    def test_nested_finally(self) -> None:
        lines = ["step(0)"]
        for number in range(1, 6):
            lines = ["try:", *(f"    {line}" for line in lines), "finally:", f"    step({number})"]
        assert len(graph_of("\n".join(lines)).blocks) < 500

    def test_too_large(self) -> None:
        lines = ["step(0)"]
        for _ in range(20):
            lines = ["try:", "    step(1)", "finally:", *(f"    {line}" for line in lines)]
        with pytest.raises(TooLargeError):
            graph_of("\n".join(lines))
        assert BLOCK_LIMIT >= 10_000


class TestCatches:
    """Which exceptions a handler meets."""

    @pytest.mark.parametrize(
        ("types", "raised", "expected"),
        [
            (None, "CancelledError", ("CancelledError", True)),
            (("BaseException",), "GeneratorExit", ("GeneratorExit", True)),
            (("Exception",), "Exception", ("Exception", True)),
            (("Exception",), "CancelledError", (None, False)),
            (("Exception",), "SystemExit", (None, False)),
            (("OSError",), "ConnectionError", ("ConnectionError", True)),
            (("ConnectionError",), "OSError", ("ConnectionError", False)),
            (("OSError",), "Exception", ("OSError", False)),
            (("OSError", "ValueError"), "Exception", ("Exception", False)),
            (("OSError",), "ValueError", (None, False)),
            (("ShopError",), "Exception", ("ShopError", False)),
            (("ShopError",), "ShopError", ("ShopError", True)),
            (("CancelledError",), "Exception", (None, False)),
            (("KeyboardInterrupt",), "Exception", (None, False)),
        ],
    )
    def test_by_class(self, types: tuple[str, ...] | None, raised: str, expected: tuple[str | None, bool]) -> None:
        assert catches(types, raised) == expected


def test_returned_values_are_kept_before_finally_runs() -> None:
    graph = graph_of("try:\n    return a\nfinally:\n    step(1)")
    (move,) = [one for one in graph.entry.instructions if isinstance(one, Move)]
    assert (move.target, move.value) == ("%return", "a")
