"""The fast lane may only say what the ordinary way would say, too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leakcheck import engine
from leakcheck.config import Config
from leakcheck.driver_data import load_drivers
from leakcheck.fast_lane import TRIGGERS, _names, nothing_to_say
from leakcheck.project.files import Discovery

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path.relative_to(ROOT).as_posix() for folder in ("leakcheck", "tests") for path in (ROOT / folder).rglob("*.py")
)
HANDS_OUT = "from psycopg2 import connect as take\n"


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


def test_every_word_of_the_drivers_is_known() -> None:
    missing = [word for word in load_drivers(()).tokens if not any(trigger in word for trigger in TRIGGERS)]
    assert missing == []


def test_what_it_passes_over_has_no_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The fixtures are findings in all shapes; a copy of them has no configuration above it.
    for location in (ROOT / "fixtures").rglob("*.py"):
        target = tmp_path / location.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(location.read_bytes())
    monkeypatch.chdir(tmp_path)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.py"))
    passed = [path for path in files if nothing_to_say([path])]
    report = engine.check_files(Discovery(tuple(passed), frozenset(passed)), Config(root=tmp_path))
    assert report.diagnostics == ()


@pytest.mark.usefixtures("inside")
class TestInside:
    @pytest.mark.parametrize(
        "text",
        [
            "conn = connect()\n",
            "x = 1  # leakcheck: ignore[LC102]\n",
            "x = 1  # noqa: LC102\n",
            "def f(:\n",
            "x = '\0'\n",
        ],
    )
    def test_a_file_in_doubt(self, text: str) -> None:
        write("a.py", "x = 1\n")
        assert nothing_to_say(["a.py"])
        write("b.py", text)
        assert not nothing_to_say(["a.py", "b.py"])

    def test_what_is_no_regular_file(self) -> None:
        os.mkfifo("pipe.py")
        Path("folder").mkdir()
        for path in ("pipe.py", "folder", "nowhere.py"):
            assert not nothing_to_say([path])

    @pytest.mark.parametrize("name", ["leakcheck.toml", "pyproject.toml"])
    def test_a_configuration(self, name: str) -> None:
        write("pkg/a.py", "x = 1\n")
        write(name, "[tool.leakcheck]\n")
        assert not nothing_to_say(["pkg/a.py"])
        write(name, "[project]\n")
        assert nothing_to_say(["pkg/a.py"]) is (name == "pyproject.toml")

    @pytest.mark.parametrize(
        ("importer", "statement", "imported"),
        [
            ("a.py", "import db", "db.py"),
            ("a.py", "import os, db as database", "db.py"),
            ("a.py", "import os; import db", "db.py"),
            ("a.py", "from db import take", "db.py"),
            ("a.py", "from app.db import take", "app/db.py"),
            ("a.py", "from app import db", "app/db.py"),
            ("a.py", "from app import (\n    x,\n    db,\n)", "app/db.py"),
            ("a.py", "from app import x, \\\n    db", "app/db.py"),
            ("a.py", "import app.deep.db", "app/deep/__init__.py"),
            ("a.py", "import app.deep.db", "app/__init__.py"),
            ("a.py", "def f():\n    from db import take", "db.py"),
            ("app/a.py", "from . import db", "app/db.py"),
            ("app/a.py", "from .db import take", "app/db.py"),
            ("app/a.py", "from.db import take", "app/db.py"),
            ("app/deep/a.py", "from ..db import take", "app/db.py"),
            ("app/deep/a.py", "from .. import db", "app/db.py"),
            ("app/a.py", "import db", "app/db.py"),
            ("app/a.py", "import lib", "src/lib.py"),
            ("app/a.py", "import top", "top.py"),
        ],
    )
    def test_a_file_that_imports_what_matters(self, importer: str, statement: str, imported: str) -> None:
        for package in ("app", "app/deep"):
            write(f"{package}/__init__.py", "")
        write(imported, "x = 1\n")
        write(importer, f"{statement}\n")
        assert nothing_to_say([importer])
        write(imported, HANDS_OUT)
        assert not nothing_to_say([importer])

    def test_imports_of_imports(self) -> None:
        write("a.py", "import b\n")
        write("b.py", "import c\n")
        write("c.py", "import a, d\n")
        write("d.py", "x = 1\n")
        assert nothing_to_say(["a.py"])
        write("d.py", HANDS_OUT)
        assert not nothing_to_say(["a.py"])

    def test_many_files(self) -> None:
        write("a.py", "x = 1\n")
        assert not nothing_to_say(["a.py"] * 1000)


def test_names() -> None:
    text = "import a.b as c, d  # e\nfrom f import (g as h,\n  i)\nfrom . import j\nfrom .k import *\nfromage = 1\n"
    assert set(_names(text)) >= {"a.b", "d", "f", "f.g", "f.i", ".", ".j", ".k"}
