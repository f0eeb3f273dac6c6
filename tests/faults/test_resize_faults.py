"""What resizing refuses, by name, and that nothing is left where it fails."""

from __future__ import annotations

import errno
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_engine.adapter_operations import (
    ToEnergy,
    ToRank,
    ToThreshold,
    one_target,
    resize,
)
from lora_engine.adapter_operations.output_folder import output_folder
from lora_engine.adapter_operations.written_adapter import AdapterWriter
from lora_engine.cancellation import Stopped, StopSignal
from lora_engine.errors import Conflict, EngineError, NotFound
from tests.adapter_forms import changed
from tests.operated_adapters import save_adapter

pytestmark = pytest.mark.filterwarnings("ignore")
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_adapter(tmp_path_factory.mktemp("adapters") / "source")


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (ToRank(0), "Rank 0"),
        (ToRank(2.5), "2.5"),
        (ToRank(7), "ranks up to 6"),
        (ToEnergy(0.0), "energy"),
        (ToEnergy(1.01), "1.01"),
        (ToEnergy(float("nan")), "nan"),
        (ToThreshold(-1.0), "-1"),
        (ToThreshold(float("inf")), "inf"),
    ],
)
def test_a_target_out_of_bounds_is_named(source, tmp_path, target, said):
    with pytest.raises(EngineError, match=said):
        resize(source, tmp_path / "out", target)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("given", [(None, None, None), (2, 0.9, None), (0, None, None)])
def test_one_target_that_is_possible_is_needed(given):
    with pytest.raises(EngineError, match="One of rank|Rank 0"):
        one_target(*given)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"init_lora_weights": "pissa"}, "pissa"),
    ],
)
def test_a_form_that_factors_alone_do_not_tell_is_named(source, tmp_path, settings, said):
    other = changed(source, tmp_path / "other", **settings)
    with pytest.raises(EngineError, match=said):
        resize(other, tmp_path / "out", ToRank(2))
    assert left_in(tmp_path) == ["other"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["lora_A", "lora_B", "lm_head"])
def test_a_value_that_is_no_number_is_named(tmp_path, place, value):
    source = save_adapter(tmp_path / "source", modules_to_save=["lm_head"])
    tensors = load_file(source / WEIGHTS)
    key = next(key for key in tensors if place in key)
    tensors[key][0, 0] = value
    save_file(tensors, source / WEIGHTS)
    with pytest.raises(EngineError) as caught:
        resize(source, tmp_path / "out", ToRank(2))
    assert key in str(caught.value)
    assert left_in(tmp_path) == ["source"]


def test_an_output_that_exists_is_refused_and_replaced_only_when_it_is_an_adapter(source, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    resize(source, out, ToRank(4))
    before = (out / WEIGHTS).read_bytes()
    with pytest.raises(Conflict, match="out exists"):
        resize(source, out, ToRank(2))
    assert (out / WEIGHTS).read_bytes() == before
    assert {one.new_rank for one in resize(source, out, ToRank(2), overwrite=True).modules} == {2}
    other.mkdir()
    (other / "letters.txt").write_text("not an adapter")
    with pytest.raises(Conflict, match="other holds something else"):
        resize(source, other, ToRank(2), overwrite=True)
    assert left_in(tmp_path) == ["other", "out"]
    assert left_in(other) == ["letters.txt"]


def test_an_adapter_can_be_replaced_by_its_own_smaller_form(tmp_path):
    source = save_adapter(tmp_path / "source")
    resize(source, source, ToRank(2), overwrite=True)
    assert {one.old_rank for one in resize(source, tmp_path / "out", ToRank(1)).modules} == {2}


@pytest.mark.parametrize("after", [0, 3])
def test_a_full_disk_leaves_nothing(source, tmp_path, monkeypatch, after):
    written = []

    def append(self, key, dtype, shape, blocks):
        if len(written) == after:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(key)
        return whole(self, key, dtype, shape, blocks)

    whole = AdapterWriter._append
    monkeypatch.setattr(AdapterWriter, "_append", append)
    with pytest.raises(EngineError, match="out could not be written: No space left"):
        resize(source, tmp_path / "out", ToRank(2))
    assert left_in(tmp_path) == []


def test_stopping_leaves_nothing(source, tmp_path):
    stop = StopSignal()
    with pytest.raises(Stopped):
        resize(source, tmp_path / "out", ToRank(2), stop=stop, progress=lambda *_: stop.set())
    assert left_in(tmp_path) == []


def test_half_an_adapter_and_none_are_refused(source, tmp_path):
    half = changed(source, tmp_path / "half", lambda key: None if "1.mlp.down" in key else key)
    half = changed(
        half, tmp_path / "quarter", lambda key: None if "0.mlp.down_proj.lora_B" in key else key
    )
    with pytest.raises(EngineError, match="0.mlp.down_proj lacks B"):
        resize(half, tmp_path / "out", ToRank(2))
    with pytest.raises(NotFound, match="nowhere"):
        resize(tmp_path / "nowhere", tmp_path / "out", ToRank(2))


def test_experts_stored_one_by_one_keep_one_rank(source, tmp_path):
    names = {"self_attn.q_proj": "moe.experts.0.w1", "self_attn.v_proj": "moe.experts.1.w1"}

    def as_experts(key):
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        return key

    experts = changed(source, tmp_path / "experts", as_experts, target_modules=["w1", "down_proj"])
    with pytest.raises(EngineError, match=r"experts\.0\.w1"):
        resize(experts, tmp_path / "out", ToThreshold(0.7))
    resize(experts, tmp_path / "out", ToRank(2))


def test_numbers_too_large_for_float16_are_named(tmp_path):
    source = save_adapter(tmp_path / "source", dtype=torch.float16)
    tensors = {k: t.fill_(60000.0) for k, t in load_file(source / WEIGHTS).items()}
    save_file(tensors, source / WEIGHTS)
    with pytest.raises(EngineError, match="beyond what F16 holds"):
        resize(source, tmp_path / "out", ToRank(1))


def test_provenance_goes_along_with_what_was_done(tmp_path):
    source = save_adapter(tmp_path / "source")
    origin = {"run": "r1", "base_fingerprint": "f", "spec": {"name": "pirate"}, "data_hash": "d"}
    (source / "provenance.json").write_text(json.dumps(origin))
    (source / "chat_template.jinja").write_text("template")
    report = resize(source, tmp_path / "out", ToEnergy(0.9))
    found = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert {key: found[key] for key in origin} == origin
    operation = found["operation"]
    assert operation["kind"] == "resize"
    assert operation["target"] == {"kind": "ToEnergy", "energy": 0.9}
    assert operation["error"] == report.error
    assert operation["sources"][0]["name"] == "source"
    assert len(operation["sources"][0]["sha256"]) == 64
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "template"


def test_two_into_one_output_leave_one_whole_and_refuse_the_other(tmp_path):
    output = tmp_path / "out"
    with output_folder(output, "mark", overwrite=True) as first:
        (first / "mark").write_text("first")
        with pytest.raises(Conflict), output_folder(output, "mark", overwrite=True):
            pass
    assert (output / "mark").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
