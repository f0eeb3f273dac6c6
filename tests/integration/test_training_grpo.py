"""GRPO from spec to adapter: rewarded answers become likelier, exactly again after a stop."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lora_engine.base_models import BaseModel
from lora_engine.data.prompt_rows import PromptRow, prompt_rows
from lora_engine.data.rows import Message, Row
from lora_engine.data.tokenization import IGNORED, TokenizedRow
from lora_engine.engine import Engine
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.generation import Sampling
from lora_engine.run_folder.reports import read_samples
from lora_engine.spec import ObjectiveSpec, recipe_spec
from lora_engine.starter import heldout_path
from lora_engine.starter.checks import gives_number
from lora_engine.training.forward.adapter_off import reference_log_probabilities
from lora_engine.training.forward.packed import PackedPath
from lora_engine.training.forward.select import choose_path
from lora_engine.training.models.adapter_model import add_adapter
from lora_engine.training.objectives.rollouts import Sampler
from lora_engine.training.optimizers.factory import trained_parameters
from lora_engine.training.preflight import check_run
from lora_engine.training.together.sharing import sharing_key
from tests.training_runs import tiny_spec, train_here, without_looking

OBJECTIVE = {
    "kind": "grpo",
    "rules": [{"kind": "regex", "pattern": "[aeiou]"}],
    "group_size": 4,
    "max_new_tokens": 6,
}
FEW = {"batch_size": 2, "max_steps": 4, "eval_every": 2, "save_every": 2, "learning_rate": 0.01}


def grpo_spec(base, rows, objective=None, **changes):
    changes.setdefault("optimization", FEW)
    return tiny_spec(base, rows, objective={**OBJECTIVE, **(objective or {})}, **changes)


def figures(directory) -> list[tuple]:
    """What must be the same again of every step."""
    return [
        (row.step, row.loss, row.grad_norm, row.reward, row.kl, row.clipped, row.eval_reward)
        for row in directory.metrics()
    ]


def test_a_run_that_was_stopped_goes_on_exactly(tiny_llama, rows_file, settings, tmp_path):
    """Several updates a generation, a KL and dropout: all that could be lost on the way."""
    objective = {"updates_per_generation": 2, "beta": 0.05}
    spec = grpo_spec(tiny_llama, rows_file, objective, method={"dropout": 0.1})
    whole, progress = train_here(spec, tmp_path / "whole", settings)
    rows = whole.metrics()
    assert [row.step for row in rows] == [1, 2, 3, 4]
    for row in rows:
        measured = row.reward, row.equal_groups, row.reward_std, row.kl, row.clipped
        assert all(number is not None and 0 <= number <= 1 for number in measured)
        assert row.answer_tokens is not None
        assert 0 < row.answer_tokens <= 6
    assert rows[0].kl != 0  # the second update of the first step is away from the base already
    assert any(row.clipped for row in rows)
    assert [row.eval_reward is None for row in rows] == [True, False, True, False]
    assert rows[-1].eval_reward is not None
    assert progress.last_eval_loss == -rows[-1].eval_reward

    stops = iter([False, False, False, True])
    train_here(spec, tmp_path / "parts", settings, should_stop=lambda: next(stops))
    parts, _ = train_here(spec, tmp_path / "parts", settings, resume=True)
    assert figures(parts) == figures(whole)
    weights = [d.adapter_path / "adapter_model.safetensors" for d in (whole, parts)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_answers_that_a_rule_rewards_become_likelier(tiny_llama, rows_file, settings, tmp_path):
    """A whole model: the logits of a random one are too flat for an adapter to move them far."""
    spec = grpo_spec(
        tiny_llama,
        rows_file,
        {"rules": [{"kind": "regex", "pattern": "b"}], "group_size": 8},
        method={"finetuning_type": "full"},
        optimization={"max_steps": 15, "eval_every": 15, "learning_rate": 0.01, "batch_size": 4},
        report={"samples": 1, "sample_tokens": 4},
    )
    directory, progress = train_here(spec, tmp_path / "run", settings)
    rewards = [row.reward or 0.0 for row in directory.metrics()]
    assert sum(rewards[-5:]) > 2 * sum(rewards[:5])
    assert progress.saved_as == "model"
    assert {sample.prompt for sample in read_samples(directory)} <= {
        f"What colour is thing {number}?" for number in range(40)
    }


def test_whole_models_learn_without_a_reference(tiny_llama, rows_file, settings, tmp_path):
    spec = grpo_spec(
        tiny_llama,
        rows_file,
        {"advantage": "dr_grpo"},
        method={"finetuning_type": "full"},
        optimization={**FEW, "max_steps": 1, "precision": "bfloat16"},
    )
    directory, progress = train_here(spec, tmp_path / "run", settings)
    assert progress.saved_as == "model"
    assert directory.metrics()[0].kl is None


@pytest.fixture(scope="module")
def path(tiny_llama) -> PackedPath:
    """A path whose adapter is not zero."""
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    spec = tiny_spec(tiny_llama, tiny_llama / "rows.jsonl")
    model = add_adapter(base, spec.method, quantized=False)
    for name, parameter in trained_parameters(model).items():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.2)
    row = TokenizedRow(1, tuple(range(70, 120)), tuple(range(70, 120)), False)
    found = choose_path(model, [row, row], 0, "cpu")
    assert isinstance(found, PackedPath)
    return found


PROMPTS = [
    PromptRow(number, ids, (IGNORED,) * len(ids), False)
    for number, ids in enumerate([(70, 71, 72), (65,) * 40, (80, 81), tuple(range(60, 90))], 1)
]


def test_sampled_answers_are_those_of_the_model_that_trains(path, tiny_llama):
    """transformers' own generation with the adapter gives the same tokens, without our kernels."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    objective = ObjectiveSpec(kind="grpo", max_new_tokens=12)
    before = path.causal_lm.config._attn_implementation
    answers = Sampler(path, objective, tokenizer, seed=0).greedy(PROMPTS)
    assert path.causal_lm.config._attn_implementation == before
    assert path.model.training
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids = list(prompt.input_ids)
        for token in answer.tokens:  # each the likeliest after all before it
            assert token == path.next_tokens([TokenizedRow(1, tuple(ids), (), False)])[0]
            ids.append(token)
        assert answer.learned_row.input_ids == tuple(ids)


def test_an_answer_ends_where_the_models_positions_do(path, tiny_llama, monkeypatch):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    sampler = Sampler(path, ObjectiveSpec(kind="grpo", max_new_tokens=12), tokenizer, seed=0)
    monkeypatch.setattr(path.causal_lm.config, "max_position_embeddings", 43)
    (answer,) = sampler.greedy(PROMPTS[1:2])
    assert len(answer.tokens) == 3
    monkeypatch.setattr(path.causal_lm.config, "max_position_embeddings", 40)
    with pytest.raises(EngineError, match="row 2 has 40 tokens"):
        sampler.greedy(PROMPTS[1:2])


def test_answers_of_a_group_differ_and_are_the_same_again(path, tiny_llama):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    objective = ObjectiveSpec(kind="grpo", max_new_tokens=6, group_size=4)
    sampler = Sampler(path, objective, tokenizer, seed=0)
    groups = sampler.groups(1, PROMPTS)
    assert [len(group) for group in groups] == [4] * len(PROMPTS)
    assert all(len({answer.tokens for answer in group}) > 1 for group in groups)
    assert sampler.groups(1, PROMPTS) == groups
    assert sampler.groups(2, PROMPTS) != groups


def test_the_reference_is_the_bare_base_at_the_same_temperature(path, tiny_llama):
    base = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    row = TokenizedRow(1, tuple(range(70, 100)), (IGNORED,) * 10 + tuple(range(80, 100)), False)
    batch = path.collate([row])
    found = reference_log_probabilities(path, batch, temperature=0.7)
    ids = torch.tensor([row.input_ids])
    with torch.no_grad():
        logits = base(input_ids=ids).logits[0, 9:-1] / 0.7
    expected = logits.log_softmax(-1).gather(-1, ids[0, 10:, None])[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    with_adapter = path.log_probabilities(batch, temperature=0.7)
    assert with_adapter.requires_grad
    assert (with_adapter - found).abs().max() > 1e-2


def test_questions_end_where_the_answer_begins(tiny_llama):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    turns = tuple(
        Message(role, text)
        for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    )
    rows = [
        Row(1, turns, None),
        Row(2, turns[:1], None),
        Row(3, (Message("user", "z" * 90),), None),
    ]
    prompts = prompt_rows(rows, tokenizer, max_length=40)
    texts = [tokenizer.decode(list(row.input_ids)) for row in prompts.rows]
    assert texts[0] == "<|user|>a<eos><|assistant|>b<eos><|user|>c<eos><|assistant|>"
    assert [(row.expected, row.text) for row in prompts.rows] == [("d", "c"), (None, "a")]
    assert prompts.too_long == (3,)
    with pytest.raises(EngineError, match="within 2 tokens"):
        prompt_rows(rows, tokenizer, max_length=2)


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"objective": {"kind": "grpo"}}, ["objective.rules"]),
        (
            {"objective": {**OBJECTIVE, "beta": 0.1}, "method": {"finetuning_type": "full"}},
            ["objective.beta"],
        ),
        (
            {"objective": {**OBJECTIVE, "beta": 0.1}, "method": {"init": "pissa"}},
            ["objective.beta"],
        ),
        (
            {"objective": OBJECTIVE, "method": {"finetuning_type": "prompt"}},
            ["method.finetuning_type"],
        ),
    ],
)
def test_what_grpo_cannot_train_is_refused_by_its_path(
    tiny_llama, rows_file, settings, changes, paths
):
    with pytest.raises(InvalidInput) as caught:
        check_run(tiny_spec(tiny_llama, rows_file, **changes), settings)
    assert {problem.path for problem in caught.value.problems} >= set(paths)


def test_a_rule_that_compares_needs_answers(tiny_llama, settings, tmp_path):
    rows = tmp_path / "questions.jsonl"
    asked = [{"messages": [{"role": "user", "content": f"Question {n}?"}]} for n in range(8)]
    rows.write_text("\n".join(json.dumps(row) for row in asked))
    check_run(grpo_spec(tiny_llama, rows), settings)
    with pytest.raises(EngineError, match="Row 1 has no answer"):
        check_run(grpo_spec(tiny_llama, rows, {"rules": [{"kind": "equal"}]}), settings)


def test_the_preview_says_that_the_rows_own_answers_are_not_learned(settings):
    said = [Engine(settings).datasets.preview(recipe_spec(name), 1) for name in ("sums", "pirate")]
    assert ["grpo" in " ".join(shown.notes) for shown in said] == [True, False]


def test_it_trains_alone(tiny_llama, rows_file):
    assert sharing_key(grpo_spec(tiny_llama, rows_file)) is None
    assert BaseModel("tiny", tiny_llama).is_local


@pytest.mark.slow
def test_the_sums_example_answers_measurably_better(settings, tmp_path):
    """50 held-out sums, greedily: from under half to nine in ten."""
    directory, _ = train_here(without_looking(recipe_spec("sums")), tmp_path / "run", settings)
    lines = heldout_path("sums").read_text("utf-8").splitlines()[:50]
    rows = [json.loads(line) for line in lines]
    asked = Engine(settings).compare.answer_prompts(
        "starter",
        [str(directory.adapter_path)],
        [row["prompt"] for row in rows],
        Sampling(max_new_tokens=24),
    )
    said = [[answer.text for answer in prompt.answers] for prompt in asked.prompts]
    base, adapted = zip(*said, strict=True)
    assert sum(map(gives_number, rows, base)) <= 25
    assert sum(map(gives_number, rows, adapted)) >= 40
