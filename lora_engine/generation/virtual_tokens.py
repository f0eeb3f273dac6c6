"""Trained tokens that stand before every row, as the keys and values that they leave in the cache.

Prefix tuning trains these keys and values; prompt tuning and P-tuning train embeddings, which the
model reads once to make them. A row that begins with them goes on at the position after the last.
This module knows tensors and a model; it knows nothing of adapters, files or texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lora_engine.errors import EngineError
from lora_engine.generation.kv_cache import growing_cache
from lora_engine.language import tr

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel
    from transformers.cache_utils import Cache


@dataclass(frozen=True)
class VirtualTokens:
    """What n virtual tokens leave in each layer's cache: keys and values (heads, n, head size).

    layers: None for a layer that reads another one's keys and values.
    """

    length: int
    layers: Sequence[tuple[torch.Tensor, torch.Tensor] | None]

    def cache(self, rows: int) -> Cache:
        """A growing cache of this many rows, which all begin with the virtual tokens."""
        cache = growing_cache(len(self.layers))
        for number, layer in enumerate(self.layers):
            if layer is not None:
                keys, values = (part.expand(rows, *part.shape) for part in layer)
                cache.update(keys, values, number)
        return cache

    @classmethod
    def of_embeddings(cls, model: PreTrainedModel, embeddings: torch.Tensor) -> VirtualTokens:
        """Virtual tokens with these input embeddings (n, width), as the bare model reads them.

        Raises EngineError where the model's width is another.
        """
        import torch

        config = model.config.get_text_config()
        width = _embedding(model).shape[-1]
        if embeddings.ndim != 2 or embeddings.shape[-1] != width:
            raise EngineError(
                tr(
                    "The virtual tokens have the shape {shape}; this model's embeddings have "
                    "{width} numbers each.",
                    shape=list(embeddings.shape),
                    width=f"{width:,}",
                ),
                tr("Choose the base model that they were trained on."),
            )
        cache = growing_cache(config.num_hidden_layers)
        given = embeddings.to(device=model.device, dtype=model.dtype)[None]
        with torch.inference_mode():
            model(inputs_embeds=given, past_key_values=cache, use_cache=True)
        return cls(len(embeddings), [_of_layer(layer) for layer in cache.layers])

    @classmethod
    def of_prefix(
        cls, model: PreTrainedModel, prefix: torch.Tensor, heads: int, layers: int
    ) -> VirtualTokens:
        """Virtual tokens whose keys and values are trained, as PEFT stores them.

        prefix: (n, layers · 2 · heads · head size), for each layer its keys, then its values.
        Raises EngineError where the model's layers have other numbers of heads or sizes.
        """
        count = len(prefix)
        given = prefix.to(device=model.device, dtype=model.dtype)
        parts = given.view(count, layers * 2, heads, -1).permute(1, 2, 0, 3)
        found = [(parts[2 * number], parts[2 * number + 1]) for number in range(layers)]
        expected = _shapes(model)
        given_shapes = [(keys.shape[0], keys.shape[2]) for keys, _ in found]
        pairs = zip(expected, given_shapes, strict=False)
        fits = len(expected) == layers and all(want in (None, have) for want, have in pairs)
        if not fits:
            raise EngineError(
                tr(
                    "The prefix is made for {layers} layers of {heads} heads with {shape} "
                    "numbers each; this model has {in_words}.",
                    layers=layers,
                    heads=heads,
                    shape=parts.shape[-1],
                    in_words=_in_words(expected),
                ),
                tr("Choose the base model that it was trained on."),
            )
        kept = zip(expected, found, strict=True)
        return cls(count, [pair if want is not None else None for want, pair in kept])


def _of_layer(layer) -> tuple[torch.Tensor, torch.Tensor] | None:
    """A filled cache layer's keys and values of its first row; None where nothing was written."""
    if layer.keys is None or layer.values is None:
        return None
    filled = layer.get_seq_length()
    return layer.keys[0, :, :filled].clone(), layer.values[0, :, :filled].clone()


def _shapes(model: PreTrainedModel) -> list[tuple[int, int] | None]:
    """(heads, head size) of each layer's cache; None for a layer that keeps none of its own."""
    embedding = _embedding(model)
    one = VirtualTokens.of_embeddings(model, embedding.new_zeros((1, embedding.shape[-1])))
    return [
        None if layer is None else (layer[0].shape[0], layer[0].shape[2]) for layer in one.layers
    ]


def _embedding(model: PreTrainedModel) -> torch.Tensor:
    """The input embeddings, (vocabulary, width)."""
    return cast("torch.Tensor", model.get_input_embeddings().weight)


def _in_words(shapes: Sequence[tuple[int, int] | None]) -> str:
    kinds = dict.fromkeys(shape for shape in shapes if shape is not None)
    words = [tr("{heads} heads with {size}", heads=heads, size=size) for heads, size in kinds]
    return tr("{layers} layers of {heads}", layers=len(shapes), heads=", ".join(words))
