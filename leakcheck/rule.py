"""What a rule is: a code, a name, its page and a function from an analysed function to diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct

from leakcheck.diagnostic import Diagnostic
from leakcheck.ownership.leak import Leak, LeakKind


class Rule(Struct, frozen=True):
    """One row of the catalogue.

    ``say`` turns a leak of ``kind`` into the headline of its diagnostic. ``kind`` is None for the
    rules about files and suppressions (LC9), which the engine reports itself. ``page`` is the module's
    docstring: the text that ``leakcheck explain`` prints.
    """

    code: str
    name: str
    page: str
    kind: LeakKind | None = None
    say: Callable[[Leak], str] | None = None
    default: bool = True

    @property
    def summary(self) -> str:
        """The first line of the page."""
        return self.page.strip().splitlines()[0]

    def check(self, path: str, leaks: tuple[Leak, ...]) -> Iterator[Diagnostic]:
        """The diagnostics of this rule among the leaks of one function in ``path``."""
        if self.say is None:
            return
        for leak in leaks:
            if leak.kind is self.kind:
                yield Diagnostic(
                    code=self.code,
                    name=self.name,
                    message=self.say(leak),
                    severity=leak.severity,
                    path=path,
                    span=leak.span,
                    statement=leak.statement,
                    steps=leak.steps,
                    function=leak.function,
                    subject=leak.acquire,
                    fix=leak.fix,
                    fix_refused=leak.fix_refused,
                    other_fixes=leak.other_fixes,
                )
