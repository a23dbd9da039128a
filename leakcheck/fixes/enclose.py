"""The shape ``with …:``: the driver's own context manager, or ``closing``, takes and releases.

    conn = engine.connect()              with engine.connect() as conn:
    conn.execute(sql)             →          conn.execute(sql)
    conn.close()

Only where the release that goes away is the one that leaving the ``with`` makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck.fixes.imports import imported
from leakcheck.fixes.release import block, without_leading_blanks
from leakcheck.fixes.roles import Role, mentions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.diagnostic import Edit
    from leakcheck.fixes.region import Region
    from leakcheck.source import Source

PLAIN_CLOSE = "{name}.close()"
_LONGEST = 60
_WIDTH = 88
"""No line becomes longer than formatters leave it by having two ``with`` joined."""


class Context(Struct, frozen=True):
    """What the ``with`` enters. ``commits``: leaving it commits; ``edits`` import what it needs."""

    expression: cst.BaseExpression
    is_async: bool
    commits: bool = False
    edits: tuple[Edit, ...] = ()


def context_of(region: Region) -> Context | None:
    """The driver's own context manager for this checkout, None where it has none."""
    acquisition = region.found.acquisition
    resource = acquisition.resource
    if acquisition.steps or region.is_annotated or region.is_guarded or not resource.context:
        return None
    is_async = acquisition.protocol.is_async or resource.release.startswith("await ")
    if is_async and not region.tree.unit.is_async:
        return None
    if "{acquire}" not in resource.context and (region.is_given_arguments or region.pool is None):
        return None
    expression = filled(resource.context, region)
    return Context(expression, is_async, commits=resource.context_commits)


def closing_of(region: Region, source: Source) -> Context | None:
    """``contextlib.closing`` around a checkout that is released by a plain ``close()``."""
    if region.is_annotated or region.is_guarded or region.is_awaited:
        return None
    if region.found.acquisition.resource.release != PLAIN_CLOSE:
        return None
    known, edits = imported(region.tree, "contextlib", "closing", source)
    expression = cst.Call(cst.parse_expression(known), [cst.Arg(region.call)])
    return Context(expression, is_async=False, edits=edits)


def filled(template: str, region: Region) -> cst.BaseExpression:
    """The template with the checkout's own syntax where it says {acquire}."""
    if template == "{acquire}":
        return region.call
    if template == "await {acquire}":
        return cst.Await(region.call)
    return cst.parse_expression(template.format(acquire=region.tree.text(region.call), pool=region.pool))


def releases_as_driver(region: Region, *, closing: bool = False) -> bool:
    """Whether every release that goes away is what leaving the ``with`` does: with ``closing``, a ``close()``."""
    methods = region.found.acquisition.resource.methods
    for node in region.removed.values():
        call = node.right if isinstance(node, cst.BooleanOperation) else node
        call = call.expression if isinstance(call, cst.Await) else call
        match call:
            case cst.Call(func=cst.Attribute(value=cst.Name(value=base), attr=cst.Name(value=name)), args=[]):
                if base == region.name and name in methods and (name == "close" or not closing):
                    continue
            case cst.Call(func=cst.Attribute(value=base), args=[cst.Arg(value=cst.Name(value=given), keyword=None)]):
                if not closing and given == region.name and region.tree.text(base) == region.pool:
                    continue
            case _:
                pass
        if region.holds(node):
            return False
    return True


def with_context(
    region: Region, body: list[cst.BaseStatement], context: Context, footer: Sequence[cst.EmptyLine] = ()
) -> list[cst.BaseStatement]:
    """The region as the body of a ``with``, which stands in the place of the checkout."""
    _, body = without_leading_blanks(body)
    assert isinstance(region.checkout, cst.SimpleStatementLine)
    asname = cst.AsName(name=cst.Name(region.name)) if is_needed(region) else None
    item = cst.WithItem(item=_aligned(region, context), asname=asname)
    whole = cst.With(
        items=[item],
        body=block(region, body).with_changes(header=region.checkout.trailing_whitespace, footer=footer),
        leading_lines=region.checkout.leading_lines,
        asynchronous=cst.Asynchronous() if context.is_async else None,
    )
    return [_joined(whole, body[0], region) if len(body) == 1 and not footer else whole]


def with_held(
    region: Region, body: list[cst.BaseStatement], context: Context, footer: Sequence[cst.EmptyLine]
) -> list[cst.BaseStatement]:
    """The checkout and what follows it at once as they are, and the region in a ``with`` that is given the variable."""
    blank, body = without_leading_blanks(body)
    whole = cst.With(
        items=[cst.WithItem(item=context.expression)],
        body=block(region, body).with_changes(footer=footer),
        leading_lines=blank,
        asynchronous=cst.Asynchronous() if context.is_async else None,
    )
    return [*region.block.body[region.start : region.first], whole]


def _joined(outer: cst.With, inner: cst.CSTNode, region: Region) -> cst.With:
    """``with a as conn, b:`` for two that stand in each other, where that is one short line."""
    if not isinstance(inner, cst.With) or not isinstance(inner.body, cst.IndentedBlock):
        return outer
    lines: list[cst.TrailingWhitespace | cst.EmptyLine] = [inner.body.header, *inner.leading_lines]
    differs = (outer.asynchronous is None) is not (inner.asynchronous is None)
    bracketed = isinstance(inner.lpar, cst.LeftParen)
    if differs or bracketed or any(line.comment is not None for line in lines):
        return outer
    comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    items = [outer.items[0].with_changes(comma=comma), *inner.items]
    body = inner.body.with_changes(header=outer.body.header)  # type: ignore[attr-defined]  # it is a block, too
    whole = inner.with_changes(items=items, leading_lines=outer.leading_lines, body=body)
    head = region.tree.text(whole.with_changes(body=cst.SimpleStatementSuite([cst.Pass()]), leading_lines=[])).strip()
    column = region.tree.unit.part.span(region.checkout).start.column
    return outer if "\n" in head or column + len(head.removesuffix(" pass")) > _WIDTH else whole


def is_needed(region: Region) -> bool:
    """Whether anything but the releases that go away reads the variable."""
    tree = region.tree
    return any(
        mention.role is not Role.BOUND
        and not any(id(node) in region.removed for node in (mention.node, *tree.ancestors(mention.node)))
        for mention in mentions(tree, region.name)
    )


def taking(region: Region, context: Context) -> str:
    """The ``with`` that takes the connection, for a message."""
    keyword = "async with" if context.is_async else "with"
    name = f" as {region.name}" if is_needed(region) else ""
    return f"{keyword} {shown(region, context.expression)}{name}"


def shown(region: Region, entered: cst.CSTNode) -> str:
    """What a ``with`` enters, for a message: without the arguments of the checkout where these are long."""
    text = " ".join(region.tree.text(entered).split())
    if len(text) <= _LONGEST:
        return text
    if not isinstance(region.call, cst.Call):
        return text
    call = " ".join(region.tree.text(region.call).split())
    return text.replace(call, f"{region.tree.text(region.call.func)}(…)")


def _aligned(region: Region, context: Context) -> cst.BaseExpression:
    """What the ``with`` enters; lines that stood under the first argument of the checkout stand under it again."""
    tree, call = region.tree, region.call
    text, whole = tree.text(call), tree.text(context.expression)
    if not isinstance(call, cst.Call) or "\n" not in text or text not in whole:
        return context.expression
    if isinstance(call.whitespace_before_args, cst.ParenthesizedWhitespace):
        return context.expression
    before = f"{'async ' if context.is_async else ''}with {whole.partition(text)[0]}"
    spans = tree.unit.part.span(call).start.column, tree.unit.part.span(region.checkout).start.column
    shifted = call.visit(_Shifted(len(before) - (spans[0] - spans[1])))
    assert isinstance(shifted, cst.Call)
    new = context.expression.deep_replace(call, shifted)
    assert isinstance(new, cst.BaseExpression)
    return new


class _Shifted(cst.CSTTransformer):
    """Moves what stands behind line ends within brackets."""

    def __init__(self, by: int) -> None:
        super().__init__()
        self._by = by

    def leave_ParenthesizedWhitespace(  # noqa: N802  LibCST calls it so
        self, original_node: cst.ParenthesizedWhitespace, updated_node: cst.ParenthesizedWhitespace
    ) -> cst.ParenthesizedWhitespace:
        """The white space with its last line shifted, if that is of spaces."""
        value = original_node.last_line.value
        if value.strip(" ") or not value:
            return updated_node
        return updated_node.with_changes(last_line=cst.SimpleWhitespace(" " * max(0, len(value) + self._by)))
