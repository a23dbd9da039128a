"""One page of HTML that needs nothing else: the findings as the full format shows them, for an artifact of a CI job."""

from __future__ import annotations

from html import escape
from itertools import groupby

from msgspec.structs import replace

from leakcheck import __version__
from leakcheck.output import Context, full, one_line, summary
from leakcheck.report import Report

_STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
pre { background: #f6f8fa; border-radius: 6px; overflow-x: auto; padding: 1rem; font-size: 13px; line-height: 1.45; }
.error { border-left: 4px solid #cf222e; } .warning { border-left: 4px solid #bf8700; }
.note { border-left: 4px solid #0969da; }
@media (prefers-color-scheme: dark) { body { background: #0d1117; color: #e6edf3; } pre { background: #161b22; } }
"""


def render(report: Report, context: Context) -> str:
    """The page."""
    context = replace(context, colour=False)  # whatever the terminal shows
    out = [
        "<!doctype html>",
        '<html lang="en">',
        '<head><meta charset="utf-8"><title>leakcheck</title>',
        f"<style>\n{_STYLE}</style></head>",
        f"<body>\n<h1>leakcheck</h1>\n<p>{escape(summary(report))}</p>",
    ]
    for path, group in groupby(report.diagnostics, key=lambda one: one.path):
        out.append(f"<h2>{escape(one_line(path))}</h2>")
        for one in group:
            block = "\n".join(full.block(one, context))
            out.append(f'<pre class="{one.severity.value}">{escape(block)}</pre>')
    out.append(f"<footer><p>leakcheck {__version__}</p></footer>\n</body>\n</html>")
    return "\n".join(out) + "\n"
