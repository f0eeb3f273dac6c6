# ruff: noqa: F811
"""A merged model against PEFT: the logits of base and adapter, loaded by plain transformers."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from lora_engine.adapter_operations.merge import merge
from lora_engine.adapter_operations.merge_report import MergeOptions
from lora_engine.errors import EngineError
from tests.adapter_forms import TOKENS, load, make
from tests.parity.test_adapter_forms_peft import OPEN, bases, settings_of  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore")

WITHOUT_PROOF = MergeOptions(prove=False)


def merged_weights(folder):
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def logits_in_float64(model):
    """In float32 for fused experts, whose product torch has in no wider type."""
    fused = hasattr(model.config, "num_experts_per_tok")
    with torch.no_grad():
        return (model.float() if fused else model.double())(TOKENS).logits.double()


@pytest.mark.parametrize(("feature", "architecture"), OPEN)
def test_a_merged_model_answers_as_peft_s_adapter(
    bases,
    settings,
    tmp_path,
    feature,
    architecture,
):
    base = bases[architecture]
    make(base, tmp_path / "a", LoraConfig(**settings_of(feature, architecture)))
    report = merge(tmp_path / "a", base, tmp_path / "m", settings, WITHOUT_PROOF)
    peft = PeftModel.from_pretrained(load(base).double(), tmp_path / "a").eval()
    merged, info = AutoModelForCausalLM.from_pretrained(
        tmp_path / "m", dtype=torch.float64, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    expected, ours = logits_in_float64(peft), logits_in_float64(merged.eval())
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-5)
    assert (ours - logits_in_float64(load(base))).abs().max() > 1e-4
    assert report.changed


@pytest.mark.parametrize(
    ("feature", "architecture"),
    [("plain", "llama"), ("rslora", "gpt2"), ("dora", "llama"), ("dora", "gpt2"),
     ("plain", "mixtral"), ("embedding", "gpt2")],
)  # fmt: skip
def test_the_weights_are_those_of_merge_and_unload(
    bases,
    settings,
    tmp_path,
    feature,
    architecture,
):
    base = bases[architecture]
    make(base, tmp_path / "a", LoraConfig(**settings_of(feature, architecture)))
    merge(tmp_path / "a", base, tmp_path / "m", settings, WITHOUT_PROOF)
    peft = PeftModel.from_pretrained(load(base).double(), tmp_path / "a").merge_and_unload()
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float64)
    tied = base.name == "gpt2" and feature == "embedding"  # PEFT then moves the head too
    for name, expected in peft.state_dict().items():
        if not (tied and name == "lm_head.weight"):
            torch.testing.assert_close(ours.state_dict()[name], expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("feature", ["head", "embedding"])
def test_a_tied_pair_becomes_two_weights(bases, settings, tmp_path, feature):
    base = bases["tied"]
    make(base, tmp_path / "a", LoraConfig(**settings_of(feature, "tied")))
    report = merge(tmp_path / "a", base, tmp_path / "m", settings, WITHOUT_PROOF)
    assert report.untied
    assert json.loads((tmp_path / "m/config.json").read_text())["tie_word_embeddings"] is False
    found, before = merged_weights(tmp_path / "m"), merged_weights(base.path)
    untouched = "model.embed_tokens.weight" if feature == "head" else "lm_head.weight"
    assert torch.equal(found[untouched], before["model.embed_tokens.weight"])


def test_a_bias_of_lora_b_without_a_place_is_refused(bases, settings, tmp_path):
    base = bases["llama"]
    config = {**settings_of("lora_bias", "llama"), "target_modules": ["gate_proj"]}
    make(base, tmp_path / "a", LoraConfig(**config))
    with pytest.raises(EngineError, match=r"mlp\.gate_proj.*no bias"):
        merge(tmp_path / "a", base, tmp_path / "m", settings, WITHOUT_PROOF)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_every_number_is_rounded_once_to_the_type_asked_for(
    bases,
    settings,
    tmp_path,
    dtype,
):
    base = bases["llama"]
    make(base, tmp_path / "a", LoraConfig(**settings_of("plain", "llama")))
    options = MergeOptions(dtype=dtype, prove=False)
    report = merge(tmp_path / "a", base, tmp_path / "m", settings, options)
    exact = PeftModel.from_pretrained(load(base).double(), tmp_path / "a").merge_and_unload()
    found = merged_weights(tmp_path / "m")
    wanted = getattr(torch, dtype)
    for name, tensor in exact.state_dict().items():
        assert found[name].dtype == wanted
        step = torch.finfo(wanted).eps * tensor.abs().clamp_min(1e-4)
        assert bool(((found[name].double() - tensor).abs() <= step).all()), name
    document = json.loads((tmp_path / "m/config.json").read_text())
    assert document["dtype"] == report.dtype == dtype


def test_shards_have_a_right_index(bases, settings, tmp_path):
    base = bases["qwen2_moe"]
    make(base, tmp_path / "a", LoraConfig(**settings_of("plain", "qwen2_moe")))
    # The model is smaller than the smallest shard that a person may ask for.
    import lora_engine.adapter_operations.sharded_weights as sharded

    before, sharded.MIN_SHARD_BYTES = sharded.MIN_SHARD_BYTES, 1
    try:
        options = MergeOptions(prove=False, shard_bytes=40_000)
        report = merge(tmp_path / "a", base, tmp_path / "m", settings, options)
    finally:
        sharded.MIN_SHARD_BYTES = before
    index = json.loads((tmp_path / "m/model.safetensors.index.json").read_text())
    assert len(report.files) > 2
    assert set(index["weight_map"].values()) == set(report.files)
    for name, file in index["weight_map"].items():
        assert name in load_file(tmp_path / "m" / file)
    assert index["metadata"]["total_size"] == report.bytes
    peft = PeftModel.from_pretrained(load(base).double(), tmp_path / "a").eval()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float64).eval()
    torch.testing.assert_close(
        logits_in_float64(merged), logits_in_float64(peft), atol=2e-5, rtol=1e-5
    )
