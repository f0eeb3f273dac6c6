"""What combining refuses, by name, and that nothing is left where it fails."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file, save_file

from lora_engine.adapter_operations import WeightedAdapter, combine
from lora_engine.cancellation import Stopped, StopSignal
from lora_engine.errors import Conflict, EngineError
from tests.adapter_forms import changed
from tests.operated_adapters import save_adapter, save_form

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    save_adapter(folder / "plain")
    save_adapter(folder / "low", seed=2, r=3)
    save_adapter(folder / "head", seed=3, modules_to_save=["lm_head"])
    save_adapter(folder / "other head", seed=4, modules_to_save=["lm_head"])
    save_adapter(folder / "on the head", seed=5, target_modules=["lm_head"])
    save_adapter(folder / "bias", seed=6, lora_bias=True)
    save_form("biases", folder / "gpt2")
    save_form("fused experts", folder / "experts")
    changed(folder / "plain", folder / "dora", use_dora=True)
    changed(folder / "plain", folder / "other base", base_model_name_or_path="another")
    for name, fingerprint in [("one base", "1111"), ("two base", "2222")]:
        changed(folder / "plain", folder / name)
        document = {"base_model": name, "base_fingerprint": fingerprint}
        (folder / name / "provenance.json").write_text(json.dumps(document))
    return folder


REFUSED = {
    "another fingerprint": ({"one base": 1, "two base": 1}, {}, ["1111", "2222"]),
    "another base's name": ({"plain": 1, "other base": 1}, {}, ["other base", "another"]),
    "another architecture": ({"plain": 1, "gpt2": 1}, {}, ["tiny-gpt2"]),
    "dora": ({"plain": 1, "dora": 1}, {}, ["DoRA", "dora"]),
    "two heads": ({"head": 1, "other head": 1}, {}, ["lm_head", "other head"]),
    "a part of a head": ({"head": 0.5, "plain": 1}, {}, ["lm_head", "0.5"]),
    "head and factors": ({"head": 1, "on the head": 1}, {}, ["lm_head", "on the head"]),
    "no weight": ({"plain": 0}, {}, ["plain", "0"]),
    "no number": ({"plain": float("nan")}, {}, ["nan"]),
    "none": ({}, {}, ["0 adapters"]),
    "rank 0": ({"plain": 1}, {"rank": 0}, ["Rank 0"]),
    "a method": ({"plain": 1}, {"method": "svd"}, ["svd", "dare_ties"]),
    "no density": ({"plain": 1}, {"method": "ties"}, ["density", "none"]),
    "density 0": ({"plain": 1}, {"method": "dare_linear", "density": 0.0}, ["density", "0"]),
    "exact density": ({"plain": 1}, {"density": 0.5}, ["density"]),
    "ranks": (
        {"plain": 1, "low": 1}, {"method": "ties", "density": 0.5}, ["down_proj", "3 in low"]),
    "a bias": ({"bias": 1}, {"method": "ties", "density": 0.5}, ["bias", "lora_B"]),
    "experts": ({"experts": 1}, {"method": "ties", "density": 0.5}, ["experts"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_honoured_is_named(saved, tmp_path, case):
    weights, options, said = REFUSED[case]
    sources = [WeightedAdapter(saved / name, weight) for name, weight in weights.items()]
    with pytest.raises(EngineError) as caught:
        combine(sources, tmp_path / "out", **options)
    for word in said:
        assert word in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_module_of_another_shape_is_named(saved, tmp_path):
    wide = changed(
        saved / "plain", tmp_path / "wide", change_tensors=lambda t: t if t.shape[0] == 6 else t[:4]
    )
    with pytest.raises(EngineError, match=r"(q|v|down)_proj is \d+ x \d+ in plain and 4 x"):
        combine([WeightedAdapter(saved / "plain"), WeightedAdapter(wide)], tmp_path / "out")


def test_a_value_that_is_no_number_is_named(saved, tmp_path):
    bad = changed(saved / "low", tmp_path / "bad")
    path = bad / "adapter_model.safetensors"
    tensors = load_file(path)
    key = sorted(tensors)[2]
    tensors[key][0, 0] = float("nan")
    save_file(tensors, path)
    with pytest.raises(EngineError) as caught:
        combine([WeightedAdapter(saved / "plain"), WeightedAdapter(bad)], tmp_path / "out")
    assert key in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad"]


def test_an_output_that_exists_is_refused(saved, tmp_path):
    sources = [WeightedAdapter(saved / "plain"), WeightedAdapter(saved / "low")]
    combine(sources, tmp_path / "out")
    with pytest.raises(Conflict, match="out exists"):
        combine(sources, tmp_path / "out")
    assert combine(sources, tmp_path / "out", rank=2, overwrite=True).rank == 2


def test_stopping_leaves_nothing(saved, tmp_path):
    stop = StopSignal()
    with pytest.raises(Stopped):
        combine(
            [WeightedAdapter(saved / "plain")],
            tmp_path / "out",
            stop=stop,
            progress=lambda *_: stop.set(),
        )
    assert list(tmp_path.iterdir()) == []


def test_a_base_known_by_name_alone_is_told(saved, tmp_path):
    report = combine([WeightedAdapter(saved / n) for n in ("plain", "low")], tmp_path / "out")
    assert [note.split(" ")[0] for note in report.notes] == ["plain", "low"]
