"""The rewrites that a region allows, the preferred one first.

A committing shape only where the proof holds; else the driver's own ``with``, else ``closing``, else ``finally``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from leakcheck.diagnostic import Applicability, Edit
from leakcheck.fixes.enclose import closing_of, context_of, releases_as_driver, with_context
from leakcheck.fixes.prune import pruned
from leakcheck.fixes.release import release_of, with_finally
from leakcheck.fixes.splice import replaced
from leakcheck.fixes.tree import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakcheck.fixes.enclose import Context
    from leakcheck.fixes.region import Region
    from leakcheck.ownership.program import Program
    from leakcheck.source import Source

TRY_FINALLY, CONTEXT_MANAGER, WITH_TRANSACTION = "try-finally", "context-manager", "with-transaction"


@dataclass(frozen=True, slots=True)
class Shape:
    """One rewrite of a region. ``kind`` is its name in the configuration."""

    kind: str
    message: str
    edits: tuple[Edit, ...]
    applicability: Applicability = Applicability.SAFE


def candidates(region: Region, program: Program, source: Source) -> Iterator[Shape]:
    """The rewrites, the preferred one first. Raises RefusedError where there is none."""
    refusal: RefusedError | None = None
    offered = False
    for make in _ordered(region, program):
        try:
            shape = make(region, program, source)
        except RefusedError as error:
            refusal = refusal or error
            continue
        if shape is not None:
            offered = True
            yield shape
    if not offered:
        assert refusal is not None
        raise refusal


def _ordered(region: Region, program: Program) -> list[Callable[[Region, Program, Source], Shape | None]]:
    """The makers in the order of preference: what the configuration asks for this driver comes first."""
    wanted = dict(program.config.fix_shape).get(region.found.acquisition.resource.driver)
    makers = [(CONTEXT_MANAGER, _context), (CONTEXT_MANAGER, _closing), (TRY_FINALLY, _finally)]
    makers.sort(key=lambda pair: pair[0] != wanted)
    return [make for _, make in makers]


def _context(region: Region, _program: Program, source: Source) -> Shape | None:
    context = context_of(region)
    if context is None or context.commits or not releases_as_driver(region):
        return None
    return _enclosed(region, context, source)


def _closing(region: Region, _program: Program, source: Source) -> Shape | None:
    context = closing_of(region, source)
    if context is None or not releases_as_driver(region, closing=True):
        return None
    return _enclosed(region, context, source)


def _enclosed(region: Region, context: Context, source: Source) -> Shape:
    body = pruned(region)
    if not body:
        raise RefusedError(f"nothing is done with `{region.name}`")
    keyword = "async with" if context.is_async else "with"
    shown = " ".join(region.tree.text(context.expression).split())
    edit = replaced(region, with_context(region, body, context), source)
    return Shape(CONTEXT_MANAGER, f"Take it by `{keyword} {shown} as {region.name}`", (*context.edits, edit))


def _finally(region: Region, _program: Program, source: Source) -> Shape:
    call = release_of(region)
    body = pruned(region)
    if not body:
        raise RefusedError(f"nothing is done with `{region.name}`")
    edit = replaced(region, with_finally(region, body, call), source)
    return Shape(TRY_FINALLY, f"Release `{region.name}` in `finally`", (edit,))
