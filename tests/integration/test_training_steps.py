"""Optimizers, checkpointed gradients, the best evaluation kept: each seen by what it does."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from lora_engine.base_models import load_base_model, resolve_base_model
from lora_engine.run_folder import RunDirectory
from lora_engine.training.checkpointing.checkpoints import checkpoint_of_step
from lora_engine.training.models import assemble
from lora_engine.training.optimizers import factory
from lora_engine.training.preparation import prepare
from tests.training_runs import losses, tiny_spec, train_here

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tiny_llama, rows_file, settings, tmp_path):
    numbers = itertools.count()

    def train(**changes):
        spec = tiny_spec(tiny_llama, rows_file, **changes)
        return train_here(spec, tmp_path / f"run-{next(numbers)}", settings)

    return train


@pytest.fixture
def built(tiny_llama, rows_file, settings, tmp_path):
    """What trains, its forward path and the prepared run, before the first step."""
    numbers = itertools.count()

    def build(**changes):
        directory = RunDirectory(tmp_path / f"built-{next(numbers)}")
        directory.create(tiny_spec(tiny_llama, rows_file, **changes))
        prepared = prepare(directory, settings)
        trained_model = assemble.build_trained_model(prepared, fresh=True)
        return prepared, trained_model, assemble.build_forward_path(prepared, trained_model)

    return build


def state_after_a_step(prepared, trained_model, path) -> dict[str, torch.Tensor]:
    optimizer = factory.make_optimizer(
        trained_model.model, prepared.spec.method, prepared.spec.optimization
    )
    path.summed_loss(path.collate(prepared.data.training[:4])).backward()
    optimizer.step()
    return factory.optimizer_tensors(optimizer)


WIDE = {"rank": 64, "target_modules": ["q_proj", "o_proj"]}


def test_eight_bit_state_is_bytes_and_learns_as_float_does(run, built):
    changes = {"optimization": {"optimizer": "adamw_8bit"}, "method": WIDE}
    state = state_after_a_step(*built(**changes))
    large = [t for name, t in state.items() if name.endswith(".state1") and t.numel() >= 4096]
    assert large
    assert {t.dtype for t in large} == {torch.uint8}
    eight_bit, _ = run(**changes)
    plain, _ = run(method=WIDE)
    assert losses(eight_bit)[1] == losses(plain)[1]
    assert losses(eight_bit) != losses(plain)
    assert losses(eight_bit)[8] == pytest.approx(losses(plain)[8], rel=0.1)


def test_adafactor_keeps_a_row_and_a_column_and_learns(run, built):
    changes = {"optimization": {"optimizer": "adafactor"}}
    state = state_after_a_step(*built(**changes))
    moments = [t for name, t in state.items() if ".exp_avg_sq" in name]
    assert moments
    assert all(t.ndim == 1 for t in moments)
    directory, _ = run(**changes)
    assert losses(directory)[8] < 0.9 * losses(directory)[1]


@pytest.mark.parametrize("method", [{}, {"dropout": 0.1}, {"finetuning_type": "full"}])
def test_checkpointed_gradients_keep_less_and_give_the_same_losses(run, built, method):
    on = {"optimization": {"gradient_checkpointing": True}, "method": method}
    with_it, without = run(**on)[0], run(method=method)[0]
    assert losses(with_it) == pytest.approx(losses(without), rel=1e-5)

    def kept_bytes(changes) -> int:
        prepared, _, path = built(**changes)
        path.model.train()
        seen: dict[int, int] = {}

        def pack(tensor):
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            path.summed_loss(path.collate(prepared.data.training[:4]))
        return sum(seen.values())

    assert kept_bytes(on) < 0.7 * kept_bytes({"method": method})


def test_the_best_evaluation_becomes_the_adapter(run, tiny_llama, settings):
    """A learning rate that overshoots: the best evaluation is not the last."""
    changes = {"learning_rate": 0.3, "eval_every": 1, "save_every": 4, "schedule": "constant"}
    directory, progress = run(optimization={**changes, "save_best": True, "max_steps": 10})
    evaluations = {row.step: row.eval_loss for row in directory.metrics()}
    best = min(evaluations, key=evaluations.get)
    assert best < 10
    assert (progress.best_step, progress.saved_step) == (best, best)
    checkpoint = checkpoint_of_step(directory.checkpoints_path, best)
    saved = load_file(directory.adapter_path / "adapter_model.safetensors")
    for name, tensor in saved.items():
        assert torch.equal(tensor, checkpoint.trained[name.replace(".weight", ".default.weight")])
    kept = {path.name for path in directory.checkpoints_path.iterdir()}
    assert f"step-{best}" in kept
    assert len(kept) <= 3

    last, progress = run(optimization={**changes, "max_steps": 10})
    assert progress.saved_step == 10
    other = load_file(last.adapter_path / "adapter_model.safetensors")
    assert any(not torch.equal(other[name], saved[name]) for name in saved)


def test_early_stopping_ends_a_run_that_gets_no_better(run):
    changes = {"learning_rate": 0.3, "eval_every": 1, "schedule": "constant"}
    directory, progress = run(optimization={**changes, "early_stopping": 2, "max_steps": 30})
    evaluations = [row.eval_loss for row in directory.metrics()]
    assert progress.step < 30
    assert min(evaluations) == evaluations[-3]


@pytest.mark.parametrize(
    "quantization",
    [{"bits": 4, "type": "nf4", "double": True}, {"bits": 8}],
    ids=["nf4-double", "int8"],
)
def test_qlora_trains_on_a_base_in_few_bits(quantization, rows_file, settings, tmp_path):
    """On the starter: the base is really quantized, the loss falls, the adapter loads back."""
    spec = tiny_spec(
        "starter",
        "starter:pirate",
        quantization=quantization,
        optimization={"max_steps": 6, "learning_rate": 0.003, "eval_every": 100},
    )
    directory, _ = train_here(spec, tmp_path / "run", settings)
    seen = losses(directory)
    assert seen[6] < 0.9 * seen[1]
    assert [row.eval_loss for row in directory.metrics()][-1] < seen[1]

    base = resolve_base_model("starter", settings)
    quantized = load_base_model(base, "cpu", torch.float32, spec.quantization)
    weights = quantized.model.layers[0].self_attn.q_proj.weight
    assert weights.dtype == (torch.uint8 if quantization["bits"] == 4 else torch.int8)
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        before = quantized(tokens).logits
        after = PeftModel.from_pretrained(quantized, directory.adapter_path)(tokens).logits
    assert (after - before).abs().max() > 1e-2
    config = json.loads((directory.adapter_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"


def test_loftq_starts_nearer_to_the_base_than_its_four_bits(settings, tmp_path):

    spec = tiny_spec(
        "starter",
        "starter:pirate",
        quantization={"bits": 4, "type": "nf4", "double": True},
        method={"init": "loftq", "rank": 16},
        optimization={"max_steps": 3},
    )
    directory = RunDirectory(tmp_path / "run")
    directory.create(spec)
    prepared = prepare(directory, settings)
    trained_model = assemble.build_trained_model(prepared, fresh=True)
    whole = load_base_model(prepared.base, "cpu", torch.float32)
    plain = load_base_model(prepared.base, "cpu", torch.float32, spec.quantization)
    tokens = torch.tensor([prepared.data.training[0].input_ids])
    with torch.no_grad():
        expected = whole(tokens).logits
        lost = (plain(tokens).logits - expected).norm()
        left = (trained_model.model(tokens).logits - expected).norm()
    assert left < 0.9 * lost
