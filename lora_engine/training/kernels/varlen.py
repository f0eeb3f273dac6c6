"""Attention over packed rows by `torch.nn.attention.varlen`: FlashAttention inside torch, for CUDA.

All rows of a batch are one call. Where the rows begin is a tensor on the device and the longest
row a Python number, both made once a batch on the host, so a layer waits for nothing.
FlashAttention computes in 16 bits, without dropout here and without soft caps; `refusal` says in
words what keeps a call from it. Dao 2023, arXiv 2307.08691.
"""

from __future__ import annotations

import importlib.util
import logging
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    import torch

MODULE = "torch.nn.attention.varlen"
MOST_HEAD_DIM = 256  # and a multiple of 8
LEAST_CAPABILITY = (8, 0)  # Ampere


class AttentionOptions(NamedTuple):
    """What a model asks of attention besides causality; None where it asks for nothing.

    sliding_window: tokens that a token sees, itself included. softcap: the bound of the scores.
    """

    dropout: float
    scaling: float | None
    sliding_window: int | None
    softcap: float | None


def refusal(
    device_type: str, dtype: torch.dtype, head_dim: int, options: AttentionOptions
) -> str | None:
    """Why rows are computed one by one instead; None where one call does them all.

    dtype: of the products.
    """
    if device_type in ("cpu", "mps"):
        return f"{device_type} has no FlashAttention"
    if not is_importable():
        return f"this torch has no {MODULE}"
    if str(dtype) not in ("torch.float16", "torch.bfloat16"):
        return f"FlashAttention computes in 16 bits, not in {str(dtype).removeprefix('torch.')}"
    if head_dim > MOST_HEAD_DIM or head_dim % 8:
        return f"heads of {head_dim} numbers; FlashAttention takes multiples of 8 up to 256"
    if options.softcap is not None:
        return "scores with a soft cap"
    if options.dropout > 0:
        return "dropout of attention weights"
    return _refusal_of_card() if device_type == "cuda" else None


@cache
def is_importable() -> bool:
    """Whether this torch has it; the module is not imported for the answer."""
    return importlib.util.find_spec(MODULE) is not None


@cache
def _refusal_of_card() -> str | None:
    import torch

    found = torch.cuda.get_device_capability()
    if found < LEAST_CAPABILITY:
        return f"a card of compute capability {found[0]}.{found[1]}; FlashAttention needs 8.0"
    return None


def arguments(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    row_starts: torch.Tensor,
    longest: int,
    options: AttentionOptions,
) -> dict[str, Any]:
    """What `varlen_attn` is called with.

    query (1, heads, tokens, head_dim), key and value (1, kv_heads, tokens, head_dim), row_starts
    (rows + 1,) in int32. Its window (left, right) counts the tokens before and after a token,
    without itself: (-1, 0) is plain causal attention.
    """
    window = options.sliding_window
    is_windowed = window is not None and window < longest
    return {
        "query": query[0].transpose(0, 1),  # (tokens, heads, head_dim)
        "key": key[0].transpose(0, 1),
        "value": value[0].transpose(0, 1),
        "cu_seq_q": row_starts,
        "cu_seq_k": row_starts,
        "max_q": longest,
        "max_k": longest,
        "scale": options.scaling,
        "window_size": (window - 1, 0) if is_windowed and window is not None else (-1, 0),
        "enable_gqa": query.shape[1] != key.shape[1],
    }


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    row_starts: torch.Tensor,
    longest: int,
    options: AttentionOptions,
) -> torch.Tensor:
    """Attention of all rows, (1, tokens, heads, head_dim); shapes as in `arguments`."""
    from torch.nn.attention import varlen

    logging.getLogger(MODULE).setLevel(logging.WARNING)  # it writes a line for every call
    named = arguments(query, key, value, row_starts, longest, options)
    positional = [named.pop(name) for name in ("query", "key", "value")]
    positional += [named.pop(name) for name in ("cu_seq_q", "cu_seq_k", "max_q", "max_k")]
    attended = varlen.varlen_attn(*positional, **named)  # no softmax sums asked for: one tensor
    return cast("torch.Tensor", attended)[None]
