"""Comments that silence findings: where they are written, and that they do what they say."""

from __future__ import annotations

import ast
import io
import os
import sys
from pathlib import Path

import pytest
from fixture_file import read_fixture

from leakcheck.cli import main
from leakcheck.config import Config
from leakcheck.diagnostic import Diagnostic, LeakcheckError, Position, Severity, Span
from leakcheck.engine import check_files
from leakcheck.fixes.apply import edited
from leakcheck.ignoring import checked, comments
from leakcheck.project.files import Discovery
from leakcheck.project.nodes import parsed
from leakcheck.reader import Read
from leakcheck.report import Report
from leakcheck.rewriting import silenced

FIXTURES = Path(__file__).parent.parent / "fixtures"
LOCATIONS = sorted(path for path in FIXTURES.rglob("*.py") if "demo" not in path.relative_to(FIXTURES).parts)[::8]
WRITTEN = "  # leakcheck: ignore[LC102] -- reason"

LEAK = """\
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def cancel(order_id):
    conn = pool.getconn()
    conn.cursor().execute("DELETE FROM orders WHERE id = %s", (order_id,))
    pool.putconn(conn)
"""


def finding(
    row: int, first: int, last: int, *, code: str = "LC102", statement: tuple[int, int] | None = None
) -> Diagnostic:
    span = Span(Position(row, first), Position(row, last))
    rows = statement or (row, row)
    around = Span(Position(rows[0], 1), Position(rows[1], 99))
    return Diagnostic(code, "leaks-on-exception", "lost", Severity.WARNING, "a.py", span, around)


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("c = get()\n", finding(1, 5, 10), f"c = get(){WRITTEN}\n"),
        ("c = get()", finding(1, 5, 10), f"c = get(){WRITTEN}"),
        ("c = get()   \n", finding(1, 5, 10), f"c = get(){WRITTEN}\n"),
        ("c = get()  # type: ignore[x]\n", finding(1, 5, 10), f"c = get()  # type: ignore[x]{WRITTEN}\n"),
        ("c = get()  # noqa: E501\n", finding(1, 5, 10), f"c = get()  # noqa: E501{WRITTEN}\n"),
        (
            "c = get()  # leakcheck: ignore[LC101] -- known\n",
            finding(1, 5, 10),
            "c = get()  # leakcheck: ignore[LC101, LC102] -- known\n",
        ),
        (
            "c = get()  # leakcheck: ignore[ never-released ]\n",
            finding(1, 5, 10),
            "c = get()  # leakcheck: ignore[ never-released, LC102 ]\n",
        ),
        ("c = get()  # leakcheck: ignore[]\n", finding(1, 5, 10), "c = get()  # leakcheck: ignore[LC102]\n"),
        ("c = get()  # leakcheck: ignore\n", finding(1, 5, 10), "c = get()  # leakcheck: ignore[LC102]\n"),
        (
            "c = get(\n    1,  # leakcheck: ignore[LC101]\n)\n",
            finding(1, 5, 8, statement=(1, 3)),
            "c = get(\n    1,  # leakcheck: ignore[LC101, LC102]\n)\n",
        ),
        ("c = get(\n    1,\n)\n", finding(1, 5, 8, statement=(1, 3)), f"c = get({WRITTEN}\n    1,\n)\n"),
        ("c = a + \\\n    get()\n", finding(1, 5, 6, statement=(1, 2)), f"c = a + \\\n    get(){WRITTEN}\n"),
        ('c = get("""\n""")\n', finding(1, 5, 8, statement=(1, 2)), f'c = get("""\n"""){WRITTEN}\n'),
        (
            'c = get(f"""\n{\na}""")\n',
            finding(1, 5, 8, statement=(1, 3)),
            f'c = get(f"""\n{{\na}}"""){WRITTEN}\n',
        ),
        ("@get()\ndef f(): ...\n", finding(1, 2, 7), f"@get(){WRITTEN}\ndef f(): ...\n"),
        ("with get() as c:\n    pass\n", finding(1, 6, 11), f"with get() as c:{WRITTEN}\n    pass\n"),
        ("c = get()\r\nd = 1\r\n", finding(1, 5, 10), f"c = get(){WRITTEN}\r\nd = 1\r\n"),
        ("c = get()\rd = 1\r", finding(1, 5, 10), f"c = get(){WRITTEN}\rd = 1\r"),
        ("if x: c = get('''\n'''); d = \\\n1\n", finding(1, 11, 14), None),
        ("c = get(\n", finding(1, 5, 8), None),
    ],
)
def test_where_a_comment_stands(text: str, found: Diagnostic, expected: str | None) -> None:
    written = comments(text, (found,), "reason")
    assert written.silenced == ((found,) if expected is not None else ())
    assert written.left == (() if expected is not None else (found,))
    assert edited(text, written.edits) == (text if expected is None else expected)


def test_findings_of_one_line_share_a_comment() -> None:
    both = (finding(1, 5, 10), finding(1, 5, 10, code="LC201"), finding(1, 5, 10))
    written = comments("c = get()\n", both, "reason")
    assert edited("c = get()\n", written.edits) == "c = get()  # leakcheck: ignore[LC102, LC201] -- reason\n"


def test_what_is_wrong_with_files_and_comments_is_not_silenced() -> None:
    written = comments("x = 1  # leakcheck: ignore[LC101]\n", (finding(1, 8, 20, code="LC901"),), "reason")
    assert (written.edits, written.silenced, written.left) == ((), (), ())


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "\x1b[31m", "see # noqa", "# leakcheck: ignore[LC101]"])
def test_reasons_that_cannot_be_written(reason: str) -> None:
    with pytest.raises(LeakcheckError, match="reason"):
        checked(reason)


@pytest.mark.parametrize("reason", ["the watchdog closes it", "see #1234, and -- DB-17", "größer"])
def test_reasons_that_can(reason: str) -> None:
    assert checked(f" {reason} ") == reason


@pytest.mark.parametrize("location", LOCATIONS, ids=lambda path: path.relative_to(FIXTURES).as_posix())
def test_nothing_is_left_and_the_program_is_the_same(location: Path, tmp_path: Path) -> None:
    for name, text in read_fixture(location).files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    discovery = Discovery(tuple(sorted(map(str, tmp_path.rglob("*.py")))))
    config = Config(root=tmp_path, select=("ALL",))

    def check(read: Read, _only: frozenset[str] | None) -> Report:
        return check_files(discovery, config, read=read)

    def read(path: str) -> bytes:
        return Path(path).read_bytes()

    before = check(read, None)
    outcome = silenced(before, check, read, "reason")
    assert outcome.left == ()
    expected = [each for each in before.diagnostics if each.code.startswith("LC9")]
    assert [(each.code, each.path, each.span.start.row) for each in outcome.report.diagnostics] == [
        (each.code, each.path, each.span.start.row) for each in expected
    ]
    assert outcome.fixed == len(before.diagnostics) - len(expected)
    for change in outcome.files.values():
        assert ast.dump(parsed(change.before.decode())) == ast.dump(parsed(change.after.decode()))


class TestCommand:
    @pytest.fixture(autouse=True)
    def _in_an_empty_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    @pytest.mark.parametrize(
        "data",
        [
            LEAK.encode(),
            LEAK.replace("\n", "\r\n").encode(),
            b"\xef\xbb\xbf" + LEAK.encode(),
            ("# -*- coding: latin-1 -*-\n# Stra\xdfe\n" + LEAK).encode("latin-1"),
        ],
        ids=["plain", "crlf", "mark", "latin-1"],
    )
    def test_it_silences_everything(self, data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
        path = Path("a.py")
        path.write_bytes(data)
        path.chmod(0o640)
        assert main(["--add-ignore", "the watchdog closes it", "a.py"]) == 0
        comment = b"pool.getconn()  # leakcheck: ignore[LC102] -- the watchdog closes it"
        assert path.read_bytes() == data.replace(b"pool.getconn()", comment)
        assert path.stat().st_mode & 0o777 == 0o640
        assert "Ignored 1 finding in 1 file." in capfd.readouterr().out
        assert main(["--no-cache", "a.py"]) == 0
        assert os.listdir() == ["a.py"]

    def test_a_patch_writes_nothing(self, capfd: pytest.CaptureFixture[str]) -> None:
        Path("a.py").write_text(LEAK)
        assert main(["--add-ignore", "known", "--diff", "a.py"]) == 1
        assert Path("a.py").read_text() == LEAK
        out, err = capfd.readouterr()
        assert "+    conn = pool.getconn()  # leakcheck: ignore[LC102] -- known\n" in out
        assert "Would ignore 1 finding." in err

    def test_only_what_was_selected(self) -> None:
        Path("a.py").write_text(LEAK)
        assert main(["--add-ignore", "known", "--select", "LC101", "a.py"]) == 0
        assert Path("a.py").read_text() == LEAK

    def test_an_unused_comment_stays_reported(self, capfd: pytest.CaptureFixture[str]) -> None:
        Path("a.py").write_text(LEAK.replace("pool.getconn()", "pool.getconn()  # leakcheck: ignore[LC101]"))
        assert main(["--add-ignore", "known", "--output-format", "concise", "a.py"]) == 1
        assert "ignore[LC101, LC102]" in Path("a.py").read_text()
        assert "LC901" in capfd.readouterr().out

    def test_a_line_that_ends_in_a_string_is_left_as_it_is(self) -> None:
        text = LEAK.replace("pool.getconn()\n", 'pool.getconn(); x = """\n"""\n')
        Path("a.py").write_text(text)
        assert main(["--add-ignore", "known", "a.py"]) == 0
        assert Path("a.py").read_text() == text.replace('\n"""', '\n"""  # leakcheck: ignore[LC102] -- known')

    def test_an_encoding_that_cannot_hold_the_reason(self, capfd: pytest.CaptureFixture[str]) -> None:
        data = ("# -*- coding: latin-1 -*-\n" + LEAK).encode()
        Path("a.py").write_bytes(data)
        assert main(["--add-ignore", "\u20ac", "a.py"]) == 2
        assert Path("a.py").read_bytes() == data
        assert "a.py: nothing was changed: its encoding, iso-8859-1, cannot hold the reason" in capfd.readouterr().err

    def test_standard_input_is_printed_with_the_comment(
        self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LEAK.encode())))
        assert main(["--add-ignore", "known", "-"]) == 0
        assert "ignore[LC102] -- known" in capfd.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--add-ignore", "a.py"], "--add-ignore takes a reason, and a.py is a path: name both"),
            (["--add-ignore", "", "a.py"], "needs a reason"),
            (["--add-ignore", "known", "--fix", "a.py"], "exclude each other"),
            (["--add-ignore", "known", "--unsafe-fixes", "a.py"], "exclude each other"),
        ],
    )
    def test_wrong_usage(self, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
        Path("a.py").write_text(LEAK)
        assert main(arguments) == 2
        assert message in capfd.readouterr().err
        assert Path("a.py").read_text() == LEAK
