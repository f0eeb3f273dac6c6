"""Rows end to end: positions restart, and only what predicts a supervised token is kept."""

from __future__ import annotations

from lora_engine.data import TokenizedRow
from lora_engine.training.forward.packed import (
    FEW_MULTIPLE,
    FEW_TOKENS,
    TOKEN_MULTIPLE,
    filler_of,
    pack,
)

ROWS = [
    TokenizedRow(0, (5, 6, 7), (-100, 6, 7), False),
    TokenizedRow(1, (8, 9), (8, 9), False),
]


def test_pack():
    batch = pack(ROWS, "cpu")
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.row_starts.tolist() == [0, 3, 5]
    # the first token of the second row is supervised, but nothing in its row predicts it
    assert batch.predicting.tolist() == [0, 1, 3]
    assert batch.targets.tolist() == [6, 7, 9]
    assert (batch.tokens, batch.supervised, batch.row_lengths) == (5, 3, (3, 2))


def test_filler_counts_for_nothing():
    batch = pack(ROWS, "cpu", multiple=8)
    assert batch.input_ids.shape == (1, 8)
    assert batch.row_starts.tolist() == [0, 3, 5, 8]
    assert batch.targets.tolist() == [6, 7, 9]
    assert (batch.tokens, batch.supervised) == (5, 3)


def test_a_small_batch_is_filled_up_by_little():
    filled = [count + filler_of(count, TOKEN_MULTIPLE) for count in range(FEW_TOKENS + 300)]
    assert filled[:2] == [0, FEW_MULTIPLE]
    assert all(size - count < FEW_MULTIPLE for count, size in enumerate(filled[: FEW_TOKENS + 1]))
    assert set(filled[FEW_TOKENS + 1 :]) == {FEW_TOKENS + TOKEN_MULTIPLE, FEW_TOKENS + 512}
    assert filler_of(50, 1) == 0
