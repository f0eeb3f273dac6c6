"""Bytes that a forward pass keeps for its backward pass, a token and layer, from shapes.

The rule is autograd's: a frozen weight's input is not kept, an adapter's is. What each kind of
layer keeps was read off torch's saved tensors and is held to them by a test. PEFT casts an
adapter's input to float32 and so keeps a copy of it; where the base computes in float32, modules
that read the same tensor share it. Attention is torch's scaled-dot-product attention unless
`eager`, which keeps the (heads, tokens, tokens) weights too.

Rankscope's own path (`packed`, see `training/forward/packed.py`) keeps less: fused adapted layers
keep their input once in the base's dtype (with dropout, a byte for each number too), the Llama
family's lean layers no intermediate of a norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lora_engine.calculator.model_count import ModuleCount
from lora_engine.calculator.model_shape import LayerShape, ModelShape

FLOAT32 = 4


@dataclass(frozen=True)
class ActivationRule:
    """How the pass computes.

    compute_bytes: of one activation; trains_weights: whether the layers' own weights train;
    padded: whether rows differ in length, so that key heads are repeated for the mask;
    dropout: LoRA's is above zero; mask_bytes: of its mask (1 on CUDA, 4 on the CPU).
    keeps_inputs: frozen layers keep what they read too, as bitsandbytes' 8-bit products do.
    packed: rows end to end (Rankscope's path); fused: its adapted layers, where LoRA is plain;
    attention_bytes: of one number in attention, which the packed path keeps in float32 on a CPU.
    """

    compute_bytes: int
    trains_weights: bool = False
    keeps_inputs: bool = False
    eager: bool = False
    padded: bool = False
    dropout: bool = False
    mask_bytes: int = 1
    dora: bool = False
    packed: bool = False
    fused: bool = False
    attention_bytes: int = FLOAT32


def layer_bytes(
    layer: LayerShape,
    model: ModelShape,
    adapted: Sequence[ModuleCount],
    seq_length: int,
    rule: ActivationRule,
) -> int:
    """Bytes that `layer` keeps for one token in a row of `seq_length` tokens.

    norms: 4 x width (RMS, in float32) or b x width; attention: b (q + k + v + output) + 4 heads;
    MLP: b x kept tensors x inner width; adapters: 4 (input + rank); trained weights: b x inputs.
    """
    b = rule.compute_bytes
    lean = rule.fused and model.lean
    norms = (b if lean else FLOAT32) * layer.rms_width + b * layer.norm_width
    attention = _attention_bytes(layer, model, seq_length, rule)
    lean_mlp = lean and any(m.out_features == layer.mlp_inner for m in adapted)
    mlp = b * ((2 if lean_mlp else layer.mlp_tensors) * layer.mlp_inner + layer.routed)
    kept = norms + attention + mlp
    if rule.trains_weights:
        kept += b * (layer.rms_width + 2 * model.hidden_size + layer.mlp_inner)
    if rule.keeps_inputs:
        # Attention's input, the MLP's two; attention keeps its output itself, unless it is eager.
        kept += b * (2 * model.hidden_size + layer.mlp_inner + rule.eager * layer.inner)
    return kept + _adapter_bytes(layer, model, adapted, rule)


def checkpoint_bytes(model: ModelShape, rule: ActivationRule) -> int:
    """Bytes a checkpointed layer keeps for one token: its input alone."""
    return rule.compute_bytes * model.hidden_size


def _attention_bytes(
    layer: LayerShape, model: ModelShape, seq_length: int, rule: ActivationRule
) -> int:
    """Query, key, value and output, or the weights in their place."""
    b, width = rule.compute_bytes, layer.attention_out
    if rule.packed:
        width += 2 * (model.heads_width - model.kv_width)
        # Soft-capped scores are spelled out: their tanh and their softmax are kept.
        a_head = 2 * rule.attention_bytes * seq_length if model.softcap else FLOAT32
        return rule.attention_bytes * (width + layer.inner) + a_head * model.heads
    if rule.eager or rule.padded:  # keys and values are repeated to the query heads
        width += 2 * (model.heads_width - model.kv_width)
    if not rule.eager:
        return b * (width + layer.inner) + FLOAT32 * model.heads
    weights = model.heads * seq_length * (FLOAT32 + (b if b != FLOAT32 else 0))
    return b * width + weights


def _adapter_bytes(
    layer: LayerShape, model: ModelShape, adapted: Sequence[ModuleCount], rule: ActivationRule
) -> int:
    """Inputs of the adapters in this layer, in float32, and what is between their factors."""
    if rule.fused:
        inputs = {_shared_input(m, layer, model): m.in_features for m in adapted}
        between = sum(m.rank * m.experts for m in adapted)
        kept = sum(m.in_features for m in adapted) if rule.dropout else 0  # a byte a number
        return rule.compute_bytes * (between + sum(inputs.values())) + kept
    between = sum(FLOAT32 * m.rank * m.experts for m in adapted)
    if rule.dora:
        between += sum(2 * FLOAT32 * m.out_features for m in adapted)
    if rule.keeps_inputs and not rule.dropout:
        return between  # the frozen layers keep the same tensors
    if rule.dropout:
        return between + sum((FLOAT32 + rule.mask_bytes) * m.in_features for m in adapted)
    if rule.compute_bytes < FLOAT32:
        return between + sum(FLOAT32 * m.in_features for m in adapted)
    shared = {_shared_input(m, layer, model): m.in_features for m in adapted}
    if not rule.eager:
        shared.pop("attention output", None)  # kept by attention already
    return between + FLOAT32 * sum(shared.values())


def _shared_input(module: ModuleCount, layer: LayerShape, model: ModelShape) -> str:
    """Which tensor of the layer a module reads."""
    in_attention = any("attn" in p or "attention" in p for p in module.name.lower().split(".")[:-1])
    if in_attention:
        is_output = module.name.rpartition(".")[2] in ("o_proj", "out_proj", "dense", "o", "c_proj")
        return "attention output" if is_output else module.name.rpartition(".")[0]
    return f"mlp {module.in_features}"
