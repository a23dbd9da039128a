"""The command line over a fake analysis: options, exit statuses, streams, and what is not imported."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from fake_analysis import FakeAnalysis

from leakcheck import __main__, __version__, cli, engine
from leakcheck.__main__ import main

LEAK = "conn = pool.getconn()\n"


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine, "_program", FakeAnalysis)
    monkeypatch.setattr(engine, "without_fixes", FakeAnalysis)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def write(name: str, text: str = LEAK) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


class Result:
    """What a command line did."""

    def __init__(self, status: int, captured: tuple[str, str]) -> None:
        self.status = status
        self.out, self.err = captured
        self.codes = [line.split(" ")[1] for line in self.out.splitlines() if line.count(":") >= 3]


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> Result:
        status = main(arguments)
        captured = capsys.readouterr()
        return Result(status, (captured.out, captured.err))

    return run


def python(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    start = ["-c", code] if code is not None else ["-m", "leakcheck"]
    environment = os.environ | {"PYTHONPATH": str(Path(engine.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, *start, *arguments], capture_output=True, text=True, check=False, env=environment
    )


class TestStatus:
    def test_a_report_that_cannot_be_written_hides_no_finding(self, run: Run) -> None:
        write("a.py")
        result = run("--output", "json=no/dir/x.json", "a.py")
        assert result.status == 2
        assert "Found 1 finding" in result.out
        assert "cannot write the report" in result.err

    def test_findings(self, run: Run) -> None:
        write("a.py")
        assert run("a.py").status == 1
        assert run("check", "a.py").status == 1
        assert run(".").status == 1
        assert run("check").status == 1
        assert run("--exit-zero", ".").status == 0

    def test_clean(self, run: Run) -> None:
        write("a.py", "x = 1\n")
        result = run("a.py")
        assert (result.status, result.out, result.err) == (0, "All checks passed!\n", "")

    def test_nothing_to_check(self, run: Run) -> None:
        result = run(".")
        assert (result.status, result.out) == (0, "All checks passed!\n")
        assert result.err == "warning: no Python files found under the given paths\n"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nope.py"], "no such file or directory: nope.py"),
            (["chekc", "."], "did you mean `leakcheck check`?"),
            (["--bogus"], "No such option"),
            (["--select", "LC12", "."], "command line: `select`: unknown rule `LC12`"),
            (["--config", "nope.toml", "."], "nope.toml: cannot read the configuration"),
            (["--config", "c.toml", "--isolated", "."], "exclude each other"),
            (["-q", "-v", "."], "exclude each other"),
            (["--jobs", "0", "."], "--jobs"),
            (["--output", "yaml=x", "."], "FMT=FILE"),
            (["--output", "json", "."], "FMT=FILE"),
            (["--output-format", "yaml", "."], "yaml"),
            (["--statistics", "--output-format", "github", "."], "cannot be shown as github"),
            (["-", "a.py"], "cannot be combined"),
            (["explain", "LC12"], "unknown rule `LC12`; the rules of LC1 are LC101 to LC111"),
        ],
    )
    def test_usage(self, run: Run, arguments: Sequence[str], message: str) -> None:
        result = run(*arguments)
        assert (result.status, result.out) == (2, "")
        assert message in result.err

    def test_configuration(self, run: Run) -> None:
        write("a.py")
        write("leakcheck.toml", "selekt = []")
        result = run("a.py")
        assert result.status == 2
        assert "leakcheck.toml: unknown key `selekt`" in result.err
        assert run("--isolated", "a.py").status == 1

    def test_an_internal_failure_hides_nothing(self, run: Run) -> None:
        write("a.py", "getconn RAISES")
        write("b.py")
        result = run("--output-format", "concise", "--exit-zero", ".")
        assert result.status == 2
        assert result.codes == ["LC102"]
        assert "error: internal failure of the analysis in a.py: KeyError: 'a bug'" in result.err
        assert "Traceback" not in result.err
        assert "Traceback" in run("-v", ".").err
        patched = run("--diff", "--exit-zero", ".")
        assert (patched.status, "error: internal failure of the analysis in a.py" in patched.err) == (2, True)

    def test_a_failure_outside_any_file(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(FakeAnalysis, "select", lambda *_: 1 / 0)
        write("a.py")
        result = run("a.py")
        assert result.status == 2
        assert "ZeroDivisionError" in result.err
        assert "bug in leakcheck" in result.err

    def test_without_arguments_there_is_help(self, run: Run) -> None:
        result = run()
        assert result.status == 2
        assert "Usage:" in result.out + result.err


class TestOptions:
    def test_selection(self, run: Run) -> None:
        write("a.py", LEAK + "conn = pool.getconn()  # never\n")
        concise = ("--output-format", "concise", ".")
        assert run(*concise).codes == ["LC102", "LC101"]
        assert run("--select", "LC101,LC103", "--select", "never-released", *concise).codes == ["LC101"]
        assert run("--ignore", "LC101", *concise).codes == ["LC102"]
        write("leakcheck.toml", 'select = ["LC102"]')
        assert run(*concise).codes == ["LC102"]
        assert run("--extend-select", "LC101", *concise).codes == ["LC102", "LC101"]
        assert run("--config", "leakcheck.toml", *concise).codes == ["LC102"]

    def test_excludes(self, run: Run) -> None:
        write("a.py")
        write("gen/b.py")
        concise = ("--output-format", "concise")
        assert len(run(*concise, ".").codes) == 2
        assert len(run(*concise, "--exclude", "gen,x", ".").codes) == 1
        assert len(run(*concise, "--exclude", "gen", "gen/b.py").codes) == 1
        assert len(run(*concise, "--exclude", "gen", "--force-exclude", "gen/b.py").codes) == 0

    def test_each_file_is_governed_by_the_nearest_configuration(self, run: Run) -> None:
        write("a.py")
        write("one/b.py")
        write("one/gen/c.py")
        write("two/d.py")
        write("one/pyproject.toml", '[tool.leakcheck]\nexclude = ["gen"]\n')
        write("two/leakcheck.toml", 'ignore = ["LC102"]')
        for targets in (".",), ("a.py", "one", "two/d.py"):
            out = run("--output-format", "concise", *targets).out
            assert [line.split(":")[0] for line in out.splitlines()[:-1]] == ["a.py", "one/b.py"]
        assert "one/gen/c.py" in run("--output-format", "concise", "one/gen/c.py").out
        assert len(run("--isolated", "--output-format", "concise", ".").codes) == 4

    def test_formats_and_files(self, run: Run) -> None:
        write("a.py")
        result = run("--output", "json=out.json", "--output", "github=out.txt", "--output-format", "json-lines", ".")
        assert json.loads(Path("out.json").read_text()) == [json.loads(result.out)]
        assert Path("out.txt").read_text().startswith("::warning ")
        assert "checked out here" in run("a.py").out

    def test_statistics(self, run: Run) -> None:
        write("a.py", LEAK * 3)
        assert run("--statistics", "-q", ".").out == "3\tLC102\tleaks-on-exception\n"
        assert json.loads(run("--statistics", "--output-format", "json", ".").out)[0]["count"] == 3

    def test_verbose_and_quiet(self, run: Run) -> None:
        write("a.py", "getconn SKIPPED")
        result = run("--verbose", ".")
        assert "configuration: defaults (1 file)" in result.err
        assert "a.py:1:1: not analysed: SKIPPED is not understood" in result.err
        result = run("--quiet", ".")
        assert (result.out, result.err) == ("", "")

    @pytest.mark.parametrize("text", ['{"cells": []}', '{"cells": ["pool.getconn()"]}'])
    def test_a_notebook_that_is_named_does_not_pass_for_clean(self, text: str) -> None:
        write("a.ipynb", text)
        assert python(".").returncode == 0
        result = python("a.ipynb")
        assert result.returncode == 1
        assert "LC900 this file was not checked: it is a notebook" in result.stdout

    def test_colour(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        write("a.py")
        assert "\033[" not in run("a.py").out
        assert "\033[" in run("--color", "always", "a.py").out
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert "\033[" in run("a.py").out
        assert "\033[" not in run("--color", "never", "a.py").out

    def test_standard_input(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def give(text: str) -> None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

        give(LEAK)
        result = run("-", "--output-format", "concise")
        assert result.out.startswith("-:1:8: LC102 ")
        write("pkg/leakcheck.toml", 'extend-exclude = ["gen"]')
        give(LEAK)
        result = run("-", "--stdin-filename", "pkg/gen/a.py")
        assert "--> pkg/gen/a.py:1:8" in result.out
        assert "1 | conn = pool.getconn()" in result.out
        give(LEAK)
        assert run("-", "--stdin-filename", "pkg/gen/a.py", "--force-exclude").status == 0
        give("def f(:\n")
        assert "LC900" in run("-").out

    def test_options_may_stand_anywhere(self, run: Run) -> None:
        write("a.py")
        assert run("a.py", "--exit-zero").status == 0
        assert run("--exit-zero", "a.py").status == 0
        assert run("check", "--exit-zero", "--", "a.py").status == 0

    def test_files_named_like_commands_and_options(self, run: Run) -> None:
        write("config")
        write("-a.py")
        assert "select = " in run("config").out
        assert run("./config").status == 1
        assert run("check", "config").status == 1
        assert run("--", "-a.py").status == 1


class TestOtherCommands:
    def test_explain(self, run: Run) -> None:
        assert run("explain", "LC102").out == run("explain", "leaks-on-exception").out
        assert "Why is this bad?" in run("explain", "lc102").out
        assert len(json.loads(run("explain", "--output-format", "json").out)) > 10
        assert run("explain", "LC102", "--output-format", "markdown").out.startswith("# leaks-on-exception (LC102)")

    def test_config(self, run: Run) -> None:
        write("pkg/leakcheck.toml", 'ignore = ["LC102"]')
        write("pkg/a.py")
        for path in ("pkg", "pkg/a.py"):
            assert 'ignore = ["LC102"]  # ' in run("config", path).out
        assert "ignore = []  # default" in run("config").out
        shown = json.loads(run("config", "pkg", "--output-format", "json").out)
        assert shown["settings"]["ignore"]["origin"].endswith("pkg/leakcheck.toml")
        assert run("config", "nope").status == 2

    def test_version_and_help(self, run: Run) -> None:
        for option in ("--version", "-V"):
            assert run(option).out == f"leakcheck {__version__}\n"
        assert "Commands:" in run("--help").out
        assert "--output-format" in run("check", "-h").out


class TestProcess:
    def test_the_version_imports_next_to_nothing(self) -> None:
        code = (
            "import sys; from leakcheck.__main__ import main; status = main(['--version']);"
            "heavy = {'click', 'libcst', 'dataclasses', 'msgspec', 'tomllib'};"
            "sys.exit(status or ','.join(heavy & set(sys.modules)) or None)"
        )
        assert (python(code=code).returncode, python(code=code).stderr) == (0, "")

    def test_paths_alone_need_no_option_parser(self) -> None:
        write("a.py", "x = 1\n")
        heavy = {"click", "libcst", "rich", "tomllib", "pathspec", "multiprocessing", "subprocess", "leakcheck.rules"}
        code = (
            "import sys; from leakcheck.__main__ import main; status = main(['a.py']);"
            f"sys.exit(status or ','.join({heavy!r} & set(sys.modules)) or None)"
        )
        result = python(code=code)
        assert (result.returncode, result.stderr) == (0, "")

    def test_a_reader_that_has_seen_enough(self) -> None:
        write("a.py", "x = 1\n")
        command = f"{sys.executable} -m leakcheck explain --output-format json | head -c 10"
        environment = os.environ | {"PYTHONPATH": str(Path(engine.__file__).parents[1])}
        result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, env=environment)
        assert result.stderr == ""

    def test_names_that_the_terminal_cannot_spell(self) -> None:
        name = os.fsdecode(b"bad\xff.py")
        write(name, "def f(:\n")
        result = python("--output-format", "concise", name)
        assert result.returncode == 1
        assert "LC900" in result.stdout

    def test_interrupt(self) -> None:
        code = (
            "import sys, time; from leakcheck import engine; from leakcheck.__main__ import main\n"
            "def slow(*_):\n    print('ready', flush=True)\n    time.sleep(60)\n"
            "engine._program = slow\nsys.exit(main(['.']))"
        )
        environment = os.environ | {"PYTHONPATH": str(Path(engine.__file__).parents[1])}
        write("a.py")
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (130, b"")


def test_the_checked_project_is_not_imported() -> None:
    """Files of it that are named as modules which we import, ours and others', where ``python -m`` looks for these."""
    for name in ("json", "re", "ast", "bisect", "click", "libcst", "msgspec", "sqlparse", "tokenize", "hashlib"):
        write(f"{name}.py", f"import os\nos.mkdir('executed_{name}')\n")
    write("a.py", "import psycopg2\n\n\ndef f():\n    conn = psycopg2.connect('')\n    conn.execute('BEGIN')\n")
    for arguments in (
        ["a.py"],
        ["check", "--output-format", "json", "."],
        ["check", "--fix", "."],
        ["explain", "LC101"],
    ):
        assert python(*arguments).stderr == ""
    assert not [path.name for path in Path().iterdir() if path.name.startswith("executed")]


def test_a_command_is_no_path() -> None:
    assert set(cli.commands.commands) == __main__._COMMANDS
