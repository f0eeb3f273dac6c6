"""Numbers in words, links with state, and text that must not become markup."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import gradio as gr  # noqa: TID251
import pytest
from gradio.blocks import Block  # noqa: TID251

from app import build_dashboard
from lora_engine.engine import Engine
from lora_engine.settings import Settings
from pages import COMPARE, RUNS
from pages.shared import layout, static_files
from pages.shared.theme import TEAL
from pages.spectrum.matrix_cache import MatrixCache

ATTACK = '<img src=x onerror="alert(1)">'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.012346, "0.0123"),
        (0.9996, "1.00"),
        (1, "1.00"),
        (9.999, "10.0"),
        (12.34, "12.3"),
        (99.96, "100"),
        (1234.5, "1,234"),
        (-0.5, "-0.500"),
        (0.00001234, "1.23e-05"),
        (1e18, "1.00e+18"),
        (math.nan, "not finite"),
        (math.inf, "not finite"),
    ],
)
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert layout.number(value) == text


def test_counts_shares_sizes_and_times() -> None:
    assert layout.count(16777216) == "16,777,216"
    assert layout.share(65536 / 16777216) == "0.391 %"
    assert layout.short_count(6738415616) == "6.74 billion"
    assert layout.short_count(9999) == "9,999"
    assert layout.byte_size(2**31) == "2.00 GiB"
    assert layout.byte_size(10) == "10 B"
    assert [layout.duration(s) for s in (0.5, 59, 75, 3700)] == [
        "0.500 s",
        "59 s",
        "1 min 15 s",
        "1 h 1 min",
    ]


def test_links_carry_state_and_nothing_else() -> None:
    assert layout.link(RUNS, run="a b&c=1") == "/runs?run=a+b%26c%3D1"
    assert layout.link(COMPARE, adapter=None) == "/compare"


def test_names_from_outside_are_escaped() -> None:
    for made in (
        layout.empty_state_html(ATTACK, ATTACK, ATTACK, f"/runs?run={ATTACK}"),
        layout.tiles_html([(ATTACK, ATTACK, ATTACK)]),
        layout.notes_html([ATTACK]),
    ):
        assert "<img" not in made
        assert "&lt;img" in made


def _tokens(block: str) -> dict[str, str]:
    return dict(re.findall(r"--rs-([a-z-]+): (#[0-9a-f]{6})", block))


def _contrast(first: str, second: str) -> float:
    """WCAG 2.2's contrast ratio of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((luminance(first), luminance(second)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(
    ("mode", "grounds"), [("light", ("#f8fafc", "#ffffff")), ("dark", ("#0b1220", "#111a2b"))]
)
def test_colours_meet_wcag_aa_on_every_ground(mode: str, grounds: tuple[str, str]) -> None:
    light, dark = (
        static_files.files()["shared/rankscope.css"].read_text("utf-8").split(".dark {", 1)
    )
    tokens = _tokens(light if mode == "light" else dark)

    for ground in grounds:
        for name in ("text", "muted", "accent", "second", "danger", "good"):
            assert _contrast(tokens[name], ground) >= 4.5, name
        for name in ("third", "fourth", "fifth", "faint"):
            assert _contrast(tokens[name], ground) >= 3, name
    assert _contrast(tokens["text"], tokens["danger-soft"]) >= 4.5
    assert _contrast("#ffffff", TEAL.c600) >= 4.5


def test_a_field_to_type_into_is_drawn_with_its_page(tmp_path: Path) -> None:
    """Drawn when first opened, it would be emptied of what is typed in the first moment.

    One section is left so: its Alpha may be empty, and Gradio reads 0 from an empty number drawn
    with the page, which the first count would refuse.
    """
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path / "models")
    dashboard = build_dashboard(Engine(settings), MatrixCache())
    late = [
        (block.label, parent.label)
        for block in dashboard.blocks.values()
        if isinstance(block, gr.Textbox | gr.Number) and block.interactive is not False
        for parent in ancestors(block)
        if isinstance(parent, gr.Accordion)
        and parent.open is False
        and not parent.label.startswith("More: optimizer")
    ]
    assert late == []


def ancestors(block: Block) -> Iterator[Block]:
    while block.parent is not None:
        block = block.parent
        yield block
