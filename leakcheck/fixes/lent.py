"""The loop that leaves an async generator of the project early: ``aclosing`` ends what it lent where the loop ends.

    async for session in get_session():      async with aclosing(get_session()) as sessions:
        await load(session)              →       async for session in sessions:
        break                                        await load(session)
                                                     break

Never safe: what the loop has loaded, and hands out, may count on the session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg.walk import walk
from leakcheck.diagnostic import Applicability, Fix
from leakcheck.fixes.imports import imported
from leakcheck.fixes.roles import Role, mentions
from leakcheck.fixes.splice import in_place
from leakcheck.fixes.tree import LOOPS, RefusedError
from leakcheck.ownership.calling import KEEPING_METHODS

if TYPE_CHECKING:
    from leakcheck.fixes.roles import Mention
    from leakcheck.fixes.tree import Tree
    from leakcheck.ownership.leak import Leak
    from leakcheck.source import Source


_HANDING_OUT = frozenset({Role.RETURNED, Role.YIELDED, Role.KEPT, Role.ALIAS, Role.CAPTURED})


def closed_behind(tree: Tree, leak: Leak, source: Source) -> Fix:
    """The fix that closes the generator where the loop is left. Raises RefusedError."""
    row = leak.span.start.row
    loops = (node for node in walk(tree.root) if isinstance(node, cst.For) and node.asynchronous is not None)
    loop = next((one for one in loops if tree.unit.part.span(one.iter) == leak.span), None)
    block = tree.block(loop) if loop is not None else None
    if loop is None or block is None:
        raise RefusedError(f"the checkout of line {row} is not in one place")
    if not isinstance(loop.target, cst.Name):
        raise RefusedError(f"line {row} does not bind it to a plain name")
    name = loop.target.value
    _check_behind(tree, loop, name)
    lent = tree.free_name((f"{name}s", f"lent_{name}", "lent"))
    if lent is None:
        raise RefusedError(f"line {row} leaves no name for its generator")
    known, edits = imported(tree, "contextlib", "aclosing", source)
    taken = cst.Call(cst.parse_expression(known), [cst.Arg(loop.iter)])
    inner = loop.with_changes(iter=cst.Name(lent), leading_lines=[])
    whole = cst.With(
        items=[cst.WithItem(item=taken, asname=cst.AsName(name=cst.Name(lent)))],
        body=cst.IndentedBlock([inner], indent=block.indent),
        leading_lines=loop.leading_lines,
        asynchronous=cst.Asynchronous(),
    )
    message = f"Close the generator where the loop is left: `async with {known}({tree.text(loop.iter)}) as {lent}`"
    edit = in_place(tree, block, loop, [whole], source)
    return Fix(f"{message}; what was loaded may still need it", (*edits, edit), Applicability.UNSAFE)


def _check_behind(tree: Tree, loop: cst.For, name: str) -> None:
    """What the generator lent must not be used once it is closed. Raises RefusedError."""
    inside = {id(node) for node in walk(loop)}
    goes_round = any(isinstance(node, LOOPS) for node in tree.ancestors(loop))
    for mention in mentions(tree, name):
        behind = goes_round or tree.unit.order(mention.node) > tree.unit.order(loop)
        if id(mention.node) not in inside and mention.role is not Role.BOUND and behind:
            raise RefusedError(f"line {tree.row(mention.node)} uses `{name}` behind the loop")
        if id(mention.node) in inside and (mention.role in _HANDING_OUT or _is_kept(mention)):
            raise RefusedError(f"line {tree.row(mention.node)} {mention.role.value} `{name}`")


def _is_kept(mention: Mention) -> bool:
    """Whether a container is given it."""
    func = mention.call.func if mention.call is not None and mention.role is Role.ARGUMENT else None
    return isinstance(func, cst.Attribute) and func.attr.value in KEEPING_METHODS
