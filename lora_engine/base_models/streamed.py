"""A causal language model whose layers stay in their files: everything else of it is loaded.

The layers have their modules, names, shapes and types. In place of each weight stands one NaN that
is spread over its shape without memory, so that a layer nobody has filled cannot compute. Filling
them is the caller's; `stored_layers` says where each weight lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lora_engine.base_models.causal_models import refuse_no_causal_model
from lora_engine.base_models.find import BaseModel
from lora_engine.base_models.layer_list import layers_of
from lora_engine.base_models.load_report import refuse_incomplete
from lora_engine.base_models.pretrained import (
    UNFIT,
    configuration,
    describes_no_model,
    load_pretrained,
    quantize_skeleton,
)
from lora_engine.base_models.stored_quantization import stored_quantization
from lora_engine.base_models.stored_tensors import StoredTensor, read_into, tensors_in
from lora_engine.base_models.weight_files import listed, local_folder, weight_files
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.library_imports import import_transformers

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

    from lora_engine.spec import QuantizationSpec

WRAPPED = ".base_layer."  # what PEFT puts into the name of a weight that it adapts
ADAPTER = ".lora_"


def load_streamed_model(
    base: BaseModel,
    device: str,
    dtype: torch.dtype,
    quantization: QuantizationSpec | None = None,
) -> PreTrainedModel:
    """The model in `dtype` on `device` with placeholders in its layers.

    quantization: in 4 bits; the layers' linear modules are then bitsandbytes'.
    Raises EngineError where the files hold the layers under other names or not as plain numbers,
    and as `load_pretrained` and `refuse_incomplete` do.
    """
    refuse_no_causal_model(base)
    refuse_stored_quantized(base)
    import_transformers()
    from transformers import AutoModelForCausalLM

    stored = _stored_tensors(base)
    skeleton = _meta_model(AutoModelForCausalLM, base)
    in_layers = {
        where.entry.name for layer in _layers(base, skeleton, stored) for where in layer.values()
    }
    known = set(skeleton.state_dict())
    tensors = {
        name: _read(where, dtype)
        if name not in in_layers and _is_known(name, known, skeleton.base_model_prefix)
        else placeholder(where.shape, dtype, "cpu")
        for name, where in stored.items()
    }
    model, report = load_pretrained(AutoModelForCausalLM, base, device, dtype, tensors=tensors)
    refuse_incomplete(base.name, report)
    if quantization is not None:
        quantize_skeleton(model, quantization, dtype, device)
    for layer in layers_of(model).values():
        _refuse_other_state(base, layer)
    _move(model, device)
    return model.eval()


def refuse_stored_quantized(base: BaseModel) -> None:
    """Raises EngineError where the base's files hold codes instead of numbers."""
    stored = stored_quantization(base)
    if stored is not None:
        raise EngineError(
            tr(
                "The weights of {name} are stored as {stored}, and only layers that are stored as "
                "numbers can be streamed.",
                name=f"{base.name!r}",
                stored=str(stored),
            ),
            tr("Give the model that it was made from, or do not stream the base."),
        )


def stored_layers(base: BaseModel, model: PreTrainedModel) -> list[dict[str, StoredTensor]]:
    """Of each layer of the model, where its weights lie, by their names in the layer.

    The model may have a LoRA adapter on it. Raises EngineError as `load_streamed_model` does.
    """
    return _layers(base, model, _stored_tensors(base))


def placeholder(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> torch.Tensor:
    """One NaN, or 0 where the type has none, as a tensor of this shape; it takes no memory."""
    import torch

    value = float("nan") if dtype.is_floating_point else 0
    return torch.full((), value, dtype=dtype, device=device).expand(shape)


def _stored_tensors(base: BaseModel) -> Mapping[str, StoredTensor]:
    folder = local_folder(base)
    if folder is None:
        raise EngineError(
            tr("The files of {name} are not on this machine.", name=f"{base.name!r}"),
            tr("Download the model first, or do not stream the base."),
        )
    return tensors_in(weight_files(folder))


def _meta_model(auto: Any, base: BaseModel) -> PreTrainedModel:
    """The model's modules without memory, as its config.json describes them."""
    import torch

    config = configuration(base, {})
    try:
        with torch.device("meta"):
            return auto.from_config(config, trust_remote_code=False)
    except UNFIT as error:
        raise describes_no_model(base, error) from error


def _layers(
    base: BaseModel, model: PreTrainedModel, stored: Mapping[str, StoredTensor]
) -> list[dict[str, StoredTensor]]:
    found, lost = [], []
    for prefix, layer in layers_of(model).items():
        of_layer = {}
        for name, parameter in layer.named_parameters():
            if ADAPTER in name:
                continue
            plain = f"{prefix}.{name}".replace(WRAPPED, ".")
            where = stored.get(plain) or stored.get(
                plain.removeprefix(f"{model.base_model_prefix}.")
            )
            if where is None or not where.is_number or not _has_shape_of(parameter, where):
                lost.append(plain)
            else:
                of_layer[name] = where
        found.append(of_layer)
    if lost:
        raise EngineError(
            tr(
                "The files of {name} do not hold the weights of its layers one by one, as numbers "
                "and under the model's own names, so they cannot be streamed: {listed}.",
                name=f"{base.name!r}",
                listed=listed(lost),
            ),
            tr(
                "Check that the folder is whole. Models with fused experts or of several parts "
                "cannot be streamed: leave out optimization.stream_base for them."
            ),
        )
    return found


def _has_shape_of(parameter: torch.Tensor, stored: StoredTensor) -> bool:
    """Whether a stored weight has the parameter's shape; that of codes says nothing."""
    return not parameter.is_floating_point() or stored.shape == tuple(parameter.shape)


def _is_known(name: str, known: set[str], prefix: str) -> bool:
    return name in known or f"{prefix}.{name}" in known


def _read(stored: StoredTensor, dtype: torch.dtype) -> torch.Tensor:
    import torch

    if not stored.is_number:
        return placeholder(stored.shape, dtype, "cpu")
    target = torch.empty(stored.shape, dtype=dtype)
    read_into(stored, target, dtype)
    return target


def _refuse_other_state(base: BaseModel, layer: nn.Module) -> None:
    """Raises EngineError where a layer has more than weights in one precision."""
    weights = dict(layer.named_parameters())
    other = [name for name in layer.state_dict() if name not in weights]
    copied = [name for name, weight in weights.items() if weight.untyped_storage().nbytes() > 8]
    if other or copied:
        raise EngineError(
            tr(
                "The layers of {name} keep more than weights of one precision, so they cannot be "
                "streamed: {listed}.",
                name=f"{base.name!r}",
                listed=listed([*other, *copied]),
            ),
            tr("Do not stream the base."),
        )


def _move(model: PreTrainedModel, device: str) -> None:
    """To the device; what is spread over its shape stays spread."""
    if device == "cpu":
        return
    for parameter in model.parameters():
        if parameter.untyped_storage().nbytes() > 8:
            parameter.data = parameter.data.to(device)
        else:
            parameter.data = placeholder(tuple(parameter.shape), parameter.dtype, device)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))
