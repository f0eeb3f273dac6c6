"""Causal attention over rows that lie end to end in one sequence, exactly as if each were alone.

Registered with transformers' AttentionInterface. A model that supports FlashAttention asks for no
mask and says everything else (window, soft cap, scale) in arguments; the same arguments are
understood here, so that every such model can be trained on packed rows without FlashAttention.
Where the rows begin is told by `cu_seq_lens_q`, as FlashAttention's callers do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

NAME = "rankscope_packed"
# Arguments that FlashAttention's signature has and this function has not: a value means a model
# whose attention is more than what is computed here.
UNKNOWN = ("s_aux", "position_bias", "cache")


class NotPackable(Exception):
    """The model asks for attention that packed rows do not get here."""


def register() -> None:
    """Make NAME a value of `attn_implementation`. Doing it twice is doing it once."""
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
    """Attention row by row.

    query (1, heads, tokens, head_dim), key and value (1, kv_heads, tokens, head_dim),
    cu_seq_lens_q (rows + 1,) with the rows' beginnings and the end. Returns
    ((1, tokens, heads, head_dim), None). Products on the CPU are float32, whose backward is
    several times faster there than bfloat16's.

    Raises NotPackable where the beginnings are missing or something else is asked for.
    """
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    asked = [name for name in UNKNOWN if others.get(name) is not None]
    if cu_seq_lens_q is None or attention_mask is not None or not causal or asked:
        raise NotPackable(f"attention of {type(module).__name__} asks for {asked or 'a mask'}")
    lengths = cu_seq_lens_q.diff().tolist()
    dtype = query.dtype
    if query.device.type == "cpu":
        query, key, value = query.float(), key.float(), value.float()
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = _repeat_heads(key, groups), _repeat_heads(value, groups)
    rows = [
        _one_row(q, k, v, dropout, scaling, sliding_window, softcap)
        for q, k, v in zip(
            query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True
        )
    ]
    import torch

    return torch.cat([row.transpose(1, 2) for row in rows], 1).to(dtype), None


def _repeat_heads(states: torch.Tensor, groups: int) -> torch.Tensor:
    """(1, kv_heads, tokens, head_dim) -> (1, kv_heads · groups, tokens, head_dim)."""
    return states.repeat_interleave(groups, dim=1)


def _one_row(query, key, value, dropout, scaling, sliding_window, softcap) -> torch.Tensor:
    """Causal attention of one row, (1, heads, length, head_dim) each."""
    from torch.nn.functional import scaled_dot_product_attention

    length = query.shape[2]
    windowed = sliding_window is not None and sliding_window < length
    if softcap is None:
        mask = _causal_mask(length, sliding_window, query.device) if windowed else None
        return scaled_dot_product_attention(
            query, key, value, mask, dropout, is_causal=mask is None, scale=scaling
        )
    mask = _causal_mask(length, sliding_window, query.device)
    return _soft_capped(query, key, value, mask, dropout, scaling, softcap)


def _causal_mask(length: int, sliding_window: int | None, device) -> torch.Tensor:
    """(length, length), True where a query (row) may see a key: itself and the window before."""
    import torch

    at = torch.arange(length, device=device)
    back = at[:, None] - at[None, :]
    seen = back >= 0
    return seen if sliding_window is None else seen & (back < sliding_window)


def _soft_capped(query, key, value, mask, dropout, scaling, softcap) -> torch.Tensor:
    """Attention with scores bounded to ±softcap by tanh (Gemma 2)."""
    from torch.nn.functional import dropout as drop

    scale = scaling if scaling is not None else 1 / math.sqrt(query.shape[-1])
    scores = softcap * (query @ key.transpose(2, 3) * (scale / softcap)).tanh()
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
    return drop(weights, dropout) @ value
