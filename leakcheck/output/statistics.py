"""``--statistics``: how many findings of each rule there are, instead of the findings."""

from __future__ import annotations

import json
from collections import Counter

from leakcheck.output import TEXTS, Context, summary
from leakcheck.output.colour import Paint
from leakcheck.report import Report


def render(name: str, report: Report, context: Context) -> str:
    """Counts by rule, the most frequent first, as a table or as JSON (``name`` is the output format)."""
    counts = Counter((one.code, one.name) for one in report.diagnostics)
    rows = sorted(((number, code, rule) for (code, rule), number in counts.items()), key=lambda row: (-row[0], row[1]))
    if name not in TEXTS:
        objects = [{"code": code, "name": rule, "count": number} for number, code, rule in rows]
        return json.dumps(objects, indent=2) + "\n"
    paint = Paint(on=context.colour)
    width = max((len(str(number)) for number, _, _ in rows), default=0)
    lines = [f"{number:>{width}}\t{paint.bold(code)}\t{rule}" for number, code, rule in rows]
    if context.summary:
        lines.append(summary(report))
    return "".join(f"{line}\n" for line in lines)
