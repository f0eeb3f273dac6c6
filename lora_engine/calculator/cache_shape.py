"""What one row leaves in a model's cache, layer by layer: read off a forward pass of its shapes.

The model runs on the meta device over one short row, and transformers' own cache is measured: keys
and values, MLA's latent, a window's last tokens, the constant state of recurrent and state-space
layers, an encoder's keys. Nothing is computed, so no weights are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lora_engine.calculator.meta_model import build_errors, build_meta_model
from lora_engine.calculator.model_source import ModelSource
from lora_engine.language import tr

if TYPE_CHECKING:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from transformers import PreTrainedModel

TOKENS = 13  # of the row: narrower than a window, and no other side of a tensor is as long
CACHES = ("past_key_values", "cache_params", "state", "rnn_state")  # an output's cache, by model


@dataclass(frozen=True)
class CachedLayer:
    """Numbers that a row of s tokens leaves in a layer: fixed + a_token · min(s, window)."""

    fixed: int
    a_token: int
    window: int | None = None

    def numbers(self, tokens: int) -> int:
        seen = tokens if self.window is None else min(tokens, self.window)
        return self.fixed + self.a_token * seen

    def in_words(self, tokens: int) -> str:
        seen = tokens if self.window is None else min(tokens, self.window)
        parts = []
        if self.a_token:
            numbers = {"count": f"{self.a_token:,}", "tokens": f"{seen:,}"}
            parts.append(tr("{count} numbers × {tokens} tokens", **numbers))
        if self.fixed:
            parts.append(tr("{count} numbers of constant state", count=f"{self.fixed:,}"))
        return " + ".join(parts) or tr("nothing")


@lru_cache(maxsize=32)
def read_cache_shape(source: ModelSource) -> tuple[CachedLayer, ...] | None:
    """The layers of the cache; () without a cache, None where the model does not run on shapes.

    Raises as `build_meta_model` does.
    """

    model = build_meta_model(source).bfloat16().eval()
    try:
        return tuple(_layer(layer) for layer in _cache_of(model))
    except build_errors():
        return None


def _layer(layer: Any) -> CachedLayer:
    held = {id(tensor): tensor for tensor in _tensors(layer)}.values()
    growing = sum(t.numel() for t in held if TOKENS in t.shape)
    fixed = sum(t.numel() for t in held) - growing
    window = getattr(layer, "sliding_window", None)
    # transformers keeps a window's tokens but for the one that is asked about.
    kept = window - 1 if isinstance(window, int) and window > 1 else None
    return CachedLayer(fixed, growing // TOKENS, kept)


def _cache_of(model: PreTrainedModel) -> list[Any]:
    """The cache's layers after a row of TOKENS tokens."""
    import torch

    ids = torch.zeros((1, TOKENS), dtype=torch.long, device="meta")
    inputs = {"input_ids": ids, "use_cache": True}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    with torch.no_grad(), _answers_on_meta():
        output = model(**inputs)
    cache = next((output[name] for name in CACHES if output.get(name) is not None), None)
    if cache is None:  # RecurrentGemma keeps its state in its modules
        own = [{n: t for n, t in vars(m).items() if _is_tensor(t)} for m in model.modules()]
        return [held for held in own if held]
    parts = [getattr(cache, f"{kind}_attention_cache", None) for kind in ("self", "cross")]
    return [la for c in (parts if parts[0] is not None else [cache]) for la in _layers_of(c)]


def _layers_of(cache: Any) -> list[Any]:
    layers = getattr(cache, "layers", None)
    return list(layers) if layers is not None else [cache]


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _tensors(held: Any) -> Iterator[torch.Tensor]:
    if _is_tensor(held):
        if held.is_floating_point():
            yield held
    elif isinstance(held, dict):
        for value in held.values():
            yield from _tensors(value)
    elif isinstance(held, list | tuple):
        for value in held:
            yield from _tensors(value)
    elif hasattr(held, "__dict__") and not isinstance(held, type):
        yield from _tensors(vars(held))


def _answers_on_meta() -> TorchDispatchMode:
    """A mode in which a number asked of a meta tensor is 1, and a truth True: no row is padded."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Answers(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten._local_scalar_dense.default:
                return args[0].dtype == torch.bool or 1
            return function(*args, **(kwargs or {}))

    return Answers()
