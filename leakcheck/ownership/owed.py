"""What whoever calls a function owes for it: what it returns, what it keeps on self, what it checks out for itself.

return conn, None     →   returned at 0, and what stands beside it is None
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from leakcheck.cfg import graph as g
from leakcheck.ownership.state import Box, Fact, Hold, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.ownership.found import Found
    from leakcheck.ownership.summary import Owned


def owned_by(found: Sequence[Found]) -> tuple[tuple[Owned, ...], tuple[tuple[str, Owned], ...], tuple[Owned, ...]]:
    """What the function returns, stores on self, and checks out for itself."""
    returns: dict[tuple[str, str | int | None], Owned] = {}
    stores: list[tuple[str, Owned]] = []
    checks_out: list[Owned] = []
    # What is always taken overrides what is sometimes, and what is taken near by what comes from afar.
    for each in sorted(found, key=lambda f: (f.unless is None, -len(f.acquisition.steps))):
        acquisition = each.acquisition
        owned = each.owned
        if acquisition.place is not None and any(e.state.status is not Status.MOVED for e in each.exploration.endings):
            checks_out.append(owned)
        for ending in each.exploration.endings:
            if ending.state.status is not Status.MOVED or ending.state.moved_to is not None:
                continue
            value = ending.state.get(g.RETURN)
            given = owned if value is Hold.OWN else _in_box(owned, value) if isinstance(value, Box) else None
            if given is not None:
                former = returns.get((given.resource, given.position), given)
                known = tuple(part for part in given.known if part in former.known)
                always = tuple(each for each in given.asked if each in former.asked)
                returns[given.resource, given.position] = replace(given, known=known, asked=always)
        stores += [(attribute, owned) for attribute, _ in each.stores(by_others=False)]
    return tuple(returns.values()), tuple(dict(stores).items()), tuple(checks_out)


def _in_box(owned: Owned, box: Box) -> Owned | None:
    """What is returned as a part of something."""
    positions = [key for key, item in box.items if item is Hold.OWN]
    if not positions:
        return None
    beside = tuple(key for key, item in box.items if item is Hold.DERIVED)
    known = tuple((key, item) for key, item in box.items if isinstance(item, Fact))
    return replace(owned, position=positions[0], companions=beside, known=known)
