"""The adapter that a run goes on from gives it its shape; what contradicts it is named."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lora_engine.errors import Conflict, EngineError, InvalidInput, NotFound
from lora_engine.spec import spec_from
from lora_engine.training.preflight import check_run
from tests.adapter_forms import make
from tests.tiny import save_tiny_model
from tests.training_runs import tiny_spec, train_here

SHAPE = {"r": 4, "lora_alpha": 12, "target_modules": ["v_proj", "q_proj"]}


@pytest.fixture(scope="module")
def made(tiny_llama, tmp_path_factory):
    """An adapter as PEFT saves it."""
    folder = tmp_path_factory.mktemp("adapters") / "given"
    base = AutoModelForCausalLM.from_pretrained(tiny_llama)
    get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **SHAPE)).save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(made, tmp_path):
    return shutil.copytree(made, tmp_path / "given")


@pytest.fixture
def checked(tiny_llama, rows_file, settings):
    def check(init_from, **changes):
        method = {"init_from": str(init_from), **changes.pop("method", {})}
        return check_run(tiny_spec(tiny_llama, rows_file, method=method, **changes), settings)

    return check


def problems_of(check) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refused:
        check()
    return {problem.path: problem.message for problem in refused.value.problems}


def test_what_is_left_out_follows_the_adapter(checked, adapter):
    method = checked(adapter).method
    assert (method.rank, method.alpha) == (4, 12)
    assert method.target_modules == ["q_proj", "v_proj"]
    assert method.init_from == str(adapter)


def test_a_spec_that_was_filled_is_itself_again(checked, adapter, settings):
    spec = checked(adapter)
    again = check_run(spec_from(spec.model_dump(mode="json")), settings)
    assert again == spec


def test_dropout_and_learning_rate_stay_the_persons(checked, adapter):
    spec = checked(adapter, method={"dropout": 0.2}, optimization={"learning_rate": 3e-5})
    assert (spec.method.dropout, spec.optimization.learning_rate) == (0.2, 3e-5)


@pytest.mark.parametrize(
    ("field", "given", "own"),
    [
        ("rank", 8, "4"),
        ("alpha", 16.0, "12.0"),
        ("target_modules", ["q_proj"], "q_proj, v_proj"),
        ("use_rslora", True, "False"),
        ("use_dora", True, "False"),
        ("rank_pattern", {"q_proj": 2}, "{}"),
        ("alpha_pattern", {"q_proj": 2.0}, "{}"),
        ("modules_to_save", ["norm"], ""),
        ("lora_bias", True, "False"),
        ("bias", "all", "none"),
    ],
)
def test_a_field_that_contradicts_it_is_named_with_both_values(checked, adapter, field, given, own):
    found = problems_of(lambda: checked(adapter, method={field: given, "dropout": 0.1}))
    (message,) = found.values()
    assert list(found) == [f"method.{field}"]
    shown = ", ".join(given) if isinstance(given, list) else str(given)
    assert message.startswith(f"{shown} here")
    assert message.endswith(f"has {own}")


def test_all_contradictions_are_told_together(checked, adapter):
    method = {"rank": 8, "use_dora": True}
    assert set(problems_of(lambda: checked(adapter, method=method))) == {
        "method.rank",
        "method.use_dora",
    }


def test_other_words_for_the_same_modules_agree(checked, adapter):
    names = ["v_proj", "q_proj"]
    assert checked(adapter, method={"target_modules": names}).method.target_modules == names
    shortcuts = ["q", "v"]
    assert checked(adapter, method={"target_modules": shortcuts}).method.target_modules == shortcuts


def test_all_linear_agrees_with_an_adapter_of_all_linear(
    tiny_llama, rows_file, settings, tmp_path, checked
):
    method = {"rank": 4, "rank_pattern": {"q_proj": 2}}
    first, _ = train_here(
        tiny_spec(tiny_llama, rows_file, method=method, optimization={"max_steps": 1}),
        tmp_path / "run",
        settings,
    )
    # the spec of the run before, word for word, with init_from beside
    before = first.spec().method.model_dump(mode="json")
    again = checked(first.adapter_path, method={**before, "init_from": str(first.adapter_path)})
    assert again.method.target_modules == "all-linear"
    assert again.method.rank_pattern == {"q_proj": 2}


def test_a_new_start_excludes_going_on(checked, adapter):
    assert set(problems_of(lambda: checked(adapter, method={"init": "pissa"}))) == {"method.init"}
    full = {"finetuning_type": "full"}
    assert "method.init_from" in problems_of(lambda: checked(adapter, method=full))


def test_nothing_of_that_name(checked):
    with pytest.raises(NotFound, match="nowhere"):
        checked("nowhere")


def test_values_that_are_no_numbers(checked, adapter):
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    tensors[name][0, 0] = torch.nan
    save_file(tensors, path)
    with pytest.raises(EngineError, match="NaN") as refused:
        checked(adapter)
    assert name in refused.value.problem


def test_half_an_adapter(checked, adapter):
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    lost = next(name for name in tensors if "lora_B" in name)
    save_file({name: value for name, value in tensors.items() if name != lost}, path)
    with pytest.raises(EngineError, match=lost.split(".lora_B")[0].rpartition("model.")[2]):
        checked(adapter)


def test_an_adapter_of_another_base(checked, adapter):
    provenance = {"base_fingerprint": "f" * 64, "base_model": "another"}
    (adapter / "provenance.json").write_text(json.dumps(provenance), "utf-8")
    with pytest.raises(EngineError, match="'another'"):
        checked(adapter)


def test_an_adapter_of_another_task(checked, adapter):
    path = adapter / "adapter_config.json"
    document = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**document, "task_type": "SEQ_CLS"}), "utf-8")
    with pytest.raises(EngineError, match="SEQ_CLS"):
        checked(adapter)


def test_fused_experts_are_refused_by_name(rows_file, settings, tmp_path):
    folder = save_tiny_model(tmp_path / "moe", "qwen2_moe")
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=2,
        target_modules=["q_proj"],
        target_parameters=["mlp.experts.gate_up_proj"],
    )
    base = type("Base", (), {"path": folder})
    make(base, tmp_path / "fused", config)
    spec = tiny_spec(folder, rows_file, method={"init_from": str(tmp_path / "fused")})
    with pytest.raises(EngineError, match=r"experts\.gate_up_proj"):
        check_run(spec, settings)


def test_a_changed_adapter_is_not_resumed_with(checked, adapter, settings, tmp_path):
    spec = checked(adapter, optimization={"max_steps": 4})
    stop = iter([False, False, True]).__next__
    train_here(spec, tmp_path / "run", settings, should_stop=stop)
    path = adapter / "adapter_model.safetensors"
    save_file({name: 2 * value for name, value in load_file(path).items()}, path)
    with pytest.raises(Conflict, match="adapter that the run goes on from changed"):
        train_here(spec, tmp_path / "run", settings, resume=True)
