"""One run, every format: each is read back, and all tell of the same findings in the same places."""

from __future__ import annotations

import html
import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from leakcheck.cli import main
from leakcheck.output import FORMATS

ROOT = Path(__file__).parent.parent
Found = list[tuple[str, int, str]]
_BLOCK = re.compile(r"^(LC\d+) .*\n *--> (.*?):(\d+):\d+$", re.MULTILINE)
_LINE = re.compile(r"^(.*?):(\d+):\d+: (LC\d+) ", re.MULTILINE)


def inside(path: str) -> str:
    """A path that is absolute, as seen from the project."""
    return path.partition("/project0/")[2]


def full(text: str) -> Found:
    return [(path, int(row), code) for code, path, row in _BLOCK.findall(text)]


def concise(text: str) -> Found:
    return [(path, int(row), code) for path, row, code in _LINE.findall(text)]


def github(text: str) -> Found:
    titled = r"^::\w+ title=leakcheck \((LC\d+) [\w-]+\),file=(.*?),line=(\d+),"
    unquoted = text.replace("%2C", ",").replace("%3A", ":")
    return [(inside(path), int(row), code) for code, path, row in re.findall(titled, unquoted, re.MULTILINE)]


def rows(text: str) -> Found:
    return [
        (inside(each["filename"]), each["location"]["row"], each["code"])
        for each in json.loads(text if text.startswith("[") else f"[{','.join(text.splitlines())}]")
    ]


def gitlab(text: str) -> Found:
    return [
        (each["location"]["path"], each["location"]["lines"]["begin"], each["check_name"]) for each in json.loads(text)
    ]


def junit(text: str) -> Found:
    cases = ET.fromstring(text).iter("testcase")
    return [(each.attrib["file"], int(each.attrib["line"]), each.attrib["name"].split()[0]) for each in cases]


def sarif(text: str) -> Found:
    found = []
    for result in json.loads(text)["runs"][0]["results"]:
        place = result["locations"][0]["physicalLocation"]
        found.append((unquote(place["artifactLocation"]["uri"]), place["region"]["startLine"], result["ruleId"]))
    return found


def markdown(text: str) -> Found:
    found: Found = []
    path = ""
    for heading, code, row in re.findall(
        r"^### `+ ?(.*?) ?`+$|^- \*\*(LC\d+)\*\* \w+, line (\d+): ", text, re.MULTILINE
    ):
        path = heading or path
        if code:
            found.append((path, int(row), code))
    return found


def page(text: str) -> Found:
    return full(html.unescape(re.sub(r"<[^>]*>", "", text)))


READERS: dict[str, Callable[[str], Found]] = {
    "full": full,
    "concise": concise,
    "json": rows,
    "json-lines": rows,
    "github": github,
    "gitlab": gitlab,
    "junit": junit,
    "sarif": sarif,
    "html": page,
    "markdown": markdown,
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one run writes in each format."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "fixtures" / "demo", folder / "a, b: <c> & d")
    (folder / "broken.py").write_text("import sqlite3\n\nsqlite3.connect(\n")
    (folder / "unused.py").write_text("x = 1  # leakcheck: ignore[LC101]\ny = 2  # leakcheck: ignore[LC777]\n")
    (folder / "note.py").write_text(
        "import sqlite3\n\n\ndef f(path, log):\n    conn = sqlite3.connect(path)\n    log(path)\n"
        "    try:\n        conn.execute('<&>')\n    finally:\n        conn.close()\n"
    )
    targets = [option for form in FORMATS for option in ("--output", f"{form}=out.{form}")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["check", "--quiet", *targets, "."]) == 1
    return {form: (folder / f"out.{form}").read_text(encoding="utf-8") for form in FORMATS}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_tells_the_same(form: str, written: dict[str, str]) -> None:
    expected = concise(written["concise"])
    assert {code for _, _, code in expected} == {"LC102", "LC103", "LC104", "LC900", "LC901", "LC902"}
    assert READERS[form](written[form]) == expected
