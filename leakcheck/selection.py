"""Which rules run: ``select``, ``ignore``, ``extend-select`` and ``per-file-ignores`` made into sets of codes.

The more specific selector wins, as in ruff: ``ignore = ["LC1"]`` with ``select = ["LC102"]`` leaves LC102 on.
LC900 is on whatever is selected, unless it is ignored by name: a file that was not checked must not look clean.
"""

from __future__ import annotations

import os

from msgspec import Struct

from leakcheck import rules
from leakcheck.config import DEFAULT, Config
from leakcheck.diagnostic import LeakcheckError
from leakcheck.project.patterns import Patterns
from leakcheck.rule import Rule

UNPARSABLE = "LC900"
_BY_DEFAULT = -1  # below every selector, so that `ignore = ["ALL"]` still wins
_UNSELECTED = -2


class PerFile(Struct, frozen=True):
    """Rules that are off in the files a pattern matches; with ``negated`` in all others."""

    patterns: Patterns
    negated: bool
    codes: frozenset[str]


class Selection(Struct, frozen=True):
    """The rules that run, and where they do not."""

    rules: tuple[Rule, ...]
    per_file: tuple[PerFile, ...] = ()
    root: str = "/"

    def active(self, path: str) -> frozenset[str]:
        """The codes of the rules that run on this file."""
        codes = frozenset(rule.code for rule in self.rules)
        if self.per_file:
            absolute = os.path.abspath(path)
            for each in self.per_file:
                if each.patterns.match_within(absolute, self.root) is not each.negated:
                    codes -= each.codes
        return codes


def selection(config: Config) -> Selection:
    """The selection that ``config`` asks for; a selector that names no rule is an error that says where it stands."""
    selected = _specificity(config, "select", config.select or ())
    for code, rank in _specificity(config, "extend-select", config.extend_select).items():
        selected[code] = max(rank, selected.get(code, _UNSELECTED))
    ignored = _specificity(config, "ignore", config.ignore)
    chosen: list[Rule] = []
    for rule in rules.ALL_RULES:
        by_default = rule.code == UNPARSABLE or (config.select is None and rule.default)
        rank = selected.get(rule.code, _BY_DEFAULT if by_default else _UNSELECTED)
        if rank > _UNSELECTED and rank > ignored.get(rule.code, _UNSELECTED):
            chosen.append(rule)
    per_file = tuple(
        PerFile(
            Patterns((pattern.removeprefix("!"),), config.root),
            pattern.startswith("!"),
            frozenset(_specificity(config, "per-file-ignores", codes)),
        )
        for pattern, codes in config.per_file_ignores
    )
    return Selection(tuple(chosen), per_file, os.path.abspath(config.root))


def _specificity(config: Config, key: str, selectors: tuple[str, ...]) -> dict[str, int]:
    """For each code that ``selectors`` stand for, how exactly the closest of them names it."""
    ranks: dict[str, int] = {}
    for selector in selectors:
        try:
            codes = rules.select([selector])
        except LeakcheckError as error:
            where = f"`{key}`" if config.origin(key) == DEFAULT else f"{config.origin(key)}: `{key}`"
            raise LeakcheckError(f"{where}: {error}") from error
        exact = rules.find(selector) is not None
        rank = 0 if selector.strip().upper() == "ALL" else len("LC000") if exact else len(selector.strip())
        for code in codes:
            ranks[code] = max(rank, ranks.get(code, 0))
    return ranks
