"""The losses at each size, as a figure and in words."""

from __future__ import annotations

import plotly.graph_objects as go  # noqa: TID251
import pytest

from lora_engine.adapter_operations import HeldOutAtRanks, RankLoss
from pages.adapters.resize_figure import losses_figure
from pages.adapters.resize_held_out import losses_html
from pages.shared import figures


def _losses(ranks: list[int]) -> HeldOutAtRanks:
    at = tuple(RankLoss(rank, 100 * rank, 0.9, 3.0 - rank / 10, 0.5, None) for rank in ranks)
    return HeldOutAtRanks(60, 4.0, 2.5, at, None, ("A note.",))


@pytest.mark.parametrize("ranks", [[1], [1, 2, 4, 8]])
def test_losses_stand_over_their_ranks_between_those_of_base_and_adapter(ranks: list[int]) -> None:
    figure = losses_figure(_losses(ranks))
    measured, base, as_it_is = figure["data"]
    assert list(zip(measured["x"], measured["y"], strict=True)) == [
        (rank, 3.0 - rank / 10) for rank in ranks
    ]
    assert (set(base["y"]), set(as_it_is["y"])) == ({4.0}, {2.5})
    assert base["x"][0] < ranks[0] <= ranks[-1] < base["x"][1]
    assert figure["layout"]["xaxis"]["tickvals"] == ranks
    go.Figure(_without_tokens(figure))
    figures.to_json(figure)


def test_the_words_name_the_rows_and_keep_markup_out() -> None:
    words = losses_html(_losses([1, 2]), "<i>pirate</i>")
    assert "60" in words
    assert "4.00" in words
    assert "2.50" in words
    assert "A note." in words
    assert "<i>" not in words


def _without_tokens(node: object) -> object:
    if isinstance(node, str) and node.startswith("var("):
        return "#000"
    if isinstance(node, dict):
        return {key: _without_tokens(value) for key, value in node.items()}
    return [_without_tokens(one) for one in node] if isinstance(node, list) else node
