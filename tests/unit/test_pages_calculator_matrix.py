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
    shown = json.loads(matrix_frames(4096.0, 4096.0, 2048.0))
    assert shown["chosen"]["rank"] == 2048
    assert shown["chosen"]["frame"][0] == shown["full"]


def test_what_the_page_opens_with_is_small():
    assert len(matrix_frames(4096, 4096, 8)) < 60 * MOST_FRAMES


@pytest.mark.parametrize("rank", [None, 1.5, 0, 5000])
def test_a_wrong_rank_is_named(rank):
    with pytest.raises(InvalidInput) as caught:
        matrix_frames(4096, 4096, rank)
    assert [problem.path for problem in caught.value.problems] == ["rank"]


def test_more_is_not_called_fewer():
    assert layout.times(1 / 256) == "256 times fewer"
    assert layout.times(1 / 0.3) == "3.33 times more"
    frame = json.loads(matrix_frames(4, 4, 1024))["chosen"]["frame"]
    assert frame[1:3] == ["512 ×", "512 times more"]
