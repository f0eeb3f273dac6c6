"""Causal attention over packed rows: rows end to end in one sequence, each as if it were alone.

Registered with transformers' AttentionInterface, so its eleven parameters are that interface's. A
model that supports FlashAttention needs no mask and passes everything else (window, soft cap,
scale) as arguments. This function understands the same arguments, so every such model can train on
packed rows. `cu_seq_lens_q` says where the rows begin, as it does for FlashAttention; `row_lengths`
says the same in Python numbers, so that no layer waits for a GPU to tell them.

There are two of them. Under NAME each row is a call of torch's scaled-dot-product attention, which
computes all that is asked for. Under VARLEN all rows are one call of `varlen`, for CUDA; what that
does not compute is done row by row. `forward/select.py` chooses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from lora_engine.training.kernels import varlen
from lora_engine.training.kernels.varlen import AttentionOptions

if TYPE_CHECKING:
    import torch
    from torch import nn

NAME = "rankscope_packed"
VARLEN = "rankscope_varlen"
# Arguments that FlashAttention takes and this function does not: a model that passes a value needs
# more than what is computed here.
UNKNOWN = ("s_aux", "position_bias", "cache")


class NotPackable(Exception):
    """The model needs attention that is not computed here."""


def register() -> None:
    """Make both names values of `attn_implementation`. Calling it again changes nothing."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)
    AttentionInterface.register(VARLEN, partial(packed_attention, in_one_call=True))


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
    row_lengths: Sequence[int] | None = None,
    in_one_call: bool = False,
    **others,
) -> tuple[torch.Tensor, None]:
    """softmax(scaling · Q Kᵀ) V of each row by itself, a token attending to those before it.

    query (1, heads, tokens, head_dim), key and value (1, kv_heads, tokens, head_dim),
    cu_seq_lens_q (rows + 1,): the position of each row's first token, then the number of tokens.
    row_lengths: the tokens of each row; read off cu_seq_lens_q where None, which waits for a GPU.
    in_one_call: by `varlen`, where it computes what is asked for.
    Returns ((1, tokens, heads, head_dim), None); the None stands for attention weights.

    Raises NotPackable where cu_seq_lens_q is missing or the model needs something else.
    """
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    unknown = [name for name in UNKNOWN if others.get(name) is not None]
    if cu_seq_lens_q is None or attention_mask is not None or not causal or unknown:
        raise NotPackable(f"attention of {type(module).__name__} needs {unknown or 'a mask'}")
    lengths = cu_seq_lens_q.diff().tolist() if row_lengths is None else row_lengths
    options = AttentionOptions(dropout, scaling, sliding_window, softcap)
    dtype = product_dtype(query.device.type, query.dtype)
    if in_one_call and not varlen.refusal(query.device.type, dtype, query.shape[-1], options):
        states = (query.to(dtype), key.to(dtype), value.to(dtype))
        output = varlen.attend(*states, cu_seq_lens_q, max(lengths), options)
    else:
        output = _row_by_row(query, key, value, lengths, options)
    return output.to(query.dtype), None


def product_dtype(device_type: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype of attention's products on states of `dtype`: autocast's, where it is on."""
    import torch

    if device_type in ("cpu", "cuda") and torch.is_autocast_enabled(device_type):
        return torch.get_autocast_dtype(device_type)
    return dtype


def _row_by_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: Sequence[int],
    options: AttentionOptions,
) -> torch.Tensor:
    """Shapes as in `packed_attention`; returns (1, tokens, heads, head_dim)."""
    import torch

    if query.device.type == "cpu":
        # The backward pass in bfloat16 is several times slower there than in float32.
        query, key, value = query.float(), key.float(), value.float()
    groups = query.shape[1] // key.shape[1]  # grouped-query attention: heads per key head
    if groups > 1:
        key, value = _repeat_heads(key, groups), _repeat_heads(value, groups)
    sizes = list(lengths)
    rows = [
        _one_row(q, k, v, options)
        for q, k, v in zip(
            query.split(sizes, 2), key.split(sizes, 2), value.split(sizes, 2), strict=True
        )
    ]
    return torch.cat([row.transpose(1, 2) for row in rows], 1)


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
