"""Where leakcheck and the server disagree about the rows of a program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from leakcheck.config import Config
from leakcheck.engine import check

from .execution import Truth, truth
from .pools import Pools
from .program import Generator, Kind
from .spelling import Spelling, Written, written

CODES = {
    **dict.fromkeys(("LC301", "LC302", "LC303"), Kind.TRANSACTION),
    **dict.fromkeys(("LC401", "LC402", "LC403"), Kind.ROLE),
    "LC404": Kind.SETTING,
    "LC405": Kind.LOCK,
    "LC406": Kind.LISTEN,
    "LC408": Kind.LOCAL,
    "LC305": Kind.COMMIT,
}
"""What each rule is about; LC407, about resets, may be about any kind."""
AFTER_ERROR = ("LC302", "LC402")
PLAINLY = ("LC301", "LC303", "LC401", "LC403")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One row about which the two differ: "missed", "false alarm" or "other path"."""

    what: str
    row: int
    kind: Kind
    seen: Truth
    said: tuple[str, ...]
    program: Written
    everything: dict[int, tuple[str, ...]]

    def __str__(self) -> str:
        paths = {"plainly": self.seen.plainly, "after an error": self.seen.after_error}
        left = [path for path, is_left in paths.items() if is_left]
        lines = enumerate(self.program.text.splitlines(), 1)
        numbered = "\n".join(f"{n:3} {line}  {' '.join(self.everything.get(n, ()))}".rstrip() for n, line in lines)
        words = "without effect" if self.kind in (Kind.LOCAL, Kind.COMMIT) else "left"
        server = f"{words} {' and '.join(left)}" if left else f"not {words}"
        return f"{self.what}: {self.kind} of row {self.row}: {server}; said {self.said or 'nothing'}\n{numbered}\n"


def verdicts(program: Written) -> dict[int, tuple[str, ...]]:
    """The codes that leakcheck reports, by row."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "program.py")
        path.write_text(program.text)
        report = check([str(path)], Config(root=Path(folder), select=("LC3", "LC4")))
    assert report.breakdowns == ()
    found: dict[int, tuple[str, ...]] = {}
    for one in report.diagnostics:
        row = one.span.start.row
        found[row] = (*found.get(row, ()), one.code)
    return found


@dataclass(frozen=True, slots=True)
class Comparison:
    """One program: how many rows were asked about along how many paths, and where the two differ."""

    rows: int
    paths: int
    differences: list[Disagreement]


def compare(seed: int, spelling: Spelling, pools: Pools) -> Comparison:
    """What leakcheck and the server say about one program."""
    body = Generator(seed, autocommit=spelling.autocommit, methods=spelling.methods).body()
    program = written(body, spelling)
    said = verdicts(program)
    found: list[Disagreement] = []
    asked = truth(program, spelling, pools)
    for row, seen in asked.rows.items():
        kind = program.rows[row]
        codes = tuple(code for code in said.get(row, ()) if CODES.get(code, kind) is kind)
        what = _difference(seen, codes)
        if what is not None:
            found.append(Disagreement(what, row, kind, seen, codes, program, said))
    return Comparison(len(program.rows), asked.paths, found)


def _difference(seen: Truth, codes: tuple[str, ...]) -> str | None:
    left = seen.plainly or seen.after_error
    if seen.unclear and not left:
        return None
    if left and not codes:
        return "missed"
    if codes and not left:
        return "false alarm"
    if (seen.plainly and any(c in AFTER_ERROR for c in codes)) or (
        left and not seen.plainly and any(c in PLAINLY for c in codes)
    ):
        return "other path"
    return None
