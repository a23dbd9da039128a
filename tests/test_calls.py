"""Ordinary calls: which may raise, and what becomes of their arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakcheck.calls import CallKind, Takes, load_calls
from leakcheck.calls_file import SOURCE, read_calls
from leakcheck.diagnostic import LeakcheckError

CALLS = load_calls()


@pytest.mark.parametrize(
    "name",
    [
        "print",
        "len",
        "time.monotonic",
        "ValueError",
        "KeyboardInterrupt",
        "logger.info",
        "self.logger.exception",
        "_LOGGER.warning",
        "app.logger.error",
        "logging.getLogger().debug",
        "cursor.close",
        "self._read_cursor.close",
        "cur.close",
    ],
)
def test_never_raises(name: str) -> None:
    assert CALLS.is_non_raising(name)


@pytest.mark.parametrize(
    "name",
    [
        "console.print",
        "math.log",
        "conn.close",
        "conn.commit",
        "cursor.execute",
        "logger.handlers.clear",
        "info",
        "int",
        "",
    ],
)
def test_may_raise(name: str) -> None:
    assert not CALLS.is_non_raising(name)


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        (
            "metrics.*",
            ["metrics.incr", "self.metrics.incr", "metrics.a.b"],
            ["metrics", "a.metrics.incr", "metricsx.incr"],
        ),
        ("*.emit", ["bus.emit", "self.emit", "a.b.emit"], ["emit", "bus.emits"]),
        ("*.stats.*", ["app.stats.incr", "self.stats.incr"], ["stats.incr", "app.stats"]),
        ("app.count", ["app.count", "self.app.count"], ["app.counter", "x.app.count"]),
        ("ping", ["ping"], ["a.ping", "self.ping"]),
    ],
)
def test_patterns_of_users(pattern: str, fits: list[str], fits_not: list[str]) -> None:
    calls = CALLS.extended([pattern])
    assert [name for name in [*fits, *fits_not] if calls.is_non_raising(name)] == fits
    assert calls.is_non_raising("print")
    assert not any(map(CALLS.is_non_raising, [*fits, *fits_not]))


@pytest.mark.parametrize("pattern", ["", "*", "a.*.b", "a b", "a*", ".a", "a."])
def test_faulty_pattern(pattern: str) -> None:
    with pytest.raises(LeakcheckError, match=r"non-raising: .* is no pattern; write a dotted name"):
        CALLS.extended([pattern])


@pytest.mark.parametrize(
    ("name", "kind", "takes", "argument"),
    [
        ("asyncio.wait_for", CallKind.PASSES, Takes.VALUE, 0),
        ("typing.cast", CallKind.PASSES, Takes.VALUE, 1),
        ("asyncio.run", CallKind.RUNS, Takes.COROUTINE, 0),
        ("self.loop.run_until_complete", CallKind.RUNS, Takes.COROUTINE, 0),
        ("contextlib.closing", CallKind.MANAGES, Takes.VALUE, 0),
        ("self._exit_stack.enter_context", CallKind.ENTERS, Takes.MANAGER, 0),
        ("stack.push", CallKind.REGISTERS, Takes.MANAGER, 0),
        ("exit_stack.callback", CallKind.REGISTERS, Takes.CALLABLE, 0),
        ("self.addCleanup", CallKind.REGISTERS, Takes.CALLABLE, 0),
        ("weakref.finalize", CallKind.REGISTERS, Takes.CALLABLE, 1),
        ("threading.Thread", CallKind.SPAWNS, Takes.CALLABLE, 1),
        ("group.create_task", CallKind.SPAWNS, Takes.COROUTINE, 0),
        ("self.executor.submit", CallKind.SPAWNS, Takes.CALLABLE, 0),
        ("loop.run_in_executor", CallKind.SPAWNS, Takes.CALLABLE, 1),
        ("sys.exit", CallKind.EXITS, Takes.VALUE, 0),
        ("self.fail", CallKind.EXITS, Takes.VALUE, 0),
        ("contextlib.suppress", CallKind.SUPPRESSES, Takes.VALUE, 0),
    ],
)
def test_effect(name: str, kind: CallKind, takes: Takes, argument: int) -> None:
    effect = CALLS.effect(name)
    assert effect is not None
    assert (effect.kind, effect.takes, effect.argument) == (kind, takes, argument)


@pytest.mark.parametrize(
    "name", ["items.push", "form.submit", "job.fail", "logger.error", "push", "closing", "button.callback"]
)
def test_no_effect(name: str) -> None:
    assert CALLS.effect(name) is None


def test_details_of_effects() -> None:
    closing, aclosing = CALLS.functions["contextlib.closing"], CALLS.functions["contextlib.aclosing"]
    assert (closing.releases, aclosing.releases) == ("close", "aclose")
    assert CALLS.functions["contextlib.nullcontext"].releases == ""
    assert CALLS.functions["threading.Thread"].arguments == "args"
    assert CALLS.functions["asyncio.to_thread"].waits
    assert CALLS.methods["enter_async_context"].awaited is True


def test_exits_raise_what_the_interpreter_raises() -> None:
    assert CALLS.functions["sys.exit"].raises == "SystemExit"
    assert CALLS.functions["os._exit"].raises == ""


@pytest.mark.parametrize(
    "name",
    [
        "release",
        "putconn",
        "self._release",
        "safe_close",
        "close_db_connection",
        "release_conn",
        "closeAll",
        "db.return_connection",
        "giveBackConnection",
        "teardown",
    ],
)
def test_name_says_release(name: str) -> None:
    assert CALLS.says_release(name)


@pytest.mark.parametrize(
    "name", ["close_ticket", "release_notes", "disclose", "closed", "closing", "reset", "execute", ""]
)
def test_name_does_not_say_release(name: str) -> None:
    assert not CALLS.says_release(name)


@pytest.mark.parametrize(
    ("old", "new", "key", "remedy"),
    [
        ("non-raising =", "non-rising =", "non-rising", 'did you mean "non-raising"?'),
        ('kind = "passes"', 'kind = "pases"', 'call."asyncio.wait_for".kind', 'did you mean "passes"?'),
        ('kind = "passes"\nkeyword', "keyword", 'call."asyncio.wait_for".kind', "valid: passes"),
        ('raises = "SystemExit"', 'raises = "Exit"', 'call."sys.exit".raises', "give the nearest one above it"),
        ('keyword = "fut"', 'receivers = ["fut"]', 'call."asyncio.wait_for".receivers', "move it to a [method] table"),
        ('methods = ["close"]', "", "non-raising-methods.cursor.methods", "give a list of strings"),
    ],
)
def test_fault_names_file_key_and_remedy(tmp_path: Path, old: str, new: str, key: str, remedy: str) -> None:
    path = tmp_path / "calls.toml"
    path.write_text(SOURCE.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(LeakcheckError) as caught:
        read_calls(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {key}: ")
    assert remedy in message
