"""A run that goes on from an adapter is PEFT's own adapter, trained further: the same losses."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from peft import LoraConfig, PeftModel
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from lora_engine.base_models import resolve_base_model
from lora_engine.training.learning_rate_schedule import learning_rate_at
from lora_engine.training.preflight import check_run
from lora_engine.training.preparation import prepare
from tests.adapter_forms import make
from tests.tiny import save_tiny_model
from tests.training_runs import losses, tiny_spec, train_here

STEPS = 5
ATTENTION = ["q_proj", "v_proj"]

FORMS = {
    "plain": {"r": 4, "lora_alpha": 12, "target_modules": ATTENTION},
    "rslora": {"r": 4, "lora_alpha": 8, "use_rslora": True, "target_modules": ["up_proj"]},
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": [*ATTENTION, "down_proj"],
        "rank_pattern": {"v_proj": 2, "layers.0.mlp.down_proj": 6},
        "alpha_pattern": {"layers.0.mlp.down_proj": 3},
    },
    "a pattern that only PEFT knows": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": r".*\.(q|o)_proj",
        "rank_pattern": {r"^model\.layers\.[0]\..*q_proj": 2},
    },
    "some layers": {"r": 2, "target_modules": ATTENTION, "layers_to_transform": [1]},
    "dora": {"r": 4, "use_dora": True, "target_modules": ATTENTION},
    "bias on b": {"r": 4, "lora_bias": True, "target_modules": ATTENTION},
    "embeddings": {"r": 4, "target_modules": ["embed_tokens", "q_proj"]},
    "whole modules": {"r": 4, "target_modules": ATTENTION, "modules_to_save": ["norm"]},
}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2") / "tiny-gpt2"
    return save_tiny_model(folder, "gpt2", attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)


@pytest.fixture
def going_on(settings, rows_file, tmp_path):
    """The directory and progress of a run that goes on from an adapter, and its spec."""

    def train(base, adapter, **method):
        spec = check_run(
            tiny_spec(
                base,
                rows_file,
                method={"init_from": str(adapter), **method},
                optimization={"max_steps": STEPS, "gradient_accumulation": 2},
            ),
            settings,
        )
        return spec, *train_here(spec, tmp_path / "going-on", settings)

    return train


def losses_under_peft(base, adapter, directory, settings):
    """The losses of the same steps with PeftModel.from_pretrained and plain torch."""
    run = prepare(directory, settings)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), adapter, is_trainable=True
    ).train()
    before = mean_loss(model, run.data.evaluation)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=0.0)
    found = {}
    for step in range(1, run.plan.total_steps + 1):
        rate = learning_rate_at(step, run.plan.total_steps, run.spec.optimization)
        optimizer.param_groups[0]["lr"] = rate
        rows = [run.data.training[i] for batch in run.plan.batches(step) for i in batch]
        loss = mean_loss(model, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, run.spec.optimization.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        found[step] = float(loss.detach())
    return float(before.detach()), found


def mean_loss(model, rows):
    """Over the supervised tokens of rows, one row a forward pass."""
    total, count = 0.0, 0
    for row in rows:
        labels = torch.tensor(row.labels)
        logits = model(torch.tensor([row.input_ids])).logits[0, :-1].float()
        total = total + cross_entropy(logits, labels[1:], ignore_index=-100, reduction="sum")
        count += int((labels[1:] != -100).sum())
    return total / count


@pytest.mark.parametrize("form", FORMS)
def test_the_losses_are_those_of_peft(tiny_llama, going_on, settings, tmp_path, form):
    base = resolve_base_model(str(tiny_llama), settings)
    make(base, tmp_path / "given", LoraConfig(task_type="CAUSAL_LM", **FORMS[form]))
    _, directory, progress = going_on(tiny_llama, tmp_path / "given")
    before, expected = losses_under_peft(tiny_llama, tmp_path / "given", directory, settings)
    assert losses(directory) == pytest.approx(expected, abs=1e-5)
    assert progress.start_eval_loss == pytest.approx(before, abs=1e-5)


def test_a_gpt2_goes_on_as_well(gpt2, going_on, settings, tmp_path):
    base = resolve_base_model(str(gpt2), settings)
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn"], fan_in_fan_out=True)
    make(base, tmp_path / "given", config)
    _, directory, _ = going_on(gpt2, tmp_path / "given")
    _, expected = losses_under_peft(gpt2, tmp_path / "given", directory, settings)
    assert losses(directory) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "method",
    [
        {"rank": 4},
        {"init": "pissa", "rank": 4, "target_modules": ATTENTION},
        {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "dropout": 0.1},
        {"modules_to_save": ["lm_head"], "target_modules": ["q_proj"], "bias": "all"},
    ],
    ids=["all-linear", "pissa", "rank pattern", "whole head"],
)
def test_it_starts_where_the_run_before_it_ended(tiny_llama, rows_file, settings, going_on, method):
    """Its first evaluation is the last one of the run before, and its provenance names that run."""
    folder = settings.runs_dir / "20260101-000000-aaaaaaaaaa"
    before = tiny_spec(tiny_llama, rows_file, method=method)
    first, at_end = train_here(before, folder, settings)
    spec, directory, progress = going_on(tiny_llama, first.adapter_path)
    assert progress.start_eval_loss == pytest.approx(at_end.last_eval_loss, abs=1e-5)
    assert spec.method.init_from == folder.name
    provenance = json.loads((directory.adapter_path / "provenance.json").read_text("utf-8"))
    content = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        content.update((first.adapter_path / name).read_bytes())
    assert provenance["init_from"] == {"adapter": folder.name, "sha256": content.hexdigest()}
    rank = json.loads((first.adapter_path / "adapter_config.json").read_text("utf-8"))["r"]
    assert spec.method.rank == rank


def test_a_run_on_a_4_bit_base_goes_on(tiny_llama, rows_file, settings, tmp_path):
    four_bit = {"quantization": {"bits": 4}, "method": {"target_modules": ["q_proj", "o_proj"]}}
    first, at_end = train_here(
        tiny_spec(tiny_llama, rows_file, **four_bit), tmp_path / "a", settings
    )
    spec = tiny_spec(
        tiny_llama,
        rows_file,
        quantization={"bits": 4},
        method={"init_from": str(first.adapter_path)},
    )
    _, progress = train_here(check_run(spec, settings), tmp_path / "b", settings)
    assert progress.start_eval_loss == pytest.approx(at_end.last_eval_loss, abs=1e-4)
