"""``leakcheck explain``: a rule's page, or the list of rules, as text, JSON or Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence

from leakcheck.output.colour import Paint
from leakcheck.rule import Rule

FORMATS = ("text", "json", "markdown")


def page(rule: Rule, form: str, paint: Paint) -> str:
    """Everything there is to say about one rule."""
    match form:
        case "json":
            return json.dumps(_as_object(rule), indent=2) + "\n"
        case "markdown":
            return f"# {rule.name} ({rule.code})\n\n{_status(rule)}\n\n{rule.page.strip()}\n"
        case _:
            return f"{paint.bold(f'{rule.code} {rule.name}')}\n{_status(rule)}\n\n{_plain(rule.page, paint)}\n"


def listing(rules: Sequence[Rule], form: str, paint: Paint) -> str:
    """All rules, one line each; in JSON, all of every page."""
    match form:
        case "json":
            return json.dumps([_as_object(rule) for rule in rules], indent=2) + "\n"
        case "markdown":
            rows = [f"| {rule.code} | {rule.name} | {rule.summary} |" for rule in rules]
            return "\n".join(["| code | name | reports |", "|---|---|---|", *rows]) + "\n"
        case _:
            width = max(len(rule.name) for rule in rules)
            lines = [
                f"{paint.bold(rule.code)}  {rule.name:<{width}}  {rule.summary}{'' if rule.default else ' (opt-in)'}"
                for rule in rules
            ]
            return "\n".join(lines) + "\n"


def _as_object(rule: Rule) -> dict[str, object]:
    return {
        "code": rule.code,
        "name": rule.name,
        "summary": rule.summary,
        "explanation": rule.page.strip(),
        "default": rule.default,
    }


def _status(rule: Rule) -> str:
    return "On by default." if rule.default else "Opt-in."


def _plain(text: str, paint: Paint) -> str:
    """Markdown for a terminal: headings stand out, code is indented instead of fenced."""
    lines: list[str] = []
    code = False
    for line in text.strip().splitlines():
        if line.startswith("```"):
            code = not code
        elif code:
            lines.append(f"    {line}".rstrip())
        elif line.startswith("#"):
            lines.append(paint.bold(line.lstrip("# ")))
        else:
            lines.append(line)
    return "\n".join(lines)
