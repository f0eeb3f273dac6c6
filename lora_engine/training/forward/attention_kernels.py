"""Which attention a model may use on packed rows: the one choice, with its reasons in words.

Decided by the device, the dtype and what the model's configuration asks of attention. Whether a
kernel then computes the right thing is for `select` to test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class AttentionKernels:
    """Which attention to try on packed rows, the quickest first, and why others are not tried."""

    names: tuple[str, ...]
    refused: tuple[str, ...] = ()


def attention_kernels(causal_lm: PreTrainedModel, device: str) -> AttentionKernels:
    """The one choice of packed attention, from the model's configuration and the device.

    On CUDA torch's own FlashAttention, then that of the package flash-attn, each where it computes
    what the model asks for; row by row in the end, and on the CPU.
    """
    import torch
    from transformers.utils import is_flash_attn_2_available

    from lora_engine.training.kernels import packed_attention, varlen

    if device == "cpu":
        return AttentionKernels((packed_attention.NAME,))
    dtype = packed_attention.product_dtype(device, causal_lm.dtype)
    config = causal_lm.config.get_text_config()
    options = varlen.AttentionOptions(
        dropout=getattr(config, "attention_dropout", 0.0) or getattr(config, "attn_pdrop", 0.0),
        scaling=None,
        sliding_window=getattr(config, "sliding_window", None),
        softcap=getattr(config, "attn_logit_softcapping", None),
    )
    names = []
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    refusal = varlen.refusal(device, dtype, head_dim, options)
    if refusal is None:
        names.append(packed_attention.VARLEN)
    if dtype in (torch.bfloat16, torch.float16) and is_flash_attn_2_available():
        names.append("flash_attention_2")
    refused = () if refusal is None else (f"no varlen: {refusal}",)
    return AttentionKernels((*names, packed_attention.NAME), refused)
