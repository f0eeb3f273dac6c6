"""The methods of PEFT that are not LoRA, against PEFT: the same start gives the same losses.

The reference is transformers' Trainer on a model that PEFT made from a configuration written here.
Bottleneck layers, which PEFT lacks, are held to their formula.
"""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lora_engine.adapters import check_other_adapter
from lora_engine.adapters.bottleneck_layers import in_place, load_bottleneck, read_bottleneck
from lora_engine.adapters.other_weights import read_other
from lora_engine.base_models import resolve_base_model
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from lora_engine.training.forward.select import causal_lm_of, choose_path
from lora_engine.training.models.other_model import OtherModel, add_other
from tests.parity.test_training_forward import make_spec, our_losses, random_rows, trainer_losses
from tests.tiny import save_tiny_model

COMMON = {"task_type": "CAUSAL_LM"}
TEXT = "The sky is blue."
# Our fields, and the configuration that PEFT should be given for them, by our name of the method.
CASES = {
    "prefix": (
        {"virtual_tokens": 5},
        lambda _: peft.PrefixTuningConfig(num_virtual_tokens=5, **COMMON),
    ),
    "prefix projected": (
        {"virtual_tokens": 5, "prefix_projection": True, "encoder_size": 24},
        lambda _: peft.PrefixTuningConfig(
            num_virtual_tokens=5, prefix_projection=True, encoder_hidden_size=24, **COMMON
        ),
    ),
    "prompt": (
        {"virtual_tokens": 6},
        lambda _: peft.PromptTuningConfig(
            num_virtual_tokens=6, prompt_tuning_init="SAMPLE_VOCAB", **COMMON
        ),
    ),
    "prompt from text": (
        {"virtual_tokens": 9, "prompt_text": TEXT},
        lambda base: peft.PromptTuningConfig(
            num_virtual_tokens=9,
            prompt_tuning_init="TEXT",
            prompt_tuning_init_text=TEXT,
            tokenizer_name_or_path=str(base),
            **COMMON,
        ),
    ),
    "p_tuning": (
        {"virtual_tokens": 4, "encoder_size": 24},
        lambda _: peft.PromptEncoderConfig(num_virtual_tokens=4, encoder_hidden_size=24, **COMMON),
    ),
    "ia3": ({}, lambda _: peft.IA3Config(**COMMON)),
    "vera": (
        {"rank": 12, "projection_seed": 3, "vera_d_initial": 0.5},
        lambda _: peft.VeraConfig(
            r=12, projection_prng_key=3, d_initial=0.5, target_modules="all-linear", **COMMON
        ),
    ),
    "loha": (
        {"rank": 4, "alpha": 8.0},
        lambda _: peft.LoHaConfig(r=4, alpha=8, target_modules="all-linear", **COMMON),
    ),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "llama")


def loaded(base, dtype=torch.float32):
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_pretrained(base, dtype=dtype)


def ours(base, dtype=torch.float32, **method) -> OtherModel:
    spec, model = make_spec(**method), loaded(base, dtype)
    return add_other(model, spec.method, False, AutoTokenizer.from_pretrained(base))


def unpacked(made: OtherModel):
    """The model with the attention that a row by itself has."""
    causal_lm_of(made.model).set_attn_implementation("sdpa")
    return made.model.eval()


def method_of(case: str) -> dict:
    return {"finetuning_type": case.split()[0], **CASES[case][0]}


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    """By case: our losses, the forward path in words, the trained model, and its saved folder."""
    done = {}

    def train(case: str):
        if case not in done:
            spec, made = make_spec(**method_of(case)), ours(base, **method_of(case))
            path = choose_path(made.model, random_rows(24), 0, "cpu")
            losses = our_losses(path, spec, random_rows(24))
            folder = tmp_path_factory.mktemp(case.replace(" ", "-")) / "adapter"
            made.save(folder, b"{}")
            done[case] = losses, path.description, made, folder
        return done[case]

    return train


@pytest.mark.parametrize("case", CASES)
def test_the_losses_are_those_of_trainer_on_peft(base, trained, tmp_path, case):
    losses, path, made, _ = trained(case)
    reference = peft.get_peft_model(loaded(base), CASES[case][1](base))
    expected = trainer_losses(reference, make_spec(**method_of(case)), random_rows(24), tmp_path)
    assert losses == pytest.approx(expected, abs=1e-4)
    fresh = ours(base, **method_of(case)).tensors()
    assert all((made.tensors()[name] - start).abs().max() > 0.01 for name, start in fresh.items())
    assert ("virtual tokens" in path) == (case.split()[0] in ("prefix", "prompt", "p_tuning"))


@pytest.mark.parametrize("case", CASES)
def test_peft_loads_what_was_saved(base, trained, tmp_path, case):
    _, _, made, folder = trained(case)
    inputs = AutoTokenizer.from_pretrained(base)("What colour is the sky?", return_tensors="pt")
    reloaded = peft.PeftModel.from_pretrained(loaded(base), folder).eval()
    with torch.no_grad():
        own = unpacked(made)(**inputs).logits
        assert torch.allclose(reloaded(**inputs).logits, own, atol=1e-5)
    check = check_other_adapter(folder, resolve_base_model(str(base), Settings(data_dir=tmp_path)))
    assert check.config.kind == method_of(case)["finetuning_type"]


def test_bottlenecks_start_unchanged_and_compute_their_formula(base):
    made, bare = ours(base, finetuning_type="bottleneck", bottleneck_size=8), loaded(base)
    ids = torch.arange(12)[None]
    with torch.no_grad():
        assert torch.equal(made.model(ids).logits, bare(ids).logits)
    layer = made.layers["model.layers.1.mlp"]
    torch.nn.init.normal_(layer.up.weight, std=0.2)
    x = torch.randn(3, 64)
    inner = torch.nn.functional.gelu(x @ layer.down.weight.T + layer.down.bias)
    assert torch.allclose(layer(x), x + inner @ layer.up.weight.T + layer.up.bias, atol=1e-6)
    assert len(made.layers) == 4  # two in each of the two layers
    each = 2 * 8 * 64 + 64 + 8
    assert sum(p.numel() for p in made.model.parameters() if p.requires_grad) == 4 * each


@pytest.mark.parametrize("architecture", ["gpt2", "phi", "qwen2_moe"])
def test_bottlenecks_find_attention_and_mlp_elsewhere(tmp_path, architecture):
    folder = save_tiny_model(tmp_path / architecture, architecture)
    assert len(ours(folder, finetuning_type="bottleneck").layers) == 4


def test_packed_bottlenecks_train_as_padded_ones(base, tmp_path):
    from lora_engine.training.forward.padded import PaddedPath

    spec = make_spec(finetuning_type="bottleneck", bottleneck_size=8, bottleneck_activation="relu")
    rows, method = random_rows(24), spec.method.model_dump(exclude_unset=True)
    packed, padded = ours(base, **method), ours(base, **method)
    path = choose_path(packed.model, rows, 0, "cpu")
    assert "packed" in path.description
    expected = our_losses(PaddedPath(padded.model, 0, "cpu"), spec, rows)
    assert our_losses(path, spec, rows) == pytest.approx(expected, abs=1e-4)
    packed.save(tmp_path / "adapter", b"{}")
    _assert_loads(base, tmp_path / "adapter", packed)


def _assert_loads(base, folder, made):
    """Both loaders give the trained model's logits, and PEFT refuses the folder by its name."""
    ids = torch.arange(12)[None]
    layers = read_bottleneck(read_other(folder))
    bare = loaded(base)
    with torch.no_grad():
        trained = unpacked(made)(ids).logits
        before = bare(ids).logits
        with in_place(bare, layers):
            assert torch.allclose(bare(ids).logits, trained, atol=1e-5)
        assert torch.equal(bare(ids).logits, before)
        assert not torch.allclose(before, trained, atol=1e-3)
        for_good = load_bottleneck(loaded(base), folder)
        assert torch.allclose(for_good(ids).logits, trained, atol=1e-5)
    with pytest.raises((KeyError, ValueError), match="RANKSCOPE_BOTTLENECK"):
        peft.PeftModel.from_pretrained(loaded(base), folder)
    other = AutoModelForCausalLM.from_config(bare.config.__class__(num_hidden_layers=1))
    with pytest.raises(EngineError, match=r"model\.layers\.1"):
        load_bottleneck(other, folder)


@pytest.mark.parametrize("case", ["prefix", "prompt", "ia3", "vera", "loha", "bottleneck"])
def test_a_base_in_bfloat16_trains_float32_weights(base, case):
    made = ours(base, torch.bfloat16, finetuning_type=case, rank=4, virtual_tokens=3)
    spec = make_spec(finetuning_type=case)
    dtypes = {p.dtype for p in made.model.parameters() if p.requires_grad}
    assert dtypes == {torch.float32}
    path = choose_path(made.model, random_rows(8), 0, "cpu")
    losses = our_losses(path, spec, random_rows(8))
    assert losses[0] == pytest.approx(5.9, abs=0.5)


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        *((name, "prefix") for name in ("qwen3", "gpt2", "gemma")),
        *((name, "ia3") for name in ("gpt2", "phi", "qwen2_moe")),
        ("gpt2", "prompt"),
        ("gpt2", "vera"),
    ],
)
def test_other_architectures_have_places(tmp_path, architecture, kind):
    sizes = {"head_dim": 16} if architecture == "qwen3" else {}
    folder = save_tiny_model(tmp_path / architecture, architecture, **sizes)
    made = ours(folder, finetuning_type=kind, rank=4, virtual_tokens=3)
    path = choose_path(made.model, random_rows(8), 0, "cpu")
    batch = path.collate(random_rows(8))
    path.summed_loss(batch).backward()
    assert all(p.grad is not None for p in made.model.parameters() if p.requires_grad)
