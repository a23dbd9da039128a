"""Findings as the protocol's diagnostics: the headline where the fault begins, the steps as related places.

    Renderer(encoding, pages, …).diagnostic(finding, document)    →   types.Diagnostic

``data`` comes back with a request for code actions: which finding it is, and for which version of the buffer.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from lsprotocol import types
from msgspec import Struct

from leakcheck import rules
from leakcheck.diagnostic import Applicability, Diagnostic, Severity, Step
from leakcheck.output.colour import Paint
from leakcheck.output.explain import page
from leakcheck.server.documents import Document, address
from leakcheck.server.positions import Positions

SOURCE = "leakcheck"
_SEVERITIES = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.NOTE: types.DiagnosticSeverity.Information,
}
_UNNECESSARY = frozenset({"LC901", "LC902"})
"""What is said of a comment that could as well not be there; editors show it faded."""


class Pages:
    """The pages of the rules as files, for editors to open; written when first linked, gone with the server."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._links: dict[str, str | None] = {}

    def link(self, code: str) -> str | None:
        """The address of a rule's page; None where it cannot be written."""
        if code not in self._links:
            self._links[code] = self._written(code)
        return self._links[code]

    def close(self) -> None:
        """Remove the files."""
        if self._folder is not None:
            self._folder.cleanup()

    def _written(self, code: str) -> str | None:
        rule = rules.find(code)
        if rule is None:
            return None
        try:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="leakcheck-rules-")
            file = Path(self._folder.name, f"{code}-{rule.name}.md")
            file.write_text(page(rule, "markdown", Paint(on=False)), encoding="utf-8")
        except OSError:
            return None
        return address(str(file))


class Renderer(Struct, frozen=True):
    """How to render for one editor. ``text`` gives the text of any path, for the places of steps in other files."""

    pages: Pages
    text: Callable[[str], Positions | None]
    related: bool
    """Whether the editor shows related places; if not, the message names them."""

    def diagnostic(self, finding: Diagnostic, document: Document) -> types.Diagnostic:
        """One finding in the buffer as it was analysed."""
        link = self.pages.link(finding.code)
        return types.Diagnostic(
            range=document.text.to_range(finding.span),
            message=self._message(finding, document),
            severity=_SEVERITIES[finding.severity],
            code=finding.code,
            code_description=types.CodeDescription(link) if link is not None else None,
            source=SOURCE,
            tags=[types.DiagnosticTag.Unnecessary] if finding.code in _UNNECESSARY else None,
            related_information=[self._related(step, document) for step in finding.steps] if self.related else None,
            data=_data(finding, document),
        )

    def _related(self, step: Step, document: Document) -> types.DiagnosticRelatedInformation:
        text = document.text if step.path == document.name else self.text(step.path)
        span = (text or Positions("\n" * step.span.end.row, "")).to_range(step.span)
        return types.DiagnosticRelatedInformation(types.Location(address(step.path), span), step.message)

    def _message(self, finding: Diagnostic, document: Document) -> str:
        if self.related or not finding.steps:
            return finding.message
        steps = [
            f"{number}. {_place(step, document)}: {step.message}" for number, step in enumerate(finding.steps, start=1)
        ]
        return "\n".join([finding.message, *steps])


def _place(step: Step, document: Document) -> str:
    where = f"line {step.span.start.row}"
    return where if step.path == document.name else f"{os.path.basename(step.path)}, {where}"


def _data(finding: Diagnostic, document: Document) -> dict[str, object]:
    fix = finding.fix
    return {
        "code": finding.code,
        "version": document.version,
        "fix": None if fix is None else {"message": fix.message, "applicability": word(fix.applicability)},
        "fix_refused": finding.fix_refused,
    }


def word(applicability: Applicability) -> str:
    """The applicability as in the JSON of the command line."""
    return applicability.name.lower().replace("_", "-")
