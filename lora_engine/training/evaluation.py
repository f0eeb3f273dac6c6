"""Losses on rows that are not trained on. No weight and no random number changes."""

from __future__ import annotations

from collections.abc import Sequence

from lora_engine.data import TokenizedRow
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.ranks.ranks import ALONE, Ranks
from lora_engine.training.ranks.shares import own_share


def evaluate(
    path: ForwardPath, rows: Sequence[TokenizedRow], batch_size: int, ranks: Ranks = ALONE
) -> float | None:
    """The mean loss over the supervised tokens of `rows` (nats), or None where there are none.

    Several processes divide the rows, and all get the mean of all.
    """
    import torch

    if not rows:
        return None
    total, count = 0.0, 0
    path.model.eval()
    with torch.inference_mode():
        for share in own_share(batches_of(rows, batch_size), ranks):
            batch = path.collate(share)
            total += float(path.summed_loss(batch))
            count += batch.supervised
    path.model.train()
    summed, counted = ranks.totals([total, count])
    return summed / max(1, counted)


def batches_of(rows: Sequence[TokenizedRow], size: int) -> list[Sequence[TokenizedRow]]:
    """The rows in their order, `size` at a time."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def row_losses(path: ForwardPath, rows: Sequence[TokenizedRow]) -> list[float]:
    """The mean loss over the supervised tokens of each row, nats a token."""
    import torch

    path.model.eval()
    losses = []
    with torch.inference_mode():
        for row in rows:
            batch = path.collate([row])
            losses.append(float(path.summed_loss(batch)) / max(1, batch.supervised))
    path.model.train()
    return losses
