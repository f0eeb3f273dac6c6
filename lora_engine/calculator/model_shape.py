"""What memory depends on in a model: its layers' matrices, norms and widths, its head and heads.

Read from the real class on the meta device, so grouped-query attention, gated MLPs and experts
come out as they are. Only stacks of the text model are layers here; a vision tower's parameters
count, its activations do not. This module knows no bytes; see `activations.py` and `memory.py`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lora_engine.base_models.families import NORMS
from lora_engine.calculator.meta_model import build_meta_model, embeddings_of
from lora_engine.calculator.model_source import ModelSource
from lora_engine.calculator.repeated_layers import find_twins, natural_order
from lora_engine.calculator.targets import ROLE_NAMES, TargetableModule, targetable_modules
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr, translatable

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

HELD_TO_AUTOGRAD = frozenset(
    """cohere gemma gemma2 gemma3_text glm gpt2 gpt_bigcode granite helium llama mistral olmo2 phi
    qwen2 qwen3 smollm3 stablelm starcoder2""".split()  # noqa: SIM905 - a list to read
)
"""Model types whose kept activations a test compares with what autograd keeps."""

# Tensors of the inner width that an ungated activation keeps for its backward pass: x alone, or
# x and its intermediate powers where transformers spells the function out in Python.
ACTIVATION_TENSORS = {"gelu_new": 4, "gelu_fast": 4, "quick_gelu": 2}


_MIXER = re.compile("mamba|ssm|recurrent|rwkv|lstm|gateddelta|linearattention", re.IGNORECASE)


@dataclass(frozen=True)
class TextSizes:
    """The numbers of the text model's config that no module shows.

    kv_width: key heads x head_dim; heads_width: query heads x head_dim.
    """

    hidden_size: int
    vocab_size: int
    heads: int
    kv_width: int
    heads_width: int
    experts_per_token: int
    activation: str


@dataclass(frozen=True)
class LayerShape:
    """One transformer layer.

    matrices: (out_features, in_features, experts) of each weight LoRA could adapt; parameters: of
    the whole layer, and tensors: their shapes and how many there are. rms_width, norm_width: summed
    widths that pass RMS norms, other norms.
    attention_out: summed output width of query, key and value; inner: width of the attention
    output. mlp_inner: width between the MLP's matrices, times the experts a token passes;
    mlp_tensors: how many tensors of that width are kept; routed: expert outputs kept a token.
    """

    path: str
    parameters: int
    tensors: tuple[tuple[tuple[int, ...], int], ...]
    matrices: tuple[tuple[int, int, int], ...]
    rms_width: int
    norm_width: int
    attention_out: int
    inner: int
    mlp_inner: int
    mlp_tensors: int
    routed: int


@dataclass(frozen=True)
class ModelShape:
    """A model's sizes. layers: in order, encoder before decoder; twins are equal but for `path`.

    tensors: shapes of all parameters and how many there are; embeddings: those of the input
    embedding and the head, a tied one once.

    quantizable_parameters: what bitsandbytes would quantize (Linear and Conv1D weights, not the
    head, tied or fused ones), as transformers' own rule says; quantizable_rows: their output
    features, each with a scale of its own in 8 bits. kv_width: key width of one token and
    layer, heads_width: the same if key heads were repeated to match the query heads.
    active_parameters: those a token passes through (experts_per_token of the experts).
    looked_up_parameters: the input embedding, where it is not the head as well.
    largest_matrix: weights of the largest matrix of a layer. lean: whether Rankscope trains its
    layers with forwards that keep less; plain_head: whether nothing follows the head, so that the
    loss can be taken in chunks. softcap: whether attention's scores are soft-capped. unmodelled:
    kinds of layers whose activations no rule of `activations.py` describes. held_to_autograd:
    whether a test compares the rule with autograd on models of this type.
    """

    parameters: int
    tensors: tuple[tuple[tuple[int, ...], int], ...]
    embeddings: tuple[tuple[tuple[int, ...], int], ...]
    active_parameters: int
    quantizable_parameters: int
    quantizable_rows: int
    looked_up_parameters: int
    hidden_size: int
    vocab_size: int
    heads: int
    kv_width: int
    heads_width: int
    layers: tuple[LayerShape, ...]
    largest_matrix: int
    lean: bool
    plain_head: bool
    softcap: bool
    unmodelled: tuple[str, ...]
    held_to_autograd: bool


def read_shape(source: ModelSource) -> ModelShape:
    """Build the model of `source` on the meta device and read its sizes. Raises as it does."""
    model = build_meta_model(source)
    text = _read_text_sizes(model, source.label)
    modules = targetable_modules(model)
    layers = _layers(model, modules, text)
    total = _numel(model)
    quantizable = _quantizable(model)
    embedding, head = embeddings_of(model)
    tied = head is not None and head.weight is getattr(embedding, "weight", None)
    looked_up = [module for module in (embedding, head) if module is not None]
    return ModelShape(
        parameters=total,
        tensors=_shapes(model.parameters()),
        embeddings=_shapes(dict.fromkeys(p for e in looked_up for p in e.parameters())),
        active_parameters=total - _idle_parameters(modules, text),
        quantizable_parameters=sum(rows * columns for rows, columns in quantizable),
        quantizable_rows=sum(rows for rows, _ in quantizable),
        looked_up_parameters=0 if tied or embedding is None else _numel(embedding),
        hidden_size=text.hidden_size,
        vocab_size=text.vocab_size,
        heads=text.heads,
        kv_width=text.kv_width,
        heads_width=text.heads_width,
        layers=layers,
        largest_matrix=max((o * i for la in layers for o, i, _ in la.matrices), default=0),
        lean=_is_lean(model),
        plain_head=not getattr(model.config.get_text_config(), "final_logit_softcapping", None),
        softcap=bool(_in_text_config(model, "attn_logit_softcapping")),
        unmodelled=_unmodelled(model, layers, modules),
        held_to_autograd=model_type_of_text(model) in HELD_TO_AUTOGRAD,
    )


def model_type_of_text(model: PreTrainedModel) -> str:
    """The `model_type` of the model, or of the part of it that reads text."""
    return str(_in_text_config(model, "model_type") or model.config.model_type)


def _in_text_config(model: PreTrainedModel, name: str) -> Any:
    return getattr(model.config.get_text_config(), name, None)


def _unmodelled(
    model: PreTrainedModel, layers: tuple[LayerShape, ...], modules: list[TargetableModule]
) -> tuple[str, ...]:
    """What the model has besides attention and MLPs of the kinds that were held to autograd."""
    attending = [m.path for m in modules if m.in_attention]
    first_of_a_kind = {(layer.tensors, layer.matrices): layer.path for layer in layers}.values()
    found = {
        translatable("state-space, recurrent or convolution layers"): any(
            not any(path.startswith(f"{layer}.") for path in attending) for layer in first_of_a_kind
        )
        or any(_MIXER.search(type(module).__name__) for module in model.modules()),
        translatable("multi-head latent attention"): (
            _in_text_config(model, "kv_lora_rank") is not None
        ),
        translatable("mixtures of experts"): any(m.experts > 1 for m in modules),
        translatable("attention that is not torch's scaled-dot-product attention"): not (
            model._supports_sdpa or _in_text_config(model, "attn_logit_softcapping")
        ),
    }
    return tuple(kind for kind, is_there in found.items() if is_there)


def _shapes(parameters: Iterable[nn.Parameter]) -> tuple[tuple[tuple[int, ...], int], ...]:
    return tuple(Counter(tuple(p.shape) for p in parameters).items())


def _numel(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _is_lean(model: PreTrainedModel) -> bool:
    """Whether the model's norms are of a family that Rankscope trains with forwards of its own."""
    return any(type(module).__name__ in NORMS for module in model.modules())


def _read_text_sizes(model: PreTrainedModel, label: str) -> TextSizes:
    """The sizes in the text model's config. Raises InvalidInput naming one that is no number."""
    text = model.config.get_text_config()
    text = text if hasattr(text, "model_type") else model.config
    problems: list[FieldProblem] = []

    def size(*names: str, default: int) -> int:
        for name in names:
            value = getattr(text, name, None)
            if value is None:
                continue
            if isinstance(value, int) and value > 0:
                return value
            problems.append(
                FieldProblem(
                    name, tr("got {value}, a size is needed", value=f"{str(value)[:40]!r}")
                )
            )
        return default

    hidden, heads = size("hidden_size", default=1), size("num_attention_heads", default=1)
    kv_heads = size("num_key_value_heads", "num_kv_heads", default=heads)
    if getattr(text, "multi_query", False) and not getattr(text, "new_decoder_architecture", False):
        kv_heads = 1
    head_dim = size("head_dim", "d_kv", default=hidden // heads)
    activation = getattr(text, "hidden_act", None) or getattr(text, "activation_function", "")
    sizes = TextSizes(
        hidden_size=hidden,
        vocab_size=size("vocab_size", default=0),
        heads=heads,
        kv_width=kv_heads * head_dim,
        heads_width=heads * head_dim,
        experts_per_token=size("num_experts_per_tok", default=1),
        activation=str(activation),
    )
    if problems:
        raise InvalidInput(
            tr("The config of {label}", label=label), problems, tr("Correct these fields.")
        )
    return sizes


def _layers(
    model: PreTrainedModel, modules: list[TargetableModule], text: TextSizes
) -> tuple[LayerShape, ...]:
    """Every layer of the text model's stacks, in order; a vision tower's are left out."""
    found: dict[str, LayerShape] = {}
    inside: dict[str, list[TargetableModule]] = defaultdict(list)
    twins = find_twins(model)
    for module in modules:
        owner = next((first for first in twins if module.path.startswith(f"{first}.")), None)
        if owner:
            inside[owner].append(module)
    for first, duplicates in twins.items():
        layer = model.get_submodule(first)
        is_vision = "vision" in first or "visual" in first
        if is_vision or not inside[first]:
            continue
        shape = _layer(first, layer, inside[first], text)
        for path in (first, *duplicates):
            found[path] = LayerShape(**(vars(shape) | {"path": path}))
    order = list(dict.fromkeys(path.rpartition(".")[0] for path in found))
    paths = sorted(found, key=lambda p: (order.index(p.rpartition(".")[0]), natural_order(p)))
    return tuple(found[path] for path in paths)


def _layer(
    path: str,
    layer: nn.Module,
    modules: list[TargetableModule],
    text: TextSizes,
) -> LayerShape:
    attention = [m for m in modules if m.in_attention and m.type in ("linear", "conv1d")]
    outputs = [m for m in attention if m.leaf in ROLE_NAMES["o"]]
    mlp = [m for m in modules if not m.in_attention and m.type != "embedding"]
    downs = [m for m in mlp if m.out_features == text.hidden_size and m.type != "conv"]
    routers = [m for m in mlp if m.type == "experts" and m.experts == 1]
    ups = sum(m.out_features for m in mlp if m not in downs and m not in routers)
    inner = sum(m.in_features for m in downs)
    gated = inner > 0 and ups >= 2 * inner
    passes = text.experts_per_token if any(m.experts > 1 for m in mlp) else 1
    rms, plain = _norm_widths(layer, text)
    return LayerShape(
        path=path,
        parameters=_numel(layer),
        tensors=_shapes(layer.parameters()),
        matrices=tuple((m.out_features, m.in_features, m.experts) for m in modules),
        rms_width=rms,
        norm_width=plain,
        attention_out=sum(m.out_features for m in attention if m not in outputs),
        inner=sum(m.in_features for m in outputs),
        mlp_inner=inner * passes,
        mlp_tensors=3 if gated else ACTIVATION_TENSORS.get(text.activation, 1),
        routed=text.hidden_size * passes if passes > 1 else 0,
    )


def _norm_widths(layer: nn.Module, text: TextSizes) -> tuple[int, int]:
    """Summed widths that pass the layer's (RMS norms, other norms), a token.

    A norm of one head's width runs over all query or key heads.
    """
    rms = plain = 0
    for name, module in layer.named_modules():
        weight = getattr(module, "weight", None)
        if not type(module).__name__.lower().endswith(("norm", "layernorm")) or weight is None:
            continue
        width = weight.shape[-1]
        if width != text.hidden_size:
            is_key = name.rpartition(".")[2].startswith("k")
            width = text.kv_width if is_key else text.heads_width
        if "rms" in type(module).__name__.lower() or "t5" in type(module).__name__.lower():
            rms += width
        else:
            plain += width
    return rms, plain


def _idle_parameters(modules: list[TargetableModule], text: TextSizes) -> int:
    """Expert weights a token does not pass through."""
    return sum(
        m.in_features * m.out_features * max(0, m.experts - text.experts_per_token)
        for m in modules
        if m.experts > 1
    )


def _quantizable(model: PreTrainedModel) -> list[tuple[int, int]]:
    """(out_features, in_features) of what transformers' bitsandbytes integration would quantize."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    kept = get_keys_to_not_convert(model)
    found = []
    for name, module in model.named_modules():
        if not should_convert_module(name, kept):
            continue
        if type(module) is nn.Linear:
            found.append((module.out_features, module.in_features))
        elif isinstance(module, Conv1D):  # weight (in_features, out_features)
            found.append((module.weight.shape[1], module.weight.shape[0]))
    return found
