"""Pools per request across files: findings depend on no file list, and a run without a pool asks for no caller."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from leakcheck.config import Config
from leakcheck.diagnostic import Diagnostic
from leakcheck.engine import check

ROOT = Path(__file__).parent.parent
POOL = "from sqlalchemy import create_engine\n\n\ndef make():\n    return create_engine('postgresql:///shop')\n"
VIEW = """
from flask import Flask

from {module} import make

app = Flask(__name__)


@app.get("/")
def index():
    return make()
"""


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def findings(root: Path, *names: str) -> list[Diagnostic]:
    report = check([str(root / name) for name in names], Config(root=root))
    assert report.breakdowns == ()
    return list(report.diagnostics)


@pytest.mark.parametrize(
    ("pool", "view", "module"),
    [
        ("db.py", "app.py", "db"),
        ("shop/db.py", "shop/web/app.py", "shop.db"),  # no __init__.py anywhere
        ("shop/__init__.py", "web/app.py", "shop"),
        ("src/shop/db.py", "src/web/deep/er/app.py", "shop.db"),
    ],
)
def test_a_handler_in_a_file_that_was_not_named_counts(tmp_path: Path, pool: str, view: str, module: str) -> None:
    write(tmp_path, {pool: POOL, view: VIEW.format(module=module)})
    alone = findings(tmp_path, pool)
    assert [one.code for one in alone] == ["LC201"]
    assert findings(tmp_path, pool, view) == alone
    assert findings(tmp_path, view) == []


def test_what_tests_run_serves_nobody(tmp_path: Path) -> None:
    handler = VIEW.format(module="db")
    write(tmp_path, {"db.py": POOL, "tests/test_app.py": handler, "conftest.py": handler})
    assert findings(tmp_path, "db.py") == []
    write(tmp_path, {"tests/db.py": POOL, "tests/app.py": VIEW.format(module="tests.db")})
    assert [one.code for one in findings(tmp_path, "tests/db.py")] == ["LC201"]


def test_the_project_ends_at_its_marker(tmp_path: Path) -> None:
    write(tmp_path, {"one/pyproject.toml": "", "one/db.py": POOL, "two/app.py": VIEW.format(module="db")})
    assert findings(tmp_path, "one/db.py") == []


def test_a_function_of_the_same_name_is_another(tmp_path: Path) -> None:
    other = POOL.replace("return create_engine('postgresql:///shop')", "return None")
    write(tmp_path, {"db.py": POOL, "other.py": other, "app.py": VIEW.format(module="other")})
    assert findings(tmp_path, "db.py") == []


def test_nobody_asks_for_callers_where_no_pool_is_built(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "import psycopg2\n\n\ndef f():\n    conn = psycopg2.connect('')\n    conn.close()\n"})
    code = (
        "import sys; from leakcheck.__main__ import main; main(sys.argv[1:]);"
        "sys.stderr.write(str('leakcheck.handlers.chains' in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "a.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "False"


def test_of_a_project_that_is_too_large_the_package_around_the_file_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller in the package is found, one beside it only where the project is not too large."""
    view = VIEW.format(module="shop.stock.db")
    files = {f"shop/other{number}.py": "" for number in range(20)}
    packages = {f"{folder}/__init__.py": "" for folder in ("shop", "shop/stock", "shop/stock/web")}
    write(tmp_path, {"pyproject.toml": "", "shop/stock/db.py": POOL, **packages, **files})
    monkeypatch.setattr("leakcheck.project.modules._MOST_FILES", 10)
    write(tmp_path, {"shop/view.py": view})
    assert findings(tmp_path, "shop/stock/db.py") == []
    write(tmp_path, {"shop/stock/web/view.py": view})
    assert [each.code for each in findings(tmp_path, "shop/stock/db.py")] == ["LC201"]
    monkeypatch.setattr("leakcheck.project.modules._MOST_FILES", 100)
    (tmp_path / "shop/stock/web/view.py").unlink()
    assert [each.code for each in findings(tmp_path, "shop/stock/db.py")] == ["LC201"]
