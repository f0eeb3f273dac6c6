"""Preference runs whole: resumed exactly, against the right reference, by every method and path."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lora_engine.compare.prompts import load_held_out_rows
from lora_engine.data.preference_tokens import answers_of
from lora_engine.run_folder import RunDirectory
from lora_engine.settings import Settings
from lora_engine.training.objectives.reference import FILE
from lora_engine.training.preflight import check_run
from lora_engine.training.preparation import prepare
from tests.preference_files import judged_rows, pair_rows, write_rows
from tests.tiny import save_tiny_model
from tests.training_runs import losses, tiny_spec, train_here

STEPS = 6
FEW = {"max_steps": STEPS, "batch_size": 4, "save_every": 2, "eval_every": 3}


class Stop:
    """Asks a run to stop after so many steps, counted from when its reference is there."""

    def __init__(self, after: int, reference: Path) -> None:
        self.left, self.reference = after, reference

    def __call__(self) -> bool:
        self.left -= self.reference.is_file()
        return self.left < 0


@pytest.fixture
def make(tiny_llama, tmp_path, settings):
    """A run's directory and progress; rows: pairs, or judged answers for kto."""

    def train(name, objective, base=tiny_llama, resume=False, stop=None, folder=None, **changes):
        rows = judged_rows(24) if objective["kind"] == "kto" else pair_rows(24)
        path = write_rows(tmp_path / f"{objective['kind']}.jsonl", rows)
        optimization = {**FEW, **changes.pop("optimization", {})}
        if "dataset" in changes:
            changes["dataset"] = {"source": str(path), **changes["dataset"]}
        spec = tiny_spec(base, path, objective=objective, optimization=optimization, **changes)
        spec = check_run(spec, settings)
        where = folder or tmp_path / name
        return train_here(spec, where, settings, resume, stop or (lambda: False))

    return train


@pytest.mark.parametrize("kind", ["dpo", "kto"])
@pytest.mark.parametrize("loses_reference", [False, True])
def test_a_resumed_run_goes_on_exactly(make, tmp_path, kind, loses_reference):
    method = {"dropout": 0.1, "init": "pissa"}  # random numbers, and a base that is changed
    whole, _ = make("whole", {"kind": kind}, method=method)
    stop = Stop(3, tmp_path / "stopped" / FILE)
    stopped, progress = make("stopped", {"kind": kind}, method=method, stop=stop)
    assert progress.step == 3
    kept = (tmp_path / "stopped" / FILE).read_bytes()
    if loses_reference:
        (tmp_path / "stopped" / FILE).unlink()
    resumed, _ = make("resumed", {"kind": kind}, method=method, resume=True, folder=stopped.path)
    assert losses(resumed) == losses(whole)
    assert resumed.metrics()[-1].eval_loss == whole.metrics()[-1].eval_loss
    assert len((tmp_path / "stopped" / FILE).read_bytes()) == len(kept)


@pytest.mark.parametrize("batches", [0, 2, 6])
def test_a_run_may_be_stopped_while_its_reference_is_computed(make, batches):
    """6: all that is left is the batch to evaluate on."""
    asked = itertools.count()
    stopped, progress = make("run", {"kind": "dpo"}, stop=lambda: next(asked) == batches)
    assert next(asked) == batches + 1  # it was not asked again
    assert (progress.step, progress.saved_as) == (0, None)
    assert not (stopped.path / FILE).exists()
    assert losses(stopped) == {}
    whole, _ = make("whole", {"kind": "dpo"})
    resumed, _ = make("run", {"kind": "dpo"}, resume=True, folder=stopped.path)
    assert losses(resumed) == losses(whole)


def test_the_first_loss_is_that_of_no_difference_from_the_reference(make):
    """ln 2 for dpo and 1/2 for kto: before a step the model is its own reference, whatever its
    start and method."""
    for at, changes in enumerate(
        (
            {"method": {"use_dora": True}},
            {"method": {"init": "pissa"}},
            {"method": {"init": "olora"}},
            {"method": {"finetuning_type": "full"}, "optimization": {"learning_rate": 1e-3}},
            {"method": {"finetuning_type": "ia3"}},
            {"quantization": {"bits": 4}},
            {"optimization": {"gradient_checkpointing": True}},
        )
    ):
        directory, _ = make(f"start-{at}", {"kind": "dpo"}, **changes)
        assert losses(directory)[1] == pytest.approx(0.693147, abs=2e-5), changes
        assert losses(directory)[STEPS] < 0.693, changes
    directory, _ = make("kto", {"kind": "kto"})
    assert losses(directory)[1] == pytest.approx(0.5, abs=1e-5)


def test_a_model_that_cannot_pack_trains_padded_with_the_same_losses(make, tmp_path):
    gpt2 = save_tiny_model(
        tmp_path / "gpt2", "gpt2", attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0
    )
    directory, _ = make("padded", {"kind": "ipo"}, base=gpt2)
    assert losses(directory)[1] == pytest.approx(25.0, abs=1e-3)  # (1/(2 · 0.1))²
    assert losses(directory)[STEPS] < 25.0


def test_figures_stand_in_the_metrics_of_steps_and_evaluations(make):
    directory, _ = make("figures", {"kind": "dpo"})
    last = directory.metrics()[-1]
    assert last.reward_margin == pytest.approx(last.reward_chosen - last.reward_rejected)
    assert last.eval_reward_margin is not None
    assert 0 <= last.eval_reward_accuracy <= 1
    assert last.eval_loss < 0.693
    judged = make("judged", {"kind": "kto"})[0].metrics()[-1]
    assert judged.kl >= 0
    assert judged.eval_kl >= 0
    assert judged.reward_accuracy is None


def test_kto_learns_from_pairs_as_two_answers_each(make, tmp_path, settings):
    spec = tiny_spec(
        tmp_path, write_rows(tmp_path / "pairs.jsonl", pair_rows(24)), objective={"kind": "kto"}
    )
    directory, _ = make("unpaired", {"kind": "dpo"})
    spec = spec.model_copy(update={"base_model": directory.spec().base_model})
    trained, _ = train_here(check_run(spec, settings), tmp_path / "from-pairs", settings)
    run = prepare(trained, settings)
    assert len(run.data.training) == 2 * 22
    assert [row.is_desirable for row in run.data.training][:4] == [True, False, True, False]
    batches = {frozenset(some) for step in (1, 2, 12) for some in run.plan.batches(step)}
    assert batches <= set(map(frozenset, run.plan.fixed_batches))
    assert min(map(len, run.plan.fixed_batches)) > 1


def test_early_stopping_and_the_best_result_go_by_the_objectives_loss(make):
    directory, progress = make(
        "best",
        {"kind": "dpo"},
        optimization={
            "learning_rate": 0.5,
            "eval_every": 1,
            "early_stopping": 2,
            "save_best": True,
        },
    )
    evaluated = {row.step: row.eval_loss for row in directory.metrics()}
    assert progress.best_step == min(evaluated, key=evaluated.get)
    assert progress.saved_step == progress.best_step
    assert progress.step < STEPS
    provenance = json.loads((directory.adapter_path / "provenance.json").read_text())
    assert provenance["spec"]["objective"]["kind"] == "dpo"


def test_an_objective_without_a_reference_computes_none(make):
    directory, _ = make("orpo", {"kind": "orpo"})
    assert not (directory.path / FILE).exists()
    assert isinstance(directory, RunDirectory)


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_the_rows_an_adapter_never_saw_have_its_good_answers(make, settings, kind):
    directory, _ = make(f"held-out-{kind}", {"kind": kind}, dataset={"eval_fraction": 0.5})
    rows = load_held_out_rows(directory.adapter_path, settings)
    told = {row["prompt"]: row for row in (judged_rows(24) if kind == "kto" else pair_rows(24))}
    for row in rows:
        expected = told[row.messages[0].content]
        assert row.messages[-1].content == expected["chosen" if kind == "dpo" else "completion"]
        assert expected.get("label", True)


def test_the_kl_to_the_base_is_that_of_whole_distributions(make, tiny_llama):
    directory, _ = make("kl", {"kind": "dpo", "beta": 0.05})
    held_out = prepare(directory, Settings(data_dir=directory.path.parent)).data.evaluation
    base = AutoModelForCausalLM.from_pretrained(tiny_llama)
    tuned = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_llama), directory.adapter_path
    )
    divergences = []
    for answer in (one for row in held_out for one in answers_of(row)):
        ids = torch.tensor([answer.input_ids])
        with torch.no_grad():
            ours, theirs = (m(input_ids=ids).logits[0].log_softmax(-1) for m in (tuned, base))
        at = [place - 1 for place, label in enumerate(answer.labels) if place and label >= 0]
        divergences.append((ours.exp() * (ours - theirs)).sum(-1)[at])
    assert directory.metrics()[-1].eval_kl == pytest.approx(
        float(torch.cat(divergences).mean()), rel=1e-3
    )
    assert directory.metrics()[-1].eval_kl > 1e-3


def test_a_run_whose_base_is_not_its_reference_measures_no_kl(make):
    assert make("pissa", {"kind": "dpo"}, method={"init": "pissa"})[0].metrics()[-1].eval_kl is None
