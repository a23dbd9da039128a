"""The rules: one file each, listed here by hand in the order of their codes.

A rule words what the ownership analysis found; it walks no trees and knows no other rule. ``find``
and ``select`` turn what users write (``LC102``, ``LC1``, ``leaks-on-exception``) into rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from leakcheck.diagnostic import LeakcheckError
from leakcheck.rule import Rule
from leakcheck.rules import (
    lc101_never_released,
    lc102_leaks_on_exception,
    lc103_leaks_on_path,
    lc104_checkout_discarded,
    lc105_checkout_overwritten,
    lc106_release_does_not_release,
    lc107_released_twice,
    lc108_used_after_release,
    lc109_owner_never_releases,
    lc110_nested_checkout,
    lc111_held_across_yield,
    lc201_pool_in_request_handler,
    lc202_pool_per_call,
    lc203_pool_waits_forever,
    lc204_pool_connections_never_expire,
    lc205_connection_per_request,
    lc206_async_factory_cached,
    lc301_transaction_never_ended,
    lc302_transaction_open_on_exception,
    lc303_transaction_open_on_path,
    lc304_transaction_end_does_nothing,
    lc305_commit_after_swallowed_error,
    lc306_slow_call_in_transaction,
    lc307_savepoint_not_transaction,
    lc401_role_never_reset,
    lc402_role_kept_on_exception,
    lc403_role_kept_on_path,
    lc404_setting_not_reset,
    lc405_advisory_lock_not_released,
    lc406_listen_not_unlistened,
    lc407_reset_does_not_reset,
    lc408_set_local_outside_transaction,
    lc900_unparsable_file,
    lc901_unused_suppression,
    lc902_unknown_rule_in_suppression,
)

ALL_RULES: tuple[Rule, ...] = (
    lc101_never_released.RULE,
    lc102_leaks_on_exception.RULE,
    lc103_leaks_on_path.RULE,
    lc104_checkout_discarded.RULE,
    lc105_checkout_overwritten.RULE,
    lc106_release_does_not_release.RULE,
    lc107_released_twice.RULE,
    lc108_used_after_release.RULE,
    lc109_owner_never_releases.RULE,
    lc110_nested_checkout.RULE,
    lc111_held_across_yield.RULE,
    lc201_pool_in_request_handler.RULE,
    lc202_pool_per_call.RULE,
    lc203_pool_waits_forever.RULE,
    lc204_pool_connections_never_expire.RULE,
    lc205_connection_per_request.RULE,
    lc206_async_factory_cached.RULE,
    lc301_transaction_never_ended.RULE,
    lc302_transaction_open_on_exception.RULE,
    lc303_transaction_open_on_path.RULE,
    lc304_transaction_end_does_nothing.RULE,
    lc305_commit_after_swallowed_error.RULE,
    lc306_slow_call_in_transaction.RULE,
    lc307_savepoint_not_transaction.RULE,
    lc401_role_never_reset.RULE,
    lc402_role_kept_on_exception.RULE,
    lc403_role_kept_on_path.RULE,
    lc404_setting_not_reset.RULE,
    lc405_advisory_lock_not_released.RULE,
    lc406_listen_not_unlistened.RULE,
    lc407_reset_does_not_reset.RULE,
    lc408_set_local_outside_transaction.RULE,
    lc900_unparsable_file.RULE,
    lc901_unused_suppression.RULE,
    lc902_unknown_rule_in_suppression.RULE,
)

_CODE = re.compile(r"LC\d+")
DEFAULT_CODES: frozenset[str] = frozenset(rule.code for rule in ALL_RULES if rule.default)


def find(code_or_name: str) -> Rule | None:
    """The rule with exactly this code (in either case) or name, or None."""
    wanted = code_or_name.strip()
    for rule in ALL_RULES:
        if wanted.upper() == rule.code or wanted.lower() == rule.name:
            return rule
    return None


def select(selectors: Iterable[str]) -> frozenset[str]:
    """The codes that ``selectors`` stand for: codes, prefixes of codes (``LC1``), names, or ``ALL``.

    A selector that stands for no rule raises LeakcheckError and names the nearest one that does.
    """
    codes: set[str] = set()
    for selector in selectors:
        codes |= _codes_of(selector)
    return frozenset(codes)


def _codes_of(selector: str) -> set[str]:
    wanted = selector.strip()
    if wanted.upper() == "ALL":
        return {rule.code for rule in ALL_RULES}
    rule = find(wanted)
    if rule is not None:
        return {rule.code}
    by_prefix = {rule.code for rule in ALL_RULES if rule.code.startswith(wanted.upper())} if wanted else set()
    if by_prefix:
        return by_prefix
    raise LeakcheckError(f"unknown rule `{selector}`{nearest(wanted)}")


def nearest(code_or_name: str) -> str:
    """A clause naming the rule that was probably meant, or those there are: for messages about unknown rules."""
    if _CODE.fullmatch(code_or_name.upper()):
        return _alike(code_or_name.upper())
    from difflib import get_close_matches

    by_name = get_close_matches(code_or_name.lower(), [rule.name for rule in ALL_RULES], n=1)
    by_code = get_close_matches(code_or_name.upper(), [rule.code for rule in ALL_RULES], n=1)
    match = by_name or by_code
    return f"; did you mean `{match[0]}`?" if match else "; `leakcheck explain` lists the rules"


def _alike(code: str) -> str:
    """A clause naming the rules whose codes start like this one, which is no word that could be misspelled."""
    alike = sorted(rule.code for rule in ALL_RULES if rule.code.startswith(code[:3]))
    if not alike:
        return "; `leakcheck explain` lists the rules"
    return f"; the rules of {code[:3]} are {alike[0]} to {alike[-1]}"
