"""Trees of files whose grammar is newer than the running Python's.

The text is rewritten to what the older one accepts, row by row, so that everything keeps its place; functions are
later read from the original text. Type parameters and aliases are taken out of the text as it stands:

    def first[T](rows: list[T]) -> T:      →   def first   (rows: list[T]) -> T:

LibCST knows the rest of the newer grammar, and takes a hundred times longer to rewrite a tree.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakcheck.project.nodes import plainly_parsed

if TYPE_CHECKING:
    import ast

STRING_OR_COMMENT = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'(?:\\.|[^\\])*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*', re.DOTALL
)
_GENERIC = re.compile(r"\b(?:def|class)[ \t]+\w+[ \t]*(?=\[)")
_BRACKET = re.compile(r"[\[\]]")
_ALIAS = re.compile(r"^[ \t]*(?P<type>type)[ \t]+(?P<name>\w+)[ \t]*(?=[\[=])", re.MULTILINE)


def tree_of_newer(text: str) -> ast.Module | None:
    """The tree of a text that ``ast`` rejects, rewritten to older grammar of the same rows."""
    plain = _without_type_parameters(text)
    tree = _parsed(plain) if plain != text else None
    if tree is not None:
        return tree
    from leakcheck.project.rewritten import in_older_grammar

    older = in_older_grammar(text)
    return None if older is None else _parsed(older)


def _parsed(text: str) -> ast.Module | None:
    try:
        return plainly_parsed(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _without_type_parameters(text: str) -> str:
    """The text with blanks for type parameters, and with plain assignments for aliases of types."""
    bare = STRING_OR_COMMENT.sub(lambda found: _blank(found.group()), text)
    edits = [(found.end(), _closed(bare, found.end()), "") for found in _GENERIC.finditer(bare)]
    for found in _ALIAS.finditer(bare):
        end = _closed(bare, found.end()) if bare[found.end()] == "[" else found.end()
        edits.append((found.start("type"), end, found["name"]))
    pieces, done = [], 0
    for first, last, kept in sorted(edits):
        pieces += [text[done:first], kept, _blank(text[first + len(kept) : last]).replace("\n", "\\\n")]
        done = last
    return "".join((*pieces, text[done:]))


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _closed(bare: str, opened: int) -> int:
    """Where the bracket ends that is opened here."""
    depth = 0
    for found in _BRACKET.finditer(bare, opened):
        depth += 1 if found.group() == "[" else -1
        if not depth:
            return found.end()
    return opened
