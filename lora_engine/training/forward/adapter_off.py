"""What the base model says without what trains: the reference of a loss, with no second copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from lora_engine.training.forward.batches import Batch, ForwardPath

if TYPE_CHECKING:
    import torch
    from peft import PeftModel


@contextmanager
def adapter_off(path: ForwardPath) -> Iterator[None]:
    """Passes of `path` without the adapter, without dropout and without gradient.

    The model of `path` has an adapter, and its base weights are those that were loaded.
    """
    import torch

    model = cast("PeftModel", path.model)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), model.disable_adapter():
            yield
    finally:
        model.train(was_training)


def reference_log_probabilities(
    path: ForwardPath, batch: Batch, temperature: float = 1.0
) -> torch.Tensor:
    """`path.log_probabilities` of a batch with the adapter off."""
    with adapter_off(path):
        return path.log_probabilities(batch, temperature)
