"""The model that trains, made ready to generate with a KV cache, and put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.training.forward.around import PathAround
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.forward.packed import PackedPath
from lora_engine.training.forward.select import causal_lm_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def generating(path: ForwardPath) -> Iterator[PreTrainedModel]:
    """Within: the language model with what trains in place, without dropout, its own attention.

    Packed attention knows no cache, so the model gets back the one that it had before.
    Raises EngineError for a model that keeps a state which is no key-value cache.
    """
    inner = path
    while isinstance(inner, PathAround):
        inner = inner.inner
    causal_lm = causal_lm_of(path.model)  # type: ignore[arg-type]  # a path's model is one of these
    if getattr(causal_lm, "_is_stateful", False):
        raise EngineError(
            tr(
                "{model_type} keeps a state that is no key-value cache, so it cannot answer "
                "while it trains.",
                model_type=causal_lm.config.model_type,
            ),
            tr("Choose a transformer with attention in every layer, or another objective."),
        )
    packed = inner if isinstance(inner, PackedPath) else None
    for_training = causal_lm.config._attn_implementation
    path.model.eval()
    try:
        if packed is not None:
            causal_lm.set_attn_implementation(packed.own_attention)
        yield causal_lm
    finally:
        if packed is not None:
            causal_lm.set_attn_implementation(for_training)
        path.model.train()
