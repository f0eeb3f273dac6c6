"""The parts of a peak, each with its formula: weights, training state, activations, chat.

It describes Rankscope's own worker: trained weights in float32, the frozen base in `dtype`
without autocast, and PEFT's preparation of a 4-bit base (what is not quantised in float32).
"""

from __future__ import annotations

from lora_engine.calculator.activations import ActivationRule, checkpoint_bytes, layer_bytes
from lora_engine.calculator.memory_request import BYTES, GIB, MemoryItem, MemoryQuestion
from lora_engine.calculator.model_profile import (
    ModelProfile,
    trained_layers,
    trained_parameters,
    trained_shapes,
)
from lora_engine.calculator.model_shape import LayerShape, ModelShape
from lora_engine.calculator.optimizer_state import FORMULAS, state_bytes

LOGIT_BYTES = 12  # log-softmax, its gradient and the logits' gradient, each in float32
# Of float32 logits at a time, and tokens at the least, as in training/kernels/head_loss.py.
CHUNK_BYTES = 8 << 20
LEAST_ROWS = 128
NF4_BLOCK = 64  # weights that share one constant (QLoRA, arXiv 2305.14314, section 3)
DOUBLE_BLOCK = 256  # constants that share one constant of their own


def weight_items(profile: ModelProfile, q: MemoryQuestion) -> list[MemoryItem]:
    """The base's weights, and the adapter's."""
    total, b = profile.shape.parameters, BYTES[q.dtype]
    if q.method == "qlora":
        items = _quantized_items(profile.shape, q)
    elif q.method == "lora" or q.purpose == "chat":
        items = [_item("weights", total * b, f"{total:,} weights x {b} bytes ({q.dtype})")]
    else:
        items = _trained_weight_items(profile, q)
    if q.has_adapter:
        trained, held = profile.count.trainable_parameters, BYTES[q.trainable_dtype]
        formula = f"{trained:,} weights x {held} bytes ({q.trainable_dtype})"
        items.append(_item("adapter", trained * held, formula))
    return items


def _quantized_items(shape: ModelShape, q: MemoryQuestion) -> list[MemoryItem]:
    """NF4: half a byte a weight, and a constant for every 64 of them (arXiv 2305.14314)."""
    packed = shape.quantizable_parameters
    rest = shape.parameters - packed
    blocks = packed / NF4_BLOCK
    if q.double_quantization:
        constants = blocks + 4 * blocks / DOUBLE_BLOCK
        formula = f"{packed:,} / 64 x (1 + 4/256) bytes: constants quantised again"
    else:
        constants, formula = 4 * blocks, f"{packed:,} / 64 x 4 bytes (float32)"
    rest_bytes = 4 if q.purpose == "train" else BYTES[q.dtype]
    why = "float32, by PEFT's preparation" if q.purpose == "train" else q.dtype
    return [
        _item("weights in NF4", packed / 2, f"{packed:,} weights x 0.5 bytes"),
        _item("NF4 constants", constants, formula),
        _item(
            "weights not quantised",
            rest * rest_bytes,
            f"{rest:,} (embeddings, head, norms, fused experts) x {rest_bytes} bytes ({why})",
        ),
    ]


def _trained_weight_items(profile: ModelProfile, q: MemoryQuestion) -> list[MemoryItem]:
    """Full, freeze, GaLore: trained weights in trainable_dtype, frozen ones in dtype."""
    trained, total = trained_parameters(profile, q), profile.shape.parameters
    b, held = BYTES[q.dtype], BYTES[q.trainable_dtype]
    frozen = total - trained
    formula = f"{frozen:,} frozen x {b} bytes ({q.dtype}) + {trained:,} trained x {held} bytes"
    return [_item("weights", frozen * b + trained * held, f"{formula} ({q.trainable_dtype})")]


def training_items(profile: ModelProfile, q: MemoryQuestion) -> tuple[list[MemoryItem], float]:
    """Gradients, optimizer state and activations; and the GiB that sit on the host."""
    trained, held = trained_parameters(profile, q), BYTES[q.trainable_dtype]
    gradients = _item("gradients", trained * held, f"{trained:,} trained x {held} bytes")
    optimizer = "galore" if q.method == "galore" else q.optimizer
    state = state_bytes(optimizer, trained_shapes(profile, q), held, q.choice.rank)
    paged = optimizer.startswith("paged") and q.device == "cuda"
    state_item = _item(
        "optimizer state",
        0 if paged else state,
        f"{optimizer}: {FORMULAS[optimizer].format(b=held)}"
        + (f"; {state / GIB:.2f} GiB may sit in host memory" if paged else ""),
    )
    activations = _activation_items(profile, q) + _autocast_items(trained, q)
    items = [gradients, state_item, *activations]
    passing = sum(item.gib for item in activations)
    if q.gradient_accumulation == 1:
        shared = min(gradients.gib, passing)
        formula = "- min(gradients, activations): the ones are made while the others are freed"
        items.append(MemoryItem("overlap", -shared, formula))
    if q.device == "cuda" and optimizer == "adamw":
        spare = max(0.0, trained * held / GIB - max(0.0, passing - gradients.gib))
        formula = "torch's AdamW makes one more copy of what trains, beyond the activations freed"
        items.append(MemoryItem("optimizer step", spare, formula))
    return items, state / GIB if paged else 0.0


def _activation_items(profile: ModelProfile, q: MemoryQuestion) -> list[MemoryItem]:
    """What the forward pass keeps, the logits, and the working set of one layer's backward."""
    shape, tokens = profile.shape, q.tokens
    rule = _rule(q)
    layers = _layers_with_gradient(profile, q)
    each = _bytes_by_layer(profile, layers, q, rule)
    loss = _loss_item(shape, q)
    widest = max((layer.mlp_inner for layer in layers), default=0)
    working = 2 * rule.compute_bytes * widest * tokens
    if q.gradient_checkpointing:
        kept = checkpoint_bytes(shape, rule) * len(layers) * tokens
        working += max(each, default=0) * tokens
        formula = f"{tokens:,} tokens x {len(layers)} layers x {shape.hidden_size:,} x "
        formula += f"{rule.compute_bytes} bytes: each layer's input alone (checkpointing)"
    else:
        kept = sum(each) * tokens
        a_layer = sum(each) / max(1, len(each))
        formula = f"{tokens:,} tokens x {len(layers)} layers x {a_layer:,.0f} bytes kept for the "
        formula += "backward pass: norms, attention, MLP, adapter inputs"
    spare = max(0.0, working - loss.gib * GIB)
    return [
        _item("activations", kept, formula),
        loss,
        _item(
            "working set",
            spare,
            "one layer's backward pass, as far as it exceeds the logits, which are gone by then",
        ),
        *_dequantized_item(shape, q),
        *_merged_expert_items(profile, q),
    ]


def _loss_item(shape: ModelShape, q: MemoryQuestion) -> MemoryItem:
    """Logits and what the loss makes of them: of a chunk of tokens, or of all at once."""
    supervised = q.supervised_fraction * q.tokens
    if q.packed and shape.plain_head:
        b = BYTES[q.dtype]
        rows = min(supervised, max(LEAST_ROWS, CHUNK_BYTES // (4 * shape.vocab_size)))
        each = 4 if b == 4 else b + 4  # 16-bit logits are copied into float32
        size = each * rows * shape.vocab_size + 2 * b * supervised * shape.hidden_size
        return _item(
            "logits and loss",
            size,
            f"{rows:,.0f} tokens at a time x {shape.vocab_size:,} vocabulary x {each} bytes, and "
            f"{supervised:,.0f} supervised tokens x {shape.hidden_size:,} x {2 * b} bytes",
        )
    return _item(
        "logits and loss",
        LOGIT_BYTES * supervised * shape.vocab_size,
        f"{q.tokens:,} tokens x {q.supervised_fraction:g} supervised x {shape.vocab_size:,} "
        f"vocabulary x {LOGIT_BYTES} bytes (log-softmax and two gradients in float32)",
    )


def _autocast_items(trained: int, q: MemoryQuestion) -> list[MemoryItem]:
    """Where whole weights train in another dtype than the pass computes in, autocast's copies."""
    b = BYTES[q.dtype]
    if q.has_adapter or b >= BYTES[q.trainable_dtype]:
        return []
    formula = f"{trained:,} trained x {b} bytes: autocast's copies in {q.dtype} during the pass"
    return [_item("autocast copies", trained * b, formula)]


def _merged_expert_items(profile: ModelProfile, q: MemoryQuestion) -> list[MemoryItem]:
    """PEFT adapts fused experts by adding delta weights to a copy, which autograd then keeps."""
    if not q.has_adapter:
        return []
    by_layer = [
        sum(m.experts * m.in_features * m.out_features for m in modules if m.experts > 1)
        for modules in profile.adapted.values()
    ]
    kept = max(by_layer, default=0) if q.gradient_checkpointing else sum(by_layer)
    if not kept:
        return []
    where = "one layer" if q.gradient_checkpointing else f"{len(by_layer)} layers"
    formula = f"{kept:,} expert weights of {where} x {BYTES[q.dtype]} bytes: merged copies"
    return [_item("merged experts", kept * BYTES[q.dtype], formula)]


def _dequantized_item(shape: ModelShape, q: MemoryQuestion) -> list[MemoryItem]:
    if q.method != "qlora":
        return []
    size = min(shape.largest_matrix, shape.quantizable_parameters) * BYTES[q.dtype]
    return [_item("dequantised weight", size, "the largest matrix, unpacked for its product")]


def _rule(q: MemoryQuestion) -> ActivationRule:
    # An unquantised part in float32 (QLoRA) makes the residual stream float32 too.
    compute_bytes = 4 if q.method == "qlora" else BYTES[q.dtype]
    is_plain_lora = q.has_adapter and not q.choice.use_dora
    return ActivationRule(
        compute_bytes=compute_bytes,
        packed=q.packed,
        fused=q.packed and is_plain_lora and not q.choice.lora_bias,
        attention_bytes=4 if q.device == "cpu" else compute_bytes,
        trains_weights=not q.has_adapter,
        eager=q.attention == "eager",
        padded=q.batch_size > 1,
        dropout=q.has_adapter and q.choice.dropout > 0,
        mask_bytes=1 if q.device == "cuda" else 4,
        dora=q.has_adapter and q.choice.use_dora,
    )


def _layers_with_gradient(profile: ModelProfile, q: MemoryQuestion) -> tuple[LayerShape, ...]:
    """The layers through which a gradient flows: all after the first that trains."""
    layers = profile.shape.layers
    if not q.has_adapter:
        return trained_layers(profile, q)
    paths = profile.adapted
    outside = len(profile.count.modules) > sum(len(found) for found in paths.values())
    first = next((i for i, layer in enumerate(layers) if layer.path in paths), len(layers))
    return layers if outside else layers[first:]


def _bytes_by_layer(
    profile: ModelProfile, layers: tuple[LayerShape, ...], q: MemoryQuestion, rule: ActivationRule
) -> list[int]:
    adapted = profile.adapted if q.has_adapter else {}
    return [
        layer_bytes(layer, profile.shape, adapted.get(layer.path, ()), q.seq_length, rule)
        for layer in layers
    ]


def chat_items(profile: ModelProfile, q: MemoryQuestion) -> list[MemoryItem]:
    """KV cache and the widest tensors of a forward pass over the whole prompt."""
    shape, b = profile.shape, BYTES[q.dtype]
    layers = len(shape.layers)
    cache = 2 * layers * shape.kv_width * q.tokens * b
    widest = max((layer.mlp_inner for layer in shape.layers), default=0)
    return [
        _item(
            "KV cache",
            cache,
            f"2 x {layers} layers x {shape.kv_width:,} x {q.tokens:,} tokens x {b} bytes",
        ),
        _item("working set", 3 * b * widest * q.tokens, "3 tensors of the widest layer"),
        _item("logits and loss", 4 * q.batch_size * shape.vocab_size, "one token's, in float32"),
    ]


def _item(name: str, size: float, formula: str) -> MemoryItem:
    return MemoryItem(name, size / GIB, formula)
