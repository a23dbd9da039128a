"""``leakcheck config``: the configuration in force, and where each value comes from."""

from __future__ import annotations

import json

from leakcheck.config import Config, settings
from leakcheck.output.colour import Paint

FORMATS = ("text", "json")


def render(config: Config, form: str, paint: Paint) -> str:
    """Every key with its value and its origin."""
    values = settings(config)
    if form == "json":
        shown = {key: {"value": value, "origin": config.origin(key)} for key, value in values.items()}
        path = str(config.path) if config.path is not None else None
        return json.dumps({"file": path, "root": str(config.root), "settings": shown}, indent=2) + "\n"
    lines = [f"# file: {config.path if config.path is not None else 'none'}", f"# root: {config.root}"]
    for key, value in values.items():
        lines.append(f"{paint.bold(key)} = {_written(value)}  # {config.origin(key)}")
    return "\n".join(lines) + "\n"


def _written(value: object) -> str:
    """A value as TOML writes it; what is not set is a comment's business."""
    match value:
        case None:
            return "(not set)"
        case dict():
            inside = ", ".join(f"{json.dumps(key)} = {_written(item)}" for key, item in value.items())
            return f"{{ {inside} }}" if inside else "{}"
        case list() | tuple():
            return f"[{', '.join(_written(item) for item in value)}]"
        case _:
            return json.dumps(value)
