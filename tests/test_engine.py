"""The engine, over a fake analysis: selection, suppressions, failures, order and workers."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_analysis import FakeAnalysis

import leakcheck
from leakcheck import engine, rules, workers
from leakcheck.config import Config
from leakcheck.diagnostic import Diagnostic, LeakcheckError, Severity
from leakcheck.project.files import Discovery, Passed
from leakcheck.report import NotAnalysed, Report

LEAK = "conn = pool.getconn()\n"


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(**files: str) -> None:
    for name, text in files.items():
        path = Path(name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def check(*targets: str, config: Config | None = None, jobs: int = 1) -> Report:
    config = config if config is not None else Config(root=Path.cwd())
    return engine.check(targets or ["."], config, jobs=jobs, build=FakeAnalysis)


def brief(report: Report) -> list[tuple[str, str, int]]:
    return [(each.code, each.path, each.span.start.row) for each in report.diagnostics]


def test_findings_are_sorted_by_file_row_and_code() -> None:
    write(b=LEAK, a="\n" + LEAK + LEAK + "x = 1\n", c="nothing")
    report = check()
    assert brief(report) == [("LC102", "a.py", 2), ("LC102", "a.py", 3), ("LC102", "b.py", 1)]
    assert report.files_checked == 3


def test_diagnostics_are_the_rules_words() -> None:
    write(a=LEAK)
    (found,) = check().diagnostics
    assert "`conn` is not given back" in found.message
    assert (found.name, found.severity) == ("leaks-on-exception", Severity.WARNING)
    assert [step.message for step in found.steps] == ["checked out here", "leaves without pool.putconn(conn)"]


def test_in_memory() -> None:
    texts = {"a.py": LEAK.encode(), "b.py": b"x = 1"}
    report = engine.check_files(Discovery(("a.py", "b.py")), Config(), read=texts.__getitem__, build=FakeAnalysis)
    assert brief(report) == [("LC102", "a.py", 1)]


BOTH = "x = pool.getconn()\ny = pool.getconn()  # never\n"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Config(), ["LC102", "LC101"]),
        (Config(select=("LC102",)), ["LC102"]),
        (Config(select=("leaks-on-exception",)), ["LC102"]),
        (Config(select=("lc1",), ignore=("LC101",)), ["LC102"]),
        (Config(select=("LC101",), ignore=("LC1",)), ["LC101"]),
        (Config(select=("ALL",), ignore=("LC10",)), []),
        (Config(select=("LC101",), ignore=("LC101",)), []),
        (Config(select=()), []),
        (Config(ignore=("never-released",)), ["LC102"]),
        (Config(ignore=("ALL",)), []),
        (Config(ignore=("ALL",), extend_select=("LC101",)), ["LC101"]),
        (Config(select=("LC9",), extend_select=("LC101",)), ["LC101"]),
        (Config(per_file_ignores=(("a.py", ("LC102",)),)), ["LC101"]),
        (Config(per_file_ignores=(("b.py", ("LC102",)),)), ["LC102", "LC101"]),
        (Config(per_file_ignores=(("!a.py", ("LC102",)),)), ["LC102", "LC101"]),
        (Config(per_file_ignores=(("!b.py", ("LC102",)),)), ["LC101"]),
        (Config(per_file_ignores=(("*.py", ("LC1",)),)), []),
    ],
)
def test_selection(config: Config, expected: list[str]) -> None:
    write(a=BOTH)
    assert [code for code, _, _ in brief(check(config=config))] == expected


def test_per_file_ignores_are_relative_to_the_configuration() -> None:
    write(tests__a=LEAK, app__tests__b=LEAK, app__c=LEAK)
    config = Config(root=Path.cwd(), per_file_ignores=(("tests/*", ("LC102",)),))
    assert [path for _, path, _ in brief(check(config=config))] == ["app/c.py", "app/tests/b.py"]
    config = Config(root=Path.cwd(), per_file_ignores=(("tests", ("LC102",)),))
    assert [path for _, path, _ in brief(check(config=config))] == ["app/c.py"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(select=("LC12",)), "`select`: unknown rule `LC12`; the rules of LC1 are LC101 to LC111"),
        (Config(ignore=("leak-on-exception",)), "did you mean `leaks-on-exception`"),
        (Config(per_file_ignores=(("a", ("X1",)),)), "`per-file-ignores`: unknown rule `X1`"),
        (
            Config(path=Path("p.toml"), select=("LC12",), origins=(("select", "p.toml"),)),
            "p.toml: `select`: unknown rule `LC12`",
        ),
    ],
)
def test_selectors_that_name_no_rule(config: Config, message: str) -> None:
    with pytest.raises(LeakcheckError) as caught:
        check(config=config)
    assert message in str(caught.value)


def test_suppressions_apply_and_unused_ones_are_found_without_any_leak() -> None:
    write(a="conn = pool.getconn()  # leakcheck: ignore[LC102]\n", b="x = 1  # leakcheck: ignore[LC102]\n")
    write(c="x = 1  # noqa: LC102\n", d="x = 1  # noqa\n")
    assert brief(check()) == [("LC901", "b.py", 1), ("LC901", "c.py", 1)]


def test_a_suppression_is_not_unused_where_its_rule_is_off() -> None:
    write(a="x = 1  # leakcheck: ignore[LC102]\n")
    assert brief(check(config=Config(ignore=("LC102",)))) == []
    assert brief(check(config=Config(per_file_ignores=(("a.py", ("LC901",)),)))) == []


class TestUnparsable:
    def test_what_matters_and_does_not_parse(self) -> None:
        write(a="getconn BROKEN\n", b=LEAK)
        (broken, _) = check().diagnostics
        assert (broken.code, broken.severity, broken.message) == (
            "LC900",
            Severity.ERROR,
            "this file was not checked: invalid syntax",
        )
        assert (broken.span.start.row, broken.span.start.column) == (2, 5)

    def test_a_file_without_a_word_that_matters_is_parsed_only_if_it_is_named(self) -> None:
        write(a="def f(:\n")
        assert brief(check(".")) == []
        assert brief(check("a.py")) == [("LC900", "a.py", 2)]

    def test_a_grammar_that_only_the_analysis_knows(self) -> None:
        write(a="a newer grammar\n")
        assert brief(check("a.py")) == []

    @pytest.mark.parametrize("target", [".", "a.py"])
    @pytest.mark.parametrize("data", [LEAK.encode("utf-16"), b"x = 1\0"])
    def test_no_text_at_all(self, target: str, data: bytes) -> None:
        Path("a.py").write_bytes(data)
        (found,) = check(target).diagnostics
        assert "NUL" in found.message

    def test_unreadable(self) -> None:
        os.mkfifo("a.py")
        (found,) = check("a.py").diagnostics
        assert found.message == "this file was not checked: cannot be read: not a regular file (a FIFO)"

        def refusing(path: str) -> bytes:
            raise PermissionError(13, "Permission denied", path)

        report = engine.check_files(Discovery(("b.py",)), Config(), read=refusing, build=FakeAnalysis)
        assert report.diagnostics[0].message == "this file was not checked: cannot be read: Permission denied"

    def test_it_is_said_whatever_is_selected(self) -> None:
        write(a="getconn BROKEN")
        assert brief(check(config=Config(select=("LC102",)))) == [("LC900", "a.py", 2)]
        assert brief(check(config=Config(ignore=("LC900",)))) == []
        assert brief(check(config=Config(per_file_ignores=(("a.py", ("LC900",)),)))) == []

    @pytest.mark.parametrize(("word", "message"), [("RECURSES", "nested too deeply")])
    def test_what_exhausts_the_analysis(self, word: str, message: str) -> None:
        write(a=f"getconn {word}", b=LEAK)
        report = check()
        assert brief(report) == [("LC900", "a.py", 1), ("LC102", "b.py", 1)]
        assert message in report.diagnostics[0].message
        assert report.breakdowns == ()

    def test_odd_encodings(self) -> None:
        Path("a.py").write_bytes(b"# -*- coding: latin-1 -*-\nconn = pool.getconn()  # noqa: LC102 \xe9\n")
        Path("b.py").write_bytes(b"\xef\xbb\xbfconn = pool.getconn()  # noqa: LC102\n")
        Path("c.py").write_bytes(b"# coding: nonsense\nconn = pool.getconn()  # noqa: LC102 \xe9\n")
        assert brief(check()) == []


class TestBreakdown:
    def test_in_the_analysis(self) -> None:
        write(a="getconn RAISES", b=LEAK)
        report = check()
        assert brief(report) == [("LC102", "b.py", 1)]
        (broken,) = report.breakdowns
        assert (broken.path, broken.rule, broken.error) == ("a.py", None, "KeyError: 'a bug'")
        assert "fake_analysis.py" in broken.trace

    def test_in_a_rule(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def failing(self: rules.Rule, path: str, leaks: object) -> list[Diagnostic]:
            if self.code == "LC102":
                raise ValueError("a bug")
            return list(original(self, path, leaks))  # type: ignore[arg-type] # passed on as it came

        original = rules.Rule.check
        monkeypatch.setattr(rules.Rule, "check", failing)
        write(a=BOTH)
        report = check()
        assert brief(report) == [("LC101", "a.py", 2)]
        assert [(each.path, each.rule, each.error) for each in report.breakdowns] == [
            ("a.py", "LC102", "ValueError: a bug")
        ]


def test_what_was_left_out() -> None:
    write(a="getconn SKIPPED")
    os.symlink("nowhere", "b.py")
    report = check()
    reasons = [(each.path, each.reason) for each in report.not_analysed]
    assert reasons == [("b.py", "a symbolic link to nowhere"), ("a.py", "SKIPPED is not understood")]
    report = engine.check_files(Discovery((), passed=(Passed("x", "why"),)), Config(), build=FakeAnalysis)
    assert report.not_analysed == (NotAnalysed("x", "why"),)


def test_source_roots(tmp_path: Path) -> None:
    write(src__a="", lib__x="")
    assert engine.source_roots(Config(root=tmp_path)) == [Path(), Path("src")]
    os.chdir("lib")
    assert engine.source_roots(Config(root=Path.cwd())) == [Path()]


class TestWorkers:
    @pytest.fixture(autouse=True)
    def _always(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine, "PARALLEL_BYTES", 1)

    def test_the_report_does_not_depend_on_the_jobs(self) -> None:
        write(**{f"m{number}": LEAK * (number % 7 + 1) + "SKIPPED" * (number % 3) for number in range(40)})
        write(bad="getconn RAISES", deep="getconn RECURSES", broken="getconn BROKEN")
        single = check(jobs=1)
        assert len(single.diagnostics) > 100
        for jobs in (2, 5):
            several = check(jobs=jobs)
            assert several.diagnostics == single.diagnostics
            assert several.not_analysed == single.not_analysed
            assert [each.error for each in several.breakdowns] == [each.error for each in single.breakdowns]

    def test_a_file_that_kills_its_worker_is_one_finding(self) -> None:
        write(**{f"m{number}": LEAK for number in range(10)}, z1="getconn DIES", z2="getconn DIES", z3="getconn DIES")
        report = check(jobs=2)
        assert [path for code, path, _ in brief(report) if code == "LC102"] == [f"m{number}.py" for number in range(10)]
        assert [path for code, path, _ in brief(report) if code == "LC900"] == ["z1.py", "z2.py", "z3.py"]
        assert report.diagnostics[-1].message.endswith("its analysis ended the process (killed by SIGKILL)")

    def test_no_child_is_left(self) -> None:
        write(a=LEAK, b="getconn DIES")
        check(jobs=4)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    def test_large_answers_and_more_items_than_workers(self) -> None:
        answers = workers.run(list(range(20)), lambda number: bytes([number]) * 300_000, jobs=3)
        assert answers == [bytes([number]) * 300_000 for number in range(20)]
        assert workers.run([], lambda _: b"", jobs=3) == []
        assert workers.run([1], lambda _: b"", jobs=3) == [b""]

    def test_a_worker_that_raises_has_died(self, capfd: pytest.CaptureFixture[str]) -> None:
        def work(number: int) -> bytes:
            if number == 1:
                raise ValueError
            return b"fine"

        assert workers.run([0, 1, 2], work, jobs=1) == [b"fine", workers.Died("ended with status 1"), b"fine"]
        assert capfd.readouterr().out == ""

    def test_an_interrupt_ends_the_workers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(self: object) -> bytes:
            raise KeyboardInterrupt

        monkeypatch.setattr(workers._Worker, "answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            workers.run([1, 2], lambda _: b"", jobs=2)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)


def test_collection_is_as_it_was() -> None:
    write(a=LEAK)
    assert gc.isenabled()
    check()
    assert gc.isenabled()
    gc.disable()
    try:
        check()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_public_names() -> None:
    assert leakcheck.check is engine.check
    for name in leakcheck.__all__:
        assert getattr(leakcheck, name)
    with pytest.raises(AttributeError, match="nothing"):
        leakcheck.nothing  # noqa: B018 - the access is the test


def test_findings_do_not_depend_on_the_hash_seed() -> None:
    """Sets have another order in each run; what is found, and how it is said, must not."""
    command = [
        sys.executable,
        "-m",
        "leakcheck",
        "check",
        "--isolated",
        "--exit-zero",
        "--output-format",
        "json",
        "fixtures",
    ]
    runs = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        runs.append(
            subprocess.run(
                command, env=environment, capture_output=True, check=True, cwd=Path(__file__).parents[1]
            ).stdout
        )
    assert runs[0] == runs[1]
