"""Function summaries as plain data, and back: what JSON can hold, and nothing of syntax.

from_data(json.loads(json.dumps(to_data(summary)))) == summary
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakcheck.diagnostic import Position, Span, Step, StepKind
from leakcheck.ownership.state import Fact
from leakcheck.ownership.summary import Effect, End, FunctionSummary, Owned

if TYPE_CHECKING:
    from collections.abc import Mapping


def to_data(summary: FunctionSummary) -> dict[str, Any]:
    """The summary as lists, dictionaries, strings and numbers."""
    return {
        "returns": [_owned_data(owned) for owned in summary.returns],
        "yields": [_owned_data(owned) for owned in summary.yields],
        "stores": [[attribute, _owned_data(owned)] for attribute, owned in summary.stores],
        "manages": summary.manages,
        "is_async": summary.is_async,
        "checks_out": [_owned_data(owned) for owned in summary.checks_out],
        "parameters": [[name, _effect_data(effect)] for name, effect in summary.parameters],
        "may_raise": summary.may_raise,
        "builds": list(summary.builds),
    }


def from_data(data: Mapping[str, Any]) -> FunctionSummary:
    """The summary that ``to_data`` made this of."""
    return FunctionSummary(
        returns=tuple(map(_owned, data["returns"])),
        yields=tuple(map(_owned, data["yields"])),
        stores=tuple((attribute, _owned(owned)) for attribute, owned in data["stores"]),
        manages=data["manages"],
        is_async=data["is_async"],
        checks_out=tuple(map(_owned, data["checks_out"])),
        parameters=tuple((name, _effect(effect)) for name, effect in data["parameters"]),
        may_raise=data["may_raise"],
        builds=tuple(data["builds"]),
    )


def _owned_data(owned: Owned) -> dict[str, Any]:
    return {
        "resource": owned.resource,
        "position": owned.position,
        "pool": owned.pool,
        "place": list(owned.place) if owned.place is not None else None,
        "steps": [_step_data(step) for step in owned.steps],
        "companions": list(owned.companions),
        "certain": list(owned.certain),
        "known": [[position, fact.value] for position, fact in owned.known],
        "optional": owned.optional,
        "unless": owned.unless,
        "asked": [[subject, fact.value] for subject, fact in owned.asked],
    }


def _owned(data: Mapping[str, Any]) -> Owned:
    return Owned(
        data["resource"],
        data["position"],
        data["pool"],
        place=(data["place"][0], data["place"][1]) if data["place"] is not None else None,
        steps=tuple(map(_step, data["steps"])),
        companions=tuple(data["companions"]),
        optional=data["optional"],
        certain=tuple(data["certain"]),
        known=tuple((position, Fact(fact)) for position, fact in data["known"]),
        unless=data["unless"],
        asked=tuple((subject, Fact(fact)) for subject, fact in data["asked"]),
    )


def _step_data(step: Step) -> list[Any]:
    start, end = step.span.start, step.span.end
    return [step.kind.value, step.path, [start.row, start.column, end.row, end.column], step.message]


def _step(data: list[Any]) -> Step:
    kind, path, (row, column, last_row, last_column), message = data
    return Step(StepKind(kind), path, Span(Position(row, column), Position(last_row, last_column)), message)


def _effect_data(effect: Effect) -> dict[str, Any]:
    return {
        "normal": sorted(end.value for end in effect.normal),
        "raised": sorted(end.value for end in effect.raised),
        "attribute": effect.attribute,
        "quiet": sorted(end.value for end in effect.quiet),
        "told": sorted([end.value, answer.value] for end, answer in effect.told),
        "presumed": effect.presumed,
    }


def _effect(data: Mapping[str, Any]) -> Effect:
    normal, raised, quiet = (frozenset(map(End, data[key])) for key in ("normal", "raised", "quiet"))
    told = frozenset((End(end), Fact(answer)) for end, answer in data["told"])
    return Effect(normal, raised, data["attribute"], quiet, told, data["presumed"])
