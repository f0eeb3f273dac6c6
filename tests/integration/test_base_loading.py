"""A base that is whole is loaded; one that lacks, exceeds or spoils weights is refused by name."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BertConfig, BertForMaskedLM, BertLMHeadModel

from lora_engine.base_models import BaseModel, load_base_model
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.errors import EngineError
from lora_engine.spec import QuantizationSpec
from lora_engine.training.models.classifier import load_classifier
from lora_engine.training.preflight import check_run
from tests.tiny import save_tiny_model
from tests.training_runs import tiny_spec

UP = "model.layers.1.mlp.up_proj.weight"
LORA = "model.layers.0.self_attn.q_proj.lora_A.weight"
ROWS = torch.zeros(4, 64)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "whole")


@pytest.fixture
def changed(whole, tmp_path):
    """A copy of the tiny llama whose weights or configuration are changed."""

    def write(change=lambda weights: weights, **config) -> BaseModel:
        folder = shutil.copytree(whole, tmp_path / "changed")
        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})
        known = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(known | config))
        return BaseModel("changed", folder)

    return write


def refusal(base, quantization=None) -> str:
    with pytest.raises(EngineError) as refused:
        load_base_model(base, "cpu", torch.float32, quantization)
    return refused.value.problem


def without(name):
    return lambda weights: {k: v for k, v in weights.items() if k != name}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (without(UP), [UP, "1 tensor"]),
        (lambda w: w | {UP: w[UP][:100].clone()}, [UP, "[100, 64]", "[128, 64]"]),
        (lambda w: w | {"model.layers.2.mlp.up_proj.weight": w[UP].clone()}, ["layers.2.mlp"]),
        (lambda w: w | {LORA: ROWS}, [LORA]),
        (lambda w: w | {"model.layers.0.self_attn.q_proj.bias": ROWS[0]}, ["q_proj.bias"]),
        (lambda w: {f"base_model.{k}": v for k, v in w.items()}, [" and 1", "base_model.model"]),
    ],
    ids=["missing", "shape", "a layer more", "adapter", "bias", "prefix"],
)
def test_weights_that_do_not_fit_are_named(change, named, changed):
    problem = refusal(changed(change))
    assert all(word in problem for word in named)


def test_an_untied_head_must_be_there(changed):
    assert "lm_head.weight" in refusal(
        changed(without("lm_head.weight"), tie_word_embeddings=False)
    )


def test_a_checkpoint_of_another_architecture_is_refused(whole, tmp_path):
    other = save_tiny_model(tmp_path / "gpt2", "gpt2")
    shutil.copy(whole / "config.json", other / "config.json")
    problem = refusal(BaseModel("other", other))
    assert "model.embed_tokens.weight" in problem
    assert "transformer.h.0" in problem


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "model.layers.0.self_attn.masked_bias",
        "score.weight",
        "v_head.summary.weight",
        "mtp.layers.0.input_layernorm.weight",
        "visual.blocks.0.attn.qkv.weight",
        "model.vision_tower.patch_embed.weight",
    ],
)
def test_what_the_model_does_without_is_let_be(name, changed, whole):
    loaded = load_base_model(changed(lambda w: w | {name: ROWS}), "cpu", torch.float32)
    expected = AutoModelForCausalLM.from_pretrained(whole).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_counted_and_named(dtype, value, changed):
    def spoil(weights):
        weights = {name: tensor.to(dtype) for name, tensor in weights.items()}
        weights[UP][3, :2] = value
        weights["model.norm.weight"][0] = value
        return weights

    problem = refusal(changed(spoil))
    assert f"{UP} (2 of 8,192)" in problem
    assert "model.norm.weight (1 of 64)" in problem


@pytest.mark.parametrize("bits", [4, 8])
def test_quantization_hides_no_number_that_is_none(bits, changed):
    def spoil(weights):
        weights[UP][0, 0] = float("nan")
        return weights

    assert f"{UP} (1 of" in refusal(changed(spoil), QuantizationSpec(bits=bits))


def test_compare_and_a_classifier_refuse_them_too(changed, settings):
    base = changed(without(UP))
    for way in (
        lambda: SharedBase.load(base, settings),
        lambda: load_classifier(base, "sequence_classification", "ab", "cpu", torch.float32),
    ):
        with pytest.raises(EngineError) as refused:
            way()
        assert UP in refused.value.problem


@pytest.fixture
def sharded(whole, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(whole)
    folder = shutil.copytree(whole, tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    return folder


def lose_a_shard(folder):
    shard = sorted(folder.glob("*.safetensors"))[0]
    shard.unlink()
    return shard.name


def cut_a_shard(folder):
    shard = sorted(folder.glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-50])
    return shard.name


def misplace_a_tensor(folder):
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["model.nowhere.weight"] = next(iter(content["weight_map"].values()))
    index.write_text(json.dumps(content))
    return "model.nowhere.weight"


def spoil_the_index(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../b.safetensors"}')
    return "model.safetensors.index.json"


def lose_the_index(folder):
    (folder / "model.safetensors.index.json").unlink()
    return "model.safetensors.index.json"


@pytest.mark.parametrize(
    "damage", [lose_a_shard, cut_a_shard, misplace_a_tensor, spoil_the_index, lose_the_index]
)
def test_damaged_shards_are_named_before_a_run_and_at_loading(damage, sharded, rows_file, settings):
    assert load_base_model(BaseModel("sharded", sharded), "cpu", torch.float32) is not None
    named = damage(sharded)
    for way in (
        lambda: load_base_model(BaseModel("sharded", sharded), "cpu", torch.float32),
        lambda: check_run(tiny_spec(sharded, rows_file), settings),
    ):
        with pytest.raises(EngineError) as refused:
            way()
        assert named in refused.value.problem


def test_an_adapter_among_the_models_files_is_named(changed):
    base = changed()
    (base.path / "adapter_config.json").write_text('{"base_model_name_or_path": "other"}')
    assert "adapter_config.json" in refusal(base)


@pytest.mark.parametrize(
    "config",
    [{"model_type": "tomorrow"}, {"model_type": "vit"}, {"hidden_size": "wide"},
     {"model_type": "tomorrow", "auto_map": {"AutoConfig": "code.Config"}},
     {"num_attention_heads": 0}],
    ids=["unknown", "no language", "text for a number", "own code", "no heads"],
)  # fmt: skip
def test_a_configuration_that_is_of_no_use_is_refused_in_words(config, changed):
    assert "'changed'" in refusal(changed(**config))


def bert(folder, kind=BertForMaskedLM, **changes):
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    kind(BertConfig(**sizes, intermediate_size=48, vocab_size=300, **changes)).save_pretrained(
        folder
    )
    return BaseModel("bert", folder)


def test_an_encoder_is_no_causal_model_and_a_decoder_of_its_family_is(tmp_path):
    assert "is_decoder" in refusal(bert(tmp_path / "encoder"))
    decoder = bert(tmp_path / "decoder", BertLMHeadModel, is_decoder=True)
    assert load_base_model(decoder, "cpu", torch.float32).config.is_decoder


def test_a_classifier_takes_an_encoder_and_draws_its_head_alone(tmp_path):
    base = bert(tmp_path / "encoder")
    for task in ("sequence_classification", "token_classification"):
        model = load_classifier(base, task, "abc", "cpu", torch.float32)
        assert model.classifier.out_features == 3
    file = base.path / "model.safetensors"
    name = "bert.encoder.layer.0.output.dense.weight"
    save_file(without(name)(load_file(file)), file, metadata={"format": "pt"})
    with pytest.raises(EngineError) as refused:
        load_classifier(base, "sequence_classification", "abc", "cpu", torch.float32)
    assert name in refused.value.problem


def test_a_classifier_of_other_classes_gets_a_new_head(tmp_path):
    base = bert(tmp_path / "encoder")
    load_classifier(base, "sequence_classification", "ab", "cpu", torch.float32).save_pretrained(
        base.path
    )
    model = load_classifier(base, "sequence_classification", "abcde", "cpu", torch.float32)
    assert model.classifier.out_features == 5
