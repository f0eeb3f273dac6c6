"""Figures and live values: what Plotly accepts, and JSON that a browser can read."""

from __future__ import annotations

import json
import math

import plotly.graph_objects as go  # noqa: TID251
import pytest

from pages.shared import figures, layout, live, static_files

FIGURES = {
    "loss": figures.loss_curve([1, 2, 3], [3.0, math.nan, 2.0], [2], [2.5]),
    "no loss yet": figures.loss_curve([], []),
    "memory": figures.memory_bar([("weights", 12.5), ("overlap", -0.1)], "RTX 4090", 24.0),
}


def _coloured(node: object) -> object:
    """The figure with a colour in the place of every token, as the script draws it."""
    if isinstance(node, str) and node.startswith("var(--rs-"):
        return "#0d7d74"
    if isinstance(node, dict):
        return {key: _coloured(value) for key, value in node.items()}
    return [_coloured(value) for value in node] if isinstance(node, list) else node


@pytest.mark.parametrize("name", FIGURES)
def test_plotly_knows_every_property_of_every_figure(name: str) -> None:
    go.Figure(_coloured(FIGURES[name]))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_itself_in_words_and_keeps_its_zoom(name: str) -> None:
    shown = FIGURES[name]["layout"]

    assert shown["meta"]["description"].endswith(".")
    assert shown["uirevision"]


def test_every_colour_token_is_in_the_styles_for_both_modes() -> None:
    styles = static_files.files()["shared/rankscope.css"].read_text("utf-8")
    for token in {*figures.SERIES, figures.TEXT, figures.GRID, figures.FAINT, figures.SURFACE}:
        assert styles.count(f"\t{token[4:-1]}:") == 2, token


def test_what_is_not_finite_becomes_a_gap() -> None:
    document = json.loads(figures.to_json(FIGURES["loss"]))

    assert document["data"][0]["y"] == [3.0, None, 2.0]
    assert document["data"][1]["y"][1] is None


def test_smoothing_has_no_bias_at_the_start() -> None:
    assert figures.smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    once = figures.smoothed([1.0, 0.0], weight=0.5)
    assert once == pytest.approx([1.0, 1 / 3])


def test_a_table_keeps_whole_values_beside_what_is_shown() -> None:
    columns = [live.Column("name"), live.Column("loss", layout.number, numeric=True)]
    rows = [("=1+1", 0.123456), ("b", None), ("c", math.nan)]

    document = json.loads(live.table_value(columns, rows, links=["/runs?run=1", None, None]))

    assert document["rows"][0] == {"raw": ["=1+1", 0.123456], "shown": ["=1+1", "0.123"]}
    assert document["rows"][1] == {"raw": ["b", None], "shown": ["b", "–"]}
    assert document["rows"][2]["raw"][1] == "nan"


def test_a_row_of_the_wrong_length_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="zip"):
        live.table_value([live.Column("a")], [(1, 2)])


def test_a_label_cannot_become_code_in_a_template() -> None:
    plot = live.live_plot(label='`${alert(1)}` {{x}} "<b>')

    for sign in ("${", "{{", "`", "<b>"):
        assert sign not in plot.html_template
