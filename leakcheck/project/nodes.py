"""The nodes of an ``ast`` tree, without contexts and operators, which are as many as all the others.

walk(ast.parse("a = f(1)"))   →   Module, Assign, Name, Call, Name, Constant

What these say is an attribute of the node that they belong to: ``name.ctx``, ``operation.op``.
"""

from __future__ import annotations

import ast
import warnings
from collections import OrderedDict

from leakcheck.project.large_stack import on_large_stack

_BARE = frozenset({
    "ctx", "op", "ops", "id", "attr", "arg", "kind", "type_comment", "conversion", "level", "module", "simple",
})  # fmt: skip
"""Fields that hold no other node."""


class _Fields(dict[type[ast.AST], tuple[str, ...]]):
    """The fields of each type of node that can hold nodes."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, ...]:
        known = self[kind] = tuple(name for name in kind._fields if name not in _BARE)
        return known


_FIELDS = _Fields()
_KEPT = 4
"""Trees that are kept: after each keystroke, facts and pools both ask for the one of the file."""
_trees: OrderedDict[str, ast.Module] = OrderedDict()


def parsed(text: str, former: str | None = None) -> ast.Module:
    """The tree of a text; of newer grammar than the running Python's, with older words in the same rows.

    Of a ``former`` text whose tree is still kept, the statements that both share are the same nodes in both trees.
    Nobody may change a tree. Raises SyntaxError, ValueError, RecursionError or MemoryError as ``ast.parse`` does.
    """
    tree = _trees.pop(text, None)
    if tree is None and former is not None and former in _trees:
        from leakcheck.project.patching import patched  # an editor's business

        tree = patched(_trees[former], former, text, plainly_parsed)
    if tree is None:
        tree = _wholly_parsed(text)
    _trees[text] = tree
    if len(_trees) > _KEPT:
        _trees.popitem(last=False)
    return tree


def _wholly_parsed(text: str) -> ast.Module:
    try:
        return plainly_parsed(text)
    except SyntaxError:
        from leakcheck.project.newer import tree_of_newer

        tree = on_large_stack(lambda: tree_of_newer(text))
        if tree is None:
            raise
        return tree


def plainly_parsed(text: str) -> ast.Module:
    """The tree of a text in the running Python's grammar, without its warnings, which are not ours to print."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def children(node: ast.AST) -> list[ast.AST]:
    """The nodes directly below a node, in source order."""
    found: list[ast.AST] = []
    for name in _FIELDS[type(node)]:
        value = getattr(node, name, None)
        if type(value) is list:
            found.extend([each for each in value if isinstance(each, ast.AST)])
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


def walk(root: ast.AST) -> list[ast.AST]:
    """All nodes below a node, itself first, those nearer to it before those deeper."""
    found = [root]
    for node in found:
        found.extend(children(node))
    return found


def called_names(root: ast.AST) -> set[str]:
    """Names that are called, or passed to a call, anywhere in ``root``: ``main``, ``asyncio.run(main())``."""
    return {n.func.id for n in walk(root) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
