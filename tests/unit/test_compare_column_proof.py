"""The proof of which column is what, and that it can fail."""

import json

import pytest

from lora_engine.base_models import fingerprint
from lora_engine.compare.generate.adapter_switch import AdapterSwitch
from lora_engine.compare.generate.comparison_model import ComparisonModel
from lora_engine.compare.scoring.column_proof import prove_columns
from lora_engine.errors import EngineError
from tests.compare_models import save_adapter, save_base


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("integrity")


@pytest.fixture(scope="module")
def base(folder):
    return save_base(folder / "base")


def test_the_base_column_is_the_base_and_the_adapters_differ(folder, base, settings):
    adapters = {
        "plain": save_adapter(folder / "plain", base, seed=1),
        "dora": save_adapter(folder / "dora", base, seed=2, use_dora=True),
        "head": save_adapter(
            folder / "head", base, seed=3, target_modules=["q_proj"], modules_to_save=["lm_head"]
        ),
    }
    model = ComparisonModel.load(base, adapters, settings)
    proof = prove_columns(model, "Are you the base?")
    assert proof.base_is_base
    assert proof.adapters_differ
    assert not proof.other_templates
    assert proof.base.max_difference <= proof.tolerance
    assert [one.column for one in proof.adapters] == list(adapters)
    assert all(one.max_difference > proof.tolerance for one in proof.adapters)
    assert len({one.adapter_sha256 for one in proof.adapters}) == 3
    assert proof.base_fingerprint == fingerprint(base)
    assert "does not say which base" in model.notes()[0]


def test_a_base_column_that_answers_with_the_adapter_is_caught(folder, base, settings, monkeypatch):
    adapter = save_adapter(folder / "leaking", base, seed=4)
    model = ComparisonModel.load(base, {"adapter": adapter}, settings)
    key = model.shared.add_adapter(adapter)
    honest = AdapterSwitch.applied

    def leaking(switch, slices):
        variant = slices[-1].variant
        return honest(switch, [type(one)(variant, one.start, one.stop) for one in slices])

    monkeypatch.setattr(AdapterSwitch, "applied", leaking)
    proof = prove_columns(model, "Are you the base?")
    assert key.endswith(proof.adapters[0].adapter_sha256[:16])
    assert not proof.base_is_base
    assert proof.adapters_differ


def test_an_adapter_that_does_nothing_is_caught(folder, base, settings):
    adapter = save_adapter(folder / "idle", base, seed=5, lora_alpha=1e-9)
    proof = prove_columns(ComparisonModel.load(base, {"idle": adapter}, settings), "Hello?")
    assert proof.base_is_base
    assert not proof.adapters_differ


def test_another_chat_template_is_said(folder, base, settings):
    adapter = save_adapter(folder / "template", base, seed=6)
    document = {"base_fingerprint": fingerprint(base), "chat_template_hash": "0" * 16}
    (adapter / "provenance.json").write_text(json.dumps(document))
    same = save_adapter(folder / "same template", base, seed=7)
    (same / "provenance.json").write_text(json.dumps({"base_fingerprint": fingerprint(base)}))
    model = ComparisonModel.load(base, {"x": adapter, "same": same}, settings)
    proof = prove_columns(model, "Hello?")
    assert [one.column for one in proof.other_templates] == ["x"]
    assert proof.other_templates[0].trained_template == "0" * 16
    (warning,) = model.warnings()
    assert warning.startswith("x was trained with another chat template")
    assert "0" * 16 in warning
    assert proof.template_hash in warning


def test_an_empty_prompt_is_refused(base, settings):
    with pytest.raises(EngineError, match="empty"):
        prove_columns(ComparisonModel.load(base, {}, settings), " ")
