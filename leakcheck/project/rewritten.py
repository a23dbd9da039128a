"""Text of a newer grammar than the running Python's, rewritten to older grammar of the same rows by LibCST."""

from __future__ import annotations

import re
from functools import lru_cache

import libcst as cst

from leakcheck.project.newer import STRING_OR_COMMENT

_KEPT = 64
"""Rewritten texts that are kept: facts, pools and fixes each ask for them, and a rewrite takes long."""
_BRACKET_LIMIT = 100
_CHAIN = re.compile(r"(?:\.\s*\w+\s*\([^()]*\)\s*){200}")


@lru_cache(maxsize=_KEPT)
def in_older_grammar(text: str) -> str | None:
    """The text in older grammar, None where LibCST rejects it, too."""
    if _too_deep(text):
        return None
    try:
        return cst.parse_module(text).visit(_Older()).code
    except Exception:  # noqa: BLE001 - LibCST raises several unrelated types; the file stays unparsable
        return None


def _too_deep(text: str) -> bool:
    """Whether LibCST's parser could exhaust the stack, which ends the process."""
    bare = STRING_OR_COMMENT.sub("", text)
    depth = deepest = 0
    for character in re.findall(r"[\[({\])}]", bare):
        depth = depth + 1 if character in "[({" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    return deepest > _BRACKET_LIMIT or _CHAIN.search(bare) is not None


class _Older(cst.CSTTransformer):
    """Rewrites newer syntax to older syntax of the same rows."""

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:  # noqa: ARG002, N802 - LibCST's names
        return updated_node.with_changes(type_parameters=None)

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:  # noqa: ARG002, N802 - LibCST's names
        return updated_node.with_changes(type_parameters=None)

    def leave_TypeAlias(self, original_node: cst.TypeAlias, updated_node: cst.TypeAlias) -> cst.BaseSmallStatement:  # noqa: ARG002, N802 - LibCST's names
        return cst.Assign(targets=[cst.AssignTarget(updated_node.name)], value=updated_node.value)

    def leave_FormattedString(  # noqa: N802 - LibCST's names
        self, original_node: cst.FormattedString, updated_node: cst.FormattedString
    ) -> cst.BaseExpression:
        calls = [p.expression for p in updated_node.parts if isinstance(p, cst.FormattedStringExpression)]
        rows = cst.Module([]).code_for_node(original_node).count("\n")
        if rows or not calls:
            return cst.SimpleString('"""' + "\n" * rows + '"""', lpar=updated_node.lpar, rpar=updated_node.rpar)
        parentheses = {"lpar": [cst.LeftParen()], "rpar": [cst.RightParen()]}
        return cst.Tuple([cst.Element(c) for c in calls], **parentheses)  # type: ignore[arg-type]  # two plain keywords

    def visit_ConcatenatedString(self, node: cst.ConcatenatedString) -> bool:  # noqa: ARG002, N802 - LibCST's names
        return False

    def leave_ConcatenatedString(  # noqa: N802 - LibCST's names
        self, original_node: cst.ConcatenatedString, updated_node: cst.ConcatenatedString
    ) -> cst.BaseExpression:
        rows = cst.Module([]).code_for_node(original_node.with_changes(lpar=[], rpar=[])).count("\n")
        return cst.SimpleString('"""' + "\n" * rows + '"""', lpar=updated_node.lpar, rpar=updated_node.rpar)

    def leave_ExceptHandler(  # noqa: N802 - LibCST's names
        self,
        original_node: cst.ExceptHandler,  # noqa: ARG002 - LibCST's names
        updated_node: cst.ExceptHandler,
    ) -> cst.ExceptHandler:
        caught = updated_node.type
        if isinstance(caught, cst.Tuple) and not caught.lpar:
            enclosed = caught.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
            return updated_node.with_changes(type=enclosed)
        return updated_node
