"""A whole model as GGUF computes what the model does, by transformers' own reader of GGUF."""

from __future__ import annotations

import json

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, TokenType
from transformers import AutoModelForCausalLM

from lora_engine.base_models import BaseModel, load_tokenizer, resolve_base_model
from lora_engine.cancellation import Stopped, StopSignal
from lora_engine.errors import EngineError
from lora_engine.export.gguf_export import BASE_FILE, write_gguf, write_merged_gguf
from lora_engine.export.gguf_model import write_model_gguf
from lora_engine.settings import Settings
from tests.compare_models import save_adapter
from tests.tiny import save_tiny_model

pytestmark = pytest.mark.filterwarnings("ignore")
TOKENS = torch.tensor([[1, 30, 40, 7, 90, 12, 250]])


def logits(folder, **more):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **more).eval()
    with torch.no_grad():
        return model(TOKENS).logits


def changed(folder, file, **changes):
    document = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**document, **changes}))


def keys_of(file):
    return {name: field.contents() for name, field in GGUFReader(file).fields.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"head_dim": 32, "rope_theta": 500000.0, "rms_norm_eps": 1e-3},
    ],
)
def test_transformers_reads_the_same_model(changes, tmp_path):
    folder = save_tiny_model(tmp_path / "base", **changes)
    write_model_gguf(BaseModel("tiny", folder), folder, tmp_path / BASE_FILE)
    found = logits(tmp_path, gguf_file=BASE_FILE)
    torch.testing.assert_close(found, logits(folder), rtol=1e-5, atol=1e-5)


def test_weights_keep_their_type_and_norms_are_float32(tmp_path):
    folder = save_tiny_model(tmp_path / "base", dtype="bfloat16")
    write_model_gguf(BaseModel("tiny", folder), folder, tmp_path / BASE_FILE)
    types = {one.name: one.tensor_type for one in GGUFReader(tmp_path / BASE_FILE).tensors}
    assert types.pop("blk.1.attn_q.weight") == GGMLQuantizationType.BF16
    norms = {types.pop(name) for name in list(types) if "_norm" in name}
    assert norms == {GGMLQuantizationType.F32}
    assert set(types.values()) == {GGMLQuantizationType.BF16}
    assert keys_of(tmp_path / BASE_FILE)["general.file_type"] == 32  # mostly bfloat16


def test_the_tokenizer_goes_along(tmp_path):
    base = resolve_base_model("starter", Settings(data_dir=tmp_path))
    write_model_gguf(base, base.path, tmp_path / BASE_FILE)
    keys, tokenizer = keys_of(tmp_path / BASE_FILE), load_tokenizer(base)
    assert keys["tokenizer.ggml.pre"] == "smollm"  # each digit alone, then GPT-2's rule
    tokens = keys["tokenizer.ggml.tokens"]
    assert {token: number for number, token in enumerate(tokens)} == tokenizer.get_vocab()
    kinds = keys["tokenizer.ggml.token_type"]
    special = [number for number, kind in enumerate(kinds) if kind == TokenType.CONTROL]
    assert set(special) == set(tokenizer.all_special_ids)
    assert len(keys["tokenizer.ggml.merges"]) > 1000
    assert keys["tokenizer.chat_template"] == tokenizer.chat_template
    assert keys["tokenizer.ggml.eos_token_id"] == tokenizer.eos_token_id
    assert keys["tokenizer.ggml.add_bos_token"] is False  # the template writes it


@pytest.mark.parametrize(
    ("architecture", "changes", "said"),
    [
        ("qwen2", {}, "qwen2"),
        ("llama", {"hidden_act": "gelu"}, "gelu"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
            "linear",
        ),
    ],
)
def test_a_model_that_is_no_plain_llama_is_refused(architecture, changes, said, tmp_path):
    folder = save_tiny_model(tmp_path / "base", architecture, **changes)
    with pytest.raises(EngineError, match=said) as refused:
        write_model_gguf(BaseModel("tiny", folder), folder, tmp_path / BASE_FILE)
    assert "LLAMA_CPP_DIR" in refused.value.remedy


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"normalizer": {"type": "NFC"}}, "normalizer"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "Whitespace"),
        ({"pre_tokenizer": None}, "splits texts by"),
    ],
)
def test_a_tokenizer_that_llama_cpp_would_read_otherwise_is_refused(changes, said, tmp_path):
    folder = save_tiny_model(tmp_path / "base")
    changed(folder, "tokenizer.json", **changes)
    base = BaseModel("tiny", folder)
    source = save_adapter(tmp_path / "source", base)
    with pytest.raises(EngineError, match=said):
        write_gguf(source, tmp_path / "out", base, Settings(data_dir=tmp_path), with_base=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "source"]


def test_a_stopped_merge_leaves_nothing(tmp_path):
    folder = save_tiny_model(tmp_path / "base")
    base = BaseModel("tiny", folder)
    source = save_adapter(tmp_path / "source", base)
    stop = StopSignal()
    stop.set()
    with pytest.raises(Stopped):
        write_merged_gguf(source, tmp_path / "out", base, Settings(data_dir=tmp_path), stop=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "source"]
