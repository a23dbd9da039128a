"""What may be a checkout, and of which nothing is known: it is said to who asks, and fails nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from leakcheck.cli import main

HEAD = """\
import asyncpg
import asyncio
from framework import registry


class Box:
    def connect(self):
        return 1


"""


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def said(text: str, capfd: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    Path("a.py").write_text(text)
    assert main(["check", "--select", "LC9", *arguments, "a.py"]) == 0
    return [line for line in capfd.readouterr().err.splitlines() if "not analysed" in line]


@pytest.mark.parametrize(
    ("function", "place", "call"),
    [
        ("async def f(request):\n    c = await request.app.store.acquire()\n", "12:15", "request.app.store.acquire"),
        ("def f():\n    return registry.get_connection()\n", "12:12", "registry.get_connection"),
        (
            "def f():\n    def g():\n        return registry.connection()\n    return g\n",
            "13:16",
            "registry.connection",
        ),
        ("async def f(x):\n    y = await (\n        x.connect()\n    )\n", "13:9", "x.connect"),
    ],
)
def test_what_is_said(function: str, place: str, call: str, capfd: pytest.CaptureFixture[str]) -> None:
    receiver = call.rpartition(".")[0]
    assert said(HEAD + function, capfd, "--verbose") == [
        f"a.py:{place}: not analysed: nothing is known of `{receiver}`, so what `{call}()` takes is not followed"
    ]
    assert said(HEAD + function, capfd) == []
    assert said(HEAD + function, capfd, "--strict") == []


@pytest.mark.parametrize(
    "function",
    [
        "async def f(lock):\n    await lock.acquire()\n",
        "async def f():\n    gate = asyncio.Semaphore(1)\n    await gate.acquire()\n",
        "def f(box: Box):\n    box.connect()\n",
        "async def f(pool):\n    async with pool.acquire() as conn:\n        await conn.execute('')\n",
        "async def f(thing: asyncpg.Pool):\n    async with thing.acquire() as conn:\n        await conn.execute('')\n",
        "def f(x):\n    x.collect()\n",
    ],
)
def test_what_is_known_is_not(function: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert said(HEAD + function, capfd, "--verbose") == []


def test_a_file_without_a_driver_is_none_of_ours(capfd: pytest.CaptureFixture[str]) -> None:
    assert said("def f(x):\n    return x.acquire()\n", capfd, "--verbose") == []


def test_it_is_a_notification_of_sarif() -> None:
    Path("a.py").write_text(HEAD + "def f():\n    return registry.get_connection()\n")
    assert main(["check", "--select", "LC9", "--output", "sarif=a.sarif", "a.py"]) == 0
    (invocation,) = json.loads(Path("a.sarif").read_text())["runs"][0]["invocations"]
    (notification,) = invocation["toolExecutionNotifications"]
    assert invocation["executionSuccessful"] is True
    assert "nothing is known of `registry`" in notification["message"]["text"]
