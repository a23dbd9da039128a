"""What functions and lambdas inside of a function do with a variable of it.

def count(sql):                              a helper that is only called where the connection is held: as if
return conn.execute(sql).fetchone()      its body stood there

patch(module, "bind", lambda: conn)          handed on: somebody may call it later
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.fixes.roles import Role, mentions
from leakcheck.fixes.tree import SCOPES, own
from leakcheck.ownership.state import Status

if TYPE_CHECKING:
    from leakcheck.fixes.region import Region
    from leakcheck.fixes.roles import Mention
    from leakcheck.fixes.tree import Tree


def helpers(tree: Tree, name: str) -> frozenset[str]:
    """The names of the functions that capture a variable."""
    captured = (m.node for m in mentions(tree, name) if m.role is Role.CAPTURED)
    functions = (_outermost(tree, node) for node in captured)
    return frozenset(function.name.value for function in functions if isinstance(function, cst.FunctionDef))


def is_allowed(region: Region, mention: Mention) -> bool:
    """Whether what captures the connection is no more than a doubt: then all that it does, it does as before."""
    if is_harmless(region, mention):
        return True
    kept = [e for e in region.found.exploration.endings if e.state.status is Status.HELD and not e.state.raised]
    return region.ends_with_release and not kept and not _gives_back(region, mention)


def is_harmless(region: Region, mention: Mention) -> bool:
    """Whether what captures it is a helper that is only called in the region, and only works on the connection."""
    tree, helper = region.tree, _outermost(region.tree, mention.node)
    if not isinstance(helper, cst.FunctionDef) or helper.decorators or not region.holds(helper):
        return False
    if _gives_back(region, mention) or any(isinstance(node, cst.Yield) for node in own(helper)):
        return False
    return all(_is_call(region, node) for node in tree.names(helper.name.value) if node is not helper.name)


def _is_call(region: Region, node: cst.Name) -> bool:
    """Whether a mention of a helper calls it, and waits for it, in the region."""
    tree = region.tree
    call = tree.parent(node)
    if not isinstance(call, cst.Call) or call.func is not node or tree.is_nested(node) or not region.holds(node):
        return False
    helper_is_async = any(
        isinstance(one, cst.FunctionDef) and one.name.value == node.value and one.asynchronous is not None
        for statement in region.statements
        for one in own(statement)
    )
    return isinstance(tree.parent(call), cst.Await) or not helper_is_async


def _gives_back(region: Region, mention: Mention) -> bool:
    """Whether the function that captures it may give it back, or hands it to somebody."""
    part = region.tree.parent(mention.node)
    if not isinstance(part, cst.Attribute):
        return True
    operation = region.found.acquisition.resource.methods.get(part.attr.value)
    call = region.tree.parent(part)
    if operation is None:
        return False
    is_called = isinstance(call, cst.Call) and call.func is part
    return not is_called or operation.releases is not None or bool(operation.near_miss)


def _outermost(tree: Tree, node: cst.CSTNode) -> cst.CSTNode | None:
    """The function, lambda or class of this function that a node is in."""
    found: cst.CSTNode | None = None
    for around in tree.ancestors(node):
        if around is tree.root:
            return found
        if isinstance(around, SCOPES):
            found = around
    return found
