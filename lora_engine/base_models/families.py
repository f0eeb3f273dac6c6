"""The common decoder layer: the classes of transformers that share norm, MLP and attention.

Training gives modules of these classes forwards that keep less for the backward pass, and the
calculator counts accordingly. Classes are known by their names; nothing is imported.
"""

from __future__ import annotations

FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3")
NORMS = tuple(f"{family}RMSNorm" for family in FAMILIES)
MLPS = tuple(f"{family}MLP" for family in FAMILIES)
DECODER_LAYERS = tuple(f"{family}DecoderLayer" for family in FAMILIES)
ATTENTIONS = tuple(f"{family}Attention" for family in FAMILIES)
