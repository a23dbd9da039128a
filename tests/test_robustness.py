"""Input that breaks analysers: each file gives findings, LC900, or a reason why it was left out; none stops the run."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from fixture_file import read_fixture

from leakcheck.config import Config
from leakcheck.engine import check
from leakcheck.report import Report

HEAD = "import psycopg2\n\n\ndef f(x):\n    conn = psycopg2.connect(x)\n"
TAIL = "    conn.close()\n"


def checked(folder: Path, name: str, content: str | bytes) -> Report:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    report = check([str(path)], Config())
    assert not report.breakdowns
    return report


def codes(report: Report) -> list[str]:
    return [diagnostic.code for diagnostic in report.diagnostics]


READABLE = {
    "latin-1 with a coding line": f'# -*- coding: latin-1 -*-\n{HEAD}    x = "é"\n{TAIL}'.encode("latin-1"),
    "byte-order mark": b"\xef\xbb\xbf" + (HEAD + "    work()\n" + TAIL).encode(),
    "carriage returns and line feeds": (HEAD + "    work()\n" + TAIL).replace("\n", "\r\n").encode(),
    "form feed": (HEAD + "\x0c    work()\n" + TAIL).encode(),
    "no newline at the end": (HEAD + "    work()\n" + TAIL).rstrip("\n").encode(),
    "tabs": (HEAD + "    work()\n" + TAIL).replace("    ", "\t").encode(),
    "line separators inside strings": (HEAD + '    x = "a\u2028b\x85c"\n    work()\n' + TAIL).encode(),
}


@pytest.mark.parametrize("content", READABLE.values(), ids=READABLE)
def test_unusual_text_is_analysed(tmp_path: Path, content: bytes) -> None:
    report = checked(tmp_path, "odd.py", content)
    found = [d for d in report.diagnostics if d.code == "LC102"]
    expected = 6 if content.startswith(b"# -*-") else 5
    assert [d.span.start.row for d in found] == ([] if b"work" not in content else [expected])
    assert codes(report) == ["LC102"] * len(found)


UNREADABLE = {
    "undecodable bytes": b'import psycopg2\nx = "\xe9"\n',
    "unknown coding": b"# -*- coding: no-such-thing -*-\nimport psycopg2\n",
    "two encodings at once": b"\xef\xbb\xbf# -*- coding: latin-1 -*-\nimport psycopg2\n",
    "null byte": b"import psycopg2\n\0\n",
    "utf-16": "import psycopg2\n".encode("utf-16"),
    "syntax error": b"import psycopg2\ndef f(:\n",
    "Python 2": b"import psycopg2\nprint psycopg2.connect()\n",
    "merge markers": b"import psycopg2\n<<<<<<< HEAD\n=======\n>>>>>>> x\n",
    "lone continuation": b"import psycopg2\n\\",
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_python_is_lc900(tmp_path: Path, content: bytes) -> None:
    assert codes(checked(tmp_path, "broken.py", content)) == ["LC900"]


DEEP = {
    "brackets": HEAD + "    y = " + "[" * 10_000 + "]" * 10_000 + "\n" + TAIL,
    "180 parentheses": HEAD + "    y = " + "(" * 180 + "work()" + ")" * 180 + "\n" + TAIL,
    "a chain of calls": HEAD + "    x" + ".b()" * 3_000 + "\n" + TAIL,
    "nested calls": HEAD + "    y = " + "f(" * 150 + ")" * 150 + "\n" + TAIL,
    "a chain of elif": HEAD + "    if x:\n        pass\n" + "    elif x():\n        work()\n" * 300 + TAIL,
    "operators": HEAD + "    y = " + "1 + " * 3_000 + "1\n" + TAIL,
    "nested finally": HEAD
    + "".join("    " * i + "try:\n" + "    " * (i + 1) + "work()\n" + "    " * i + "finally:\n" for i in range(1, 16))
    + "    " * 16
    + "conn.close()\n",
}


@pytest.mark.parametrize("content", DEEP.values(), ids=DEEP)
def test_deep_nesting_is_analysed_or_said_to_be_left_out(tmp_path: Path, content: str) -> None:
    report = checked(tmp_path, "deep.py", content)
    assert report.diagnostics or report.not_analysed


WIDE = {
    "200 checkouts in a row": "".join(
        f"    c{i} = psycopg2.connect(x)\n    try:\n        work({i})\n    except ValueError:\n        pass\n"
        f"    if x[{i}]:\n        c{i}.close()\n"
        for i in range(200)
    ),
    "200 flags alive at once": "".join(f"    f{i} = x({i}) is None\n" for i in range(200))
    + "".join(f"    if f{i}:\n        work()\n" for i in range(200)),
    "200 try with finally": "".join(
        f"    try:\n        work({i})\n    except KeyError:\n        pass\n    finally:\n        more({i})\n"
        for i in range(200)
    ),
}


@pytest.mark.parametrize("body", WIDE.values(), ids=WIDE)
def test_many_branches_are_followed_to_the_end(tmp_path: Path, body: str) -> None:
    report = checked(tmp_path, "wide.py", HEAD + body + TAIL)
    assert report.diagnostics[0].span.start.row == 5
    assert not report.not_analysed


def test_an_empty_file_is_clean(tmp_path: Path) -> None:
    assert codes(checked(tmp_path, "empty.py", "")) == []


def test_entries_that_are_no_files_are_passed(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "folder.py" / "inside.py").write_text(HEAD)
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.py")
    report = check([str(tmp_path)], Config())
    assert codes(report) == ["LC101"]
    assert {Path(each.path).name for each in report.not_analysed} == {"gone.py", "pipe.py"}


OWNERS = Path(__file__).parent.parent / "fixtures" / "lc109_owner_never_releases"
EXITS = [
    "lc102_leaks_on_exception/exit_after_a_block_that_raised.py",
    "lc303_transaction_open_on_path/decided_by_its_object.py",
]


@pytest.mark.parametrize("methods", [r"\w+", r"__\w+__"], ids=["all", "special"])
def test_methods_without_parameters_end_no_analysis(tmp_path: Path, methods: str) -> None:
    locations = [*OWNERS.glob("*.py"), *(OWNERS.parent / name for name in EXITS)]
    for number, location in enumerate(locations):
        for path, text in read_fixture(location).files.items():
            place = tmp_path / str(number) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(re.sub(rf"(def {methods})\((?:self|cls)\b[^)]*\)", r"\1()", text), encoding="utf-8")
    for folder in tmp_path.iterdir():
        assert not check([str(folder)], Config(root=folder, select=("ALL",))).breakdowns
