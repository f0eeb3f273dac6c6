"""A combined adapter is, in plain PEFT, the weighted sum of its sources' updates."""

from __future__ import annotations

import json
import shutil
import zlib

import numpy as np
import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file

from lora_engine.adapter_operations import WeightedAdapter, combine, combine_factors
from tests.operated_adapters import (
    FORMS,
    base_model,
    best,
    config_of,
    loaded,
    logits,
    save_adapter,
    save_form,
    updates,
    whole_tensors,
)

pytestmark = pytest.mark.filterwarnings("ignore")
WIDE = {"r": 3, "lora_alpha": 10, "target_modules": ["q_proj", "o_proj"]}
PAIRS = {
    "plain": (("plain", {}), ("plain", {})),
    "different ranks and alphas": (("plain", {}), ("plain", {"r": 3, "lora_alpha": 11})),
    "rslora and plain": (("rslora, patterns", {}), ("plain", {"r": 4})),
    "plain and rslora": (("patterns", {}), ("rslora", {})),
    "other targets": (("plain", {}), ("plain", WIDE)),
    "a pattern and a list": (("regex", {}), ("plain", WIDE)),
    "layers and all": (("layers", {}), ("plain", {"r": 2})),
    "embedding": (("embedding", {}), ("plain", {"r": 2})),
    "two embeddings": (("embedding", {}), ("embedding", {"r": 2})),
    "lora bias and none": (("lora bias", {}), ("plain", {"r": 2})),
    "lora biases": (("lora bias", {}), ("lora bias", {"use_rslora": True})),
    "conv1d": (("conv1d", {}), ("conv1d, unsaid", {"use_rslora": True})),
    "fused experts": (("fused experts", {}), ("fused experts", {"r": 2, "lora_alpha": 5})),
    "fused experts and none": (
        ("fused experts", {}),
        ("fused experts", {"target_parameters": None}),
    ),
    "none and fused experts": (
        ("fused experts", {"target_parameters": None}),
        ("fused experts", {}),
    ),
}
WEIGHTS = (0.7, -1.3)


def two(tmp_path, forms):
    """Two saved adapters as sources, and the architecture of their base."""
    found = []
    for number, (form, settings) in enumerate(forms):
        folder = save_form(form, tmp_path / "ab"[number], seed=number + 1, **settings)
        found.append(WeightedAdapter(folder, WEIGHTS[number]))
    return found, FORMS[forms[0][0]][0]


def dense_sum(sources, architecture):
    total = {}
    for one in sources:
        for name, update in updates(one.path, architecture).items():
            total[name] = total.get(name, 0) + one.weight * update
    return total


@pytest.mark.parametrize("pair", PAIRS)
def test_the_sum_is_exact(tmp_path, pair):
    sources, architecture = two(tmp_path, PAIRS[pair])
    report = combine(sources, tmp_path / "out")
    expected = dense_sum(sources, architecture)
    found = updates(tmp_path / "out", architecture)
    assert set(found) == set(expected)
    for name, update in expected.items():
        np.testing.assert_allclose(found[name], update, atol=1e-12)
    assert report.error < 1e-12
    assert report.distance_from_sum == 0.0


@pytest.mark.parametrize(
    "pair", ["different ranks and alphas", "rslora and plain", "fused experts"]
)
def test_reduction_leaves_the_nearest_of_that_rank(tmp_path, pair):
    sources, architecture = two(tmp_path, PAIRS[pair])
    report = combine(sources, tmp_path / "out", rank=4)
    found = updates(tmp_path / "out", architecture)
    squared = 0.0
    for name, update in dense_sum(sources, architecture).items():
        near, error, _ = best(update, 4)
        np.testing.assert_allclose(found[name], near, atol=1e-10)
        squared += error**2
    assert report.error == pytest.approx(squared**0.5, rel=1e-5)
    assert report.rank == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sources_of_16_and_32_bits_sum_in_float32(tmp_path, dtype):
    for number, name in enumerate("ab"):
        save_adapter(tmp_path / name, seed=number, dtype=dtype, r=4 + number)
    sources = [WeightedAdapter(tmp_path / "a", 0.7), WeightedAdapter(tmp_path / "b", 0.3)]
    combine(sources, tmp_path / "out")
    expected, found = dense_sum(sources, "llama"), updates(tmp_path / "out")
    for name, update in expected.items():
        assert np.linalg.norm(found[name] - update) < 1e-6 * np.linalg.norm(update)
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


def test_the_answer_is_that_of_both_adapters_biases_included(tmp_path):
    """PEFT adds up the outputs of several active adapters, each with weight 1."""
    sources, _ = two(tmp_path, PAIRS["lora biases"])
    sources = [WeightedAdapter(one.path, 1.0) for one in sources]
    combine(sources, tmp_path / "out")
    both = loaded(sources[0].path)
    both.load_adapter(sources[1].path, "second", autocast_adapter_dtype=False)
    both.base_model.set_adapter(["default", "second"])
    expected = logits(both.double())
    np.testing.assert_allclose(logits(loaded(tmp_path / "out")), expected, atol=1e-10)
    assert np.abs(expected - logits(base_model("llama"))).max() > 1e-3


@pytest.mark.parametrize("form", ["whole modules", "biases"])
def test_whole_modules_of_one_source_go_along(tmp_path, form):
    architecture, _ = FORMS[form]
    save_form(form, tmp_path / "a")
    plain = {"modules_to_save": None, "bias": "none", "r": 2}
    save_form(form, tmp_path / "b", seed=2, **plain)
    sources = [WeightedAdapter(tmp_path / "b", 0.4), WeightedAdapter(tmp_path / "a", 1.0)]
    combine(sources, tmp_path / "out")
    expected, found = whole_tensors(tmp_path / "a"), whole_tensors(tmp_path / "out")
    assert set(expected) == set(found)
    for key, values in expected.items():
        np.testing.assert_array_equal(found[key], values)
    model = PeftModel.from_pretrained(base_model(architecture), tmp_path / "out")
    state = model.state_dict()
    for key, values in expected.items():
        stored = [v for k, v in state.items() if without_wrapper(k) == without_wrapper(key)]
        assert any(np.array_equal(tensor.double(), values) for tensor in stored), key


def test_a_bias_of_the_base_follows_where_another_source_adapts_its_module(tmp_path):
    """One source trains all biases and adapts c_attn, the other adapts mlp.c_fc."""
    a = save_form("biases", tmp_path / "a")
    b = save_form("conv1d", tmp_path / "b", seed=2, target_modules=["c_fc"])
    combine([WeightedAdapter(b, 0.5), WeightedAdapter(a, 1.0)], tmp_path / "out")
    model = loaded(tmp_path / "out", "gpt2")
    name = "base_model.model.transformer.h.1.mlp.c_fc"
    expected = load_file(a / "adapter_model.safetensors")[f"{name}.bias"]
    torch.testing.assert_close(model.state_dict()[f"{name}.base_layer.bias"], expected)


def without_wrapper(key):
    for part in (".modules_to_save.default", ".base_layer"):
        key = key.replace(part, "")
    return key


@pytest.mark.parametrize("method", ["ties", "dare_linear", "dare_ties"])
@pytest.mark.parametrize("density", [0.3, 0.8, 1.0])
def test_ties_and_dare_are_peft_s(tmp_path, monkeypatch, method, density):
    sources, _ = two(tmp_path, PAIRS["plain"])
    report = combine(sources, tmp_path / "out", method=method, density=density, seed=3)
    expected = by_peft(sources, method, density, monkeypatch)
    found = updates(tmp_path / "out")
    total = dense_sum(sources, "llama")
    for one in report.modules:
        # PEFT's square roots of the weights are float32
        np.testing.assert_allclose(found[one.name], expected[one.name], atol=1e-6)
        distance = np.linalg.norm(total[one.name] - expected[one.name])
        assert one.distance_from_sum == pytest.approx(distance, rel=1e-5)
    assert report.error < 1e-10


def by_peft(sources, method, density, monkeypatch, seed=3):
    """PEFT's own update by module, its random choices replaced by ours."""
    model = loaded(sources[0].path)
    model.load_adapter(sources[1].path, "second", autocast_adapter_dtype=False)
    model.double()
    expected = {}
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        name = name.removeprefix("base_model.model.")
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        monkeypatch.setattr(
            torch,
            "bernoulli",
            lambda p, random=random: torch.from_numpy(
                (random.random(tuple(p.shape)) < p.numpy()).astype(float)
            ),
        )
        a, b = model.base_model._generalized_task_arithmetic_weighted_adapter(
            method, ["default", "second"], [one.weight for one in sources], module, density, "total"
        )
        expected[name] = (b @ a).detach().numpy()
    return expected


def test_rslora_s_scaling_is_not_counted_twice(tmp_path):
    """PEFT's own result keeps use_rslora with alpha = r, so it is sqrt(r) too strong."""
    sources, _ = two(tmp_path, (("rslora", {}), ("rslora", {})))
    combine(sources, tmp_path / "out", method="ties", density=1.0)
    model = loaded(sources[0].path)
    model.load_adapter(sources[1].path, "second", autocast_adapter_dtype=False)
    model.double().base_model.add_weighted_adapter(
        ["default", "second"], list(WEIGHTS), "both", combination_type="ties", density=1.0
    )
    found = updates(tmp_path / "out")
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            theirs = module.get_delta_weight("both").detach().double().numpy()
            ours = found[name.removeprefix("base_model.model.")]
            np.testing.assert_allclose(ours * 6**0.5, theirs, rtol=1e-4, atol=1e-6)


def test_where_peft_s_concatenation_is_right_it_is_ours(tmp_path):
    sources, _ = two(tmp_path, PAIRS["different ranks and alphas"])
    combine(sources, tmp_path / "out")
    model = loaded(sources[0].path)
    model.load_adapter(sources[1].path, "second", autocast_adapter_dtype=False)
    model.double().base_model.add_weighted_adapter(
        ["default", "second"], list(WEIGHTS), "both", combination_type="cat"
    )
    found = updates(tmp_path / "out")
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            theirs = module.get_delta_weight("both").detach().double().numpy()
            np.testing.assert_allclose(
                found[name.removeprefix("base_model.model.")], theirs, atol=1e-6
            )


def test_dare_keeps_the_mean(monkeypatch):
    values = np.full((40, 50), 2.0)
    random = np.random.default_rng(0)
    kept = combine_factors.keep_at_random(values, 0.25, random)
    assert set(np.unique(kept)) == {0.0, 8.0}
    assert kept.mean() == pytest.approx(2.0, abs=0.3)


def test_the_same_seed_gives_the_same_adapter(tmp_path):
    sources, _ = two(tmp_path, PAIRS["plain"])
    for name, seed in [("one", 1), ("again", 1), ("two", 2)]:
        combine(sources, tmp_path / name, method="dare_ties", density=0.5, seed=seed)
    one, again, other = (
        (tmp_path / name / "adapter_model.safetensors").read_bytes()
        for name in ("one", "again", "two")
    )
    assert one == again
    assert one != other


def test_lists_of_targets_stay_short_names(tmp_path):
    sources, _ = two(tmp_path, PAIRS["other targets"])
    combine(sources, tmp_path / "out")
    config = config_of(tmp_path / "out")
    assert config["target_modules"] == ["down_proj", "o_proj", "q_proj", "v_proj"]
    assert not config["use_rslora"]
    assert config["lora_alpha"] == config["r"]


def test_provenance_names_every_source_with_its_weight(tmp_path):
    sources, _ = two(tmp_path, PAIRS["plain"])
    for one, run in zip(sources, ("r1", "r2"), strict=True):
        alike = {"base_model": "base", "base_fingerprint": "f", "run": run, "data_hash": run}
        (one.path / "provenance.json").write_text(json.dumps(alike))
    combine(sources, tmp_path / "out", rank=2)
    found = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert found["base_fingerprint"] == "f"
    assert "run" not in found
    assert "data_hash" not in found
    told = [(one["name"], one["run"], one["weight"]) for one in found["operation"]["sources"]]
    assert told == [("a", "r1", 0.7), ("b", "r2", -1.3)]
    shutil.rmtree(tmp_path / "out")
