"""The generator: the same seed gives the same program, and the programs are worth running."""

from __future__ import annotations

import re

import pytest

from .comparison import Fault, compare
from .executor import TooManyPathsError, execute
from .generator import flavours, generate
from .shrink import shrink
from .truth import Site

PROGRAMS = 30
MAX_RUNS = 500

INGREDIENTS = (
    r"pool\.getconn\(\)",
    r"pool\.putconn\(",
    r"psycopg2\.connect\(DSN\)",
    r"await pool\.acquire\(\)",
    r"await asyncpg\.connect\(DSN\)",
    r"if \w+ is not None:",
    r"if conn:",
    r"if not conn:",
    r"alias = conn",
    r"conn = None",
    r"del conn",
    r"if cond\(\d+\):",
    r"while settings\.\w+:",
    r"while True:",
    r"while conn is None:",
    r"for item in items\(",
    r"async for ",
    r"break",
    r"continue",
    r"else:",
    r"except ValueError:",
    r"except Exception:",
    r"except:",
    r"except \(ValueError, KeyError\):",
    r"except Exception as e:",
    r"finally:",
    r"raise ValueError\(\)",
    r"raise$",
    r"return$",
    r"return conn",
    r"\.cursor\(\)",
    r"bag\.append\(conn\)",
    r'registry\["x"\] = conn',
    r"owner\.conn = conn",
    r"kept = conn",
    r"with closing\(conn\):",
    r"with psycopg2\.connect\(DSN\) as conn:",
    r"async with pool\.acquire\(\) as conn:",
    r"with ctx\(\d+\):",
    r"def finish\(\):",
    r"conn = pool\.getconn\(\) if .* else None",
    r"conn = conn or ",
    r"conn and pool\.putconn\(conn\)",
    r":= ",
    r"match settings\.",
    r"assert settings\.",
    r"= take\(\)",
    r"give\(conn\)",
    r"with session\(\) as",
    r"store\.get\(\)",
    r"import store",
    r"conn, extra = ",
)

NATURAL = re.compile(
    r"\w+: $"  # raised by the program, or thrown into a context manager
    r"|AttributeError: 'NoneType' object has no attribute "
    r"|TypeError: 'NoneType' object does not support the (asynchronous )?context manager protocol"
    r"|TypeError: cannot unpack non-iterable (NoneType|Unbound)"
    r"|RuntimeError: generator didn't yield",
)


LEAKY = '''
from app.env import settings, work
import psycopg2
class Other(Exception):
    """An error of the program."""
def scenario():
    work(1)
    try:
        conn = psycopg2.connect("x")
        if settings.flag1:
            work(2)
            work(3)
    except ValueError:
        pass
    else:
        print(conn)
        conn.close()
'''


@pytest.mark.parametrize("flavour", list(flavours()))
def test_flavour(flavour: str) -> None:
    """Neither too many nor too few leaks, few programs with too many paths, no exceptions but Python's own."""
    leaking = sites = discarded = 0
    for seed in range(PROGRAMS):
        try:
            execution = execute(generate(seed, flavour), MAX_RUNS)
        except TooManyPathsError:
            discarded += 1
            continue
        sites += len(execution.truths)
        leaking += sum(truth.leaks for truth in execution.truths.values())
        assert [message for message in execution.natural if not NATURAL.match(message)] == []
    highest = 0.97 if flavour in {"helper-releases-some", "helper-raises-first"} else 0.65
    assert 0.25 < leaking / sites < highest
    assert discarded < PROGRAMS / 4


def test_same_seed_same_program() -> None:
    """Nothing but the seed decides."""
    for flavour in flavours():
        assert [generate(seed, flavour) for seed in range(10)] == [generate(seed, flavour) for seed in range(10)]


def test_raising_only_what_matters_loses_nothing() -> None:
    """Fewer exceptions per line, the same truth."""
    for flavour in ("sync-pool", "async-plain", "two-levels", "methods", "conditional", "other-module"):
        for seed in range(10):
            files = generate(seed, flavour)
            try:
                thorough = execute(files, 4 * MAX_RUNS, thorough=True)
            except TooManyPathsError:
                continue
            assert execute(files, 4 * MAX_RUNS).truths == thorough.truths


def test_ingredients() -> None:
    """What people write occurs."""
    text = "\n".join(text for flavour in flavours() for seed in range(80) for text in generate(seed, flavour).values())
    assert [pattern for pattern in INGREDIENTS if not re.search(pattern, text, re.MULTILINE)] == []


def test_comparison_tells_missed_false_and_wrong_kind() -> None:
    """A silent, a noisy and a confused analysis."""
    files = {"scenario.py": LEAKY}
    site = Site("scenario.py", 9)
    assert _faults(files, {site: {"LC102"}}) == {}
    assert _faults(files, {}) == {9: Fault.MISSED}
    assert _faults(files, {site: {"LC101"}}) == {9: Fault.WRONG_KIND}
    assert _faults(files, {site: {"LC102", "LC103"}}) == {9: Fault.WRONG_KIND}
    noisy = {site: {"LC102"}, Site("scenario.py", 7): {"LC101"}, Site("scenario.py", 99): {"LC101"}}
    assert _faults(files, noisy) == {7: Fault.FALSE}


def _faults(files: dict[str, str], said: dict[Site, set[str]]) -> dict[int, Fault]:
    """The disagreements with an analysis that says ``said``, by line."""
    found = compare(files, lambda _: said).disagreements
    return {disagreement.site.line: disagreement.fault for disagreement in found}


def test_shrinking_keeps_the_property() -> None:
    """A leak on an exception shrinks to a checkout, something that raises and a release."""
    files = {"scenario.py": LEAKY}

    def holds(candidate: dict[str, str]) -> bool:
        return any(truth.allowed() == {"LC102"} for truth in execute(candidate).truths.values())

    assert holds(files)
    small = shrink(files, holds)
    assert len(small["scenario.py"].splitlines()) == 9
    assert execute(small).truths.keys() == {Site("scenario.py", 7)}
