"""A run's streamed base made ready: its layers' source, and a path that was tried on it.

The path is chosen and tried as every run's is, on the first layer of each kind, the others left
out: so little is in memory at a time. Then the same rows go through these layers one by one, as
they will in training, and must have the same loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lora_engine.base_models import BaseModel
from lora_engine.base_models.layer_list import layers_of
from lora_engine.base_models.streamed import stored_layers
from lora_engine.data import TokenizedRow
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.forward.select import causal_lm_of, choose_path
from lora_engine.training.preparation import PreparedRun
from lora_engine.training.streaming.four_bit import QuantizedLayers
from lora_engine.training.streaming.layer_source import LayerSource, StoredLayers
from lora_engine.training.streaming.layer_stack import LayerStack
from lora_engine.training.streaming.layer_stream import LayerStream
from lora_engine.training.streaming.streamed_path import StreamedPath
from lora_engine.training.streaming.walk import Walk

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn
    from transformers import PreTrainedModel

TRIED_ROWS = 2
TOLERANCE = 1e-5  # of a loss: the same products in the same order


def open_streamed_path(
    run: PreparedRun, model: PeftModel, stream: LayerStream | None = None
) -> StreamedPath:
    """The path over the run's streamed base.

    stream: of another run whose model has the same parameters in its layers.
    Raises EngineError where the layers pass more than hidden states to each other, and as
    `stored_layers` and `QuantizedLayers` do.
    """
    causal_lm = causal_lm_of(model)
    layers = list(layers_of(causal_lm).values())
    if stream is None:
        stream = LayerStream(_source(run, causal_lm, layers), run.device)
    stack = LayerStack(layers)
    tried = _one_of_each_kind(causal_lm, layers)
    with stream.holding(tried):
        with stack.with_only(tried):
            rows, pad_id = run.data.training, run.tokenizer.pad_token_id
            inner = choose_path(model, rows, pad_id, run.device)
        _refuse_other_loss(run.base, inner, stack, tried, list(rows[:TRIED_ROWS]))
    config = causal_lm.config.get_text_config(decoder=True)
    wide = run.spec.quantization is not None  # the parts that are not quantized are float32 then
    token_bytes = config.hidden_size * (4 if wide else run.dtype.itemsize)
    return StreamedPath(inner, stack, stream, _lowest(model, layers), token_bytes)


def _source(
    run: PreparedRun, causal_lm: PreTrainedModel, layers: Sequence[nn.Module]
) -> LayerSource:
    stored = stored_layers(run.base, causal_lm)
    if run.spec.quantization is None:
        return StoredLayers(layers, stored, run.dtype)
    return QuantizedLayers(layers, stored, run.dtype, run.directory.path)


def _one_of_each_kind(causal_lm: PreTrainedModel, layers: Sequence[nn.Module]) -> list[int]:
    """The first layer of each class, shape and kind of attention."""
    types = getattr(causal_lm.config.get_text_config(decoder=True), "layer_types", None)
    first: dict[object, int] = {}
    for number, layer in enumerate(layers):
        shapes = tuple((name, tuple(p.shape)) for name, p in layer.named_parameters())
        first.setdefault((type(layer), shapes, types[number] if types else None), number)
    return sorted(first.values())


def _refuse_other_loss(
    base: BaseModel,
    path: ForwardPath,
    stack: LayerStack,
    tried: Sequence[int],
    rows: Sequence[TokenizedRow],
) -> None:
    """Raises EngineError where these layers one by one have another loss than in their model."""
    import torch

    batch = path.collate(rows)
    path.model.eval()  # no dropout, so no random number is drawn either
    with torch.no_grad(), stack.with_only(tried):
        expected = path.summed_loss(batch)
    walk = Walk(stack, lambda: path.summed_loss(batch), keeps_inputs=False)
    for number in tried:
        walk.up(number)
    found = walk.at_the_top()
    path.model.train()
    if not torch.allclose(found, expected, rtol=TOLERANCE):
        raise EngineError(
            tr(
                "The layers of {name} pass more than hidden states to each other, so they cannot "
                "be streamed: the loss came out as {found} instead of {expected}.",
                name=f"{base.name!r}",
                found=f"{float(found):.6g}",
                expected=f"{float(expected):.6g}",
            ),
            tr("Do not stream the base."),
        )


def _lowest(model: PeftModel, layers: Sequence[nn.Module]) -> int:
    """The first layer in which, or before which, something trains."""
    of_layers = {id(p) for layer in layers for p in layer.parameters()}
    head = causal_lm_of(model).get_output_embeddings()
    after = {id(p) for p in head.parameters()} if head is not None else set()
    if any(p.requires_grad and id(p) not in of_layers | after for p in model.parameters()):
        return 0
    for number, layer in enumerate(layers):
        if any(parameter.requires_grad for parameter in layer.parameters()):
            return number
    return len(layers)
