"""What cannot work is refused before a run exists, with the field or the row named."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.numpy import load_file, save_file

from lora_engine.errors import EngineError, InvalidInput
from lora_engine.spec import MethodSpec, spec_from
from lora_engine.spectrum.adapter_factors import read_adapter
from lora_engine.training.models.rank_bounds import adapted_sides, rank_problems
from lora_engine.training.preflight import check_run
from tests.tiny import CHAT_TEMPLATE
from tests.training_runs import tiny_spec, train_here


def refused_paths(document) -> set[str]:
    with pytest.raises(InvalidInput) as refused:
        spec_from(document)
    return {problem.path for problem in refused.value.problems}


def test_a_learning_rate_of_ten_and_a_share_of_one_are_named_together():
    document = {"optimization": {"learning_rate": 10}, "dataset": {"eval_fraction": 1.0}}
    assert refused_paths(document) == {"optimization.learning_rate", "dataset.eval_fraction"}


OVER = {
    "all-linear": ({"rank": 33}, "method.rank", "33", "layers.0.self_attn.k_proj", 32),
    "named": ({"rank": 65, "target_modules": ["q_proj"]}, "method.rank", "65", "q_proj", 64),
    "one of two": ({"rank": 40, "target_modules": ["q_proj", "v_proj"]}, "method.rank", "40",
                   "layers.0.self_attn.v_proj and 1 more", 32),
    "pattern": ({"rank_pattern": {"k_proj": 40}}, "method.rank_pattern", "40 for k_proj",
                "layers.0.self_attn.k_proj", 32),
    "embeddings": ({"rank": 65, "target_modules": ["embed_tokens"]}, "method.rank", "65",
                   "embed_tokens", 64),
}  # fmt: skip


@pytest.mark.parametrize("case", OVER)
def test_a_rank_over_a_targets_smaller_side_is_refused(case, tiny_llama, rows_file, settings):
    method, path, rank, module, allowed = OVER[case]
    with pytest.raises(InvalidInput) as refused:
        check_run(tiny_spec(tiny_llama, rows_file, method=method), settings)
    (problem,) = refused.value.problems
    assert problem.path == path
    assert problem.message.startswith(f"{rank} is over the dimension")
    assert f"{module}" in problem.message
    assert problem.message.endswith(f"at most {allowed} is allowed")


ALLOWED = {
    "all-linear": {"rank": 32},
    "named": {"rank": 64, "target_modules": ["q_proj"]},
    "narrow ones by a pattern": {"rank": 64, "rank_pattern": {"k_proj": 32, "v_proj": 32}},
    "no adapter": {"rank": 200, "finetuning_type": "galore"},
}


@pytest.mark.parametrize("case", ALLOWED)
def test_a_rank_that_every_target_can_have_is_let_through(case, tiny_llama, rows_file, settings):
    check_run(tiny_spec(tiny_llama, rows_file, method=ALLOWED[case]), settings)


def test_all_linear_lets_routers_through_and_a_name_does_not():
    sides = {"model.layers.0.mlp.gate": 4, "model.layers.0.mlp.router.proj": 4,
             "model.layers.0.mlp.up_proj": 16}  # fmt: skip
    assert rank_problems(sides, MethodSpec(rank=16)) == []
    named = MethodSpec(rank=16, target_modules=["gate", "up_proj"])
    assert "at most 4 is allowed" in rank_problems(sides, named)[0].message
    assert rank_problems(sides, MethodSpec(rank=17))[0].path == "method.rank"


def test_what_a_checkpoint_carries_beside_its_layers_is_no_target_of_all_linear():
    shapes = {"bert.encoder.layer.0.output.dense": (64, 128), "cls.seq_relationship": (2, 64)}
    assert adapted_sides(shapes, MethodSpec()) == {"bert.encoder.layer.0.output.dense": 64}


def test_the_worker_asks_the_model_itself(tiny_llama, rows_file, settings, tmp_path):
    """A model on the hub has no headers here to ask before the run."""
    spec = tiny_spec(tiny_llama, rows_file, method={"rank": 33})
    with pytest.raises(InvalidInput, match=r"method\.rank.* 33 .*k_proj.* 32\b"):
        train_here(spec, tmp_path / "run", settings)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"prompt": "Hi", "completion": "Ho"}], "one row"),
        ([{"messages": [{"role": "user", "content": text}]} for text in "ab"], "None of the 2"),
        ([{"messages": [{"role": "assistant", "content": "Ho", "weight": 0}]}] * 2, "weight 0"),
    ],
)
def test_rows_that_leave_nothing_to_do_are_refused_before_the_run(
    rows, words, tiny_llama, tmp_path, settings
):
    path = tmp_path / "few.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(EngineError, match=words):
        check_run(tiny_spec(tiny_llama, path), settings)


STRICT = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}" + CHAT_TEMPLATE.split("%}", 1)[1]
)


@pytest.fixture
def strict(tiny_llama, tmp_path):
    """The tiny model with a template that wants user and assistant in turn."""
    folder = tmp_path / "strict"
    folder.mkdir()
    for path in tiny_llama.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "chat_template.jinja").write_text(STRICT)
    return folder


def test_a_role_order_the_template_refuses_is_found_before_the_run(strict, tmp_path, settings):
    user, answer = ({"role": role, "content": "Hi"} for role in ("user", "assistant"))
    rows = tmp_path / "chat.jsonl"
    good, bad = {"messages": [user, answer]}, {"messages": [user, user, answer]}
    rows.write_text("\n".join(map(json.dumps, [good, good, bad, good])))
    with pytest.raises(EngineError, match=r"row 3\b.*roles must alternate"):
        check_run(tiny_spec(strict, rows), settings)
    rows.write_text("\n".join(map(json.dumps, [good, {"messages": [user, answer, user]}])))
    check_run(tiny_spec(strict, rows), settings)  # what follows the last answer is left out


def test_a_tied_head_is_found_though_the_files_hold_no_weight_of_it(
    tiny_llama, rows_file, settings, tmp_path
):
    folder = tmp_path / "tied"
    shutil.copytree(tiny_llama, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    weights = load_file(folder / "model.safetensors")
    weights.pop("lm_head.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    targets = {"target_modules": ["lm_head", "q_proj"], "rank": 2}
    spec = tiny_spec(folder, rows_file, method=targets, optimization={"max_steps": 1})
    check_run(spec, settings)
    directory, _ = train_here(spec, tmp_path / "run", settings)
    adapted = {
        module.name.rpartition(".")[2] for module in read_adapter(directory.adapter_path).modules
    }
    assert adapted == {"lm_head", "q_proj"}


def test_what_is_wrong_with_fields_and_with_the_data_stands_in_one_sentence(
    tiny_llama, rows_file, settings
):
    changes = {"quantization": {"bits": 4}, "method": {"finetuning_type": "full"}}
    spec = tiny_spec(tiny_llama, rows_file, objective={"kind": "dpo"}, **changes)
    with pytest.raises(InvalidInput) as refused:
        check_run(spec, settings)
    assert {problem.path for problem in refused.value.problems} == {"quantization", "dataset"}
    assert ".." not in refused.value.problem
