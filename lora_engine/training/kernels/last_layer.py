"""The last decoder layer: past its attention only the tokens that predict a supervised one go on.

Keys and values of every token are needed there, and nothing else of the others: their last hidden
states reach no loss. So the layer's output projection, its MLP and the norm behind it see the
predicting tokens alone, and what is left out had gradients of zero. For the decoder layers of
`families` whose attention and MLP are fused (`fused_layers`).
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

from lora_engine.base_models.families import DECODER_LAYERS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def install(causal_lm: PreTrainedModel) -> bool:
    """Let the last layer of the decoder take `predicting`, the positions that go on, where it can.

    Returns whether it does. It does not with dropout: fewer tokens would draw other numbers, and
    the losses would not be those of the same seed elsewhere. Nor does a layer whose forward is
    another's already, as a streamed one's. Without `predicting` the layer computes what it did.
    """
    import torch

    layers = getattr(causal_lm.base_model, "layers", None)
    if layers is None or len(layers) != causal_lm.config.num_hidden_layers:
        return False
    last = layers[-1]
    kind = type(last)
    is_known = kind.__name__ in DECODER_LAYERS and kind.__module__.startswith("transformers.")
    if not is_known or "forward" not in vars(last.self_attn):  # a forward of its own is a fused one
        return False
    if "forward" in vars(last) and getattr(last.forward, "__func__", None) is not _forward:
        return False
    if any(isinstance(one, torch.nn.Dropout) and one.p > 0 for one in last.modules()):
        return False
    last.forward = types.MethodType(_forward, last)
    return True


def _forward(
    self, hidden_states: torch.Tensor, predicting: torch.Tensor | None = None, **kwargs
) -> torch.Tensor:
    """hidden_states (1, tokens, hidden_size); returns (1, predicting, hidden_size).

    Checkpointed where the layer's own forward, which transformers wraps, is.
    """

    def layer(states: torch.Tensor) -> torch.Tensor:
        return _trimmed(self, states, predicting, **kwargs)

    if self.gradient_checkpointing and self.training:
        return self._gradient_checkpointing_func(layer, hidden_states)
    return layer(hidden_states)


def _trimmed(
    self, hidden_states: torch.Tensor, predicting: torch.Tensor | None, **kwargs
) -> torch.Tensor:
    attended, _ = self.self_attn(
        hidden_states=self.input_layernorm(hidden_states), outputs_at=predicting, **kwargs
    )
    if predicting is not None:
        hidden_states = hidden_states.index_select(1, predicting)
    hidden_states = hidden_states + attended
    return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
