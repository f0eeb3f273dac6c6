"""Losses on rows that are not trained on. No weight and no random number changes."""

from __future__ import annotations

from collections.abc import Sequence

from lora_engine.data import TokenizedRow
from lora_engine.training.forward.batches import ForwardPath


def evaluate(path: ForwardPath, rows: Sequence[TokenizedRow], batch_size: int) -> float | None:
    """The mean loss over the supervised tokens of `rows` (nats), or None where there are none."""
    import torch

    if not rows:
        return None
    total, count = 0.0, 0
    path.model.eval()
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            batch = path.collate(rows[start : start + batch_size])
            total += float(path.summed_loss(batch))
            count += batch.supervised
    path.model.train()
    return total / max(1, count)


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
