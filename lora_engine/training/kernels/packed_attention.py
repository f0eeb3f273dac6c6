"""Causal attention over packed rows: rows end to end in one sequence, each as if it were alone.

Registered with transformers' AttentionInterface, so its eleven parameters are that interface's. A
model that supports FlashAttention needs no mask and passes everything else (window, soft cap,
scale) as arguments. This function understands the same arguments, so every such model can train on
packed rows without FlashAttention. `cu_seq_lens_q` says where the rows begin, as it does for
FlashAttention.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import nn

NAME = "rankscope_packed"
# Arguments that FlashAttention takes and this function does not: a model that passes a value needs
# more than what is computed here.
UNKNOWN = ("s_aux", "position_bias", "cache")


class AttentionOptions(NamedTuple):
    """What a model asks of attention besides causality; None where it asks for nothing.

    sliding_window: tokens that a token sees, itself included. softcap: the bound of the scores.
    """

    dropout: float
    scaling: float | None
    sliding_window: int | None
    softcap: float | None


class NotPackable(Exception):
    """The model needs attention that is not computed here."""


def register() -> None:
    """Make NAME a value of `attn_implementation`. Calling it again changes nothing."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    **others,
) -> tuple[torch.Tensor, None]:
    """softmax(scaling · Q Kᵀ) V of each row by itself, a token attending to those before it.

    query (1, heads, tokens, head_dim), key and value (1, kv_heads, tokens, head_dim),
    cu_seq_lens_q (rows + 1,): the position of each row's first token, then the number of tokens.
    Returns ((1, tokens, heads, head_dim), None); the None stands for attention weights.

    Raises NotPackable where cu_seq_lens_q is missing or the model needs something else.
    """
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    unknown = [name for name in UNKNOWN if others.get(name) is not None]
    if cu_seq_lens_q is None or attention_mask is not None or not causal or unknown:
        raise NotPackable(f"attention of {type(module).__name__} needs {unknown or 'a mask'}")
    lengths = cu_seq_lens_q.diff().tolist()
    dtype = query.dtype
    if query.device.type == "cpu":
        # The backward pass in bfloat16 is several times slower there than in float32.
        query, key, value = query.float(), key.float(), value.float()
    groups = query.shape[1] // key.shape[1]  # grouped-query attention: heads per key head
    if groups > 1:
        key, value = _repeat_heads(key, groups), _repeat_heads(value, groups)
    options = AttentionOptions(dropout, scaling, sliding_window, softcap)
    rows = [
        _one_row(q, k, v, options)
        for q, k, v in zip(
            query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True
        )
    ]
    import torch

    return torch.cat([row.transpose(1, 2) for row in rows], 1).to(dtype), None


def _repeat_heads(states: torch.Tensor, groups: int) -> torch.Tensor:
    """(1, kv_heads, tokens, head_dim) -> (1, kv_heads · groups, tokens, head_dim)."""
    return states.repeat_interleave(groups, dim=1)


def _one_row(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: AttentionOptions
) -> torch.Tensor:
    """Causal attention of one row; query, key, value and result (1, heads, length, head_dim)."""
    from torch.nn.functional import scaled_dot_product_attention

    length = query.shape[2]
    window = options.sliding_window
    windowed = window is not None and window < length
    if options.softcap is None:
        # Without a mask torch can take its kernel for causal attention.
        mask = _causal_mask(length, window, query.device) if windowed else None
        return scaled_dot_product_attention(
            query, key, value, mask, options.dropout, is_causal=mask is None, scale=options.scaling
        )
    mask = _causal_mask(length, window, query.device)
    return _soft_capped(query, key, value, mask, options)


def _causal_mask(length: int, sliding_window: int | None, device: torch.device) -> torch.Tensor:
    """(length, length), True where a query (row) sees a key: itself and the window before it."""
    import torch

    at = torch.arange(length, device=device)
    back = at[:, None] - at[None, :]
    seen = back >= 0
    return seen if sliding_window is None else seen & (back < sliding_window)


def _soft_capped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    options: AttentionOptions,
) -> torch.Tensor:
    """Attention with scores limited to c · tanh(score / c), c the soft cap.

    As in Gemma 2, arXiv 2408.00118. query, key and value (1, heads, length, head_dim), mask
    (length, length); returns (1, heads, length, head_dim).
    """
    from torch.nn.functional import dropout as drop

    softcap = options.softcap
    assert softcap is not None
    scale = options.scaling if options.scaling is not None else 1 / math.sqrt(query.shape[-1])
    # (1, heads, length, length)
    scores = softcap * (query @ key.transpose(2, 3) * (scale / softcap)).tanh()
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
    return drop(weights, options.dropout) @ value
