"""Which forward path a run takes, checked on its own model before it is used.

The packed path needs a model of transformers' attention interface that works without masks (what
it needs for FlashAttention too). Models say so themselves, and we do not take their word alone:
two short rows go through the model each alone and end to end, and only where the hidden states
come out equal is the packed path used. Otherwise the plain path is, and the log says why.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lora_engine.data import TokenizedRow
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.forward.packed import SIZES, PackedBatch, PackedPath, pack
from lora_engine.training.forward.padded import PaddedPath

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)
PROBE_LENGTHS = (24, 40)
# Largest relative error of a token's last hidden state, by the model's dtype.
TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
# Times this, any soft cap, scale or bias behind the head shows in the logits.
LOUD = 1000.0
# What models are known to raise when they are run in a way that they were not made for.
CANNOT_RUN = (TypeError, ValueError, AttributeError, RuntimeError, IndexError, KeyError)


@dataclass(frozen=True)
class Unfit(Exception):
    """Why the packed path is not for this model."""

    reason: str


def choose_path(
    model: PeftModel | PreTrainedModel, rows: Sequence[TokenizedRow], pad_id: int, device: str
) -> ForwardPath:
    """The packed path where it gives this model's own losses, the padded path otherwise.

    rows: the training rows; the longest tells whether a sliding window comes into play. Installs
    the fused layers that fit into `model`, whichever path is taken.
    """
    causal_lm = causal_lm_of(model)
    probe = _probe_rows(causal_lm, rows)
    path: ForwardPath
    try:
        path = _packed_path(model, causal_lm, device, probe)
    except Unfit as unfit:
        padded = PaddedPath(model, pad_id, device)
        path = replace(padded, description=f"{padded.description} ({unfit.reason})")
    if model is not causal_lm:
        layers = _install_layers(model, lean=isinstance(path, PackedPath))
        path = replace(path, description=f"{path.description}; {layers}")
    log.info("forward path: %s", path.description)
    return path


def causal_lm_of(model: PeftModel | PreTrainedModel) -> PreTrainedModel:
    """The language model itself: under the adapter, where there is one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _install_layers(model: PeftModel, lean: bool) -> str:
    """Give the adapted layers that fit their faster forwards. Returns how many, in words."""
    from lora_engine.training.kernels import fused_layers, fused_linear

    fused, left = fused_linear.install(model)
    count = fused_layers.install(model) if lean else 0
    return (
        f"{fused} adapted layers fused, {left} as PEFT computes them, "
        f"{count} modules of the decoder layers lean"
    )


def _packed_path(
    model: PeftModel | PreTrainedModel,
    causal_lm: PreTrainedModel,
    device: str,
    probe: list[TokenizedRow],
) -> PackedPath:
    """The packed path, proven on the probe. Raises Unfit and leaves the model as it was."""
    from lora_engine.training.kernels import packed_attention

    _refuse_by_declaration(causal_lm)
    before = causal_lm.config._attn_implementation
    packed_attention.register()
    chosen = _attention_name(causal_lm, device)
    was_training = model.training
    model.eval()  # no dropout, so no random number is drawn either
    try:
        alone = [_hidden_alone(causal_lm, row, device) for row in probe]
        causal_lm.set_attn_implementation(chosen)
        _refuse_other_hidden_states(causal_lm, pack(probe, device), alone)
        chunked = _is_head_plain(causal_lm, pack(probe, device))
    except (Unfit, packed_attention.NotPackable, *CANNOT_RUN) as error:
        causal_lm.set_attn_implementation(before)
        reason = error.reason if isinstance(error, Unfit) else f"packed rows do not run: {error!r}"
        raise Unfit(reason) from error
    finally:
        model.train(was_training)
    head = "head and loss in chunks" if chunked else "the model's own head"
    multiple = 1 if device != "cpu" or str(causal_lm.dtype) == "torch.float32" else SIZES
    words = f"packed rows, {chosen}, {head}"
    return PackedPath(model, causal_lm, device, chunked, multiple, words)


def _refuse_by_declaration(causal_lm: PreTrainedModel) -> None:
    name = type(causal_lm).__name__
    if not (causal_lm._supports_attention_backend and causal_lm._supports_flash_attn):
        raise Unfit(f"{name} does not say that its attention works without masks")
    if getattr(causal_lm.config, "is_encoder_decoder", False):
        raise Unfit(f"{name} has an encoder")
    if "logits_to_keep" not in inspect.signature(causal_lm.forward).parameters:
        raise Unfit(f"{name} cannot leave out logits")


def _attention_name(causal_lm: PreTrainedModel, device: str) -> str:
    """FlashAttention on a GPU that has it, for 16-bit weights; ours elsewhere."""
    import torch
    from transformers.utils import is_flash_attn_2_available

    from lora_engine.training.kernels.packed_attention import NAME

    half = causal_lm.dtype in (torch.bfloat16, torch.float16)
    return (
        "flash_attention_2" if device == "cuda" and half and is_flash_attn_2_available() else NAME
    )


def _probe_rows(causal_lm: PreTrainedModel, rows: Sequence[TokenizedRow]) -> list[TokenizedRow]:
    """The two longest rows, cut short, every token supervised.

    Where rows are longer than the model's sliding window, the first is cut behind the window.
    """
    longest = sorted(rows, key=lambda row: len(row.input_ids))[-2:]
    lengths = list(PROBE_LENGTHS)
    window = getattr(causal_lm.config, "sliding_window", None)
    if isinstance(window, int) and window < max(len(row.input_ids) for row in longest):
        lengths[0] = window + 16
    cut = zip(reversed(longest), lengths, strict=False)
    return [
        replace(row, input_ids=row.input_ids[:length], labels=row.input_ids[:length])
        for row, length in cut
    ]


def _hidden_alone(causal_lm: PreTrainedModel, row: TokenizedRow, device: str) -> torch.Tensor:
    """The last hidden states of a row by itself, (length, hidden_size) in float32."""
    import torch

    input_ids = torch.tensor([row.input_ids], device=device)
    with torch.no_grad():
        states = causal_lm.base_model(input_ids=input_ids, use_cache=False)
    return states.last_hidden_state[0].float()


def _refuse_other_hidden_states(causal_lm, batch: PackedBatch, alone: list[torch.Tensor]) -> None:
    """Raises Unfit where a token's hidden state is another among other rows than alone."""
    import torch

    with torch.no_grad():
        packed = causal_lm.base_model(**batch.model_inputs()).last_hidden_state[0].float()
    expected = torch.cat(alone)  # (tokens, hidden_size)
    error = float(((packed - expected).norm(dim=1) / expected.norm(dim=1)).max())
    tolerance = TOLERANCE.get(str(causal_lm.dtype).removeprefix("torch."), 0.0)
    if not error <= tolerance:
        raise Unfit(f"packed rows gave other hidden states than rows alone: {error:.1e} apart")


def _is_head_plain(causal_lm: PreTrainedModel, batch: PackedBatch) -> bool:
    """Whether the logits are one frozen linear layer of the last hidden states, nothing more.

    The layer's output is made loud for one pass: a soft cap or a scale behind it would show.
    """
    import torch

    from lora_engine.training.kernels import head_loss

    head = causal_lm.get_output_embeddings()
    if not head_loss.is_plain(head):
        return False
    seen = []

    def make_loud(_module, inputs, output):
        seen.append((inputs[0], output * LOUD))
        return output * LOUD

    hook = head.register_forward_hook(make_loud)
    try:
        with torch.no_grad():
            logits = causal_lm(**batch.model_inputs()).logits.float()
            hidden = causal_lm.base_model(**batch.model_inputs()).last_hidden_state
    finally:
        hook.remove()
    (given, loud), *more = seen
    return (
        not more
        and given.shape == hidden.shape
        and torch.allclose(logits, loud.float())
        and torch.allclose(given, hidden)
    )
