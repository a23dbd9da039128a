"""What may be changed in a program without changing what leakcheck says, over all fixtures."""

from __future__ import annotations

import ast
import io
import itertools
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fixture_file import Fixture, read_fixture
from msgspec.structs import replace

from leakcheck.diagnostic import Applicability, Diagnostic
from leakcheck.fixes.apply import chosen, edited
from leakcheck.fixes.offer import FIXABLE
from leakcheck.rewriting import MASKED

if TYPE_CHECKING:
    from conftest import Diagnose

FIXTURES = Path(__file__).parent.parent / "fixtures"


def _is_read_here(path: Path) -> bool:
    """Whether the running Python, by whose grammar programs are changed here, reads the file."""
    try:
        ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return False
    return True


LOCATIONS = [
    path
    for path in sorted(FIXTURES.rglob("*.py"))
    if not {"demo", "cfg"} & set(path.relative_to(FIXTURES).parts)
    and not path.parent.name.startswith("lc9")
    and _is_read_here(path)
]

Findings = Counter[tuple[str, int, str]]
Rewrite = Callable[[str], tuple[str, Callable[[int], int]]]
"""From a file's text to another text and the row of it in which each row is found again."""


def name_of(location: Path) -> str:
    """The name of a fixture's test."""
    return location.relative_to(FIXTURES).as_posix()


def findings(diagnostics: Iterable[Diagnostic]) -> Findings:
    """What is reported, without the wording."""
    return Counter((one.path, one.span.start.row, one.code) for one in diagnostics)


def suppressible(location: Path) -> Fixture:
    """The fixture; skipped where it has suppressions of its own."""
    fixture = read_fixture(location)
    if any("leakcheck: ignore" in text or "noqa" in text for text in fixture.files.values()):
        pytest.skip("has suppressions of its own")
    return fixture


@pytest.mark.parametrize("location", LOCATIONS, ids=name_of)
def test_suppressing_every_finding_silences(location: Path, diagnose: Diagnose) -> None:
    fixture = suppressible(location)
    codes: dict[tuple[str, int], set[str]] = {}
    for path, row, code in findings(diagnose(fixture.files)):
        codes.setdefault((path, row), set()).add(code)
    suppressed: dict[str, str | bytes] = {}
    for path, text in fixture.files.items():
        lines = text.splitlines()
        for (other, row), here in codes.items():
            if other == path:
                code_only = re.sub(r"\s*# (error|missed|false-alarm|note|summary): .*$", "", lines[row - 1])
                lines[row - 1] = f"{code_only}  # leakcheck: ignore[{', '.join(sorted(here))}]"
        suppressed[path] = "\n".join(lines) + "\n"
    assert [str(one) for one in diagnose(suppressed)] == []


def renamed(text: str) -> tuple[str, Callable[[int], int]]:
    """Local variables get other names."""
    names = _renamable(text)
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    lines = text.splitlines(keepends=True)
    for index in range(len(tokens) - 1, -1, -1):
        token = tokens[index]
        if token.type == tokenize.NAME and token.string in names and (not index or tokens[index - 1].string != "."):
            row, column = token.start
            line = lines[row - 1]
            lines[row - 1] = f"{line[:column]}the_{line[column:]}"
    return "".join(lines), lambda row: row


def _renamable(text: str) -> set[str]:
    """Names that are plain local variables wherever they occur in ``text``."""
    tree = ast.parse(text)
    local: set[str] = set()
    taken: set[str] = set()
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) if id(node) in inside:
                local.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                taken.add(name)
            case ast.keyword(arg=str(name)) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                taken.add(name)
            case ast.ClassDef(name=name, body=body):
                taken.add(name)
                taken.update(one.id for part in body for one in ast.walk(part) if isinstance(one, ast.Name))
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                taken.update((one.asname or one.name).partition(".")[0] for one in names)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                taken.update(names)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                taken.add(name)
            case ast.Constant(value=str(name)):  # `locals().get("conn")` means the variable
                taken.add(name)
            case ast.JoinedStr():
                taken.update(one.id for one in ast.walk(node) if isinstance(one, ast.Name))
            case _:
                pass
    evidence = re.compile("pool|engine|db|database|client|factory", re.IGNORECASE)
    return {name for name in local - taken if not evidence.search(name)}


def spaced(text: str) -> tuple[str, Callable[[int], int]]:
    """A blank line follows every statement."""
    ends = sorted(
        {
            token.end[0]
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.NEWLINE
        }
    )
    lines = text.splitlines(keepends=True)
    for row in reversed(ends):
        lines.insert(row, "\n")
    return "".join(lines), lambda row: row + sum(1 for end in ends if end < row)


def nested(text: str) -> tuple[str, Callable[[int], int]]:
    """The body of every outermost function stands in `if True:`."""
    lines = text.splitlines(keepends=True)
    inserted: list[int] = []
    for function in _outermost(ast.parse(text).body):
        first, last = function.body[0].lineno, function.end_lineno or 0
        header_end = max(
            [function.lineno, *(node.end_lineno or 0 for node in ast.walk(function.args) if isinstance(node, ast.expr))]
        )
        decorated = getattr(function.body[0], "decorator_list", [])
        first = min([first, *(one.lineno for one in decorated)])
        if first <= header_end:
            continue
        indent = " " * function.body[0].col_offset
        for row in range(first, last + 1):
            lines[row - 1] = f"    {lines[row - 1]}" if lines[row - 1].strip() else lines[row - 1]
        lines[first - 1] = f"{indent}if True:\n{lines[first - 1]}"
        inserted.append(first)
    return "".join(lines), lambda row: row + sum(1 for first in inserted if first <= row)


def spelled_out(text: str) -> tuple[str, Callable[[int], int]]:
    """What is returned has a name first, and what is asked is negated twice."""
    insertions: list[tuple[int, int, str]] = []
    for number, node in enumerate(ast.walk(ast.parse(text))):
        match node:
            case ast.Return(value=ast.Call() | ast.Await() | ast.Attribute() as value):
                name = f"outcome{number}"
                insertions.append((node.lineno, node.col_offset, f"{name} = "))
                insertions.append((value.end_lineno or 0, value.end_col_offset or 0, f"; return {name}"))
            case ast.If(test=test) | ast.While(test=test) if not isinstance(test, ast.Constant | ast.NamedExpr):
                insertions.append((test.lineno, test.col_offset, "not (not ("))
                insertions.append((test.end_lineno or 0, test.end_col_offset or 0, "))"))
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    for row, column, inserted in sorted(insertions, reverse=True):
        line = lines[row - 1]
        rest = line[column:].removeprefix(b"return ") if inserted.endswith(" = ") else line[column:]
        lines[row - 1] = line[:column] + inserted.encode() + rest
    return b"".join(lines).decode(), lambda row: row


def asked_otherwise(text: str) -> tuple[str, Callable[[int], int]]:
    """What is compared with None is so in other ways."""
    ways = {
        ast.Is: itertools.cycle(("(None is {})", "({} == None)", "(not {} is not None)", "(not None != {})")),
        ast.IsNot: itertools.cycle(("(None is not {})", "({} != None)", "(not {} is None)", "(not None == {})")),
    }
    comparisons: dict[tuple[int, int], tuple[ast.Compare, str]] = {}
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Compare(
                left=ast.Name() | ast.Attribute() as left, ops=[op], comparators=[ast.Constant(value=None)]
            ):
                if type(op) in ways and node.lineno == node.end_lineno:
                    asked = next(ways[type(op)]).format(ast.get_source_segment(text, left))
                    comparisons[node.lineno, node.col_offset] = node, asked
            case _:
                pass
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    for (row, column), (node, asked) in sorted(comparisons.items(), reverse=True):
        lines[row - 1] = lines[row - 1][:column] + asked.encode() + lines[row - 1][node.end_col_offset :]
    return b"".join(lines).decode(), lambda row: row


def renamed_imports(text: str, others: str = "") -> tuple[str, Callable[[int], int]]:
    """What is imported has another name; not the parts of Python's own library, of pytest, and what ``others`` name."""
    tree = ast.parse(text)
    imports = [s for s in tree.body if isinstance(s, ast.Import | ast.ImportFrom) and _is_renamed(s)]
    plain = [one for statement in imports for one in statement.names if one.asname is None and one.name.isidentifier()]
    taken = _bound_otherwise(tree, {id(one) for one in plain}) | set(re.findall(r"\w+", others))
    new = {one.name: f"{'My' if one.name[0].isupper() else 'the_'}{one.name}" for one in plain if one.name not in taken}
    edits = [
        (one.end_lineno or 0, one.end_col_offset or 0, "", f" as {new[one.name]}") for one in plain if one.name in new
    ]
    used = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in new)
    edits += [(node.lineno, node.col_offset, node.id, new[node.id]) for node in used]
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    for row, column, old, name in sorted(edits, reverse=True):
        lines[row - 1] = lines[row - 1][:column] + name.encode() + lines[row - 1][column + len(old) :]
    return b"".join(lines).decode(), lambda row: row


def _is_renamed(statement: ast.Import | ast.ImportFrom) -> bool:
    module = statement.module or "" if isinstance(statement, ast.ImportFrom) else ""
    return module.partition(".")[0] not in {*sys.stdlib_module_names, "pytest"}


def _bound_otherwise(tree: ast.Module, imported: set[int]) -> set[str]:
    """Names that are more than what is imported by them, or that texts hold."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.alias(name=name, asname=asname) if id(node) not in imported:
                found.update((asname or name, name.partition(".")[0]))
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                found.add(name)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                found.update(names)
            case ast.Constant(value=str(words)):
                found.update(re.findall(r"\w+", words))
            case ast.JoinedStr():  # its parts have no columns before Python 3.12
                found.update(one.id for one in ast.walk(node) if isinstance(one, ast.Name))
            case _:
                pass
    return found


def _outermost(body: Iterable[ast.stmt]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    found: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(statement)
        elif isinstance(statement, ast.ClassDef):
            found.extend(_outermost(statement.body))
    return found


REWRITES = [renamed, spaced, nested, spelled_out, asked_otherwise, renamed_imports]


@pytest.mark.parametrize("location", LOCATIONS, ids=name_of)
@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda rewrite: str(rewrite.__name__))
def test_meaningless_rewrites_change_no_finding(location: Path, rewrite: Rewrite, diagnose: Diagnose) -> None:
    fixture = read_fixture(location)
    rewritten: dict[str, str | bytes] = {}
    rows: dict[str, Callable[[int], int]] = {}
    for path, text in fixture.files.items():
        if rewrite is renamed_imports:
            others = "".join(other for each, other in fixture.files.items() if each != path)
            rewritten[path], rows[path] = renamed_imports(text, others)
        else:
            rewritten[path], rows[path] = rewrite(text)
        ast.parse(rewritten[path])
    if rewritten == fixture.files:
        return
    moved = Counter({(p, rows[p](row), c): n for (p, row, c), n in findings(diagnose(fixture.files)).items()})
    assert findings(diagnose(rewritten)) == moved


def with_plain_ends(one: Diagnostic) -> Diagnostic:
    """The diagnostic whose fix ends its lines by a line feed alone."""
    if one.fix is None:
        return one
    edits = tuple(replace(edit, content=edit.content.replace("\r\n", "\n")) for edit in one.fix.edits)
    return replace(one, fix=replace(one.fix, edits=edits))


@pytest.mark.parametrize("location", LOCATIONS, ids=name_of)
def test_line_ends_and_byte_order_mark_change_no_finding(location: Path, diagnose: Diagnose) -> None:
    fixture = read_fixture(location)
    dos: Mapping[str, str | bytes] = {path: text.replace("\n", "\r\n").encode() for path, text in fixture.files.items()}
    marked: Mapping[str, str | bytes] = {path: b"\xef\xbb\xbf" + text.encode() for path, text in fixture.files.items()}
    expected = diagnose(fixture.files)
    assert [with_plain_ends(one) for one in diagnose(dos)] == expected
    assert diagnose(marked) == expected


@pytest.mark.parametrize("location", LOCATIONS, ids=name_of)
def test_fixes_end_what_they_are_for(location: Path, diagnose: Diagnose) -> None:
    fixture = read_fixture(location)
    files: dict[str, str | bytes] = dict(fixture.files)
    found = diagnose(files)
    for one in found:
        if any(one.code == kind.value for kind in FIXABLE):
            assert one.fix is not None or re.search(r"\bline \d+", one.fix_refused or ""), one
    applied = 0
    for path, text in fixture.files.items():
        picked = chosen((one for one in found if one.path == path), Applicability.UNSAFE)
        applied += len(picked)
        files[path] = edited(text, [edit for _, fix in picked for edit in fix.edits])
        if all(fix.applicability is Applicability.SAFE for _, fix in picked):
            assert not comments(text) - comments(str(files[path]))
        for one, _ in picked:
            assert one.fix_refused is None
    if applied:
        for path, text in files.items():
            ast.parse(text, path)
        old, new = (Counter(one.code for one in each if one.code not in MASKED) for each in (found, diagnose(files)))
        assert new.total() <= old.total() - applied
        assert not new - old


def comments(text: str) -> Counter[str]:
    """The comments of a file."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return Counter(token.string for token in tokens if token.type == tokenize.COMMENT)
