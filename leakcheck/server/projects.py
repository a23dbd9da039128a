"""Which project an open buffer belongs to, and the findings of its open files.

    Projects(folders).check(snapshot)    →   Outcome: by name the findings, or None where the former ones stay

Everything here runs beside the editor's loop, one round at a time. What is known of configurations and folders is
kept until ``forget``: after that each is looked at again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from leakcheck.baseline import Baseline
from leakcheck.config import Config, ConfigFinder
from leakcheck.diagnostic import Diagnostic, LeakcheckError
from leakcheck.engine import check_files, source_roots
from leakcheck.handlers.incremental import Incremental
from leakcheck.project.files import Discovery, is_left_out
from leakcheck.server.documents import Snapshot


class Outcome(Struct):
    """One round: the findings of each open file.

    Where a file is missing, its configuration or driver files are faulty: the former findings stay, and
    ``messages`` say why. ``broken`` are the files that are no Python at the moment, ``failures`` bugs of ours.
    """

    findings: dict[str, tuple[Diagnostic, ...]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Projects:
    """The projects that the open files belong to, each with what its last analysis left."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = sorted(folders, key=len, reverse=True)
        self._good: dict[str, Config] = {}
        self.forget()

    def forget(self) -> None:
        """Look again at configurations, ignored files and folders."""
        self._finder = ConfigFinder()
        self._governing: dict[str, Config | None] = {}
        self._faults: dict[str, str] = {}
        self._left_out: dict[str, bool] = {}
        self._baselines: dict[Config, Baseline] = {}
        self._analysers: dict[Config, Incremental] = {}

    def check(self, snapshot: Snapshot, *, renewed: bool = False) -> Outcome:
        """The findings of everything that is open; ``renewed`` forgets first."""
        if renewed:
            self.forget()
        outcome = Outcome()
        groups: dict[Config, list[str]] = {}
        for name in snapshot.documents:
            directory = self._directory(name)
            config = self._governed(directory)
            if directory in self._faults:
                outcome.messages.append(self._faults[directory])
            if config is None:
                continue
            if self._is_left_out(name, config):
                outcome.findings[name] = ()
            else:
                groups.setdefault(config, []).append(name)
        for config, names in groups.items():
            try:
                self._check(config, names, snapshot, outcome)
            except LeakcheckError as error:
                outcome.messages.append(str(error))
        return outcome

    def fixed(self, snapshot: Snapshot, name: str, rows: range) -> tuple[Diagnostic, ...] | None:
        """The findings of one open file, those in these rows with their fixes; None where it has no analysis."""
        config = self._governed(self._directory(name))
        if config is None:
            return None
        analyser, outcome = self._analyser(config), Outcome()
        analyser.asked = (name, rows)
        try:
            self._check(config, [name], snapshot, outcome)
        except LeakcheckError:
            return None
        finally:
            analyser.asked = None
        return outcome.findings[name]

    def _check(self, config: Config, names: list[str], snapshot: Snapshot, outcome: Outcome) -> None:
        discovery = Discovery(tuple(sorted(names)))
        analyser = self._analyser(config)
        report = check_files(discovery, config, read=snapshot.read, build=analyser.begin)
        diagnostics = report.diagnostics
        baseline = self._baseline(config)
        if baseline is not None:
            diagnostics = baseline.apply(diagnostics, discovery.files).new
        outcome.failures += [f"{each.path}: {each.trace or each.error}" for each in report.breakdowns]
        for name in names:
            outcome.findings[name] = tuple(each for each in diagnostics if each.path == name)
            if name in snapshot.reported and not analyser.parses(name):
                outcome.broken.add(name)

    def _baseline(self, config: Config) -> Baseline | None:
        if config.baseline is None:
            return None
        if config not in self._baselines:
            self._baselines[config] = Baseline.read(config.located(config.baseline))
        return self._baselines[config]

    def _analyser(self, config: Config) -> Incremental:
        if config not in self._analysers:
            self._analysers[config] = Incremental(config, source_roots(config))
        return self._analysers[config]

    def _directory(self, name: str) -> str:
        """Where the configuration of a file is looked for; a buffer without a file belongs to the first folder."""
        if name.startswith("untitled:"):
            return self._folders[-1] if self._folders else os.getcwd()
        return os.path.dirname(os.path.abspath(name))

    def _governed(self, directory: str) -> Config | None:
        """The configuration for files in a directory; while it is faulty the last good one, if there was one."""
        if directory not in self._governing:
            try:
                config = self._finder.nearest(directory)
            except LeakcheckError as error:
                self._faults[directory] = str(error)
                self._governing[directory] = self._good.get(directory)
            else:
                if config.path is None:
                    config = replace(config, root=Path(self._folder(directory)))
                self._governing[directory] = self._good[directory] = config
        return self._governing[directory]

    def _folder(self, directory: str) -> str:
        """The workspace folder around a directory, else the directory itself."""
        inside = (each for each in self._folders if f"{directory}/".startswith(f"{each.rstrip('/')}/"))
        return next(inside, directory)

    def _is_left_out(self, name: str, config: Config) -> bool:
        if name not in self._left_out:
            self._left_out[name] = not name.startswith("untitled:") and is_left_out(name, config)
        return self._left_out[name]
