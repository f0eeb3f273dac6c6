"""Runs that train together come out as each would alone: curve, adapter, checkpoints, result."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from lora_engine.run_folder import is_alive
from lora_engine.training.checkpointing.checkpoints import newest_valid_checkpoint
from tests.training_runs import tiny_spec, train_here, train_together_here

STEPS = 6
# Ranks, scalings, targets, rates, optimizers, batches, lengths and seeds that differ.
VARIANTS = {
    "r2": {"method": {"rank": 2}},
    "r8": {"method": {"rank": 8, "alpha": 4.0}, "optimization": {"learning_rate": 0.003}},
    "r16": {
        "method": {"rank": 16, "use_rslora": True, "target_modules": ["q_proj", "down_proj"]},
        "optimization": {"gradient_accumulation": 2, "batch_size": 2, "schedule": "linear"},
    },
    "dropout": {"method": {"rank": 4, "dropout": 0.2}, "seed": 3},
    "dora": {"method": {"rank": 4, "use_dora": True, "dropout": 0.1}},
    "bias": {"method": {"rank": 4, "lora_bias": True, "loraplus_lr_ratio": 4.0}},
    "longer": {
        "method": {"rank": 4, "init": "eva"},
        "optimization": {"max_steps": STEPS + 3, "optimizer": "adafactor", "eval_every": 2},
        "seed": 3,
    },
}


def variant(base, rows, name, **optimization):
    changes = VARIANTS[name]
    given = {"max_steps": STEPS, "eval_every": 3, "save_every": 2}
    merged = {**given, **changes.get("optimization", {}), **optimization}
    return tiny_spec(base, rows, **{**changes, "optimization": merged})


def curve(directory):
    return {
        row.step: (row.loss, row.learning_rate, row.grad_norm, row.tokens, row.epoch)
        for row in directory.metrics()
    }


def evaluations(directory):
    return {row.step: row.eval_loss for row in directory.metrics() if row.eval_loss is not None}


def weights(directory):
    return load_file(directory.adapter_path / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def each_way(tmp_path_factory, tiny_llama):
    """Every variant alone, and all together: the directories by name."""
    from lora_engine.settings import Settings

    folder = tmp_path_factory.mktemp("together")
    rows = folder / "rows.jsonl"
    rows.write_text("\n".join(json.dumps(row) for row in chat_rows()), "utf-8")
    settings = Settings(data_dir=folder / "data", models_dir=folder / "models", device="cpu")
    specs = {name: variant(tiny_llama, rows, name) for name in VARIANTS}
    together = train_together_here(specs, folder / "together", settings)
    alone = {
        name: train_here(spec, folder / "alone" / name, settings)[0] for name, spec in specs.items()
    }
    return together, alone


def chat_rows():
    return [
        {
            "messages": [
                {"role": "user", "content": f"What colour is thing {number}?"},
                {"role": "assistant", "content": "Blue and green." if number % 2 else "Grass."},
            ]
        }
        for number in range(40)
    ]


@pytest.mark.parametrize("name", VARIANTS)
def test_each_comes_out_as_it_does_alone(each_way, name):
    """To the last bit: one after the other, each makes the very operations that it makes alone."""
    together, alone = (directories[name] for directories in each_way)
    assert curve(together) == curve(alone)
    assert evaluations(together) == evaluations(alone)
    adapter = weights(together)
    for tensor_name, tensor in weights(alone).items():
        assert torch.equal(adapter[tensor_name], tensor)


@pytest.mark.parametrize("name", VARIANTS)
def test_each_directory_holds_what_a_run_of_its_own_leaves(each_way, name):
    together, alone = each_way
    ours = together[name]
    result = ours.result()
    steps = VARIANTS[name].get("optimization", {}).get("max_steps", STEPS)
    assert (result.state, result.steps, result.saved_step) == ("finished", steps, steps)
    assert not is_alive(ours)
    found = newest_valid_checkpoint(ours.checkpoints_path)
    expected = newest_valid_checkpoint(alone[name].checkpoints_path)
    assert found.progress.step == steps
    assert found.identity == expected.identity
    assert torch.equal(found.optimizer["rng"], expected.optimizer["rng"])
    provenance = json.loads((ours.adapter_path / "provenance.json").read_text("utf-8"))
    assert provenance["run"] == name
