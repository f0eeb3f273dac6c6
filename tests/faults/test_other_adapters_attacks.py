"""Adapters that are not LoRA, as untrusted folders: each fault is refused by its name, unopened."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from lora_engine.adapters import AdapterLibrary, check_other_adapter, read_any_config, read_other
from lora_engine.base_models import resolve_base_model
from lora_engine.errors import EngineError, InvalidInput

BY_PEFT = {"task_type": "CAUSAL_LM", "base_model_name_or_path": "base"}
DOWN, KEY = "model.layers.0.mlp.down_proj", "model.layers.1.self_attn.k_proj"
PREFIX = "base_model.model."


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


# By kind: the configuration and the tensors of a sound adapter of the tiny Llama, which has 2
# layers of width 64, keys of 32 and an MLP of 128.
SOUND = {
    "prefix": (
        {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "token_dim": 32, "num_layers": 2,
         "num_attention_heads": 2},
        {"prompt_embeddings": ones(3, 128)},
    ),
    "prompt": (
        {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3, "token_dim": 64},
        {"prompt_embeddings": ones(3, 64)},
    ),
    "ia3": (
        {"peft_type": "IA3", "target_modules": ["k_proj", "down_proj"]},
        {f"{PREFIX}{KEY}.ia3_l": ones(32, 1), f"{PREFIX}{DOWN}.ia3_l": ones(1, 128)},
    ),
    "vera": (
        {"peft_type": "VERA", "r": 4},
        {f"{PREFIX}{KEY}.vera_lambda_b": ones(32), f"{PREFIX}{KEY}.vera_lambda_d": ones(4),
         "base_model.vera_A": ones(4, 64), "base_model.vera_B": ones(32, 4)},
    ),
    "loha": (
        {"peft_type": "LOHA", "r": 4, "alpha": 8},
        {f"{PREFIX}{KEY}.hada_w{n}_{side}": ones(32, 4) if side == "a" else ones(4, 64)
         for n in (1, 2) for side in "ab"},
    ),
    "bottleneck": (
        {"peft_type": "RANKSCOPE_BOTTLENECK", "bottleneck_size": 8, "activation": "gelu"},
        {f"{PREFIX}model.layers.0.mlp.bottleneck.{part}": ones(*shape) for part, shape in (
            ("down.weight", (8, 64)), ("down.bias", (8,)),
            ("up.weight", (64, 8)), ("up.bias", (64,)))},
    ),
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def write(kind, config=None, tensors=None):
        folder = tmp_path / f"{kind}-adapter"
        folder.mkdir()
        sound, arrays = SOUND[kind]
        document = {**BY_PEFT, **sound, **(config or {})}
        kept = {name: value for name, value in document.items() if value is not None}
        (folder / "adapter_config.json").write_text(json.dumps(kept), "utf-8")
        changed = {**arrays, **(tensors or {})}
        found = {name: value for name, value in changed.items() if value is not None}
        save_file(found, folder / "adapter_model.safetensors")
        return folder

    return write


@pytest.fixture
def base(tiny_llama, settings):
    return resolve_base_model(str(tiny_llama), settings)


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_one_passes_and_is_added(write, base, settings, kind):
    folder = write(kind)
    check = check_other_adapter(folder, base)
    assert (check.config.kind, len(check.warnings)) == (kind, 1)  # it names no fingerprint
    library = AdapterLibrary(settings)
    assert library.add(str(folder)).kind == kind
    assert [one.kind for one in library.list() if not one.bundled] == [kind]
    assert all(one.bundled for one in library.of_lora())
    code = library.loading_code(library.list()[0].name)
    assert ("load_bottleneck" in code) == (kind == "bottleneck")


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("prefix", {"num_virtual_tokens": 10**9}, "num_virtual_tokens"),
        ("prefix", {"num_layers": None}, "num_layers"),
        ("prompt", {"token_dim": "64"}, "token_dim"),
        ("prompt", {"num_transformer_submodules": 2}, "num_transformer_submodules"),
        ("ia3", {"target_modules": "(a+)+b"}, "target_modules"),
        ("ia3", {"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ("vera", {"r": 0}, "r: "),
        ("loha", {"alpha": float("nan")}, "finite number"),
        ("loha", {"rank_pattern": {"q": 2}}, "rank_pattern"),
        ("bottleneck", {"activation": "__import__('os')"}, "activation"),
        ("bottleneck", {"bottleneck_size": None}, "bottleneck_size"),
    ],
)
def test_a_configuration_that_is_wrong_is_refused_by_field(write, kind, changes, words):
    with pytest.raises(EngineError, match=words):
        read_any_config(write(kind, changes))


@pytest.mark.parametrize(
    ("kind", "changes", "remedy"),
    [
        ("ia3", {"modules_to_save": ["lm_head"]}, "merge_and_unload"),
        ("loha", {"alpha_pattern": {"q": 2}}, "merge_and_unload"),
        ("prompt", {"modules_to_save": ["lm_head"]}, "with PEFT"),
    ],
)
def test_what_is_read_of_lora_alone_comes_with_a_way_to_use_it(write, kind, changes, remedy):
    with pytest.raises(EngineError) as refused:
        read_any_config(write(kind, changes))
    assert next(iter(changes)) in refused.value.problem
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(
    ("kind", "tensors", "words"),
    [
        ("prefix", {"prompt_embeddings": ones(3, 64)}, r"\[3, 64\]"),
        ("prompt", {"other": ones(2)}, "'other'"),
        ("ia3", {f"{PREFIX}{KEY}.ia3_l": ones(4, 4)}, "ia3_l"),
        ("vera", {"base_model.vera_A": None}, "random factors"),
        ("vera", {"base_model.vera_B": ones(4, 32)}, "vera_B"),
        ("vera", {f"{PREFIX}{KEY}.vera_lambda_d": ones(5)}, r"\[5\]"),
        ("loha", {f"{PREFIX}{KEY}.hada_w2_b": None}, "hada_w2_b"),
        ("loha", {f"{PREFIX}{KEY}.hada_w2_a": ones(31, 4)}, r"\[31, 4\]"),
        ("loha", {f"{PREFIX}{KEY}.lora_A.weight": ones(4, 64)}, "lora_A"),
        ("bottleneck", {f"{PREFIX}model.embed_tokens.weight": ones(4, 64)}, "embed_tokens"),
        ("bottleneck", {f"{PREFIX}model.layers.0.mlp.bottleneck.up.weight": ones(64, 9)}, "64, 9"),
        ("prompt", {"prompt_embeddings": np.ones((3, 64), np.int8)}, "I8"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_key(write, kind, tensors, words):
    with pytest.raises(EngineError, match=words):
        read_other(write(kind, tensors=tensors))


@pytest.mark.parametrize(
    ("kind", "config", "tensors", "words"),
    [
        ("prompt", {"token_dim": 32}, {"prompt_embeddings": ones(3, 32)}, "width 32"),
        ("prefix", {"num_layers": 3}, {"prompt_embeddings": ones(3, 192)}, "3 layers"),
        ("ia3", {}, {f"{PREFIX}model.layers.7.mlp.down_proj.ia3_l": ones(1, 128)}, "layers.7"),
        ("ia3", {}, {f"{PREFIX}{KEY}.ia3_l": ones(48, 1)}, "48"),
        ("prompt", {}, {"prompt_embeddings": ones(3, 64) * np.inf}, "infinite"),
        ("prompt", {"task_type": "SEQ_CLS"}, {}, "classifier"),
    ],
)
def test_another_base_a_classifier_and_infinite_numbers_are_refused(
    write, base, kind, config, tensors, words
):
    with pytest.raises(EngineError, match=words):
        check_other_adapter(write(kind, config, tensors), base)


def test_one_that_is_broken_is_named_and_leaves_the_list_to_the_others(write, settings):
    library = AdapterLibrary(settings)
    library.add(str(write("ia3")))
    broken = settings.data_dir / "adapters" / "broken"
    write("vera", {"r": -1}).rename(broken)
    assert [one.kind for one in library.list() if not one.bundled] == ["ia3"]
    (unreadable,) = library.unreadable()
    assert unreadable.path == broken
    with pytest.raises(InvalidInput, match="r: "):
        library.add(str(broken), "again")


def test_random_factors_that_are_left_out_are_drawn_again_up_to_a_bound(write):
    left_out = {"base_model.vera_A": None, "base_model.vera_B": None}
    sound = read_other(write("vera", {"save_projection": False}, left_out))
    assert (sound.shared, sound.parameters) == ((), 36)
    (sound.path / "adapter_config.json").unlink()
    sound.path.rename(sound.path.with_name("before"))
    huge = {f"{PREFIX}{KEY}.vera_lambda_d": ones(60_000), **left_out}
    with pytest.raises(EngineError, match="60,000"):
        read_other(write("vera", {"save_projection": False, "r": 60_000}, huge))
