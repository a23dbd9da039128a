"""A control-flow graph as text, for tests and ``--debug cfg``.

    0: %1 = pool.getconn()    ! Exception: failure
    1: conn = %1
       -> 2 if conn is None
       -> exit if conn is not None

Blocks are numbered as the text is read. What is raised stands behind the ``!`` of the instruction that raises it;
a block without an arrow goes on to the next one. Blocks that hold nothing and only lead on are left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakcheck.cfg import graph as g

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLAINER = (
    (re.compile(r"Name\(id='(\w+)'\)"), r"\1"),
    (re.compile(r"Constant\(value=([^()]*)\)"), r"\1"),
    (re.compile(r"Attribute\(base=([\w.]+), name='(\w+)'\)"), r"\1.\2"),
    (re.compile(r"Sequence\(items=\(([^()]*?),?\), keys=\(\)\)"), r"(\1)"),
)
"""What makes a pure condition readable: ``?EqualSequence(items=(Name(id='x'), …))`` → ``Equal(x, …)``."""
_ANSWERS = {
    g.TestKind.IS_NONE: "None",
    g.TestKind.BOUND: "bound",
    g.TestKind.OPEN: "open",
    g.TestKind.ITERATES: "taking another turn",
    g.TestKind.YES: "a yes",
}


def dump(graph: g.ControlFlowGraph) -> str:
    """The text of a graph; it ends with a line break."""
    shown = _in_reading_order(graph)
    names = {id(graph.exit): "exit", id(graph.failure): "failure"}
    lines: list[str] = []
    listed = [b for b in shown if id(b) not in names]
    names |= {id(block): str(number) for number, block in enumerate(listed)}
    for block, following in zip(listed, [*listed[1:], None], strict=True):
        rows = [_text(i) for i in block.instructions]
        if block.raises:
            ways = ", ".join(f"{e.raised}: {names[id(_destination(e.target))]}" for e in block.raises)
            rows[-1] += f"    ! {ways}"
        ways_on = [(_destination(e.target), e.test) for e in block.successors]
        if len(ways_on) != 1 or ways_on[0] != (following, None) or not rows:
            rows += [f"-> {names[id(target)]}{_condition(test)}" for target, test in ways_on]
        label = f"{names[id(block)]}: "
        lines += [f"{label if index == 0 else ' ' * len(label)}{row}" for index, row in enumerate(rows)]
    return "".join(f"{line}\n" for line in lines or [f"-> {names[id(_destination(graph.entry))]}"])


def _destination(block: g.BasicBlock) -> g.BasicBlock:
    """The first block from here on that is shown."""
    seen = set()
    while _leads_on(block) and block.index not in seen:
        seen.add(block.index)
        block = block.successors[0].target
    return block


def _leads_on(block: g.BasicBlock) -> bool:
    return not block.instructions and len(block.successors) == 1 and block.successors[0].test is None


def _in_reading_order(graph: g.ControlFlowGraph) -> list[g.BasicBlock]:
    """Reverse postorder: a block comes after those that lead to it, loops aside; exceptional ways come last."""
    start = _destination(graph.entry)
    found: list[g.BasicBlock] = []
    seen = {start.index}
    stack = [(start, _ways(start))]
    while stack:
        block, ways = stack[-1]
        for edge in ways:
            target = _destination(edge.target)
            if target.index not in seen:
                seen.add(target.index)
                stack.append((target, _ways(target)))
                break
        else:
            found.append(block)
            stack.pop()
    found.reverse()
    return found


def _ways(block: g.BasicBlock) -> Iterator[g.Edge]:
    return iter([*reversed(block.raises), *reversed(block.successors)])


def _condition(test: g.Test | None) -> str:
    if test is None:
        return ""
    if test.kind is g.TestKind.TRUTH:
        return f" if {'' if test.outcome else 'not '}{_subject(test.subject)}"
    return f" if {test.subject} {'is' if test.outcome else 'is not'} {_ANSWERS[test.kind]}"


def _subject(subject: str) -> str:
    """A variable, or a pure condition made readable."""
    if not subject.startswith("?"):
        return subject
    former, text = "", subject[1:]
    while text != former:
        former = text
        for pattern, plainer in _PLAINER:
            text = pattern.sub(plainer, text)
    return text


def _text(instruction: g.Instruction) -> str:
    match instruction:
        case g.Call(target=target, arguments=arguments):
            given = ", ".join(f"{a.star}{a.keyword + '=' if a.keyword else ''}{a.operand}" for a in arguments)
            called = (
                instruction.callee if instruction.method is None else f"{instruction.receiver}.{instruction.method}"
            )
            return f"{target} = {called}({given})"
        case g.Await(target=target, value=value):
            return f"{target} = await {value}"
        case g.Move(target=target, value=value):
            return f"{target} = {value}"
        case g.NullTest(target=target, subject=subject, negated=negated):
            return f"{target} = {subject} {'is not' if negated else 'is'} None"
        case g.LoadAttribute(target=target, base=base, name=name):
            return f"{target} = {base}.{name}"
        case g.LoadItem(target=target, base=base, key=key):
            return f"{target} = {base}[{_key(key)}]"
        case g.Build(target=target, items=items):
            return f"{target} = display({', '.join(f'{_key(key)}: {item}' for key, item in items)})"
        case g.StoreAttribute(base=base, name=name, value=value):
            return f"{base}.{name} = {value}"
        case g.StoreItem(base=base, value=value):
            return f"{base}[?] = {value}"
        case g.StoreGlobal(name=name, value=value):
            return f"global {name} = {value}"
        case g.Forget(names=names):
            return f"forget {', '.join(names)}"
        case g.Enter(target=target, manager=manager, is_async=is_async):
            return f"{target} = {'async ' if is_async else ''}enter {manager}"
        case g.Exit(manager=manager, is_async=is_async, exceptional=exceptional):
            return f"{'async ' if is_async else ''}leave {manager}{' on exception' if exceptional else ''}"
        case g.Yield(target=target, value=value, delegates=delegates):
            return f"{target} = yield {'from ' if delegates else ''}{value}"
        case g.Iterate(target=target, iterable=iterable):
            return f"{target} = next of {iterable}"
        case g.Define(target=target, captured=captured):
            return f"{target} = define({', '.join(sorted(captured))})"
        case g.Point(what=what, operand=operand):
            return f"({what})" if operand is None else f"({what}: {operand})"
        case _:
            return type(instruction).__name__


def _key(key: str | int | None) -> str:
    return "?" if key is None else repr(key)
