"""Configuration: what is read, what is refused and how it is told, and which file governs a path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from leakcheck.config import EXCLUDED, Config, ConfigFinder, keys, load, settings
from leakcheck.diagnostic import LeakcheckError

FULL = """
[tool.leakcheck]
select = ["LC1"]
ignore = ["LC110"]
extend-select = ["LC204"]
exclude = ["gen"]
extend-exclude = ["vendored"]
respect-gitignore = false
src = ["lib"]
helper = "app.db:with_transaction"
drivers = ["mine.toml"]
non-raising = ["metrics.*"]
handlers = ["app.rpc.expose"]
run-once = ["app.wiring.build"]
baseline = ".leakcheck-baseline.json"
pgbouncer = "transaction"

[tool.leakcheck.per-file-ignores]
"tests/*" = ["LC101", "leaks-on-exception"]

[tool.leakcheck.fix-shape]
psycopg2 = "try-finally"

[tool.leakcheck.budget]
max-connections = 100
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_every_key_is_read(tmp_path: Path) -> None:
    config = load(write(tmp_path / "pyproject.toml", FULL))
    assert config == Config(
        root=tmp_path,
        path=tmp_path / "pyproject.toml",
        select=("LC1",),
        ignore=("LC110",),
        extend_select=("LC204",),
        exclude=("gen",),
        extend_exclude=("vendored",),
        per_file_ignores=(("tests/*", ("LC101", "leaks-on-exception")),),
        respect_gitignore=False,
        src=("lib",),
        helper="app.db:with_transaction",
        drivers=("mine.toml",),
        non_raising=("metrics.*",),
        handlers=("app.rpc.expose",),
        run_once=("app.wiring.build",),
        fix_shape=(("psycopg2", "try-finally"),),
        baseline=".leakcheck-baseline.json",
        pgbouncer="transaction",
        budget=(("max-connections", 100),),
        origins=tuple(sorted((key, str(tmp_path / "pyproject.toml")) for key in keys())),
    )
    assert set(settings(config)) == set(keys())
    assert config.located("lib") == tmp_path / "lib"
    assert hash(config) == hash(load(tmp_path / "pyproject.toml"))


def test_defaults() -> None:
    config = Config()
    assert config.select is None
    assert config.exclude == EXCLUDED
    assert config.origin("select") == "default"


@pytest.mark.parametrize("name", ["leakcheck.toml", "other.toml"])
def test_a_file_of_our_own_has_the_keys_at_its_top(tmp_path: Path, name: str) -> None:
    assert load(write(tmp_path / name, 'select = ["LC102"]')).select == ("LC102",)


def test_a_file_of_our_own_may_have_the_table_too(tmp_path: Path) -> None:
    assert load(write(tmp_path / "leakcheck.toml", '[tool.leakcheck]\nselect = ["LC102"]')).select == ("LC102",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('selekt = ["LC1"]', "unknown key `selekt` in [tool.leakcheck]; did you mean `select`?"),
        ("respect_gitignore = true", "did you mean `respect-gitignore`?"),
        ("zzz = 1", "the keys are select, ignore"),
        ('select = "LC1"', "`select` must be a list of strings, not a string"),
        ("ignore = [1]", "`ignore`: every item must be a string, not a number"),
        ('respect-gitignore = "no"', "`respect-gitignore` must be true or false, not a string"),
        ("baseline = 1", "`baseline` must be a string, not a number"),
        ('helper = "app.db.with_transaction"', '`helper` must look like "package.module:function"'),
        ('per-file-ignores = ["LC101"]', "`per-file-ignores` must be a table, not a list"),
        ('per-file-ignores = {"a.py" = "LC101"}', "`per-file-ignores`: `a.py` must be a list of strings"),
        ('fix-shape = {psycopg2 = "try"}', "`fix-shape`: `psycopg2` must be one of with-transaction, try-finally"),
        ('pgbouncer = "yes"', "`pgbouncer` must be one of transaction, session, statement, not `yes`"),
        ("budget = {a = []}", "`budget`: `a` must be a number or a string, not a list"),
        ("select = [", "not valid TOML"),
    ],
)
def test_what_is_refused_names_file_key_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "leakcheck.toml", text)
    with pytest.raises(LeakcheckError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_named_file_must_have_the_table(tmp_path: Path) -> None:
    with pytest.raises(LeakcheckError, match=r"no \[tool\.leakcheck\] table"):
        load(write(tmp_path / "pyproject.toml", "[project]\nname = 'x'\n"))
    with pytest.raises(LeakcheckError, match="cannot read the configuration: No such file"):
        load(tmp_path / "absent.toml")
    with pytest.raises(LeakcheckError, match=r"tool\.leakcheck must be a table, not a number"):
        load(write(tmp_path / "two" / "pyproject.toml", "tool.leakcheck = 1\n"))


def test_the_nearest_file_governs(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", '[tool.leakcheck]\nselect = ["LC101"]\n')
    write(tmp_path / "services" / "a" / "leakcheck.toml", 'select = ["LC102"]')
    write(tmp_path / "services" / "a" / "pyproject.toml", '[tool.leakcheck]\nselect = ["LC103"]\n')
    write(tmp_path / "services" / "b" / "pyproject.toml", "[project]\nname = 'b'\n")
    (tmp_path / "services" / "a" / "deep").mkdir()
    finder = ConfigFinder()
    assert finder.nearest(str(tmp_path)).select == ("LC101",)
    assert finder.nearest(str(tmp_path / "services" / "a" / "deep")).select == ("LC102",)
    assert finder.nearest(str(tmp_path / "services" / "b")).select == ("LC101",)


def test_without_a_file_the_defaults_are_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ConfigFinder().nearest(".") == Config(root=tmp_path)


@pytest.mark.parametrize("text", ['tool.leakcheck.select = ["LC102"]', '[tool]\nleakcheck.select = ["LC102"]'])
def test_the_table_may_be_spelled_with_dotted_keys(tmp_path: Path, text: str) -> None:
    write(tmp_path / "pyproject.toml", text)
    assert ConfigFinder().nearest(str(tmp_path)).select == ("LC102",)


def test_the_table_in_a_comment_is_none(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", "# [tool.leakcheck]\n")
    assert ConfigFinder().nearest(str(tmp_path)).path is None


def test_a_foreign_pyproject_is_not_parsed(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", "[project]\nthis is no TOML\n")
    code = (
        "import sys; from leakcheck.config import ConfigFinder; ConfigFinder().nearest(sys.argv[1]);"
        "sys.exit('tomllib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_the_command_line_wins() -> None:
    config = Config(select=("LC1",), ignore=("LC101",), extend_select=("LC204",), origins=(("select", "f"),))
    chosen = config.overridden(select=("LC101",))
    assert (chosen.select, chosen.ignore, chosen.extend_select) == (("LC101",), (), ())
    assert chosen.origin("select") == "command line"
    added = config.overridden(ignore=("LC102",), extend_select=("LC101",))
    assert (added.select, added.ignore, added.extend_select) == (("LC1",), ("LC102",), ("LC204", "LC101"))
    assert added.origin("select") == "f"
    assert config.overridden(exclude=("x",)).exclude == ("x",)
    assert config.overridden() == config
