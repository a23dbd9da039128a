"""Colours of the text formats. Without them every text reads the same: colour never carries meaning alone."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from leakcheck.diagnostic import Severity, StepKind

_RED, _YELLOW, _BLUE, _CYAN, _GREEN = "31", "33", "34", "36", "32"
_SEVERITIES = {Severity.ERROR: _RED, Severity.WARNING: _YELLOW, Severity.NOTE: _CYAN}
# Where it is taken, what can go wrong, where it is lost; all other steps only lead from one to the next.
_STEPS = {
    StepKind.ACQUIRE: _CYAN,
    StepKind.RAISE: _YELLOW,
    StepKind.NEAR_MISS: _YELLOW,
    StepKind.OVERWRITE: _RED,
    StepKind.USE: _RED,
    StepKind.EXIT: _RED,
}


def wanted(choice: str, environment: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether to colour: what the option says, else NO_COLOR, else FORCE_COLOR, else whether a terminal shows it."""
    if choice != "auto":
        return choice == "always"
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR", "") not in {"", "0"}:
        return True
    return terminal and environment.get("TERM") != "dumb"


class Paint(Struct, frozen=True):
    """Wraps text in colours, or returns it as it is."""

    on: bool

    def severity(self, text: str, severity: Severity) -> str:
        """In the colour of how bad it is."""
        return self._painted(text, f"1;{_SEVERITIES[severity]}")

    def step(self, text: str, kind: StepKind) -> str:
        """In the colour of a step of the path."""
        return self._painted(text, f"1;{_STEPS.get(kind, _BLUE)}")

    def bold(self, text: str) -> str:
        """Prominent."""
        return self._painted(text, "1")

    def frame(self, text: str) -> str:
        """The lines and numbers around the source."""
        return self._painted(text, f"1;{_BLUE}")

    def help(self, text: str) -> str:
        """The word before a remedy."""
        return self._painted(text, f"1;{_GREEN}")

    def _painted(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.on and text else text
