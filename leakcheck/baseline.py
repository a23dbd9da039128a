"""The baseline: findings that were there when leakcheck came, kept in a file so that only new ones are reported.

An entry is the identity of a finding (see ``fingerprint``) and how often it occurs, never a line. Where a file was
renamed or a function moved to another one, the entry follows: it matches a finding of the same rule, function and
text elsewhere, once its own file is gone or no longer holds it.

    Baseline.read(path).apply(diagnostics, checked)   →   Applied: what is new, and what became of the rest

The file is JSON, one entry on a line and sorted, so that its changes read well in a review.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import astuple, replace

from leakcheck.diagnostic import Diagnostic, LeakcheckError
from leakcheck.fingerprint import Identity, identity
from leakcheck.writing import put

_VERSION = 1
_KEYS = ("path", "code", "function", "subject")


class Applied(Struct, frozen=True):
    """Findings against a baseline.

    ``new`` are those that it does not know, ``known`` is the number of the others, ``stale`` that of its entries which
    nothing matched any more; ``pruned`` is the baseline without these, with what moved where it is now.
    """

    new: tuple[Diagnostic, ...]
    known: int
    stale: int
    pruned: Baseline


class Baseline(Struct, frozen=True):
    """The entries of one file, with paths relative to ``root``, its directory."""

    root: str
    entries: Counter[Identity]

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """The baseline in ``path``. Raises LeakcheckError, also where there is none."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise LeakcheckError(f"{path}: there is no such baseline; `leakcheck baseline` writes it") from None
        except OSError as error:
            raise LeakcheckError(f"{path}: cannot read the baseline: {error.strerror}") from error
        except ValueError as error:
            raise LeakcheckError(
                f"{path}: not a baseline: {error}; `leakcheck baseline --renew` rewrites it"
            ) from error
        if not isinstance(document, dict) or document.get("version") != _VERSION:
            raise LeakcheckError(
                f"{path}: not a baseline of version {_VERSION}; `leakcheck baseline --renew` rewrites it"
            )
        entries: Counter[Identity] = Counter()
        for number, entry in enumerate(document.get("findings", ()), start=1):
            try:
                entries[Identity(*(str(entry[key]) for key in _KEYS))] += int(entry.get("count", 1))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                message = f"{path}: entry {number} is not one of ours; `leakcheck baseline --renew` rewrites the file"
                raise LeakcheckError(message) from error
        return cls(os.path.abspath(path.parent), entries)

    @classmethod
    def of(cls, diagnostics: Iterable[Diagnostic], root: Path) -> Baseline:
        """A baseline in directory ``root`` that knows these findings."""
        empty = cls(os.path.abspath(root), Counter())
        return replace(empty, entries=Counter(map(empty._key, diagnostics)))

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        lines = ",\n".join(_line(entry, count) for entry, count in sorted(self.entries.items()))
        text = f'{{\n "version": {_VERSION},\n "findings": [\n{lines}\n ]\n}}\n'
        try:
            put(str(path), text.encode())
        except OSError as error:
            raise LeakcheckError(f"{path}: cannot write the baseline: {error.strerror}") from error

    def apply(self, diagnostics: Sequence[Diagnostic], checked: Collection[str]) -> Applied:
        """Tell new findings from known ones.

        ``checked`` are the paths of this run: only an entry whose file is among them, or gone, can be out of date.
        """
        left, matched = Counter(self.entries), Counter[Identity]()
        rest: list[Diagnostic] = []
        for diagnostic in diagnostics:
            key = self._key(diagnostic)
            if left[key] > 0:
                left[key] -= 1
                matched[key] += 1
            else:
                rest.append(diagnostic)
        left = +left
        seen = {self._relative(path) for path in checked}
        movable = Counter({key: n for key, n in left.items() if key.path in seen or self._is_gone(key.path)})
        elsewhere = left - movable
        new: list[Diagnostic] = []
        for diagnostic in rest:
            key = self._key(diagnostic)
            former = next((k for k in sorted(+movable) if replace(k, path=key.path) == key), None)
            if former is None:
                new.append(diagnostic)
            else:
                movable[former] -= 1
                matched[key] += 1
        pruned = replace(self, entries=matched + elsewhere)
        return Applied(tuple(new), matched.total(), (+movable).total(), pruned)

    def _key(self, diagnostic: Diagnostic) -> Identity:
        found = identity(diagnostic)
        return replace(found, path=self._relative(diagnostic.path))

    def _relative(self, path: str) -> str:
        return os.path.relpath(os.path.abspath(path), self.root).replace("\\", "/")

    def _is_gone(self, path: str) -> bool:
        return not os.path.exists(os.path.join(self.root, path))


def _line(entry: Identity, count: int) -> str:
    fields: dict[str, object] = dict(zip(_KEYS, astuple(entry), strict=True))
    if count > 1:
        fields["count"] = count
    return f"  {json.dumps(fields)}"
