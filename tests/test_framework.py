"""Framework files: the built-in ones are compiled, documented and shown by a fixture; faulty ones are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fixture_file import read_fixture

from leakcheck.diagnostic import LeakcheckError
from leakcheck.framework import Run, compiled_path, load_frameworks, restored
from leakcheck.framework_file import builtin_sources, compile_frameworks, read_frameworks

FIXTURES = Path(__file__).parent.parent / "fixtures" / "lc201_pool_in_request_handler"
FRAMEWORKS = load_frameworks()
WITHOUT_HANDLERS = {"python"}  # its fixture is kept_for_the_next.py


def test_compiled_form_is_fresh() -> None:
    message = "run: python -m leakcheck.driver_compiler"
    assert Path(compiled_path()).read_text(encoding="utf-8") == compile_frameworks(), message


def test_compiled_form_says_what_the_sources_say() -> None:
    assert restored(read_frameworks(builtin_sources())) == FRAMEWORKS


@pytest.mark.parametrize("path", builtin_sources(), ids=lambda path: path.stem)
def test_file_says_what_it_knows_from_where(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#"), "what was measured, in a comment"
    assert re.search(r'^docs = "https://', text, re.MULTILINE)


@pytest.mark.parametrize("path", builtin_sources(), ids=lambda path: path.stem)
def test_framework_has_a_fixture_with_a_chain_and_a_silent_pool(path: Path) -> None:
    if path.stem in WITHOUT_HANDLERS:
        return
    fixture = read_fixture(FIXTURES / f"{path.stem}.py")
    assert "LC201" in fixture.codes
    assert any("calls" in mark.text for mark in fixture.marks), "a pool two calls away"
    first = next(iter(fixture.files.values()))
    pools = [line for line in first.splitlines() if re.search(r"\b(create_engine|create_pool|MongoClient)\(", line)]
    assert any("# error:" not in line for line in pools), "a pool that is built once"


@pytest.mark.parametrize(
    ("found", "per"),
    [
        (FRAMEWORKS.decorated("flask.Flask", "route"), "request"),
        (FRAMEWORKS.decorated("flask.blueprints.Blueprint", "route"), "request"),
        (FRAMEWORKS.decorated("fastapi.FastAPI", "on_event"), "process"),
        (FRAMEWORKS.decorated("elsewhere.Flask", "route"), None),
        (FRAMEWORKS.derived("flask.views.MethodView", "get"), "request"),
        (FRAMEWORKS.derived("shop_pb2_grpc.ShopServicer", "Orders"), "call"),
        (FRAMEWORKS.derived("shop_pb2_grpc.ShopServicer", "__init__"), None),
        (FRAMEWORKS.given("litestar.di", "Provide"), "request"),
        (FRAMEWORKS.given("litestar.di", "Provide", ["use_cache"]), None),
        (FRAMEWORKS.scripted("streamlit.title"), "rerun"),
        (FRAMEWORKS.scripted("streamlit.cache_resource"), None),
    ],
)
def test_questions(found: Run | None, per: str | None) -> None:
    assert (found.per if found is not None else None) == per


HEAD = 'name = "shop"\ntitle = "Shop"\ndocs = "https://shop"\npackages = ["shop"]\n'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (HEAD, "runs: missing; add it"),
        (HEAD.replace('"shop"', '"other"', 1) + "[runs]\n", "is not the name of the file"),
        (HEAD + '[runs.a]\nper = "request"\n', "runs.a: says of no function how it runs"),
        (HEAD + '[runs.a]\nfunctions = ["f"]\n', "runs.a.per: missing"),
        (HEAD + '[runs.a]\nper = "request"\nowners = ["A"]\ndecoraters = ["f"]\n', 'did you mean "decorators"'),
        (HEAD + '[runs.a]\nper = "request"\ndecorators = ["f"]\n', '"owners" and their members go together'),
        (HEAD + '[runs.a]\nper = "request"\nbases = ["A"]\n', '"bases" and "methods" go together'),
        (HEAD + '[runs.a]\nper = "request"\nfunctions = ["f"]\nunless = ["x"]\n', "runs.a.unless: there is no call"),
        (HEAD + '[runs.a]\nper = 1\nfunctions = ["f"]\n', "runs.a.per: wrong type; give a string"),
    ],
)
def test_a_faulty_file_is_refused_with_key_and_remedy(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(text)
    with pytest.raises(LeakcheckError, match=re.escape(fault)) as caught:
        read_frameworks([path])
    assert str(path) in str(caught.value)
