"""The language server, end to end: a real process, spoken to as an editor speaks."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from editor import CAPABILITIES, Editor, Message
from test_incremental import DB, ORDERS, edited

from leakcheck.config import Config
from leakcheck.engine import check

LEAK = """\
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def cancel(order):
    \u00e9t\u00e9 = "\U0001f4a5 e\u0301"; conn = pool.getconn()
    cur = conn.cursor()
    cur.execute("UPDATE orders SET state = 'cancelled' WHERE id = %s", (order,))
    conn.commit()
    pool.putconn(conn)
    del conn
"""
CLEAN = LEAK.replace("conn = pool.getconn()", "conn = None").replace("pool.putconn(conn)", "pass")
FIXABLE = """\
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def cancel(order):
    conn = pool.getconn()  # \U0001f4a5 e\u0301
    cur = conn.cursor()
    cur.execute("UPDATE orders SET state = '\U0001f4a5' WHERE id = %s", (order,))
    conn.commit()
    pool.putconn(conn)  # \U0001f4a5 e\u0301


def remove(order):
    conn = pool.getconn()
    cur = conn.cursor()
    cur.execute("DELETE FROM orders WHERE id = %s", (order,))
    conn.commit()
    pool.putconn(conn)
"""
SHAPES = """\
import sqlite3


def remove(path):
    conn = sqlite3.connect(path)
    conn.execute("DELETE FROM orders")
    conn.close()
"""
BEFORE_THE_CALL = '    \u00e9t\u00e9 = "\U0001f4a5 e\u0301"; conn = '


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    """One server for most tests: starting takes longer than what they ask of it."""
    with Editor(tmp_path_factory.mktemp("workspace")) as editor:
        yield editor


@pytest.fixture
def tmp_path(running: Editor) -> Path:
    """A folder inside the workspace of the server that runs."""
    return Path(tempfile.mkdtemp(dir=running.workspace))


@pytest.fixture
def editor(running: Editor, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Editor]:
    """The server that runs, with nothing open and a folder of this test's own."""
    running.enter(tmp_path)
    yield running
    assert request.cls is TestProtocol or not running.errors
    running.enter(tmp_path)
    running.errors = b""


def codes(diagnostics: list[Any]) -> list[str]:
    return [each["code"] for each in diagnostics]


def with_encodings(*encodings: str) -> dict[str, Any]:
    return {**CAPABILITIES, "general": {"positionEncodings": list(encodings)}}


class TestFindings:
    def test_a_leak_is_published_with_its_steps(self, editor: Editor) -> None:
        uri = editor.open("shop.py", LEAK)
        (found,) = editor.diagnostics("shop.py")
        start = len(BEFORE_THE_CALL.encode("utf-16-le")) // 2
        assert found["range"] == {
            "start": {"line": 6, "character": start},
            "end": {"line": 6, "character": start + len("pool.getconn()")},
        }
        assert (found["code"], found["severity"], found["source"]) == ("LC102", 2, "leakcheck")
        assert found["message"].startswith("`conn` is not given back when `cur.execute(...)` raises")
        assert [each["message"] for each in found["relatedInformation"]] == [
            "connection taken here",
            "`cur.execute(...)` may raise",
            "leaves without `pool.putconn(conn)`",
        ]
        assert {each["location"]["uri"] for each in found["relatedInformation"]} == {uri}
        page = found["codeDescription"]["href"].removeprefix("file://")
        assert Path(page).read_text().startswith("# ")
        assert editor.said("textDocument/publishDiagnostics")[-1]["version"] == 1

    @pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
    @pytest.mark.parametrize(
        ("offered", "chosen"),
        [(("utf-8", "utf-16"), "utf-8"), (("utf-32",), "utf-32"), ((), "utf-16"), (("latin-1",), "utf-16")],
    )
    def test_position_encodings(self, tmp_path: Path, newline: str, offered: tuple[str, ...], chosen: str) -> None:
        capabilities = with_encodings(*offered) if offered else {}
        with Editor(tmp_path, capabilities=capabilities) as editor:
            assert editor.initialized["capabilities"]["positionEncoding"] == chosen
            editor.open("shop.py", LEAK.replace("\n", newline))
            (found,) = editor.diagnostics("shop.py")
            units = {"utf-8": len(BEFORE_THE_CALL.encode()), "utf-32": len(BEFORE_THE_CALL)}
            start = units.get(chosen, len(BEFORE_THE_CALL.encode("utf-16-le")) // 2)
            assert found["range"]["start"] == {"line": 6, "character": start}

    def test_tabs_are_one_column(self, editor: Editor) -> None:
        editor.open("shop.py", LEAK.replace("    ", "\t"))
        (found,) = editor.diagnostics("shop.py")
        assert found["range"]["start"]["character"] == len(BEFORE_THE_CALL.encode("utf-16-le")) // 2 - 3

    def test_an_editor_that_asks_is_not_told(self, tmp_path: Path) -> None:
        capabilities = {**CAPABILITIES, "textDocument": {"diagnostic": {}}}
        with Editor(tmp_path, capabilities=capabilities) as editor:
            editor.open("shop.py", LEAK)
            assert codes(editor.pulled("shop.py")) == ["LC102"]
            assert not editor.said("textDocument/publishDiagnostics")
            assert editor.pulled("other.py") == []

    def test_an_editor_without_related_places_gets_them_in_words(self, tmp_path: Path) -> None:
        with Editor(tmp_path, capabilities={}) as editor:
            editor.open("shop.py", LEAK)
            (found,) = editor.diagnostics("shop.py")
            assert "relatedInformation" not in found
            assert found["message"].splitlines()[1] == "1. line 7: connection taken here"

    def test_what_the_command_line_says_of_the_saved_files(self, tmp_path: Path, editor: Editor) -> None:
        (tmp_path / "db.py").write_text(DB)
        (tmp_path / "orders.py").write_text(ORDERS)
        report = check([str(tmp_path)], Config(root=tmp_path))
        for name in ("db.py", "orders.py"):
            editor.open(name)
        for name in ("db.py", "orders.py"):
            said = [(each["range"]["start"]["line"] + 1, each["code"]) for each in editor.diagnostics(name)]
            expected = [each for each in report.diagnostics if each.path.endswith(name)]
            assert said == [(each.span.start.row, each.code) for each in expected]
        assert report.diagnostics

    def test_steps_in_another_file(self, tmp_path: Path, editor: Editor) -> None:
        (tmp_path / "db.py").write_text(DB.replace("    return pool", "    '''\U0001f4a5'''; return pool"))
        editor.open("orders.py", ORDERS)
        found = next(each for each in editor.diagnostics("orders.py") if each["code"] == "LC102")
        step = found["relatedInformation"][0]["location"]
        assert step["uri"] == editor.uri("db.py")
        assert step["range"]["start"] == {"line": 7, "character": len("    '''xx'''; return ")}

    def test_a_buffer_without_a_file(self, editor: Editor) -> None:
        uri = editor.open("untitled:Untitled-1", LEAK)
        (found,) = editor.diagnostics(uri)
        assert found["code"] == "LC102"
        assert {each["location"]["uri"] for each in found["relatedInformation"]} == {uri}
        editor.open("untitled:Untitled-2", LEAK, language="sql")
        assert len(editor.diagnostics(uri)) == 1

    def test_a_comment_that_silences_nothing_is_faded(self, editor: Editor) -> None:
        editor.open("shop.py", "x = 1  # leakcheck: ignore[LC101]\n")
        (found,) = editor.diagnostics("shop.py")
        assert (found["code"], found["tags"]) == ("LC901", [1])


class TestChanges:
    def test_what_is_typed_counts_and_what_is_on_disk_does_not(self, tmp_path: Path, editor: Editor) -> None:
        (tmp_path / "shop.py").write_text(LEAK)
        editor.open("shop.py", CLEAN)
        assert editor.diagnostics("shop.py") == []
        editor.change("shop.py", LEAK)
        assert codes(editor.diagnostics("shop.py")) == ["LC102"]
        editor.change("shop.py", "")
        assert editor.diagnostics("shop.py") == []
        assert editor.said("textDocument/publishDiagnostics")[-1]["version"] == 3

    def test_a_range_in_the_editors_units(self, editor: Editor) -> None:
        editor.open("shop.py", LEAK)
        start = len(BEFORE_THE_CALL.encode("utf-16-le")) // 2
        place = {"line": 6, "character": start}
        editor.change("shop.py", "None  #", {"start": place, "end": place})
        assert editor.diagnostics("shop.py") == []

    def test_a_caller_follows_the_buffer_of_another_file(self, tmp_path: Path, editor: Editor) -> None:
        (tmp_path / "db.py").write_text(DB)
        editor.open("orders.py", ORDERS)
        before = codes(editor.diagnostics("orders.py"))
        editor.open("db.py")
        editor.change("db.py", DB.replace("pool.putconn(conn)", "print(conn)"))
        after = codes(editor.diagnostics("orders.py"))
        assert after.count("LC101") > before.count("LC101")
        editor.close("db.py")
        assert codes(editor.diagnostics("orders.py")) == before

    def test_findings_stay_and_move_while_it_does_not_parse(self, editor: Editor) -> None:
        editor.open("shop.py", LEAK)
        (before,) = editor.diagnostics("shop.py")
        place = {"line": 3, "character": 0}
        editor.change("shop.py", "\ndef unfinished(\n", {"start": place, "end": place})
        broken, after = editor.diagnostics("shop.py")
        assert (broken["code"], after["code"]) == ("LC900", "LC102")
        assert after["range"]["start"]["line"] == before["range"]["start"]["line"] + 2
        assert editor.actions("shop.py", after) == []
        editor.change("shop.py", "", {"start": place, "end": {"line": 5, "character": 0}})
        assert editor.diagnostics("shop.py")[0]["range"] == before["range"]

    def test_a_file_that_moves(self, tmp_path: Path, editor: Editor) -> None:
        (tmp_path / "leakcheck.toml").touch()  # a project of its own
        (tmp_path / "db.py").write_text(DB)
        editor.open("orders.py", ORDERS)
        before = codes(editor.diagnostics("orders.py"))
        assert "LC102" in before
        (tmp_path / "db.py").rename(tmp_path / "store.py")
        files = [{"oldUri": editor.uri("db.py"), "newUri": editor.uri("store.py")}]
        editor.notify("workspace/didRenameFiles", {"files": files})
        assert codes(editor.diagnostics("orders.py")) != before
        editor.change("orders.py", ORDERS.replace("from db", "from store"))
        assert codes(editor.diagnostics("orders.py")) == before

    def test_a_file_that_vanishes(self, tmp_path: Path, editor: Editor) -> None:
        (tmp_path / "leakcheck.toml").touch()  # a project of its own
        (tmp_path / "shop.py").write_text(LEAK)
        (tmp_path / "db.py").write_text(DB)
        editor.open("shop.py")
        editor.open("orders.py", ORDERS)
        editor.settle()
        for name in ("shop.py", "db.py"):
            (tmp_path / name).unlink()
        changes = [{"uri": editor.uri(name), "type": 3} for name in ("shop.py", "db.py")]
        editor.notify("workspace/didChangeWatchedFiles", {"changes": changes})
        assert codes(editor.diagnostics("shop.py")) == ["LC102"]
        assert "LC101" not in codes(editor.diagnostics("orders.py"))
        editor.close("shop.py")
        editor.settle()
        last = editor.said("textDocument/publishDiagnostics")[-1]
        assert (last["uri"], last["diagnostics"]) == (editor.uri("shop.py"), []) or last["uri"] != editor.uri("shop.py")

    @pytest.mark.parametrize("seed", range(2))
    def test_random_edits(self, tmp_path: Path, seed: int, editor: Editor) -> None:
        chosen = random.Random(seed)
        original = {"db.py": DB, "orders.py": ORDERS}
        for name, text in original.items():
            (tmp_path / name).write_text(text)
            editor.open(name)
        texts = dict(original)
        for _ in range(20):
            name = chosen.choice(sorted(texts))
            before, texts[name] = texts[name], edited(texts[name], chosen)
            editor.change(name, *changed(before, texts[name]))
            if chosen.random() < 0.3:
                editor.settle()
            if chosen.random() < 0.3:
                texts[name] = original[name]
                editor.change(name, texts[name])
        for name, text in original.items():
            texts[name] = edited(text, chosen)
            editor.change(name, texts[name])
            while not parses(texts[name]):
                texts[name] = edited(text, chosen)
                editor.change(name, texts[name])
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
        report = check([str(tmp_path)], Config(root=tmp_path))
        for name in texts:
            said = [(each["range"]["start"]["line"] + 1, each["code"]) for each in editor.diagnostics(name)]
            expected = [each for each in report.diagnostics if each.path.endswith(name)]
            assert said == [(each.span.start.row, each.code) for each in expected]


def parses(text: str) -> bool:
    try:
        compile(text, "", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def changed(before: str, after: str) -> tuple[str, Message]:
    """The middle of a text that differs, and the range that it replaces. All characters are of one unit."""
    start = next(
        (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(map(len, (before, after)))
    )
    tail = 0
    while tail < min(len(before), len(after)) - start and before[-1 - tail] == after[-1 - tail]:
        tail += 1

    def position(offset: int) -> Message:
        lines = before[:offset].split("\n")
        return {"line": len(lines) - 1, "character": len(lines[-1])}

    return after[start : len(after) - tail], {"start": position(start), "end": position(len(before) - tail)}


def fresh(editor: Editor, action: Message) -> Message:
    """The action as it is offered for the buffer as it is now."""
    return next(dict(each) for each in editor.actions("shop.py") if each["title"] == action["title"])


class TestActions:
    def ignoring(self, editor: Editor, diagnostic: Message) -> Message:
        titled = [each for each in editor.actions("shop.py", diagnostic) if each["title"].startswith("Ignore")]
        assert len(titled) == 1
        return dict(titled[0])

    def test_ignoring_with_a_reason_gives_the_right_bytes(self, tmp_path: Path, editor: Editor) -> None:
        text = LEAK.replace("\n", "\r\n")
        editor.open("shop.py", text)
        (found,) = editor.diagnostics("shop.py")
        action = self.ignoring(editor, found)
        assert action["title"] == "Ignore LC102 here, with a reason"
        assert action["kind"] == "quickfix"
        assert "isPreferred" not in action
        assert action["diagnostics"][0]["range"] == found["range"]
        (tmp_path / "shop.py").write_bytes(editor.apply(action["edit"]).encode())
        comment = "pool.getconn()  # leakcheck: ignore[LC102] -- reason"
        assert (tmp_path / "shop.py").read_bytes() == text.replace("pool.getconn()", comment).encode()
        editor.change("shop.py", (tmp_path / "shop.py").read_bytes().decode())
        assert editor.diagnostics("shop.py") == []
        assert not check([str(tmp_path)], Config(root=tmp_path)).diagnostics

    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    def test_all_safe_fixes_are_what_the_command_line_writes(
        self, tmp_path: Path, editor: Editor, newline: str
    ) -> None:
        editor.open("shop.py", FIXABLE.replace("\n", newline))
        assert codes(editor.diagnostics("shop.py")) == ["LC102", "LC102"]
        (action,) = editor.actions("shop.py", only=["source.fixAll"])
        assert action["kind"] == "source.fixAll.leakcheck"
        (tmp_path / "fixed.py").write_bytes(FIXABLE.replace("\n", newline).encode())
        run = [sys.executable, "-m", "leakcheck", "check", "--fix", "--exit-zero", "fixed.py"]
        subprocess.run(run, cwd=tmp_path, check=True, capture_output=True)
        assert editor.apply(action["edit"]).encode() == (tmp_path / "fixed.py").read_bytes()
        editor.change("shop.py", editor.apply(action["edit"]))
        assert editor.diagnostics("shop.py") == []
        assert editor.actions("shop.py", only=["source.fixAll"]) == []

    def test_one_fix(self, editor: Editor) -> None:
        editor.open("shop.py", FIXABLE)
        first, second = editor.diagnostics("shop.py")
        fix, ignore = editor.actions("shop.py", second)
        assert (fix["title"], fix["isPreferred"]) == ("Release `conn` in `finally` (safe)", True)
        assert "isPreferred" not in ignore
        assert [each["range"] for each in fix["diagnostics"]] == [second["range"]]
        editor.change("shop.py", editor.apply(fix["edit"]))
        assert [each["range"] for each in editor.diagnostics("shop.py")] == [first["range"]]

    def test_a_fix_in_every_shape(self, editor: Editor) -> None:
        editor.open("shop.py", SHAPES)
        (found,) = editor.diagnostics("shop.py")
        enclosed, released, ignore = editor.actions("shop.py", found)
        assert [each["title"] for each in (enclosed, released, ignore)] == [
            "Take it by `with closing(sqlite3.connect(path)) as conn` (safe)",
            "Release `conn` in `finally` (safe)",
            "Ignore LC102 here, with a reason",
        ]
        assert [each.get("isPreferred") for each in (enclosed, released, ignore)] == [True, None, None]
        for action in (enclosed, released):
            editor.change("shop.py", SHAPES)
            editor.change("shop.py", editor.apply(fresh(editor, action)["edit"]))
            assert editor.diagnostics("shop.py") == []

    def test_an_unsafe_fix_says_so_and_is_not_preferred(self, editor: Editor) -> None:
        editor.open("shop.py", SHAPES.replace("conn.execute", "work(conn).execute"))
        (found,) = editor.diagnostics("shop.py")
        *fixes, _ignore = editor.actions("shop.py", found)
        assert fixes
        assert all(each["title"].endswith(" (unsafe: check the result)") for each in fixes)
        assert not any("isPreferred" in each for each in fixes)
        assert editor.actions("shop.py", only=["source.fixAll"]) == []

    def test_a_fix_that_is_refused(self, editor: Editor) -> None:
        editor.open("shop.py", LEAK)
        (found,) = editor.diagnostics("shop.py")
        assert self.ignoring(editor, found)["diagnostics"][0]["data"]["fix_refused"]

    def test_edits_come_later_where_the_editor_can_wait(self, tmp_path: Path) -> None:
        action = {"dataSupport": True, "resolveSupport": {"properties": ["edit"]}}
        with Editor(tmp_path, capabilities={**CAPABILITIES, "textDocument": {"codeAction": action}}) as editor:
            editor.open("shop.py", LEAK)
            (offered,) = editor.actions("shop.py")
            assert "edit" not in offered
            resolved = editor.request("codeAction/resolve", offered)["result"]
            assert "ignore[LC102]" in editor.apply(resolved["edit"])
            editor.change("shop.py", f"\n{LEAK}")
            assert "edit" not in editor.request("codeAction/resolve", offered)["result"]
            editor.change("shop.py", FIXABLE)
            first, *_ = editor.actions("shop.py")
            assert "edit" not in first
            assert "finally" in editor.apply(editor.request("codeAction/resolve", first)["result"]["edit"])

    def test_an_editor_without_versions_gets_plain_changes(self, tmp_path: Path) -> None:
        with Editor(tmp_path, capabilities={}) as editor:
            uri = editor.open("shop.py", LEAK)
            (offered,) = editor.actions("shop.py")
            assert list(offered["edit"]["changes"]) == [uri]

    def test_only_what_is_asked_for(self, editor: Editor) -> None:
        editor.open("shop.py", LEAK)
        assert editor.actions("shop.py", only=["refactor"]) == []
        assert len(editor.actions("shop.py", only=["quickfix"])) == 1
        assert editor.actions("other.py") == []


class TestConfiguration:
    def test_excluded_files_have_no_findings(self, tmp_path: Path, editor: Editor) -> None:
        (tmp_path / "pyproject.toml").write_text('[tool.leakcheck]\nextend-exclude = ["old"]\n')
        (tmp_path / "old").mkdir()
        editor.open("old/shop.py", LEAK)
        editor.open("shop.py", LEAK)
        assert editor.diagnostics("old/shop.py") == []
        assert codes(editor.diagnostics("shop.py")) == ["LC102"]

    def test_files_that_git_ignores_have_none(self, tmp_path: Path, editor: Editor) -> None:
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
        (tmp_path / ".gitignore").write_text("generated.py\n")
        editor.open("generated.py", LEAK)
        assert editor.diagnostics("generated.py") == []

    def test_a_change_counts_and_a_faulty_one_is_said_once(self, tmp_path: Path, editor: Editor) -> None:
        settings = tmp_path / "leakcheck.toml"
        editor.open("shop.py", LEAK)
        assert codes(editor.diagnostics("shop.py")) == ["LC102"]
        written = {"changes": [{"uri": settings.as_uri(), "type": 2}]}
        settings.write_text('ignore = ["LC102"]\n')
        editor.notify("workspace/didChangeWatchedFiles", written)
        assert editor.diagnostics("shop.py") == []
        settings.write_text('ignor = ["LC102"]\n')
        editor.notify("workspace/didChangeWatchedFiles", written)
        assert editor.diagnostics("shop.py") == []
        editor.change("shop.py", LEAK + "\n")
        assert editor.diagnostics("shop.py") == []
        (message,) = editor.said("window/showMessage")
        assert message["message"] == (
            f"leakcheck: {settings}: unknown key `ignor` in [tool.leakcheck]; did you mean `ignore`?"
        )
        settings.unlink()
        editor.notify("textDocument/didSave", {"textDocument": {"uri": settings.as_uri()}})
        assert codes(editor.diagnostics("shop.py")) == ["LC102"]
        assert len(editor.said("window/showMessage")) == 1

    def test_an_unknown_rule_keeps_the_findings(self, tmp_path: Path, editor: Editor) -> None:
        editor.open("shop.py", LEAK)
        assert codes(editor.diagnostics("shop.py")) == ["LC102"]
        (tmp_path / "leakcheck.toml").write_text('select = ["LC7"]\n')
        changes = [{"uri": editor.uri("leakcheck.toml"), "type": 1}]
        editor.notify("workspace/didChangeWatchedFiles", {"changes": changes})
        assert codes(editor.diagnostics("shop.py")) == ["LC102"]
        (message,) = editor.said("window/showMessage")
        assert "unknown rule `LC7`" in message["message"]

    def test_a_baseline_counts(self, tmp_path: Path, editor: Editor) -> None:
        (tmp_path / "shop.py").write_text(LEAK)
        (tmp_path / "pyproject.toml").write_text('[tool.leakcheck]\nbaseline = "leakcheck-baseline.json"\n')
        run = [sys.executable, "-m", "leakcheck", "baseline", "."]
        subprocess.run(run, cwd=tmp_path, check=True, capture_output=True)
        editor.open("shop.py")
        assert editor.diagnostics("shop.py") == []
        editor.change("shop.py", LEAK.replace("def cancel", "def remove"))
        assert codes(editor.diagnostics("shop.py")) == ["LC102"]

    def test_each_folder_has_its_own(self, tmp_path: Path) -> None:
        one, other = tmp_path / "one", tmp_path / "other"
        for folder in (one, other):
            (folder / "src").mkdir(parents=True)
        (one / "leakcheck.toml").write_text('ignore = ["LC102"]\n')
        (other / "src" / "db.py").write_text(DB)
        with Editor(one, other) as editor:
            editor.open("shop.py", LEAK)
            inside = editor.open((other / "orders.py").as_uri(), ORDERS)
            assert editor.diagnostics("shop.py") == []
            assert "LC102" in codes(editor.diagnostics(inside))
            event = {"added": [], "removed": [{"uri": other.as_uri(), "name": "other"}]}
            editor.notify("workspace/didChangeWorkspaceFolders", {"event": event})
            assert editor.diagnostics("shop.py") == []


class TestProtocol:
    def test_leaving(self, tmp_path: Path) -> None:
        editor = Editor(tmp_path)
        editor.open("shop.py", LEAK)
        (found,) = editor.diagnostics("shop.py")
        page = Path(found["codeDescription"]["href"].removeprefix("file://"))
        assert page.exists()
        assert editor.leave() == 0
        assert not page.exists()

    def test_leaving_without_a_word(self, tmp_path: Path) -> None:
        editor = Editor(tmp_path)
        editor.notify("exit", None)
        assert editor.ended() == 1

    def test_an_editor_that_died(self, tmp_path: Path) -> None:
        editor = Editor(tmp_path)
        assert editor.process.stdin is not None
        editor.process.stdin.close()
        assert editor.ended() == 1

    @pytest.mark.parametrize(
        "method", ["textDocument/codeAction", "textDocument/diagnostic", "codeAction/resolve", "no/such", "shutdown/x"]
    )
    def test_a_malformed_request_is_answered(self, editor: Editor, method: str) -> None:
        assert "error" in editor.request(method, {"textDocument": 1, "range": "everything"})
        editor.open("shop.py", LEAK)
        assert codes(editor.diagnostics("shop.py")) == ["LC102"]

    @pytest.mark.parametrize(
        "body", [b"{", b"[]", b"null", b'{"jsonrpc": "2.0"}', b'{"jsonrpc": "1.0", "id": 1}', b"\xff\xfe", b'"x"']
    )
    def test_what_is_no_message_is_passed_over(self, editor: Editor, body: bytes) -> None:
        editor.send_bytes(body)
        editor.open("shop.py", LEAK)
        assert codes(editor.diagnostics("shop.py")) == ["LC102"]
        assert not editor.said("window/showMessage")

    def test_what_is_not_open_is_passed_over(self, editor: Editor) -> None:
        editor.open("shop.py", LEAK)
        for uri in ("file:///no/such/file.py", "gopher://x", "", "file:///tmp", "untitled:x"):
            document = {"uri": uri, "version": 7}
            editor.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": "x"}]})
            editor.notify("textDocument/didClose", {"textDocument": document})
            editor.notify("textDocument/didSave", {"textDocument": document})
            assert editor.request("textDocument/diagnostic", {"textDocument": document})["result"]["items"] == []
        far = {"line": 10**9, "character": 10**9}
        editor.change("shop.py", "# end", {"start": far, "end": far})
        assert codes(editor.diagnostics("shop.py")) == ["LC102"]
        assert not editor.said("window/showMessage")

    def test_a_request_can_be_cancelled(self, editor: Editor) -> None:
        editor.open("shop.py", LEAK * 20)
        params = {"textDocument": {"uri": editor.uri("shop.py")}}
        answer = editor.request("textDocument/diagnostic", params, cancel=True)
        assert answer["error"]["code"] == -32800
        assert len(editor.pulled("shop.py")) >= 1

    def test_it_watches_what_counts(self, editor: Editor) -> None:
        editor.open("shop.py", LEAK)
        editor.settle()
        (registered,) = editor.registered
        (watch,) = registered["registrations"]
        assert {"globPattern": "**/*.toml"} in watch["registerOptions"]["watchers"]


class TestCommand:
    def test_the_missing_extra_is_named(self, tmp_path: Path) -> None:
        hidden = (
            "import sys; sys.modules['pygls'] = None; from leakcheck.__main__ import main; sys.exit(main(['server']))"
        )
        result = subprocess.run(
            [sys.executable, "-c", hidden], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 2
        assert result.stderr.startswith("error: the language server needs pygls, which is not installed: pip install")

    def test_no_other_command_imports_it(self, tmp_path: Path) -> None:
        (tmp_path / "shop.py").write_text(LEAK)
        code = (
            "import sys; from leakcheck.__main__ import main\n"
            "for line in (['--help'], ['check', '--exit-zero', '.'], ['explain', 'LC102'], ['config']): main(line)\n"
            "found = [n for n in sys.modules if n.partition('.')[0] in ('pygls', 'lsprotocol')]\n"
            "sys.exit(str(found) if found else 0)"
        )
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
