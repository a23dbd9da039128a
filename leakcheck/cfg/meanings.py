"""What names mean, as far as the builder of a graph asks: it knows Python only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from leakcheck.cfg.looping import literal_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakcheck import expression as ex


class Meanings(Struct, frozen=True):
    """The questions, by default answered as if nothing was known.

    ``swallowed_by(manager)`` names the exception classes that ``with manager:`` swallows;
    ``exits_by(function)`` the exception by which a call of it never returns; for ``await function()`` it is asked of
    ``ex.Await(function)``; ``opens(getter)``: reading that attribute runs a property that takes something;
    ``number(name)`` is the number that a name always stands for;
    ``rebinds(name)``: the function binds the variable more than once.
    """

    swallowed_by: Callable[[ex.Expression], tuple[str, ...]] = lambda _: ()
    exits_by: Callable[[ex.Expression], str | None] = lambda _: None
    opens: Callable[[ex.Getter], bool] = lambda _: False
    number: Callable[[ex.Expression], int | None] = literal_number
    rebinds: Callable[[str], bool] = lambda _: True
