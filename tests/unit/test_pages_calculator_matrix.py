"""One weight matrix: its picture at every rank, and what is refused rather than clamped."""

import json

import pytest

from lora_engine.errors import InvalidInput
from pages.calculator.page import MOST_FRAMES, matrix_frames
from pages.shared import layout


@pytest.mark.parametrize(("d", "k", "end"), [(4096, 4096, 2048), (4096, 512, 455), (1, 1, 1)])
def test_the_range_ends_at_the_break_even_rank(d, k, end):
    shown = json.loads(matrix_frames(d, k, 1))
    assert shown["range"] == {"field": "field-rank", "most": end}
    assert len(shown["frames"]) == MOST_FRAMES


def test_a_rank_beyond_the_frames_is_shown_as_it_is():
    chosen = json.loads(matrix_frames(4096.0, 4096.0, 2048.0))["chosen"]
    assert chosen["rank"] == 2048
    assert chosen["low_rank"] == chosen["full"]


@pytest.mark.parametrize("rank", [None, 1.5, 0, 5000])
def test_a_wrong_rank_is_named(rank):
    with pytest.raises(InvalidInput) as caught:
        matrix_frames(4096, 4096, rank)
    assert [problem.path for problem in caught.value.problems] == ["rank"]


def test_more_is_not_called_fewer():
    assert layout.times(1 / 256) == "256 times fewer"
    assert layout.times(1 / 0.3) == "3.33 times more"
    share = json.loads(matrix_frames(4, 4, 1024))["chosen"]["tiles"][2]
    assert share[1:] == ["512 ×", "512 times more"]
