"""Preference losses, rewards and gradients are TRL's, for the same rows, adapter and steps.

TRL's own trainers compute their loss on its own padded batches of our tokens; between them stands
nothing but torch's AdamW with our rates.
"""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from lora_engine.training.learning_rate_schedule import learning_rate_at
from lora_engine.training.preflight import check_run
from lora_engine.training.preparation import prepare
from tests.preference_files import judged_rows, pair_rows, write_rows
from tests.training_runs import tiny_spec, train_here

STEPS = 4
IGNORED = -100
RATE = {"learning_rate": 0.01, "max_steps": STEPS, "batch_size": 4, "max_grad_norm": 0.0}
PAIRED = {
    "sigmoid": {"kind": "dpo", "beta": 0.3},
    "hinge": {"kind": "dpo", "beta": 0.3, "loss": "hinge"},
    "ipo": {"kind": "ipo", "beta": 0.5},
    "orpo": {"kind": "orpo", "beta": 0.4},
    "simpo": {"kind": "simpo", "beta": 2.0, "gamma": 0.6},
}


@pytest.fixture(scope="module")
def adapter(tiny_llama, tmp_path_factory):
    """A LoRA adapter whose update is not zero, so that a reference is more than the base."""
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_llama), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    folder = tmp_path_factory.mktemp("adapters") / "start"
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def both(tiny_llama, adapter, settings, tmp_path):
    """Our metrics rows, and for the same steps TRL's losses, metrics and gradient norms."""

    def run(objective, rows, make_trainer, **optimization):
        spec = tiny_spec(
            tiny_llama,
            write_rows(tmp_path / "rows.jsonl", rows),
            method={"init_from": str(adapter)},
            optimization={**RATE, **optimization},
            objective=objective,
        )
        spec = check_run(spec, settings)
        directory, _ = train_here(spec, tmp_path / "run", settings)
        prepared = prepare(directory, settings)
        model = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(tiny_llama), adapter, is_trainable=True
        )
        tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
        trainer = make_trainer(model, tokenizer, tmp_path / "trl")
        return directory.metrics(), trl_steps(trainer, prepared)

    return run


def trl_steps(trainer, run):
    """Loss, metrics and gradient norm of each step, by TRL's loss and torch's AdamW."""
    model = trainer.model.train()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1.0, weight_decay=0.0)
    steps = []
    for step in range(1, STEPS + 1):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, STEPS, run.spec.optimization)
        batches = [[run.data.training[i] for i in some] for some in run.plan.batches(step)]
        trainer._metrics["train"].clear() if hasattr(trainer, "_metrics") else None
        losses = []
        for rows in batches:
            loss, measured = trl_loss(trainer, model, rows)
            (loss / len(batches)).backward()
            losses.append(float(loss.detach()))
        norm = float(torch.nn.utils.clip_grad_norm_(weights, float("inf")))
        optimizer.step()
        optimizer.zero_grad()
        steps.append((sum(losses) / len(losses), measured, norm))
    return steps


def trl_loss(trainer, model, rows):
    """TRL's loss of a batch of our rows, and what it logs, the last batch's."""
    if hasattr(trainer, "get_batch_loss_metrics"):  # ORPO and CPO, which are experimental
        batch = trainer.data_collator([paired(row) for row in rows])
        return trainer.get_batch_loss_metrics(model, batch, "train")
    examples = [judged(row) if hasattr(row, "is_desirable") else parts(row) for row in rows]
    if "label" in examples[0]:
        turned = [examples[-1], *examples[:-1]]
        for example, other in zip(examples, turned, strict=True):
            example["KL_completion_ids"] = other["completion_ids"]
    loss = trainer._compute_loss(model, trainer.data_collator(examples), False)
    return loss, {name: values[-1] for name, values in trainer._metrics["train"].items()}


def split(row):
    start = next(at for at, label in enumerate(row.labels) if label != IGNORED)
    return list(row.input_ids[:start]), list(row.input_ids[start:])


def parts(row):
    prompt, chosen = split(row)
    return {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": split(row.rejected)[1]}


def judged(row):
    prompt, completion = split(row)
    return {"prompt_ids": prompt, "completion_ids": completion, "label": row.is_desirable}


def paired(row):
    found = {"prompt_input_ids": split(row)[0], "prompt_attention_mask": [1] * len(split(row)[0])}
    for side, answer in (("chosen", row), ("rejected", row.rejected)):
        found[f"{side}_input_ids"] = list(answer.input_ids)
        found[f"{side}_attention_mask"] = [1] * len(answer.input_ids)
        found[f"{side}_labels"] = list(answer.labels)
    return found


SHARED = {"report_to": [], "use_cpu": True, "per_device_train_batch_size": 4, "bf16": False}


def paired_trainer(name, objective):
    def make(model, tokenizer, folder):
        from trl import DPOConfig, DPOTrainer
        from trl.experimental.cpo import CPOConfig, CPOTrainer
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        data = Dataset.from_list(pair_rows(4))
        beta = objective["beta"]
        common = {**SHARED, "output_dir": str(folder), "beta": beta, "max_length": 512}
        made = {"train_dataset": data, "processing_class": tokenizer}
        if name == "orpo":
            return ORPOTrainer(model, ORPOConfig(**common), **made)
        if name == "simpo":
            gamma = {"simpo_gamma": objective["gamma"], "cpo_alpha": 0.0}
            return CPOTrainer(model, CPOConfig(**common, loss_type="simpo", **gamma), **made)
        return DPOTrainer(model, args=DPOConfig(**common, loss_type=[name]), **made)

    return make


def kto_trainer(objective):
    def make(model, tokenizer, folder):
        from trl import KTOConfig, KTOTrainer

        weights = {k: objective[k] for k in ("beta", "desirable_weight", "undesirable_weight")}
        args = KTOConfig(**SHARED, output_dir=str(folder), max_length=512, **weights)
        data = Dataset.from_list(judged_rows(4))
        return KTOTrainer(model, args=args, train_dataset=data, processing_class=tokenizer)

    return make


@pytest.fixture(autouse=True)
def no_hub():
    """TRL and Trainer write model cards and look for trackers; neither is wanted here."""
    with ExitStack() as stack:
        stack.enter_context(patch.dict("os.environ", {"TRL_EXPERIMENTAL_SILENCE": "1"}))
        yield


def compare(ours, theirs, measures):
    for row, (loss, measured, norm) in zip(ours, theirs, strict=True):
        assert row.loss == pytest.approx(loss, rel=1e-4, abs=1e-5)
        assert row.grad_norm == pytest.approx(norm, rel=1e-3, abs=1e-5)
        for name, key in measures.items():
            if key in measured:
                assert getattr(row, name) == pytest.approx(measured[key], rel=1e-4, abs=1e-5), name


REWARDS = {
    "reward_chosen": "rewards/chosen",
    "reward_rejected": "rewards/rejected",
    "reward_margin": "rewards/margins",
}


@pytest.mark.parametrize("name", PAIRED)
def test_losses_over_pairs_are_trls(both, name):
    objective = PAIRED[name]
    ours, theirs = both(objective, pair_rows(24), paired_trainer(name, objective))
    assert len({round(loss, 5) for loss, *_ in theirs}) == STEPS
    compare(ours, theirs, {**REWARDS, "reward_accuracy": "rewards/accuracies"})


def test_a_step_of_several_batches_is_the_mean_over_its_pairs(both):
    objective = PAIRED["sigmoid"]
    ours, theirs = both(
        objective,
        pair_rows(24),
        paired_trainer("sigmoid", objective),
        batch_size=2,
        gradient_accumulation=2,
    )
    compare(ours, theirs, {})


def test_losses_of_judged_answers_are_trls(both):
    objective = {"kind": "kto", "beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.7}
    ours, theirs = both(objective, judged_rows(24), kto_trainer(objective))
    assert any(row.kl for row in ours), "the estimate is above zero in some step"
    compare(ours, theirs, {**REWARDS, "kl": "kl"})


@pytest.mark.slow
def test_a_whole_run_is_that_of_trls_trainer(tiny_llama, settings, tmp_path):
    """TRL reads the same texts, tokenizes them by the same template and trains by itself."""
    from torch.utils.data import SequentialSampler
    from trl import DPOConfig, DPOTrainer

    class InOrder(DPOTrainer):
        def _get_train_sampler(self, *_):
            return SequentialSampler(self.train_dataset)

    rows = pair_rows(24)
    spec = tiny_spec(
        tiny_llama,
        write_rows(tmp_path / "rows.jsonl", rows),
        method={"rank": 4, "alpha": 8.0, "target_modules": ["q_proj", "v_proj"]},
        optimization={**RATE, "schedule": "constant", "warmup_ratio": 0.0},
        objective=PAIRED["sigmoid"],
    )
    directory, _ = train_here(spec, tmp_path / "run", settings)
    run = prepare(directory, settings)
    order = [i for step in range(1, STEPS + 1) for some in run.plan.batches(step) for i in some]
    told = [rows[run.data.training[i].number - 1] for i in order]
    torch.manual_seed(spec.seed)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    trainer = InOrder(
        get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_llama), config),
        args=DPOConfig(
            **SHARED,
            output_dir=str(tmp_path / "trl"),
            beta=PAIRED["sigmoid"]["beta"],
            learning_rate=RATE["learning_rate"],
            lr_scheduler_type="constant",
            max_steps=STEPS,
            max_grad_norm=0.0,
            logging_steps=1,
            save_strategy="no",
            gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list([as_turns(row) for row in told]),
        processing_class=AutoTokenizer.from_pretrained(tiny_llama),
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    for ours, theirs in zip(directory.metrics(), logged, strict=True):
        assert ours.loss == pytest.approx(theirs["loss"], rel=1e-4, abs=1e-4)
        assert ours.reward_margin == pytest.approx(theirs["rewards/margins"], rel=1e-3, abs=1e-4)
        assert ours.tokens == theirs["num_tokens"]


def as_turns(row):
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    return {key: [{"role": role, "content": row[key]}] for key, role in roles.items()}
