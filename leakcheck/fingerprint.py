"""What stays the same of a finding while the code around it moves: for baselines and services that track findings.

A finding is known by its rule, the file, the function around it and the text of what it is about. Lines are no part
of that, nor is the way to the fault, which changes with every call that is added; nor do quotes, commas and white
space count, which formatters change.

    identity(diagnostic)        →   Identity("app/db.py", "LC102", "Store.save", "pool.getconn()")
    fingerprints(diagnostics)   →   one stable hexadecimal text for each, also where two identities are equal
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from leakcheck.diagnostic import Diagnostic

_LAMBDA = re.compile(r"<lambda \d+>")
_FORMATTING = re.compile(r"\s+|,(?=\s*[)\]}])")


class Identity(Struct, frozen=True, order=True):
    """Where a finding is and what it is about; ``path`` has forward slashes."""

    path: str
    code: str
    function: str
    subject: str


def identity(diagnostic: Diagnostic) -> Identity:
    """The identity of a finding; two of one function may have the same."""
    return Identity(
        diagnostic.path.replace("\\", "/"),
        diagnostic.code,
        _LAMBDA.sub("<lambda>", diagnostic.function),
        _FORMATTING.sub("", diagnostic.subject.replace("'", '"')),
    )


def fingerprints(diagnostics: Sequence[Diagnostic]) -> tuple[str, ...]:
    """A text for each finding, unique among them; equal identities are told apart by their order."""
    import hashlib

    seen: Counter[Identity] = Counter()
    found: list[str] = []
    for each in map(identity, diagnostics):
        seen[each] += 1
        parts = (each.path, each.code, each.function, each.subject, str(seen[each]))
        found.append(hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest())
    return tuple(found)
