"""The parts of a peak that are not weights: training state, activations, chat, with their formulas.

It describes Rankscope's own worker, without autocast. Weights are in `weight_items`.
"""

from __future__ import annotations

import math
from collections import Counter

from lora_engine.calculator.activations import ActivationRule, checkpoint_bytes, layer_bytes
from lora_engine.calculator.cache_shape import read_cache_shape
from lora_engine.calculator.memory_request import GIB, MemoryItem, MemoryRequest, item_of_bytes
from lora_engine.calculator.model_profile import (
    ModelProfile,
    optimizer_state,
    trained_layers,
    trained_parameters,
)
from lora_engine.calculator.model_shape import LayerShape, ModelShape
from lora_engine.calculator.offloading import left_on_card, offloads
from lora_engine.calculator.optimizer_state import FORMULAS
from lora_engine.calculator.streaming import host_bytes, kept_tokens
from lora_engine.calculator.weight_items import TRAINED_BYTES
from lora_engine.language import tr, tr_count, translatable

LOGIT_BYTES = 12  # log-softmax, its gradient and the logits' gradient, each in float32
# Of float32 logits at a time, and tokens at the least, as in training/kernels/head_loss.py.
CHUNK_BYTES = 8 << 20
LEAST_ROWS = 128


def training_items(profile: ModelProfile, q: MemoryRequest) -> tuple[list[MemoryItem], float]:
    """Gradients, optimizer state and activations; and the GiB that sit on the host."""
    trained, held = trained_parameters(profile, q), TRAINED_BYTES
    formula = tr("{count} trained × {size} bytes", count=f"{trained:,}", size=held)
    gradients = item_of_bytes(translatable("gradients"), trained * held, formula)
    state = optimizer_state(profile, q)
    paged = state.pageable if q.workload.device == "cuda" else 0
    formula = f"{q.optimizer}: {tr(FORMULAS[q.optimizer])}"
    if paged:
        formula = tr(
            "{formula}; {size} GiB of it in pages that may sit in host memory",
            formula=formula,
            size=f"{paged / GIB:.2f}",
        )
    state_item = item_of_bytes(
        translatable("optimizer state"), state.held - paged, formula, "state"
    )
    activations, offloaded = _activation_items(profile, q)
    activations += _autocast_items(trained, q)
    items = [gradients, state_item, *activations]
    passing = sum(item.gib for item in activations)
    if q.optimization.gradient_accumulation == 1 and not offloaded:
        shared = min(gradients.gib, passing)
        formula = tr("- min(gradients, activations): the ones are made while the others are freed")
        items.append(MemoryItem(translatable("overlap"), -shared, formula))
    freed = max(0.0, passing - gradients.gib)
    if state.step / GIB > freed:
        formula = tr("2 or 3 float32 copies of the largest trained tensor, beyond the memory freed")
        items.append(MemoryItem(translatable("optimizer step"), state.step / GIB - freed, formula))
    host = paged + (host_bytes(profile, q) if q.optimization.stream_base else 0.0)
    return items, host / GIB + offloaded


def _activation_items(profile: ModelProfile, q: MemoryRequest) -> tuple[list[MemoryItem], float]:
    """What the forward pass keeps, the logits, and the working set of one layer's backward; and
    the GiB that wait on the host."""
    shape, tokens = profile.shape, q.tokens
    rule = _rule(q, bool(profile.count.biases))
    layers = _layers_with_gradient(profile, q)
    each = _bytes_by_layer(profile, layers, q, rule)
    loss = _loss_item(shape, q)
    widest = max((layer.mlp_inner for layer in layers), default=0)
    working = 2 * rule.compute_bytes * widest * tokens
    if q.recomputes:
        of_token = checkpoint_bytes(shape, rule) * len(layers)
        if q.optimization.stream_base:
            tokens = math.ceil(kept_tokens(q, of_token))
            # Beside what the layer keeps: what came out of it, and the gradient there.
            working += 2 * checkpoint_bytes(shape, rule) * q.tokens
        kept = of_token * tokens
        working += max(each, default=0) * q.tokens
        formula = tr(
            "{tokens} tokens × {layers} layers × {width} × {size} bytes: each layer's input alone "
            "(checkpointing)",
            tokens=f"{tokens:,}",
            layers=len(layers),
            width=f"{shape.hidden_size:,}",
            size=rule.compute_bytes,
        )
    else:
        kept = sum(each) * tokens
        a_layer = sum(each) / max(1, len(each))
        formula = tr(
            "{tokens} tokens × {layers} layers × {size} bytes kept for the backward pass: norms, "
            "attention, MLP, adapter inputs",
            tokens=f"{tokens:,}",
            layers=len(layers),
            size=f"{a_layer:,.0f}",
        )
    spare = max(0.0, working - loss.gib * GIB)
    beyond = tr(
        "one layer's backward pass, as far as it exceeds the logits, which are gone by then"
    )
    activations, offloaded = item_of_bytes(translatable("activations"), kept, formula), 0.0
    if offloads(q):
        offloaded = activations.gib
        of_one = max(each, default=0) / max(1, sum(each))
        activations = left_on_card(activations, 1 / max(1, len(layers)) if q.recomputes else of_one)
    return [
        activations,
        loss,
        item_of_bytes(translatable("working set"), spare, beyond),
        *_dequantized_item(shape, q),
        *_merged_expert_items(profile, q),
    ], offloaded


def _loss_item(shape: ModelShape, q: MemoryRequest) -> MemoryItem:
    """Logits and what the loss makes of them: of a chunk of tokens, or of all at once."""
    share = q.workload.supervised_fraction
    supervised = share * q.tokens
    if q.packed and shape.plain_head:
        b = q.weight_bytes
        rows = min(supervised, max(LEAST_ROWS, CHUNK_BYTES // (4 * shape.vocab_size)))
        each = 4 if b == 4 else b + 4  # 16-bit logits are copied into float32
        size = each * rows * shape.vocab_size + 2 * b * supervised * shape.hidden_size
        return item_of_bytes(
            translatable("logits and loss"),
            size,
            tr(
                "{rows} tokens at a time × {vocabulary} vocabulary × {each} bytes, and "
                "{supervised} supervised tokens × {width} × {size} bytes",
                rows=f"{rows:,.0f}",
                vocabulary=f"{shape.vocab_size:,}",
                each=each,
                supervised=f"{supervised:,.0f}",
                width=f"{shape.hidden_size:,}",
                size=2 * b,
            ),
        )
    return item_of_bytes(
        translatable("logits and loss"),
        LOGIT_BYTES * supervised * shape.vocab_size,
        tr(
            "{tokens} tokens × {share} supervised × {vocabulary} vocabulary × {size} bytes "
            "(log-softmax and two gradients in float32)",
            tokens=f"{q.tokens:,}",
            share=f"{share:g}",
            vocabulary=f"{shape.vocab_size:,}",
            size=LOGIT_BYTES,
        ),
    )


def _autocast_items(trained: int, q: MemoryRequest) -> list[MemoryItem]:
    """Where whole weights train in another dtype than the pass computes in, autocast's copies."""
    b, dtype = q.weight_bytes, q.workload.dtype
    if q.has_adapter or b >= TRAINED_BYTES:
        return []
    formula = tr(
        "{count} trained × {size} bytes: autocast's copies in {dtype} during the pass",
        count=f"{trained:,}",
        size=b,
        dtype=dtype,
    )
    return [item_of_bytes(translatable("autocast copies"), trained * b, formula)]


def _merged_expert_items(profile: ModelProfile, q: MemoryRequest) -> list[MemoryItem]:
    """PEFT adapts fused experts by adding delta weights to a copy, which autograd then keeps."""
    if not q.has_adapter:
        return []
    by_layer = [
        sum(m.experts * m.in_features * m.out_features for m in modules if m.experts > 1)
        for modules in profile.adapted.values()
    ]
    kept = max(by_layer, default=0) if q.recomputes else sum(by_layer)
    if not kept:
        return []
    layers = 1 if q.recomputes else len(by_layer)
    formula = tr_count(
        "{weights} expert weights of one layer × {size} bytes: merged copies",
        "{weights} expert weights of {count} layers × {size} bytes: merged copies",
        layers,
        weights=f"{kept:,}",
        size=q.weight_bytes,
    )
    return [item_of_bytes(translatable("merged experts"), kept * q.weight_bytes, formula)]


def _dequantized_item(shape: ModelShape, q: MemoryRequest) -> list[MemoryItem]:
    if q.quantization is None:
        return []
    # 8-bit layers unpack into their input's dtype, 4-bit ones into the one they were given.
    b = q.compute_bytes if q.quantization.bits == 8 else q.weight_bytes
    size = min(shape.largest_matrix, shape.quantizable_parameters) * b
    formula = tr("the largest matrix, unpacked for its product")
    return [item_of_bytes(translatable("dequantized weight"), size, formula)]


def _rule(q: MemoryRequest, trains_biases: bool) -> ActivationRule:
    method, on_cpu = q.method, q.workload.device == "cpu"
    in_8_bits = q.quantization is not None and q.quantization.bits == 8
    is_plain_lora = method.is_lora and not (method.use_dora or method.lora_bias)
    return ActivationRule(
        compute_bytes=q.compute_bytes,
        packed=q.packed,
        fused=q.packed and is_plain_lora and not (in_8_bits or trains_biases),
        attention_bytes=4 if on_cpu else q.compute_bytes,
        trains_weights=not q.has_adapter,
        keeps_inputs=in_8_bits,
        eager=q.workload.attention == "eager",
        padded=q.workload.batch_size > 1,
        dropout=method.is_lora and method.dropout > 0,
        mask_bytes=4 if on_cpu else 1,
        dora=method.is_lora and method.use_dora,
    )


def _layers_with_gradient(profile: ModelProfile, q: MemoryRequest) -> tuple[LayerShape, ...]:
    """The layers through which a gradient flows: all after the first that trains."""
    layers = profile.shape.layers
    if not q.has_adapter:
        return trained_layers(profile, q)
    if not q.method.is_lora:
        return layers
    inside = sum(len(found) for found in profile.adapted.values())
    outside = len(profile.count.modules) > inside
    paths = profile.trained_layer_paths
    first = next((i for i, layer in enumerate(layers) if layer.path in paths), len(layers))
    return layers if outside else layers[first:]


def _bytes_by_layer(
    profile: ModelProfile, layers: tuple[LayerShape, ...], q: MemoryRequest, rule: ActivationRule
) -> list[int]:
    """One number a layer; layers that are alike are looked at once."""
    adapted, first_alike = profile.adapted if q.has_adapter else {}, profile.first_alike
    found: dict[str, int] = {}
    for layer in layers:
        if first_alike[layer.path] not in found:
            inside = adapted.get(layer.path, ())
            found[first_alike[layer.path]] = layer_bytes(
                layer, profile.shape, inside, q.workload.seq_length, rule
            )
    return [found[first_alike[layer.path]] for layer in layers]


def chat_items(profile: ModelProfile, q: MemoryRequest) -> list[MemoryItem]:
    """KV cache and the widest tensors of a forward pass over the whole prompt."""
    shape, b = profile.shape, q.weight_bytes
    widest = max((layer.mlp_inner for layer in shape.layers), default=0)
    return [
        _cache_item(shape, q),
        item_of_bytes(
            translatable("working set"),
            3 * b * widest * q.tokens,
            tr("3 tensors of the widest layer"),
        ),
        item_of_bytes(
            translatable("logits and loss"),
            4 * q.workload.batch_size * shape.vocab_size,
            tr("one token's, in float32"),
        ),
    ]


def _cache_item(shape: ModelShape, q: MemoryRequest) -> MemoryItem:
    b, rows, length = q.weight_bytes, q.workload.batch_size, q.workload.seq_length
    found = read_cache_shape(q.source)
    if found is None:
        layers = len(shape.layers)
        size = 2 * layers * shape.kv_width * q.tokens * b
        formula = tr(
            "2 × {layers} layers × {width} × {tokens} tokens × {size} bytes; not read off the "
            "model, which needs its weights",
            layers=layers,
            width=f"{shape.kv_width:,}",
            tokens=f"{q.tokens:,}",
            size=b,
        )
        return item_of_bytes(translatable("KV cache"), size, formula)
    kinds = Counter(found)
    parts = [
        tr("{count} layers × {numbers}", count=many, numbers=kind.in_words(length))
        for kind, many in kinds.items()
    ]
    size = rows * b * sum(many * kind.numbers(length) for kind, many in kinds.items())
    formula = tr(
        "{rows} rows × ({layers}) × {size} bytes",
        rows=rows,
        layers=" + ".join(parts) or tr("no cache"),
        size=b,
    )
    return item_of_bytes(translatable("KV cache"), size, formula)
