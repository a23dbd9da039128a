"""Positions are LibCST's own: the state of its code generation, which computes them here, is not public."""

from __future__ import annotations

from pathlib import Path

import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper, PositionProvider

from leakcheck.ownership.positions import places_of

ROOT = Path(__file__).parents[1]
ODD = "if 1:\r\n\tx = [  a ,\r\n\t\tb ]  # c\r\n\tdef f(\r\n\t  *, k = 1): return  x ; pass\n@d\nclass C ( B ) : pass"


@pytest.mark.parametrize("folder", ["leakcheck/cfg", "leakcheck/rules", "tests", "fixtures/clean"])
def test_they_are_those_of_libcst(folder: str) -> None:
    texts = [path.read_text() for path in sorted((ROOT / folder).glob("*.py"))[:6]]
    for text in (*texts, ODD, "", "x"):
        module = cst.parse_module(text)
        expected = MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)
        found = places_of(module)
        assert {
            id(node): (place.start.line, place.start.column, place.end.line, place.end.column)
            for node, place in expected.items()
        } == found
