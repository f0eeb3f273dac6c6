"""What llama.cpp computes from an adapter's GGUF file is PEFT's update; read back it is again."""

from __future__ import annotations

import errno
import json

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from transformers import AutoConfig
from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

from lora_engine.base_models import BaseModel
from lora_engine.cancellation import Stopped, StopSignal
from lora_engine.errors import Conflict, EngineError
from lora_engine.export.gguf_adapter import ADAPTER_FILE
from lora_engine.export.gguf_export import read_back, write_gguf
from lora_engine.export.load_rules import where_gguf_loads
from lora_engine.settings import Settings
from tests.operated_adapters import ARCHITECTURES, PATTERNS, SIZES, save_adapter, updates

pytestmark = pytest.mark.filterwarnings("ignore")
EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
SOURCES = {
    "rslora, patterns": ("llama", {"use_rslora": True, **PATTERNS}),
    "patterns": ("llama", PATTERNS),
    "qwen2": ("qwen2", {"use_rslora": True}),
}


def save_config(folder, architecture="llama", **changes):
    """A base of which only config.json is here, as the converters need it."""
    sizes = {**ARCHITECTURES.get(architecture, SIZES), **changes}
    AutoConfig.for_model(architecture, **sizes).save_pretrained(folder)
    return BaseModel("tiny", folder)


def write(source, output, base, tmp_path, **more):
    return write_gguf(source, output, base, Settings(data_dir=tmp_path), **more)


def contents(folder):
    reader = GGUFReader(folder / ADAPTER_FILE)
    return {one.name: one for one in reader.tensors}, {
        key: field.contents() for key, field in reader.fields.items()
    }


def as_llama_cpp_computes(folder):
    """By weight: alpha / rank * lora_b @ lora_a, as src/llama-adapter.h has it."""
    tensors, keys = contents(folder)
    weights = {name.rsplit(".", 1)[0] for name in tensors}
    return {
        name: keys["adapter.lora.alpha"]
        / tensors[f"{name}.lora_b"].data.shape[1]
        * (tensors[f"{name}.lora_b"].data.astype(float) @ tensors[f"{name}.lora_a"].data)
        for name in weights
    }


@pytest.mark.parametrize("form", SOURCES)
def test_llama_cpp_computes_the_update_that_was_trained(form, tmp_path):
    architecture, settings = SOURCES[form]
    source = save_adapter(
        tmp_path / "source", architecture, target_modules=EVERY, dtype=torch.float32, **settings
    )
    base = save_config(tmp_path / "base", architecture)
    write(source, tmp_path / "out", base, tmp_path)
    trained = updates(source, architecture)
    found = as_llama_cpp_computes(tmp_path / "out")
    assert len(found) == len(trained) == 14
    order = LlamaTensorProcessor({"num_attention_heads": 4, "num_key_value_heads": 2})
    for module, update in trained.items():
        layer, kind = module.removeprefix("model.layers.").split(".", 1)
        name = f"blk.{layer}.{NAMES[kind]}.weight"
        theirs = found[name]
        if architecture == "llama":
            theirs = order.process(theirs, name).weights
            moved = kind in ("self_attn.q_proj", "self_attn.k_proj")
            assert np.array_equal(theirs, found[name]) is not moved
        np.testing.assert_allclose(theirs, update, rtol=1e-5, atol=1e-6)

    read_back(tmp_path / "out" / ADAPTER_FILE, source, base, tmp_path / "back")
    again = updates(tmp_path / "back", architecture)
    assert set(again) == set(trained)
    for module, update in trained.items():
        np.testing.assert_allclose(again[module], update, rtol=1e-5, atol=1e-6)


def test_the_file_says_that_it_is_a_lora_adapter(tmp_path):
    source = save_adapter(tmp_path / "source", lora_alpha=9, dtype=torch.float32)
    write(source, tmp_path / "out", save_config(tmp_path / "base"), tmp_path)
    keys = contents(tmp_path / "out")[1]
    assert keys["general.architecture"] == "llama"
    assert (keys["general.type"], keys["adapter.type"]) == ("adapter", "lora")
    assert keys["adapter.lora.alpha"] == 6.0  # the rank: the scaling of 1.5 is in lora_b
    assert keys["general.name"] == "source"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [ADAPTER_FILE]


@pytest.mark.parametrize(
    ("dtype", "lora_alpha", "stored"),
    [
        (torch.float16, 12, GGMLQuantizationType.F16),  # twice the rank loses nothing
        (torch.float16, 7, GGMLQuantizationType.F32),
        (torch.bfloat16, 12, GGMLQuantizationType.F32),
    ],
)
def test_no_factor_is_rounded(dtype, lora_alpha, stored, tmp_path):
    source = save_adapter(tmp_path / "source", dtype=dtype, lora_alpha=lora_alpha)
    base = save_config(tmp_path / "base")
    write(source, tmp_path / "out", base, tmp_path)
    tensors = contents(tmp_path / "out")[0]
    assert {one.tensor_type for one in tensors.values()} == {stored}
    read_back(tmp_path / "out" / ADAPTER_FILE, source, base, tmp_path / "back")
    before, after = updates(source), updates(tmp_path / "back")
    for module, update in before.items():
        np.testing.assert_allclose(after[module], update, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("architecture", "changes", "settings", "said"),
    [
        ("gpt2", {}, {"target_modules": ["c_attn"], "fan_in_fan_out": True}, "gpt2"),
        ("llama", {}, {"use_dora": True}, "DoRA"),
        ("llama", {}, {"modules_to_save": ["lm_head"]}, "modules saved whole"),
        ("llama", {}, {"target_modules": ["embed_tokens", "q_proj"]}, "embed_tokens"),
        ("llama", {}, {"lora_bias": True}, "biases of lora_B"),
        ("llama", {"tie_word_embeddings": True}, {"target_modules": ["lm_head"]}, "lm_head"),
        ("llama", {"num_attention_heads": 32}, {}, "32 heads"),
        ("llama", {"num_hidden_layers": 1}, {}, r"layers\.1\."),
    ],
)
def test_what_the_file_cannot_say_is_refused_by_name(
    architecture, changes, settings, said, tmp_path
):
    source = save_adapter(tmp_path / "source", architecture, **settings)
    base = save_config(tmp_path / "base", architecture, **changes)
    with pytest.raises(EngineError, match=said) as refused:
        write(source, tmp_path / "out", base, tmp_path)
    assert ("LLAMA_CPP_DIR" in refused.value.remedy) == (architecture == "gpt2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "source"]


@pytest.mark.parametrize("key", ["num_key_value_heads", "num_hidden_layers"])
def test_a_number_that_the_base_does_not_say_is_named(key, tmp_path):
    source = save_adapter(tmp_path / "source")
    base = save_config(tmp_path / "base", "mistral")
    config = json.loads((base.path / "config.json").read_text())
    del config[key]
    (base.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineError, match=key):
        write(source, tmp_path / "out", base, tmp_path)


def test_a_stopped_or_second_export_leaves_what_was_there(tmp_path):
    source, base = save_adapter(tmp_path / "source"), save_config(tmp_path / "base")
    stop = StopSignal()
    stop.set()
    with pytest.raises(Stopped):
        write(source, tmp_path / "out", base, tmp_path, stop=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "source"]

    write(source, tmp_path / "out", base, tmp_path)
    first = (tmp_path / "out" / ADAPTER_FILE).read_bytes()
    with pytest.raises(Conflict):
        write(source, tmp_path / "out", base, tmp_path)
    with pytest.raises(Stopped):
        write(source, tmp_path / "out", base, tmp_path, overwrite=True, stop=stop)
    assert (tmp_path / "out" / ADAPTER_FILE).read_bytes() == first


@pytest.mark.parametrize("after", [0, 3])
def test_a_full_disk_leaves_nothing(after, tmp_path, monkeypatch):
    source, base = save_adapter(tmp_path / "source"), save_config(tmp_path / "base")
    written = []

    def write_tensor_data(self, tensor):
        if len(written) == after:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(tensor)
        whole(self, tensor)

    whole = GGUFWriter.write_tensor_data
    monkeypatch.setattr(GGUFWriter, "write_tensor_data", write_tensor_data)
    with pytest.raises(EngineError, match="out could not be written: No space left"):
        write(source, tmp_path / "out", base, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "source"]


def test_a_file_of_another_adapter_is_not_read_back(tmp_path):
    source, base = save_adapter(tmp_path / "source"), save_config(tmp_path / "base")
    other = save_adapter(tmp_path / "other", target_modules=["k_proj"])
    write(other, tmp_path / "out", base, tmp_path)
    with pytest.raises(EngineError, match="attn_k"):
        read_back(tmp_path / "out" / ADAPTER_FILE, source, base, tmp_path / "back")
    (tmp_path / "out" / ADAPTER_FILE).write_bytes(b"no file of llama.cpp")
    with pytest.raises(EngineError, match="cannot be read as GGUF"):
        read_back(tmp_path / "out" / ADAPTER_FILE, source, base, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_ollamas_own_engine_takes_no_lora():
    by_type = {
        kind: {rule.program: rule.loads for rule in where_gguf_loads(kind)}
        for kind in ("llama", "qwen3")
    }
    assert by_type["llama"] == {"llama.cpp": True, "Ollama": True}
    assert by_type["qwen3"] == {"llama.cpp": True, "Ollama": False}
