"""Starts that move the base: the saved adapter, on the original base, is the trained model."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from lora_engine.run_folder import RunDirectory
from lora_engine.training import train_run
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.models import assemble
from lora_engine.training.models.adapter_model import AdaptedModel
from lora_engine.training.models.lora_init import adapted_linears
from lora_engine.training.preparation import prepare
from tests.tiny import save_tiny_model
from tests.training_runs import losses, tiny_spec

QUESTION = "<|user|>What colour is thing 3?<eos><|assistant|>Blue"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def folder(architecture: str):
        if architecture not in made:
            path = tmp_path_factory.mktemp("models") / architecture
            made[architecture] = save_tiny_model(path, architecture)
        return made[architecture]

    return folder


@pytest.fixture
def train(rows_file, settings, tmp_path, monkeypatch):
    """Trains a spec; answers with the trained model's logits and its saved adapter's folder."""

    def run(base, **changes) -> tuple[torch.Tensor, RunDirectory, AdaptedModel]:
        directory = RunDirectory(tmp_path / "run")
        directory.create(tiny_spec(base, rows_file, **changes))
        kept = []
        build = assemble.build_trained_model
        monkeypatch.setattr(
            train_run,
            "build_trained_model",
            lambda *a, **k: kept.append(build(*a, **k)) or kept[-1],
        )
        train_run.train_prepared(
            prepare(directory, settings), False, TrainingProgress(), lambda: False
        )
        (trained_model,) = kept
        trained_model.model.get_base_model().set_attn_implementation("sdpa")
        return logits_of(trained_model.model), directory, trained_model

    return run


def logits_of(model) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(model.config._name_or_path)
    tokens = torch.tensor([tokenizer(QUESTION).input_ids])
    model.eval()
    with torch.no_grad():
        return model(input_ids=tokens, use_cache=False).logits


CASES = {
    "pissa": ("llama", {"init": "pissa"}),
    "olora": ("llama", {"init": "olora"}),
    "pissa-patterns-rslora": (
        "llama",
        {"init": "pissa", "use_rslora": True, "rank_pattern": {"q_proj": 4},
         "alpha_pattern": {"v_proj": 5.0}},
    ),
    "pissa-dora": ("llama", {"init": "pissa", "use_dora": True}),
    "pissa-bias": ("llama", {"init": "pissa", "lora_bias": True}),
    "olora-conv1d": ("gpt2", {"init": "olora"}),
    "pissa-conv1d-biases": ("gpt2", {"init": "pissa", "bias": "lora_only"}),
    "rank-over-a-gate-of-one-output": ("qwen2_moe", {"init": "pissa"}),
    "eva": ("llama", {"init": "eva"}),
    "gaussian": ("llama", {"init": "gaussian"}),
    "orthogonal": ("llama", {"init": "orthogonal"}),
    "embeddings": ("llama", {"target_modules": ["embed_tokens", "q_proj"], "init": "pissa"}),
    "biases": ("qwen2", {"bias": "all"}),
    "head": ("llama", {"modules_to_save": ["lm_head"]}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_adapter_on_the_original_base_is_the_trained_model(case, folders, train):
    architecture, method = CASES[case]
    base = folders(architecture)
    trained, directory, _ = train(base, method=method)
    fresh = AutoModelForCausalLM.from_pretrained(base)
    before = logits_of(fresh)
    loaded = logits_of(PeftModel.from_pretrained(fresh, directory.adapter_path))
    effect = (trained - before).norm()
    assert effect > 0.05 * before.norm()
    assert (loaded - trained).norm() < 1e-4 * effect
    seen = losses(directory)
    assert seen[8] < seen[1]


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_the_start_is_the_weights_main_part_and_leaves_the_model_as_it_was(
    init, folders, rows_file, settings, tmp_path
):
    """Against the definitions: the best rank-r part (SVD), the first r of QR."""
    base = folders("llama")
    directory = RunDirectory(tmp_path / "run")
    directory.create(tiny_spec(base, rows_file, method={"init": init, "rank": 4}))
    trained_model = assemble.build_trained_model(prepare(directory, settings), fresh=True)
    fresh = AutoModelForCausalLM.from_pretrained(base)
    assert torch.allclose(logits_of(trained_model.model), logits_of(fresh), atol=1e-5)
    for name, module in adapted_linears(trained_model.model):
        weight = fresh.get_submodule(name.removeprefix("base_model.model.")).weight.detach()
        a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
        if init == "pissa":
            values = torch.linalg.svdvals(weight)
            rest = torch.linalg.svdvals(weight - module.scaling["default"] * b @ a)
            assert torch.allclose(rest[: len(values) - 4], values[4:], atol=1e-5)
        else:
            assert torch.allclose(b.T @ b, torch.eye(4), atol=1e-5)
            assert torch.allclose(b @ a, b @ b.T @ weight, atol=1e-5)


def test_eva_starts_in_the_directions_of_the_inputs(folders, rows_file, settings, tmp_path):
    """The first layer's q_proj sees normed embeddings of the supervised tokens: A spans their
    main directions, better than a random A of the same rank would."""
    directory = RunDirectory(tmp_path / "run")
    method = {"init": "eva", "rank": 4, "target_modules": ["q_proj"]}
    directory.create(tiny_spec(folders("llama"), rows_file, method=method))
    ready = prepare(directory, settings)
    trained_model = assemble.build_trained_model(ready, fresh=True)
    _, module = next(adapted_linears(trained_model.model))
    a = module.lora_A["default"].weight.detach()
    assert torch.allclose(a @ a.T, torch.eye(4), atol=1e-4)
    assert not module.lora_B["default"].weight.any()
    decoder = trained_model.model.get_base_model().model
    ids = [i for row in ready.data.training for i in row.labels if i >= 0]
    inputs = decoder.layers[0].input_layernorm(decoder.embed_tokens(torch.tensor(ids))).detach()
    best = torch.linalg.svd(inputs, full_matrices=False)
    kept = (inputs @ a.T).square().sum() / inputs.square().sum()
    most = best.S[:4].square().sum() / best.S.square().sum()
    assert kept > 0.9 * most
