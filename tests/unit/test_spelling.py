"""One spelling, American, in what a person reads: the program's texts, and the docs."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BRITISH = re.compile(
    r"\b\w*(?:colour|behaviour|neighbour|favour|quantis|normalis|recognis|initialis|organis"
    r"|summaris|optimis(?!t)|analyse\b|centre\b|grey\b)\w*",
    re.IGNORECASE,
)
QUOTED = re.compile(r"[Ww]hat colour is \w+ \w+\?")  # a question that the starter was taught
DOCS = sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "architecture.md")


def british(text: str) -> list[str]:
    return BRITISH.findall(QUOTED.sub("", text))


def test_texts_of_the_program_are_spelled_one_way() -> None:
    maker = runpy.run_path(str(ROOT / "docs" / "make_catalogue.py"))
    found = {
        text: words
        for package in maker["packages"]()
        for text in maker["texts"](package)
        if (words := british(text))
    }
    assert not found


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_docs_are_spelled_the_same_way(path: Path) -> None:
    assert not british(path.read_text("utf-8"))


def test_the_other_spelling_is_found() -> None:
    assert british("Colours are normalised by neighbours.") == [
        "Colours",
        "normalised",
        "neighbours",
    ]
    assert not british('Ask "What colour is the sky?" of a quantized model; be optimistic.')
