"""Chooses a run's forward path, and checks it on the run's own model before it is used.

Virtual tokens, which PEFT puts before each row, always go through the padded path. The packed path
needs a model whose attention works without masks through transformers' attention
interface, as FlashAttention does. A model declares that it can, and the declaration is tested: two
short rows go through the model each alone and then packed. Only where the hidden states agree is
the packed path used; otherwise the padded path is, and the log says why. On CUDA several kernels
can compute packed attention: the first that passes this test is taken, the quickest being tried
first.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeGuard

from lora_engine.data import TokenizedRow
from lora_engine.data.token_store import lengths_of
from lora_engine.training.forward.attention_kernels import attention_kernels
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.forward.packed import TOKEN_MULTIPLE, PackedBatch, PackedPath, pack
from lora_engine.training.forward.padded import PaddedPath

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)
PROBE_LENGTHS = (24, 40)
# The largest relative error of a token's last hidden state that still passes, by the model's dtype.
TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
# The head's output is multiplied by this: any soft cap, scale or bias behind it then shows.
HEAD_TEST_FACTOR = 1000.0
MOST_REASON = 200  # letters of an error: torch's go on for pages
# What models raise when they are run in a way they were not made for.
CANNOT_RUN = (TypeError, ValueError, AttributeError, RuntimeError, IndexError, KeyError)


@dataclass(frozen=True)
class CannotPack(Exception):
    """This model cannot use the packed path."""

    reason: str


def choose_path(
    model: PeftModel | PreTrainedModel, rows: Sequence[TokenizedRow], pad_id: int, device: str
) -> ForwardPath:
    """The packed path where it computes what the model itself computes, else the padded path.

    rows: the training rows; the longest decides whether a sliding window matters. Either way
    the fused layers that fit are installed into `model`.
    """
    path: ForwardPath
    if count := virtual_tokens_of(model):
        words = f"padded batches, {count} virtual tokens before each row"
        path = PaddedPath(model, pad_id, device, words)
        log.info("forward path: %s", words)
        return path
    from lora_engine.training.kernels import last_layer

    causal_lm = causal_lm_of(model)
    probe = _probe_rows(causal_lm, rows)
    try:
        path = _packed_path(model, causal_lm, device, probe)
    except CannotPack as error:
        padded = PaddedPath(model, pad_id, device)
        path = replace(padded, description=f"{padded.description} ({error.reason})")
    if _has_adapter(model):
        layers = _install_fused_layers(model, with_decoder=isinstance(path, PackedPath))
        path = replace(path, description=f"{path.description}; {layers}")
    if isinstance(path, PackedPath) and path.chunked_head and last_layer.install(causal_lm):
        words = f"{path.description}; the last layer for the predicting tokens alone"
        path = replace(path, trims_last_layer=True, description=words)
    log.info("forward path: %s", path.description)
    return path


def causal_lm_of(model: PeftModel | PreTrainedModel) -> PreTrainedModel:
    """The language model itself: under the adapter, where there is one."""
    from transformers import PreTrainedModel

    base = model.get_base_model() if _has_adapter(model) else model
    assert isinstance(base, PreTrainedModel)
    return base


def virtual_tokens_of(model: PeftModel | PreTrainedModel) -> int:
    """How many trained tokens PEFT puts before every row; 0 for none."""
    if not _has_adapter(model) or not model.active_peft_config.is_prompt_learning:
        return 0
    return model.active_peft_config.num_virtual_tokens


def _has_adapter(model: PeftModel | PreTrainedModel) -> TypeGuard[PeftModel]:
    return hasattr(model, "get_base_model")  # without importing PEFT where a whole model trains


def _install_fused_layers(model: PeftModel, with_decoder: bool) -> str:
    """Give the layers that fit their fused forwards. Returns how many, in words."""
    from lora_engine.training.kernels import fused_layers, fused_linear

    fused, left = fused_linear.install(model)
    count = fused_layers.install(model) if with_decoder else 0
    return (
        f"{fused} adapted layers fused, {left} as PEFT computes them, "
        f"{count} modules of the decoder layers fused"
    )


def _packed_path(
    model: PeftModel | PreTrainedModel,
    causal_lm: PreTrainedModel,
    device: str,
    probe: list[TokenizedRow],
) -> PackedPath:
    """The packed path, tested on the probe rows.

    Raises CannotPack where the test fails; the model is then as it was.
    """
    from lora_engine.training.kernels import packed_attention

    _refuse_by_declaration(causal_lm)
    before = causal_lm.config._attn_implementation
    packed_attention.register()
    was_training = model.training
    model.eval()  # no dropout, so no random number is drawn either
    try:
        alone = [_hidden_alone(causal_lm, row, device) for row in probe]
        chosen = _first_that_passes(causal_lm, pack(probe, device), alone)
        chunked = _is_head_plain(causal_lm, pack(probe, device))
    except (CannotPack, *CANNOT_RUN) as error:
        causal_lm.set_attn_implementation(before)
        reason = (
            error.reason if isinstance(error, CannotPack) else f"packed rows do not run: {error!r}"
        )
        raise CannotPack(reason) from error
    finally:
        model.train(was_training)
    head = "head and loss in chunks" if chunked else "the model's own head"
    is_16_bit_cpu = device == "cpu" and str(causal_lm.dtype) != "torch.float32"
    multiple = TOKEN_MULTIPLE if is_16_bit_cpu else 1
    words = f"packed rows, {chosen}, {head}"
    return PackedPath(model, causal_lm, device, chunked, multiple, words, before)


def _first_that_passes(
    causal_lm: PreTrainedModel, batch: PackedBatch, alone: list[torch.Tensor]
) -> str:
    """Set the first attention under which rows among others are as alone; it, in words.

    Raises CannotPack where there is none.
    """
    from lora_engine.training.kernels.packed_attention import NotPackable

    kernels = attention_kernels(causal_lm, batch.input_ids.device.type)
    refused = list(kernels.refused)
    for name in kernels.names:
        try:
            causal_lm.set_attn_implementation(name)
            _refuse_other_hidden_states(causal_lm, batch, alone)
        except CannotPack as error:
            refused.append(f"{name}: {error.reason}")
        except (NotPackable, *CANNOT_RUN) as error:
            refused.append(f"{name} does not run: {str(error)[:MOST_REASON]!r}")
        else:
            return f"{name} ({'; '.join(refused)})" if refused else name
    raise CannotPack("; ".join(refused))


def _refuse_by_declaration(causal_lm: PreTrainedModel) -> None:
    """Raises CannotPack where the model itself declares that it needs masks, or all logits."""
    name = type(causal_lm).__name__
    if not (causal_lm._supports_attention_backend and causal_lm._supports_flash_attn):
        raise CannotPack(f"{name} does not say that its attention works without masks")
    if getattr(causal_lm.config, "is_encoder_decoder", False):
        raise CannotPack(f"{name} has an encoder")
    if "logits_to_keep" not in inspect.signature(causal_lm.forward).parameters:
        raise CannotPack(f"{name} cannot leave out logits")


def _probe_rows(causal_lm: PreTrainedModel, rows: Sequence[TokenizedRow]) -> list[TokenizedRow]:
    """The two longest rows, cut short, every token supervised.

    Where rows are longer than the model's sliding window, the first is cut just after the window.
    """
    import numpy as np

    in_order = np.argsort(lengths_of(rows), kind="stable")  # no row is read for its length
    longest = [rows[place] for place in in_order[-2:].tolist()]
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
    """Raises CannotPack where a token's hidden state among other rows differs from alone.

    alone: the last hidden states of each row, (length, hidden_size).
    """
    import torch

    with torch.no_grad():
        packed = causal_lm.base_model(**batch.model_inputs()).last_hidden_state[0].float()
    expected = torch.cat(alone)  # (tokens, hidden_size)
    error = float(((packed - expected).norm(dim=1) / expected.norm(dim=1)).max())
    tolerance = TOLERANCE.get(str(causal_lm.dtype).removeprefix("torch."), 0.0)
    if not error <= tolerance:
        raise CannotPack(f"packed rows gave other hidden states than rows alone: {error:.1e} apart")


def _is_head_plain(causal_lm: PreTrainedModel, batch: PackedBatch) -> bool:
    """Whether the logits are one frozen linear layer of the last hidden states, and nothing more.

    The layer's output is multiplied for one pass: a soft cap or a scale behind it would show.
    """
    import torch

    from lora_engine.training.kernels import head_loss

    head = causal_lm.get_output_embeddings()
    if not head_loss.is_frozen_linear(head):
        return False
    seen = []

    def multiply(_module, inputs, output):
        seen.append((inputs[0], output * HEAD_TEST_FACTOR))
        return output * HEAD_TEST_FACTOR

    hook = head.register_forward_hook(multiply)
    try:
        with torch.no_grad():
            logits = causal_lm(**batch.model_inputs()).logits.float()
            hidden = causal_lm.base_model(**batch.model_inputs()).last_hidden_state
    finally:
        hook.remove()
    (given, multiplied), *more = seen
    return (
        not more
        and given.shape == hidden.shape
        and torch.allclose(logits, multiplied.float())
        and torch.allclose(given, hidden)
    )
