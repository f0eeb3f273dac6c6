"""The fidelity on a requantized base is that of its weights quantized and widened by hand."""

from __future__ import annotations

import json

import pytest
import torch
from bitsandbytes import functional

from lora_engine.base_models import resolve_base_model
from lora_engine.compare.generate import ComparisonModel
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.export import fidelity
from lora_engine.export.fidelity import EXPORTED, TRAINED, Voice, measure
from lora_engine.settings import Settings
from tests.compare_models import save_adapter

SPEC = {"base_model": "starter", "dataset": {"source": "starter:json"}}


@pytest.fixture(scope="module", autouse=True)
def few_rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fidelity, "ROWS", 6)
        patch.setattr(fidelity, "ANSWERS", 2)
        patch.setattr(fidelity, "ANSWER_TOKENS", 8)
        yield


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    folder = tmp_path_factory.mktemp("requantized")
    return Settings(data_dir=folder, models_dir=folder / "models", device="cpu")


@pytest.fixture(scope="module")
def engine(settings) -> Engine:
    return Engine(settings)


@pytest.fixture(scope="module")
def adapter(settings):
    base = resolve_base_model("starter", settings)
    folder = save_adapter(settings.data_dir / "adapters" / "known", base, r=4, lora_alpha=6)
    document = {"base_model": "starter", "spec": SPEC}
    (folder / "provenance.json").write_text(json.dumps(document), "utf-8")
    return folder


@pytest.fixture(scope="module")
def report(engine, adapter):
    return engine.exports.export(
        "known", adapter.parent.parent / "out", "portable", requantized=("nf4", "int8")
    )


def widened_by_hand(base, settings) -> ComparisonModel:
    model = ComparisonModel.load(base, {}, settings)
    for name, module in model.shared.model.named_modules():
        if isinstance(module, torch.nn.Linear) and "lm_head" not in name:
            codes, state = functional.quantize_4bit(
                module.weight.data, quant_type="nf4", compress_statistics=True
            )
            module.weight.data = functional.dequantize_4bit(codes, state)
    return model


def test_nf4_is_what_quantizing_and_widening_by_hand_gives(report, adapter, settings):
    base = resolve_base_model("starter", settings)
    trained = ComparisonModel.load(base, {TRAINED: adapter}, settings)
    by_hand = widened_by_hand(base, settings)
    by_hand.add_adapter(EXPORTED, report.adapter)
    expected = measure(Voice(trained, TRAINED), Voice(by_hand, EXPORTED), adapter, settings)
    found = report.requantized[0]
    assert (found.quantization, found.bits) == ("nf4", 4)
    assert found.kl == pytest.approx(expected.kl, rel=1e-3)
    assert found.loss_after == pytest.approx(expected.loss_after, abs=1e-5)
    assert found.loss_before == pytest.approx(report.fidelity.loss_before, abs=1e-9)
    assert (found.agreement, found.answers) == (expected.agreement, 2)


def test_8_bits_keep_more_than_4(report):
    nf4, int8 = report.requantized
    assert (int8.quantization, int8.bits) == ("int8", 8)
    assert report.fidelity.kl < 1e-9 < int8.kl < nf4.kl / 10
    told = report.to_json()["requantized"]
    assert [one["bits"] for one in told] == [4, 8]
    assert {"agreement", "kl", "loss_before", "loss_after"} <= told[0].keys()


def test_a_merged_model_is_requantized_itself(engine, adapter, report, tmp_path):
    merged = engine.exports.export(
        "known", tmp_path / "out", "merged", dtype="float32", measure=False, requantized=["nf4"]
    )
    (found,) = merged.requantized
    assert found.kl > 1e-5
    assert found.kl != report.requantized[0].kl  # the update is rounded too
    assert found.loss_before == pytest.approx(report.fidelity.loss_before, abs=1e-6)


def test_what_was_trained_on_a_quantized_base_is_compared_with_that(
    engine, adapter, report, tmp_path
):
    quantized = tmp_path / "quantized"
    engine.exports.export("known", quantized, "adapter", measure=False)
    document = {"base_model": "starter", "spec": {**SPEC, "quantization": {"bits": 4}}}
    (quantized / "provenance.json").write_text(json.dumps(document), "utf-8")
    again = engine.exports.export(str(quantized), tmp_path / "out", "portable")
    found = again.fidelity
    assert "4 bits" in again.notes[-1]
    assert found.loss_before == pytest.approx(report.requantized[0].loss_after, abs=1e-5)
    assert found.kl < 1e-9


def test_a_base_that_is_stored_quantized_is_not_requantized(engine, adapter, report, monkeypatch):
    monkeypatch.setattr("lora_engine.export.voices.stored_quantization", lambda base: "4-bit")
    again = engine.exports.measured("known", report, requantized=["int8"])
    assert again.fidelity is not None
    assert "stored as 4-bit" in again.notes[-1]


def test_another_quantization_is_named(adapter, settings, monkeypatch, tmp_path):
    from lora_engine.__main__ import build

    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    with pytest.raises(EngineError, match="int8"):
        build()(
            ["export", "known", "-o", str(tmp_path / "x"), "--requantized", "nf4,q4_k"],
            standalone_mode=False,
        )
    assert not (tmp_path / "x").exists()
