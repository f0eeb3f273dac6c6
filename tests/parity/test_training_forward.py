"""Our steps against the field's own: the same rows and start give Trainer's losses and gradients.

The reference is transformers' Trainer on PEFT's modules, with padding; six architectures.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from lora_engine.data import TokenizedRow
from lora_engine.spec import spec_from
from lora_engine.training.evaluation import evaluate
from lora_engine.training.forward.batches import IGNORED
from lora_engine.training.forward.packed import PackedPath
from lora_engine.training.forward.padded import PaddedPath
from lora_engine.training.forward.select import choose_path
from lora_engine.training.loop import (
    Callbacks,
    Steps,
    TrainingData,
    TrainingProgress,
)
from lora_engine.training.models import adapter_model
from lora_engine.training.objectives.supervised import Supervised
from lora_engine.training.optimizers import factory
from lora_engine.training.plan import make_plan
from tests.tiny import save_tiny_model

NO_DROPOUT = {
    "gpt2": {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
    "phi": {"attention_dropout": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
}
CASES = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral-window": ("mistral", {"sliding_window": 9}),
    "gemma": ("gemma", {}),
    "gemma2-window-softcap": ("gemma2", {"head_dim": 16, "sliding_window": 9}),
    "gpt2": ("gpt2", NO_DROPOUT["gpt2"]),
    "phi": ("phi", NO_DROPOUT["phi"]),
}

STEPS = 6


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def folder(case: str):
        if case not in made:
            architecture, changes = CASES[case]
            path = tmp_path_factory.mktemp("models") / case
            made[case] = save_tiny_model(path, architecture, **changes)
        return made[case]

    return folder


def random_rows(count: int, vocabulary: int = 300, longest: int = 40) -> list[TokenizedRow]:
    """Rows of 5 to `longest` tokens, the first part unsupervised."""
    source = random.Random(7)
    rows = []
    for number in range(count):
        length = source.randint(5, longest)
        ids = tuple(source.randrange(vocabulary) for _ in range(length))
        asked = source.randint(1, length - 2)
        rows.append(TokenizedRow(number, ids, (IGNORED,) * asked + ids[asked:], False))
    return rows


def make_spec(**method):
    return spec_from(
        {
            "method": {"rank": 4, **method},
            "optimization": {
                "learning_rate": 0.01,
                "batch_size": 4,
                "max_steps": STEPS,
                "warmup_ratio": 0.0,
                "schedule": "constant",
            },
        }
    )


def adapted(folder, spec, dtype=torch.float32):
    """A model with its adapter, the same each time; B is not zero, so that all of it shows."""
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    model = adapter_model.add_adapter(base, spec.method, quantized=False)
    for name, parameter in factory.trained_parameters(model).items():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def our_losses(path, spec, rows) -> list[float]:
    losses = []
    callbacks = Callbacks(
        on_step=lambda row: losses.append(row.loss),
        save_checkpoint=lambda _: None,
        memory_bytes=lambda: 0,
    )
    optimizer = factory.make_optimizer(path.model, spec.method, spec.optimization)
    plan = make_plan([len(row.input_ids) for row in rows], spec.optimization, spec.seed)
    data = TrainingData(rows, [], plan)
    steps = Steps(
        Supervised(path), optimizer, data, spec.optimization, TrainingProgress(), callbacks
    )
    while not steps.are_done:
        steps.make()
    return losses


def trainer_losses(model, spec, rows, folder) -> list[float]:
    """Plain Trainer on the same rows in the plan's order."""
    plan = make_plan([len(row.input_ids) for row in rows], spec.optimization, spec.seed)
    order = [i for step in range(1, STEPS + 1) for batch in plan.batches(step) for i in batch]
    collate = PaddedPath(model, 0, "cpu").collate

    def collator(examples):
        batch = collate(examples)
        return {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "labels": batch.labels,
        }

    losses = []

    class Recording(Trainer):
        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def training_step(self, *arguments, **keywords):
            loss = super().training_step(*arguments, **keywords)
            losses.append(float(loss))
            return loss

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=4,
        max_steps=STEPS,
        learning_rate=0.01,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        report_to=[],
        save_strategy="no",
        remove_unused_columns=False,
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="no",
    )
    data = [rows[i] for i in order]
    Recording(model, arguments, train_dataset=data, data_collator=collator).train()
    return losses


@pytest.mark.parametrize("case", CASES)
def test_losses_are_those_of_trainer(case, folders, tmp_path):
    rows, spec = random_rows(24), make_spec()
    expected = trainer_losses(adapted(folders(case), spec), spec, rows, tmp_path)
    path = choose_path(adapted(folders(case), spec), rows, 0, "cpu")
    assert isinstance(path, PackedPath), path.description
    assert path.chunked_head is (case != "gemma2-window-softcap")
    assert our_losses(path, spec, rows) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("case", ["llama", "qwen2", "qwen3", "mistral-window"])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_the_last_layer_computes_what_predicts(case, checkpointed, folders):
    """Its MLP sees as many tokens as are supervised, and the gradients are those of all tokens."""
    rows, spec = random_rows(4), make_spec()
    model = adapted(folders(case), spec)
    path = choose_path(model, rows, 0, "cpu")
    assert isinstance(path, PackedPath)
    assert path.trims_last_layer
    model.train()
    if checkpointed:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    last = path.causal_lm.base_model.layers[-1]
    seen: list[int] = []
    last.mlp.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape[1]))
    found = {}
    for trims in (False, True):
        model.zero_grad()
        batch = path.collate(rows)
        replace(path, trims_last_layer=trims).summed_loss(batch).backward()
        trained = factory.trained_parameters(model)
        found[trims] = {name: one.grad.clone() for name, one in trained.items()}
    passes = 2 if checkpointed else 1  # a checkpointed layer is computed again
    assert seen == [batch.tokens] * passes + [batch.supervised] * passes
    for name, gradient in found[True].items():
        torch.testing.assert_close(gradient, found[False][name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_batch_without_a_supervised_token_has_no_loss(folders):
    rows, spec = random_rows(2), make_spec()
    path = choose_path(adapted(folders("llama"), spec), rows, 0, "cpu")
    asked = [replace(row, labels=(IGNORED,) * len(row.labels)) for row in rows]
    loss = path.summed_loss(path.collate(asked))
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_padded_path(case, folders):
    rows, spec = random_rows(4), make_spec()
    plain = PaddedPath(adapted(folders(case), spec), 0, "cpu")
    packed = choose_path(adapted(folders(case), spec), rows, 0, "cpu")
    gradients = []
    for path in (plain, packed):
        path.summed_loss(path.collate(rows)).backward()
        trained = factory.trained_parameters(path.model)
        gradients.append({name: p.grad for name, p in trained.items()})
    for name, expected in gradients[0].items():
        difference = (gradients[1][name] - expected).norm() / expected.norm()
        assert difference < 1e-4, name
    assert evaluate(packed, rows, 3) == pytest.approx(evaluate(plain, rows, 3), rel=1e-5)
