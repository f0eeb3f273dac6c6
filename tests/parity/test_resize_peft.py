"""A resized adapter is, in plain PEFT, the nearest one of its ranks; all else is as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

from lora_engine.adapter_operations import ToEnergy, ToRank, ToThreshold, resize
from tests.operated_adapters import (
    FORMS,
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
TARGETS = {"rank": ToRank(2), "energy": ToEnergy(0.9), "threshold": ToThreshold(0.5)}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("form", FORMS)
def test_peft_gives_the_truncated_update(tmp_path, form, target):
    architecture = FORMS[form][0]
    source = save_form(form, tmp_path / "source")
    report = resize(source, tmp_path / "out", TARGETS[target])
    before, after = updates(source, architecture), updates(tmp_path / "out", architecture)
    assert set(before) == set(after)
    ranks = {one.name: one.new_rank for one in report.modules}
    squared = dict.fromkeys(ranks, 0.0)
    for name, update in before.items():
        module = name if name in ranks else holder_of(name)
        near, error, _ = best(update, ranks[module])
        squared[module] += error**2
        np.testing.assert_allclose(after[name], near, atol=1e-10)
        assert np.linalg.norm(update - after[name]) == pytest.approx(error, rel=1e-5, abs=1e-12)
    for one in report.modules:
        assert one.error == pytest.approx(squared[one.name] ** 0.5, rel=1e-5, abs=1e-12)
    assert report.error == pytest.approx(sum(squared.values()) ** 0.5, rel=1e-5, abs=1e-12)
    kept = whole_tensors(source)
    assert set(kept) == set(whole_tensors(tmp_path / "out"))
    for key, values in whole_tensors(tmp_path / "out").items():
        np.testing.assert_array_equal(values, kept[key])


def holder_of(expert):
    """`mlp.experts.2.down_proj` is an expert of `mlp.experts.down_proj`."""
    holder, _, parameter = expert.rpartition(".")
    return f"{holder.rpartition('.')[0]}.{parameter}"


@pytest.mark.parametrize("form", FORMS)
def test_at_its_whole_energy_the_model_answers_as_before(tmp_path, form):
    architecture = FORMS[form][0]
    source = save_form(form, tmp_path / "source")
    report = resize(source, tmp_path / "out", ToEnergy(1.0))
    before, after = (logits(loaded(f, architecture)) for f in (source, tmp_path / "out"))
    np.testing.assert_allclose(after, before, atol=1e-9)
    assert report.energy == pytest.approx(1.0)
    assert report.error < 1e-10


@pytest.mark.parametrize("form", ["plain", "patterns", "rslora, patterns"])
def test_the_scaling_of_every_module_stays(tmp_path, form):
    source = save_form(form, tmp_path / "source")
    resize(source, tmp_path / "out", ToEnergy(0.8))

    def scalings(folder):
        modules = loaded(folder).named_modules()
        return {n: m.scaling["default"] for n, m in modules if isinstance(m, LoraLayer)}

    assert scalings(tmp_path / "out") == pytest.approx(scalings(source), rel=1e-12)


def test_energy_and_threshold_choose_the_least_rank_of_each_module(tmp_path):
    source = save_form("patterns", tmp_path / "source")
    spectra = {name: best(update, 0)[2] for name, update in updates(source).items()}
    for one in resize(source, tmp_path / "e", ToEnergy(0.95)).modules:
        energy = np.cumsum(spectra[one.name] ** 2) / np.sum(spectra[one.name] ** 2)
        assert one.new_rank == int(np.argmax(energy >= 0.95)) + 1
        assert one.energy == pytest.approx(energy[one.new_rank - 1], rel=1e-10)
    for one in resize(source, tmp_path / "t", ToThreshold(0.7)).modules:
        assert one.new_rank == max(1, int((spectra[one.name] >= 0.7).sum()))
    ranks = {one.new_rank for one in resize(source, tmp_path / "r", ToRank(4)).modules}
    assert ranks == {3, 4}  # a module of a smaller rank keeps its own


def test_each_module_that_differs_is_named_in_both_patterns(tmp_path):
    source = save_form("rslora, patterns", tmp_path / "source")
    report = resize(source, tmp_path / "out", ToEnergy(0.9))
    config = config_of(tmp_path / "out")
    assert set(config["rank_pattern"]) == set(config["alpha_pattern"])
    assert set(config["rank_pattern"]) < {one.name for one in report.modules}
    for one in report.modules:
        assert config["rank_pattern"].get(one.name, config["r"]) == one.new_rank


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_type_stays_and_its_rounding_is_in_the_error(tmp_path, dtype):
    source = save_adapter(tmp_path / "source", dtype=dtype)
    report = resize(source, tmp_path / "out", ToRank(6))
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {dtype}
    before, after = updates(source), updates(tmp_path / "out")
    for one in report.modules:
        measured = np.linalg.norm(before[one.name] - after[one.name])
        assert one.truncation_error < 1e-6
        assert one.error == pytest.approx(measured, rel=1e-3)
        assert 0 < measured < 0.02 * np.linalg.norm(before[one.name])


def test_a_zero_update_keeps_one_direction(tmp_path):
    source = save_adapter(tmp_path / "source")
    path = source / "adapter_model.safetensors"
    zero = {k: t * 0 if "lora_B" in k else t for k, t in load_file(path).items()}
    save_file(zero, path)
    report = resize(source, tmp_path / "out", ToEnergy(0.99))
    assert {(one.new_rank, one.energy, one.error) for one in report.modules} == {(1, 1.0, 0.0)}
    assert all(not update.any() for update in updates(tmp_path / "out").values())
