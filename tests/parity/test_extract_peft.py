"""An adapter extracted from a tuned model gives plain PEFT that model again, as far as its rank."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from lora_engine.__main__ import build
from lora_engine.adapter_operations import ToEnergy, ToRank, ToThreshold, extract
from lora_engine.adapter_operations.extraction_losses import extraction_losses
from lora_engine.base_models import BaseModel
from lora_engine.data import load_dataset
from lora_engine.errors import Conflict, EngineError
from lora_engine.spec import DatasetSpec
from tests.operated_adapters import SIZES, base_model, best, config_of, logits

pytestmark = pytest.mark.filterwarnings("ignore")
CHANGES = {
    "linear": ("llama", ["q_proj.weight", "down_proj.weight"]),
    "one layer": ("llama", ["layers.1.self_attn.v_proj.weight"]),
    "embedding and head": ("llama", ["embed_tokens.weight", "lm_head.weight"]),
    "norms": ("llama", ["q_proj.weight", "layernorm.weight", "model.norm.weight"]),
    "conv1d": ("gpt2", ["c_attn.weight", "mlp.c_fc.weight"]),
    "conv1d, biases, norms": ("gpt2", ["c_attn.weight", "c_attn.bias", "c_fc.weight", "ln_1.bias"]),
    "a bias alone": ("gpt2", ["c_attn.weight", "c_fc.bias"]),
}


def save_pair(folder, change, rank=3):
    """A base, and the same with a change of low rank in the parameters whose names end so."""
    architecture, endings = CHANGES[change]
    base = base_model(architecture).float()
    base.save_pretrained(folder / "base")
    torch.manual_seed(1)
    changed = {}
    with torch.no_grad():
        for name, weight in base.named_parameters():
            if not name.endswith(tuple(endings)):
                continue
            if weight.ndim == 2:
                rows, columns = weight.shape
                fall = 2.0 ** -torch.arange(rank)
                delta = torch.randn(rows, rank) * fall @ torch.randn(rank, columns) / 8
            else:
                delta = torch.randn_like(weight) / 8
            weight.add_(delta)
            changed[name] = delta.double().numpy()
    base.save_pretrained(folder / "tuned")
    return BaseModel("base", folder / "base"), folder / "tuned", changed


def plain(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).double().eval()


def with_adapter(base, adapter):
    return PeftModel.from_pretrained(plain(base.path), adapter).double().eval()


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_low_rank_comes_back_whole(tmp_path, change):
    base, tuned, changed = save_pair(tmp_path, change)
    report = extract(base, tuned, tmp_path / "out", ToRank(3))
    np.testing.assert_allclose(
        logits(with_adapter(base, tmp_path / "out")), logits(plain(tuned)), atol=2e-5
    )
    assert report.energy == pytest.approx(1.0, abs=1e-9)
    matrices = {f"{one.name}.weight" for one in report.modules}
    assert matrices == {name for name, delta in changed.items() if delta.ndim == 2}


@pytest.mark.parametrize("change", ["conv1d", "embedding and head", "linear"])
def test_the_error_is_that_of_the_dropped_values(tmp_path, change):
    base, tuned, changed = save_pair(tmp_path, change)
    report = extract(base, tuned, tmp_path / "out", ToRank(2))
    for one in report.modules:
        _, error, _ = best(changed[f"{one.name}.weight"], 2)
        assert one.error == pytest.approx(error, rel=1e-4)
        assert one.rank == 2


def test_ranks_follow_the_energy_and_the_threshold(tmp_path):
    base, tuned, changed = save_pair(tmp_path, "linear")
    values = {name: best(delta, 1)[2] for name, delta in changed.items()}
    by_energy = extract(base, tuned, tmp_path / "energy", ToEnergy(0.9))
    for one in by_energy.modules:
        curve = np.cumsum(np.square(values[f"{one.name}.weight"]))
        assert one.rank == int(np.searchsorted(curve / curve[-1], 0.9)) + 1
        assert one.energy >= 0.9 - 1e-9
    sigma = 1.0
    by_threshold = extract(base, tuned, tmp_path / "threshold", ToThreshold(sigma))
    for one in by_threshold.modules:
        assert one.rank == max(1, int((values[f"{one.name}.weight"] >= sigma).sum()))


def test_the_rounding_of_16_bits_is_not_taken_for_rank(tmp_path):
    base, tuned, _ = save_pair(tmp_path, "one layer")
    for folder in (base.path, tuned):
        plain(folder).to(torch.bfloat16).save_pretrained(folder)
    report = extract(base, tuned, tmp_path / "out", ToEnergy(1.0))
    assert report.modules[0].rank <= 3  # of 32; the noise of bfloat16 fills the rest
    assert report.modules[0].noise_edge > 0


def test_a_change_of_full_rank_is_saved_whole(tmp_path):
    base, tuned, _ = save_pair(tmp_path, "linear")
    model = plain(tuned).float()
    torch.manual_seed(2)
    with torch.no_grad():
        model.lm_head.weight.add_(torch.randn_like(model.lm_head.weight) / 8)
    model.save_pretrained(tuned)
    report = extract(base, tuned, tmp_path / "out", ToEnergy(0.9999))
    assert report.whole == ("lm_head.weight",)
    assert config_of(tmp_path / "out")["modules_to_save"] == ["lm_head"]
    np.testing.assert_allclose(
        logits(with_adapter(base, tmp_path / "out")), logits(plain(tuned)), atol=1e-2
    )


def test_a_tied_head_gets_the_embeddings_change_too(tmp_path):
    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", **{**SIZES, "tie_word_embeddings": True})
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path / "base")
    with torch.no_grad():
        weight = model.get_input_embeddings().weight
        weight.add_(torch.randn(weight.shape[0], 2) @ torch.randn(2, weight.shape[1]) / 8)
    model.save_pretrained(tmp_path / "tuned")
    base = BaseModel("base", tmp_path / "base")
    report = extract(base, tmp_path / "tuned", tmp_path / "out", ToRank(2))
    assert {one.name for one in report.modules} == {"model.embed_tokens", "lm_head"}
    np.testing.assert_allclose(
        logits(with_adapter(base, tmp_path / "out")), logits(plain(tmp_path / "tuned")), atol=2e-5
    )


def test_the_command_prints_the_contracts_keys(tmp_path, capsys):
    base, tuned, _ = save_pair(tmp_path, "linear")
    words = ["extract", "--base", str(base.path), "--tuned", str(tuned), "--energy", "0.99"]
    build()([*words, "-o", str(tmp_path / "out"), "--json"], standalone_mode=False)
    assert {"modules", "energy", "error"} <= json.loads(capsys.readouterr().out).keys()
    with pytest.raises(EngineError, match="One of rank"):
        build()([*words, "--rank", "2", "-o", str(tmp_path / "two")], standalone_mode=False)


def test_a_base_of_other_sizes_is_no_resized_vocabulary(tmp_path):
    base, _, _ = save_pair(tmp_path, "linear")
    wider = AutoConfig.for_model("llama", **{**SIZES, "intermediate_size": 64})
    AutoModelForCausalLM.from_config(wider).save_pretrained(tmp_path / "wider")
    with pytest.raises(EngineError, match="up_proj|gate_proj|down_proj") as refused:
        extract(base, tmp_path / "wider", tmp_path / "out", ToRank(3))
    assert "vocabulary" not in refused.value.remedy


def test_a_base_stored_in_4_bits_gives_what_changed_from_its_numbers(tmp_path):
    sizes = {**SIZES, "hidden_size": 64, "intermediate_size": 64}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes))
    model.save_pretrained(tmp_path / "whole")
    stored = AutoModelForCausalLM.from_pretrained(
        tmp_path / "whole", quantization_config=BitsAndBytesConfig(load_in_4bit=True)
    )
    stored.save_pretrained(tmp_path / "base")
    base = BaseModel("base", tmp_path / "base")
    report = extract(base, tmp_path / "whole", tmp_path / "out", ToRank(64))
    packed = [name for name, layer in stored.named_modules() if hasattr(layer, "compute_dtype")]
    assert [one.name for one in report.modules] == packed
    assert report.energy == pytest.approx(1.0, abs=1e-6)


def test_provenance_names_the_base_and_the_operation(tmp_path):
    base, tuned, _ = save_pair(tmp_path, "linear")
    extract(base, tuned, tmp_path / "out", ToRank(3))
    found = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert found["operation"]["kind"] == "extract"
    assert found["base_fingerprint"]


def test_the_same_weights_another_model_and_an_output_that_exists_are_refused(tmp_path):
    base, tuned, _ = save_pair(tmp_path, "linear")
    with pytest.raises(EngineError, match="same weights"):
        extract(base, base.path, tmp_path / "out", ToRank(3))
    other = tmp_path / "other"
    base_model("gpt2").save_pretrained(other)
    with pytest.raises(EngineError, match="tuned checkpoint has no model"):
        extract(base, other, tmp_path / "out", ToRank(3))
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    with pytest.raises(Conflict):
        extract(base, tuned, tmp_path / "out", ToRank(3))


def test_a_resized_vocabulary_is_refused_by_name(tmp_path):
    base, tuned, _ = save_pair(tmp_path, "linear")
    model = plain(tuned)
    model.resize_token_embeddings(80)
    model.save_pretrained(tuned)
    with pytest.raises(EngineError, match="embed_tokens"):
        extract(base, tuned, tmp_path / "out", ToRank(3))


@pytest.mark.parametrize("own_template", [None, "tuned's: {{ messages[-1]['content'] }}"])
def test_the_losses_of_all_three_stand_beside_each_other(
    tmp_path, settings, rows_file, tiny_llama, own_template
):
    model = plain(tiny_llama).float()
    torch.manual_seed(1)
    with torch.no_grad():
        weight = model.model.layers[0].mlp.up_proj.weight
        weight.add_(torch.randn(weight.shape[0], 2) @ torch.randn(2, weight.shape[1]) / 4)
    model.save_pretrained(tmp_path / "tuned")
    if own_template is not None:  # all three are asked in the tuned model's words
        for file in tiny_llama.glob("tokenizer*"):
            shutil.copyfile(file, tmp_path / "tuned" / file.name)
        (tmp_path / "tuned" / "chat_template.jinja").write_text(own_template)
    base, tuned = BaseModel("base", tiny_llama), tmp_path / "tuned"
    rows = load_dataset(DatasetSpec(source=str(rows_file)), settings).rows
    extract(base, tuned, tmp_path / "whole", ToRank(2))
    whole = extraction_losses(base, tuned, tmp_path / "whole", rows, settings)
    assert whole.rows == len(rows) == 40
    assert whole.extracted == pytest.approx(whole.tuned, abs=1e-4)
    assert whole.base != pytest.approx(whole.tuned, abs=1e-3)
