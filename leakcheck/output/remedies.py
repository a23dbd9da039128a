"""What can be done about the findings of a run at once: how many have a fix, and why the others have none.

    `--fix` corrects 2 of them, `--fix --unsafe-fixes` 1 more, which you should look through.
    No fix for 3:
      2  line … captures `…`
      1  LC201: this rule has no fixes

Reasons that differ only in their lines and names are one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from leakcheck.diagnostic import Applicability, Diagnostic
from leakcheck.output import one_line
from leakcheck.report import Report

_MOST = 5
_UNPARSABLE = "LC900"  # nobody expects a fix of that
_PARTICULAR = re.compile(r"`[^`]*`|\b\d+\b")
_SKETCH = "only a sketch, shown above"


def lines(report: Report) -> Iterator[str]:
    """The lines that follow the counts of the findings; none where there is nothing found."""
    found = report.diagnostics
    if not found:
        return
    tiers = Counter(one.fix.applicability for one in found if one.fix is not None)
    safe, unsafe = tiers[Applicability.SAFE], tiers[Applicability.UNSAFE]
    if safe or unsafe:
        yield _fixable(len(found), safe, unsafe)
    if safe + unsafe < len(found):
        yield from _without(found)


def _fixable(total: int, safe: int, unsafe: int) -> str:
    def share(number: int) -> str:
        if number < total:
            return f"{number} of them"
        return "it" if total == 1 else "all of them"

    if not safe:
        return f"`--fix --unsafe-fixes` corrects {share(unsafe)}; look the result through."
    if not unsafe:
        return f"`--fix` corrects {share(safe)}."
    return f"`--fix` corrects {share(safe)}, `--fix --unsafe-fixes` {unsafe} more, which you should look through."


def _without(found: tuple[Diagnostic, ...]) -> Iterator[str]:
    reasons = Counter(reason for one in found if (reason := _reason(one)) is not None)
    never = [one.code for one in found if one.fix is None and one.fix_refused is None and one.code != _UNPARSABLE]
    if never:
        codes = sorted(set(never))
        rules = "this rule has" if len(codes) == 1 else "these rules have"
        reasons[f"{', '.join(codes)}: {rules} no fixes"] = len(never)
    number = sum(reasons.values())
    if len(found) == 1 or not number:
        return  # the finding itself says so
    yield f"No fix for {number}:"
    listed = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = listed if len(listed) <= _MOST + 1 else listed[:_MOST]
    width = len(str(shown[0][1]))
    for reason, times in shown:
        yield f"  {times:>{width}}  {reason}"
    rest = number - sum(times for _, times in shown)
    if rest:
        yield f"  {rest:>{width}}  for other reasons"


def _reason(diagnostic: Diagnostic) -> str | None:
    """Why a finding's fix cannot be applied or was refused; None where it can, or where its rule has none."""
    if diagnostic.fix is not None:
        return _SKETCH if diagnostic.fix.applicability is Applicability.DISPLAY_ONLY else None
    if diagnostic.fix_refused is None:
        return None
    return _PARTICULAR.sub(lambda each: "`…`" if each[0].startswith("`") else "…", one_line(diagnostic.fix_refused))
