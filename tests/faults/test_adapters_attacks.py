"""Adapters that are broken, foreign or made to do harm: each is refused, naming what was found."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_engine.adapters import name_patterns
from lora_engine.adapters.check import check_adapter
from lora_engine.adapters.config import read_applicable_config
from lora_engine.base_models import fingerprint
from lora_engine.errors import EngineError, InvalidInput
from tests.compare_models import save_adapter, save_base


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def adapter(base, tmp_path):
    return save_adapter(tmp_path / "adapter", base, target_modules=["q_proj", "v_proj"])


def change_config(adapter, **fields):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def change_weights(adapter, change):
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"r": 10**9}, "r: "),
        ({"r": "8"}, "r: "),
        ({"lora_alpha": -1}, "lora_alpha: "),
        ({"lora_alpha": float("inf")}, "lora_alpha: "),
        ({"target_modules": "(a+)+$"}, "target_modules: "),
        ({"target_modules": ["q_proj", ".*"]}, "target_modules: "),
        ({"rank_pattern": {"(a+)+$": 8}}, "rank_pattern.(a+)+$: "),
        ({"rank_pattern": {"q_proj": 10**9}}, "rank_pattern.q_proj: "),
        ({"exclude_modules": "(a+)+$"}, "exclude_modules: "),
        ({"layers_pattern": "(a+)+$"}, "layers_pattern: "),
        ({"layers_to_transform": [10**12]}, "layers_to_transform: "),
        ({"bias": "everything"}, "bias: "),
        ({"bias": "some", "target_modules": "(a+)+$"}, "2 problems"),
        ({"alpha_pattern": {"(?:a{1,3}b)*": 8}}, "alpha_pattern.(?:a{1,3}b)*: "),
        ({"alpha_pattern": {"(q_proj": 8}}, "alpha_pattern.(q_proj: "),
        ({"modules_to_save": [".*"]}, "modules_to_save: "),
    ],
)
def test_a_configuration_out_of_bounds_names_the_field(adapter, fields, found):
    change_config(adapter, **fields)
    with pytest.raises(InvalidInput) as caught:
        read_applicable_config(adapter)
    assert found in caught.value.problem


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"peft_type": "IA3"}, "'IA3'"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
    ],
)
def test_another_method_than_plain_lora_is_refused(adapter, fields, found):
    change_config(adapter, **fields)
    with pytest.raises(EngineError) as caught:
        read_applicable_config(adapter)
    assert found in caught.value.problem


@pytest.mark.parametrize("content", [b"{", b"[1]", b"[" * 100_000, b" " * 1_000_001])
def test_a_configuration_that_is_no_small_json_object_is_refused(adapter, content):
    (adapter / "adapter_config.json").write_bytes(content)
    with pytest.raises(EngineError, match=r"adapter_config\.json"):
        read_applicable_config(adapter)


def test_a_missing_factor_is_named(adapter, base):
    change_weights(
        adapter,
        lambda tensors: tensors.pop(
            next(key for key in tensors if "layers.1" in key and "_B" in key)
        ),
    )
    with pytest.raises(EngineError, match=r"half-written.*layers\.1.*lora_B"):
        check_adapter(adapter, base)


def test_parameters_of_which_the_file_holds_nothing_are_named(adapter, base):
    change_config(adapter, target_parameters=["experts"])
    with pytest.raises(EngineError, match="target_parameters"):
        check_adapter(adapter, base)


def test_matching_a_pattern_ends_in_time(adapter, monkeypatch):
    monkeypatch.setattr(name_patterns, "MATCH_S", 0.1)
    endless = "(a|a)*b|" + ".*" * 40 + "x"
    change_config(adapter, alpha_pattern={endless: 8})
    with pytest.raises(EngineError, match="takes longer") as caught:
        read_applicable_config(adapter).scalings_of(
            "a." * 100 + str(number) for number in range(9_000)
        )
    assert endless[:50] in caught.value.problem


def test_a_file_cut_short_is_noticed(adapter, base):
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(EngineError, match="its tensors end at byte"):
        check_adapter(adapter, base)


def test_a_missing_weights_file_is_noticed(adapter, base):
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(EngineError, match="half-written"):
        check_adapter(adapter, base)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_counted_and_named(adapter, base, value):
    change_weights(adapter, lambda tensors: next(iter(tensors.values())).view(-1)[:3].fill_(value))
    with pytest.raises(EngineError, match="lora_A.* 3 .*NaN"):
        check_adapter(adapter, base)


def test_a_rank_other_than_the_configuration_says_is_refused(adapter, base):
    change_config(adapter, r=8)
    with pytest.raises(EngineError, match="rank 8"):
        check_adapter(adapter, base)


@pytest.mark.parametrize(
    "key",
    [
        "base_model.model.model.embed_tokens.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight",
        "base_model.model.lm_head.original_module.weight",
    ],
)
def test_weights_that_would_overwrite_the_base_are_refused(adapter, base, key):
    change_config(adapter, modules_to_save=["lm_head"])
    change_weights(adapter, lambda tensors: tensors.update({key: torch.zeros(2, 2)}))
    with pytest.raises(EngineError, match="overwrite the base"):
        check_adapter(adapter, base)


def test_an_adapter_of_another_shape_of_base_is_refused(base, tmp_path):
    other = save_base(tmp_path / "other", "qwen2")
    adapter = save_adapter(tmp_path / "adapter", other, target_modules=["q_proj"])
    change_weights(
        adapter,
        lambda tensors: tensors.update({key: torch.ones(40, 4) for key in tensors if "_B" in key}),
    )
    with pytest.raises(EngineError, match="40 x 32.* 32 x 32"):
        check_adapter(adapter, base)


def test_an_adapter_for_another_base_of_the_same_shape_is_refused(adapter, base, tmp_path):
    other = save_base(tmp_path / "other", seed=5)
    document = {"base_model": "other", "base_fingerprint": fingerprint(other)}
    (adapter / "provenance.json").write_text(json.dumps(document))
    assert check_adapter(adapter, other).warnings == ()
    with pytest.raises(EngineError) as caught:
        check_adapter(adapter, base)
    assert fingerprint(base) in caught.value.problem
    assert fingerprint(other) in caught.value.problem


def test_missing_provenance_is_said_aloud(adapter, base):
    (warning,) = check_adapter(adapter, base).warnings
    assert "does not say which base model" in warning
