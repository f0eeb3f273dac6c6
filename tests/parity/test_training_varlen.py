"""Packed attention as it runs on a GPU, tried without one.

The arguments of torch's `varlen_attn` go to a reference of the same signature, written from its
documentation, and to torch's own shapes on the meta device, where nothing can be read off a tensor:
a layer that waited for the GPU would raise there.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM

from lora_engine.data import TokenizedRow
from lora_engine.spec import MethodSpec
from lora_engine.training.forward.attention_kernels import attention_kernels
from lora_engine.training.forward.packed import PackedPath, pack
from lora_engine.training.forward.select import choose_path
from lora_engine.training.kernels import fused_layers, fused_linear, packed_attention, varlen
from lora_engine.training.kernels.packed_attention import NAME, VARLEN
from lora_engine.training.models import adapter_model
from tests.tiny import save_tiny_model

ROWS = [TokenizedRow(i, tuple(range(9, 9 + n)), tuple(range(9, 9 + n)), False)
        for i, n in enumerate((30, 1, 17))]  # fmt: skip


def reference_varlen(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1),
    enable_gqa=False,
):  # fmt: skip
    """softmax(scale · Q Kᵀ) V of each sequence, (left, right) tokens around a token seen."""
    assert query.shape[1] == key.shape[1] or enable_gqa
    assert cu_seq_q.dtype == torch.int32
    assert max_q == max_k == int(cu_seq_q.diff().max())
    left, right = (side if side >= 0 else max_q for side in window_size)
    key, value = (
        states.repeat_interleave(query.shape[1] // states.shape[1], 1) for states in (key, value)
    )
    found = []
    for start, end in zip(cu_seq_q.tolist(), cu_seq_q.tolist()[1:], strict=False):
        q, k, v = (states[start:end].transpose(0, 1) for states in (query, key, value))
        at = torch.arange(end - start)
        back = at[:, None] - at[None, :]
        seen = (back <= left) & (-back <= right)
        scores = q @ k.transpose(1, 2) * (scale or q.shape[-1] ** -0.5)
        found.append((scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v).transpose(0, 1))
    return torch.cat(found)


@pytest.fixture
def _reference_here(monkeypatch):
    """The reference in varlen's place, on the CPU."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", reference_varlen)
    monkeypatch.setattr(varlen, "refusal", lambda *_: None)


@pytest.mark.usefixtures("_reference_here")
@pytest.mark.parametrize("window", [None, 1, 3, 9, 40])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_one_call_is_each_row_by_itself(window, kv_heads):
    torch.manual_seed(0)
    lengths = (5, 1, 9)
    starts = torch.tensor([0, 5, 6, 15], dtype=torch.int32)
    shapes = [(1, heads, 15, 8) for heads in (4, kv_heads, kv_heads)]
    states = [torch.randn(shape, requires_grad=True) for shape in shapes]
    told = {"scaling": 0.3, "sliding_window": window, "cu_seq_lens_q": starts}
    found = []
    for in_one_call in (False, True):
        output, _ = packed_attention.packed_attention(
            torch.nn.Module(), *states, None, row_lengths=lengths, in_one_call=in_one_call, **told
        )
        found.append([output, *torch.autograd.grad(output.square().sum(), states)])
    for by_row, at_once in zip(*found, strict=True):
        torch.testing.assert_close(at_once, by_row)


@pytest.mark.usefixtures("_reference_here")
@pytest.mark.parametrize(("kind", "more"), [("llama", {}), ("mistral", {"sliding_window": 9})])
def test_a_model_passes_the_probe_in_one_call(monkeypatch, tmp_path, kind, more):
    """The whole choice, as on CUDA: tried, compared with rows alone, and named in the log."""
    monkeypatch.setattr(
        "lora_engine.training.forward.select.attention_kernels",
        lambda model, _device: attention_kernels(model, "meta"),
    )
    model = AutoModelForCausalLM.from_pretrained(save_tiny_model(tmp_path, kind, **more))
    model = adapter_model.add_adapter(model, MethodSpec(rank=2), quantized=False)
    path = choose_path(model, ROWS, 0, "cpu")
    assert isinstance(path, PackedPath)
    assert path.causal_lm.config._attn_implementation == VARLEN
    assert VARLEN in path.description


def test_a_kernel_that_fails_makes_room_for_the_next(monkeypatch, tmp_path):
    """Varlen raises on the CPU; the run goes row by row, and says so."""
    monkeypatch.setattr(varlen, "refusal", lambda *_: None)
    monkeypatch.setattr(
        "lora_engine.training.forward.select.attention_kernels",
        lambda model, _device: attention_kernels(model, "meta"),
    )
    model = AutoModelForCausalLM.from_pretrained(save_tiny_model(tmp_path))
    model = adapter_model.add_adapter(model, MethodSpec(rank=2), quantized=False)
    path = choose_path(model, ROWS, 0, "cpu")
    assert isinstance(path, PackedPath)
    assert path.causal_lm.config._attn_implementation == NAME
    assert VARLEN in path.description, "the log says what failed"


class Calls(TorchDispatchMode):
    """The names of all operations below."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        self.names.append(str(operation))
        return operation(*arguments, **(keywords or {}))


def path_without_data(**changes) -> PackedPath:
    """A Llama with an adapter and fused layers, on the meta device, in bfloat16."""
    packed_attention.register()
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model("llama", **sizes, **changes), dtype=torch.bfloat16
        )
        adapted = adapter_model.add_adapter(model, MethodSpec(rank=2), quantized=False)
    model.set_attn_implementation(VARLEN)
    fused_linear.install(adapted)
    fused_layers.install(adapted)
    return PackedPath(adapted, model, "meta", True, 1, "", "sdpa")


def test_no_layer_reads_a_number_off_a_tensor():
    path = path_without_data()
    with Calls() as calls:
        path.summed_loss(path.collate(ROWS)).backward()
    once_a_layer = [name for name in calls.names if "_varlen_attn." in name]
    assert len(once_a_layer) == 2
    assert sum("_varlen_attn_backward" in name for name in calls.names) == 2
    batch = pack(ROWS, "meta").model_inputs()
    del batch["row_lengths"]
    with pytest.raises(RuntimeError, match="meta"):
        path.causal_lm.base_model(**batch)  # the lengths off the tensor: the meta device has none


def test_the_choice_is_told_in_words(monkeypatch):
    model = path_without_data().causal_lm
    assert attention_kernels(model, "cpu").names == (NAME,)
    assert attention_kernels(model, "meta").names == (VARLEN, NAME)
    for changes in ({"attention_dropout": 0.1}, {"head_dim": 12}, {"attn_logit_softcapping": 5.0}):
        chosen = attention_kernels(path_without_data(**changes).causal_lm, "meta")
        assert chosen.names == (NAME,)
        assert len(chosen.refused) == 1
    monkeypatch.setattr(varlen, "is_importable", lambda: False)
    chosen = attention_kernels(model, "meta")
    assert chosen.names == (NAME,)
    assert varlen.MODULE in chosen.refused[0]
