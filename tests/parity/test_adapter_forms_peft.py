"""Adapters in about a hundred forms: what Spectrum and Compare make of each, against PEFT itself.

A form is a configuration on an architecture, in a style of keys and a number type. PEFT makes and
saves it; the update and scaling read from the folder must be PEFT's, and the logits of Compare
those of `PeftModel.from_pretrained`. Forms that are no PEFT adapter are refused, naming whose they
are.
"""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma3Config,
    MixtralConfig,
    Qwen2MoeConfig,
)

from lora_engine.adapters.check import check_adapter
from lora_engine.adapters.library import resolve_adapter
from lora_engine.adapters.lora_config import keep_pattern_order, lora_config
from lora_engine.base_models import BaseModel
from lora_engine.compare.generate.adapter_settings import AdapterVariant
from lora_engine.compare.generate.adapter_switch import AdapterSwitch
from lora_engine.compare.generate.mixed_lora_layer import AdapterRows
from lora_engine.errors import EngineError
from lora_engine.spec import MethodSpec
from lora_engine.spectrum import describe_adapter, read_adapter, similarity
from tests.adapter_forms import (
    TOKENS,
    assert_is_peft_s,
    changed,
    compare_logits,
    load,
    logits_of,
    make,
    peft_updates,
)
from tests.compare_models import TINY

pytestmark = pytest.mark.filterwarnings("ignore")

SIZES = {**TINY, "vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GPT2 = {
    "vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
ARCHITECTURES = {
    "llama": AutoConfig.for_model("llama", **SIZES, attention_bias=True),
    "tied": AutoConfig.for_model("llama", **SIZES, tie_word_embeddings=True),
    "qwen2": AutoConfig.for_model("qwen2", **SIZES),
    "gpt2": AutoConfig.for_model("gpt2", **GPT2),
    "mixtral": MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2),
    "qwen2_moe": Qwen2MoeConfig(
        **SIZES,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
        shared_expert_intermediate_size=24,
    ),
}
ATTENTION = {"gpt2": ["c_attn", "c_proj"]}  # of the others: q_proj and v_proj
LAYER = {"gpt2": "h.1.attn.c_attn"}  # of the others: layers.1.self_attn.q_proj
NORM = {"gpt2": "ln_f"}

FEATURES = {
    "plain": {},
    "all-linear": {"target_modules": "all-linear"},
    "regex": {"target_modules": r".*\.(q_proj|v_proj|c_attn|c_proj)"},
    "regex, Unsloth's": {
        "target_modules": r"(?:.*?(?:h|layers).*?(?:attn|self_attn).*?(?:q_proj|v_proj|c_attn).*?)"
        r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn)\.(?:(?:q_proj)))"
    },
    "regex, LLaMA-Factory's": {"target_modules": r"^(?!.*(?:visual|lm_head)).*(?:q_proj|c_attn)$"},
    "excluded": {"exclude_modules": ["layers.0.self_attn.q_proj", "h.0.attn.c_attn"]},
    "excluded by a regex": {"exclude_modules": r".*\.0\..*"},
    "one layer": {"layers_to_transform": 1},
    "some layers": {"layers_to_transform": [0], "layers_pattern": "LAYERS"},
    "rank pattern": {"rank_pattern": {"LAYER": 2, "v_proj": 3}},
    "rank pattern, whole name": {"rank_pattern": {"^WHOLE": 2}},
    "alpha pattern, regex": {"alpha_pattern": {r".*\.1\..*(?:q_proj|c_attn)": 3, "v_proj": 16}},
    "patterns, regex": {
        "rank_pattern": {r"(layers|h)\.\d+\.\w+\.(q_proj|c_attn)": 3},
        "alpha_pattern": {r".*\.v_proj": 5, r"(?:h|layers)\.[01]\..*": 9},
    },
    "rslora": {"use_rslora": True, "rank_pattern": {"LAYER": 2}},
    "dora": {"use_dora": True},
    "lora_bias": {"lora_bias": True},
    "all biases": {"bias": "all"},
    "biases of adapted modules": {"bias": "lora_only"},
    "norms whole": {"modules_to_save": ["NORM"]},
    "norms and head whole": {"modules_to_save": ["NORM", "lm_head"]},
    "head": {"target_modules": ["lm_head", "q_proj", "c_attn"]},
    "embedding": {"target_modules": ["embed_tokens", "wte", "q_proj", "c_attn"]},
    "orthogonal": {"init_lora_weights": "orthogonal"},
}
OPEN = [
    *itertools.product(FEATURES, ("llama", "gpt2")),
    *itertools.product(("plain", "all-linear", "regex", "head", "embedding", "dora"), ("tied",)),
    *itertools.product(("plain", "all-linear", "all biases", "norms whole"), ("qwen2",)),
    *itertools.product(
        ("plain", "all-linear", "regex", "norms whole", "patterns, regex"),
        ("mixtral", "qwen2_moe"),
    ),
]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    found = {}
    for name, config in ARCHITECTURES.items():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for key, parameter in model.named_parameters():
            if key.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        found[name] = BaseModel(name, folder)
    return found


def settings_of(feature, architecture):
    """The feature's settings with the architecture's own names."""
    gpt2 = architecture == "gpt2"
    layer = LAYER.get(architecture, "layers.1.self_attn.q_proj")
    names = {
        "LAYERS": "h" if gpt2 else "layers",
        "LAYER": layer,
        "^WHOLE": f"^transformer.{layer}" if gpt2 else f"^model.{layer}",
        "NORM": NORM.get(architecture, "norm"),
    }

    def named(value):
        if isinstance(value, dict):
            return {names.get(key, key): inner for key, inner in value.items()}
        if isinstance(value, list):
            return [names.get(item, item) for item in value]
        return names.get(value, value) if isinstance(value, str) else value

    targets = ATTENTION.get(architecture, ["q_proj", "v_proj"])
    start = {"r": 4, "lora_alpha": 6, "task_type": "CAUSAL_LM", "target_modules": targets}
    changes = {key: named(value) for key, value in FEATURES[feature].items()}
    return {**start, "fan_in_fan_out": gpt2, **changes}


@pytest.mark.parametrize(("feature", "architecture"), OPEN)
def test_a_form_is_opened_as_peft_opens_it(bases, tmp_path, feature, architecture):
    base = bases[architecture]
    config = LoraConfig(**settings_of(feature, architecture))
    make(base, tmp_path / "adapter", config)
    assert_is_peft_s(base, tmp_path / "adapter")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("style", ["PEFT's", "without the prefix"])
def test_number_types_and_keys(bases, tmp_path, dtype, style):
    adapted = make(bases["llama"], tmp_path, LoraConfig(**settings_of("plain", "llama")), dtype)
    if style != "PEFT's":
        path = tmp_path / "adapter_model.safetensors"
        plain = {k.removeprefix("base_model.model."): v for k, v in load_file(path).items()}
        save_file(plain, path)
    expected = peft_updates(adapted.float())
    for module in read_adapter(tmp_path).modules:
        np.testing.assert_allclose(module.factors.dense(), expected[module.name][1], atol=1e-6)
    with torch.no_grad():
        theirs = adapted.float()(TOKENS).logits
    base = bases["llama"] if dtype == torch.float64 else None
    if base is not None:
        torch.testing.assert_close(compare_logits(base, tmp_path, TOKENS)[1], theirs, atol=1e-4,
                                   rtol=1e-4)  # fmt: skip


METHODS = {
    "alpha of one layer": {
        "rank_pattern": {"q_proj": 6}, "alpha_pattern": {"layers.0.self_attn.q_proj": 3.0}},
    "alpha of all": {
        "rank_pattern": {"layers.0.self_attn.q_proj": 2}, "alpha_pattern": {"q_proj": 16.0}},
    "alpha under a later letter": {
        "rank_pattern": {"q_proj": 6}, "alpha_pattern": {"self_attn.q_proj": 3.0}},
    "rslora": {"rank_pattern": {"q_proj": 6, "v_proj": 2}, "use_rslora": True},
}  # fmt: skip
SCALINGS = {
    "alpha of one layer": {"layers.0.self_attn.q_proj": 0.5, "layers.1.self_attn.q_proj": 2.0},
    "alpha of all": {"layers.0.self_attn.q_proj": 8.0, "layers.1.self_attn.q_proj": 4.0},
    "alpha under a later letter": {"q_proj": 0.5, "v_proj": 2.0},
    "rslora": {"q_proj": 4.0, "v_proj": 4.0, "k_proj": 4.0},
}


@pytest.mark.parametrize("form", METHODS)
def test_a_run_s_patterns_scale_as_asked_in_training_and_in_the_file(bases, tmp_path, form):
    method = MethodSpec(rank=4, alpha=8, **METHODS[form])
    adapted = make(bases["qwen2"], tmp_path, lora_config(method))
    keep_pattern_order(tmp_path, adapted.peft_config["default"])
    read = {module.name: module.scaling for module in read_adapter(tmp_path).modules}
    for ending, scaling in SCALINGS[form].items():
        trained = [s for name, (s, _) in peft_updates(adapted).items() if name.endswith(ending)]
        saved = [s for name, s in read.items() if name.endswith(ending)]
        assert trained == saved == pytest.approx([scaling] * len(trained)), ending
    assert_is_peft_s(bases["qwen2"], tmp_path)


@pytest.mark.parametrize("named", ["embed_tokens", "lm_head"])
def test_one_weight_that_is_embedding_and_head_is_saved_whole_once_named(bases, tmp_path, named):
    """PEFT saves both with ensure_weight_tying, and renames what the person named."""
    settings = {"target_modules": ["q_proj"], "ensure_weight_tying": True}
    make(bases["tied"], tmp_path / "one", LoraConfig(r=4, modules_to_save=[named], **settings))
    assert_is_peft_s(bases["tied"], tmp_path / "one")


def test_factors_for_both_ends_of_a_tied_weight_are_refused_with_a_way_to_use_them(bases, tmp_path):
    settings = LoraConfig(r=4, target_modules=["lm_head"], ensure_weight_tying=True)
    make(bases["tied"], tmp_path / "one", settings)
    with pytest.raises(EngineError) as refused:
        compare_logits(bases["tied"], tmp_path / "one")
    assert "ensure_weight_tying" in refused.value.problem
    assert "merge_and_unload" in refused.value.remedy


def test_a_model_whose_files_have_other_names_than_its_modules_takes_its_adapter(bases, tmp_path):
    """Gemma 3 4B and its kin: `language_model.model.` in the files, the other way round loaded."""
    eyes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    eyes |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config = Gemma3Config(
        text_config=SIZES | {"head_dim": 16}, vision_config=eyes, mm_tokens_per_image=4
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    base = BaseModel("gemma", tmp_path / "base")
    targets = r".*language_model.*\.(q_proj|down_proj)"
    make(base, tmp_path / "one", LoraConfig(r=4, target_modules=targets))
    assert_is_peft_s(base, tmp_path / "one")
    make(bases["llama"], tmp_path / "other", LoraConfig(r=4, target_modules=["q_proj"]))
    with pytest.raises(EngineError, match="no such weight"):
        check_adapter(tmp_path / "other", base)


def test_an_adapter_of_experts_is_described_and_compared(bases, tmp_path):
    for name in ("one", "two"):
        make(bases["mixtral"], tmp_path / name, LoraConfig(**settings_of("all-linear", "mixtral")))
    shown = describe_adapter(tmp_path / "one", bases["mixtral"].path)
    experts = [module for module in shown.modules if module.kind == "expert"]
    assert len(experts) == 2 * 4 * 2  # layers, experts, gate_up_proj and down_proj
    assert {module.part for module in experts} == {
        f"{number}.{weight}" for number in range(4) for weight in ("gate_up_proj", "down_proj")
    }
    assert {module.rank for module in experts} == {4, 8}  # PEFT doubles that of a fused pair
    assert {module.scaling for module in shown.modules} == {1.5}
    found = similarity(tmp_path / "one", tmp_path / "two")
    assert all(module.cosine == pytest.approx(1.0) for module in found.modules)


def as_state_dict(key):
    head, dot, tail = key.rpartition(".")
    return f"{head}.default{dot}{tail}"


FOREIGN_KEYS = {
    "state dict": (as_state_dict, r"adapter's name, 'default'"),
    "kohya": (
        lambda key: key.replace("lora_A", "lora_down").replace("lora_B", "lora_up"), "kohya"),
    "kohya, flat": (
        lambda key: "lora_unet_" + key.replace(".", "_").replace("_lora_A_", ".lora_down."), "koh"),
    "diffusers": (
        lambda key: key.replace("lora_A", "lora.down").replace("lora_B", "lora.up"), "diffusers"),
    "MLX": (lambda key: key.lower().removesuffix(".weight"), "MLX"),
    "torchtune": (str.lower, "torchtune"),
    "DataParallel": (lambda key: f"module.{key}", "wrapped model"),
    "compiled": (lambda key: key.replace("q_proj", "_orig_mod.q_proj"), "wrapped model"),
    "FSDP": (lambda key: f"_fsdp_wrapped_module.{key}", "wrapped model"),
    "NeMo": (lambda key: key.replace("lora_A", "adapter_layer.linear_in"), "NeMo"),
    "LoHa": (lambda key: key.replace("lora_A.weight", "hada_w1_a"), "another method"),
    "base weights": (lambda key: key.replace(".lora_A", ""), "overwrite the base"),
    "half": (lambda key: None if "lora_B" in key else key, "lacks B"),
    "other half": (lambda key: None if "lora_A" in key else key, "lacks A"),
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(bases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    make(bases["llama"], folder, LoraConfig(**settings_of("plain", "llama")))
    return folder


def assert_refused(base, folder, match):
    for opens in (read_adapter, lambda path: check_adapter(path, base)):
        with pytest.raises(EngineError, match=match) as caught:
            opens(folder)
        assert "save_embedding_layers" not in caught.value.remedy


@pytest.mark.parametrize("form", FOREIGN_KEYS)
def test_another_maker_s_keys_are_named(bases, plain, tmp_path, form):
    change, match = FOREIGN_KEYS[form]
    assert_refused(bases["llama"], changed(plain, tmp_path / "a", change), match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.to(torch.float8_e4m3fn), "float8_e4m3.* float16"),
        (lambda t: (10 * t).to(torch.int8), "int8.* float16"),
        (lambda t: t.t(), "stored transposed|are 4 x|factors are"),
        (lambda t: t[:0], "empty|no numbers|factors are"),
        (lambda t: t.flatten()[:0], r"needed are \(rank, in\)"),
        (lambda t: t * float("nan"), "(?i)nan"),
    ],
)
def test_numbers_that_are_no_factors_are_named(bases, plain, tmp_path, change, match):
    folder = changed(plain, tmp_path / "a", change_tensors=change)
    assert_refused(bases["llama"], folder, match)


@pytest.mark.parametrize(
    ("peft_type", "remedy"),
    [
        *((name, "merge_and_unload") for name in ("LOHA", "LOKR", "IA3", "VERA", "ADALORA")),
        *((name, "Compare answers") for name in ("PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING")),
    ],
)  # fmt: skip
def test_another_method_is_named(bases, plain, tmp_path, peft_type, remedy):
    folder = changed(plain, tmp_path / "a", peft_type=peft_type)
    with pytest.raises(EngineError, match=peft_type) as caught:
        read_adapter(folder)
    assert remedy in caught.value.remedy
    assert_refused(bases["llama"], folder, peft_type)


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"adapter_model.safetensors": "adapter_model.bin"}, "pickle can run code"),
        ({"adapter_model.safetensors": "lora.gguf"}, "lora.gguf is llama.cpp's"),
        ({"adapter_config.json": None}, "no adapter_config.json"),
        ({"adapter_config.json": None, "adapter_model.safetensors": "adapters.npz"}, "MLX"),
        ({"adapter_config.json": "config.json", "adapter_model.safetensors": "model.safetensors"},
         "whole model"),
        ({"adapter_config.json": "checkpoint-5/adapter_config.json"}, "its folders have: checkp"),
    ],
)  # fmt: skip
def test_a_folder_says_what_it_holds_instead(bases, plain, tmp_path, files, match):
    folder = changed(plain, tmp_path / "a")
    for old, new in files.items():
        if new is None:
            (folder / old).unlink()
        else:
            (folder / new).parent.mkdir(exist_ok=True)
            (folder / old).rename(folder / new)
    assert_refused(bases["llama"], folder, match)


def test_embeddings_saved_along_are_the_base_s_or_refused(bases, tmp_path):
    """PEFT saves the embedding along whenever it is targeted; it must not change the base."""
    config = LoraConfig(**settings_of("embedding", "llama"))
    make(bases["llama"], tmp_path / "a", config)
    saved = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert any("base_layer" in key for key in saved)
    assert_is_peft_s(bases["llama"], tmp_path / "a")
    other = changed(
        tmp_path / "a", tmp_path / "b", change_tensors=lambda t: t + 1 if len(t) == 40 else t
    )
    with pytest.raises(EngineError, match="differs from the base model's"):
        check_adapter(other, bases["llama"])


def test_rows_of_a_mixed_batch_keep_their_adapter_behind_shared_experts(bases, tmp_path):
    """Qwen2-MoE's shared experts are given the rows of the batch flattened."""
    base = bases["qwen2_moe"]
    make(base, tmp_path, LoraConfig(**settings_of("all-linear", "qwen2_moe")))
    alone = compare_logits(base, tmp_path, TOKENS)
    model = load(base)
    switch = AdapterSwitch(model)
    switch.add("one", check_adapter(tmp_path, base))
    assert not switch.needs_own_pass("one")
    for variants in ((None, "one"), ("one", None)):
        rows = [AdapterRows(AdapterVariant(key), row, row + 1) for row, key in enumerate(variants)]
        with torch.no_grad(), switch.applied(rows):
            mixed = model(TOKENS).logits
        for row, key in enumerate(variants):
            expected = alone[0 if key is None else 1][row]
            torch.testing.assert_close(mixed[row], expected, atol=2e-5, rtol=1e-5)


def switch_with(base, folders):
    """A loaded base with these adapters in it, by their folders' names."""
    model = load(base)
    switch = AdapterSwitch(model)
    for folder in folders:
        switch.add(f"adapter_{folder.name}", check_adapter(folder, base))
    return model, switch


def test_adapters_of_several_forms_share_one_base(bases, tmp_path):
    base = bases["mixtral"]
    features = {"experts": "all-linear", "plain": "plain", "whole": "norms whole"}
    alone = {}
    for name, feature in features.items():
        make(base, tmp_path / name, LoraConfig(**settings_of(feature, "mixtral")))
        alone[name] = compare_logits(base, tmp_path / name)[1]
    for order in itertools.permutations(features):
        model, switch = switch_with(base, [tmp_path / name for name in order])
        for name in (*order, *reversed(order)):
            found = logits_of(model, switch, f"adapter_{name}")
            torch.testing.assert_close(found, alone[name], atol=2e-5, rtol=1e-5)
        switch.remove(f"adapter_{order[0]}")
        found = logits_of(model, switch, f"adapter_{order[1]}")
        torch.testing.assert_close(found, alone[order[1]], atol=2e-5, rtol=1e-5)


def test_experts_of_other_parameters_are_refused_beside_each_other(bases, tmp_path):
    base = bases["mixtral"]
    make(base, tmp_path / "all", LoraConfig(**settings_of("all-linear", "mixtral")))
    down = LoraConfig(r=4, target_modules=["q_proj"], target_parameters=["experts.down_proj"])
    make(base, tmp_path / "down", down)
    with pytest.raises(EngineError, match="down_proj, and one that is loaded.*gate_up_proj"):
        switch_with(base, [tmp_path / "all", tmp_path / "down"])


@pytest.mark.parametrize("before", [(), ("good",)])
def test_an_adapter_that_does_not_fit_leaves_nothing_behind(bases, tmp_path, before, monkeypatch):
    """Its first layer is one that the base lacks: found when it is loaded, at the latest."""
    base = bases["llama"]
    make(base, tmp_path / "good", LoraConfig(**settings_of("plain", "llama")))
    bad = changed(
        tmp_path / "good", tmp_path / "bad", lambda key: key.replace("layers.0", "layers.7")
    )
    alone = compare_logits(base, tmp_path / "good")
    model, switch = switch_with(base, [tmp_path / name for name in before])
    monkeypatch.setattr("lora_engine.adapters.check._check_against_base", lambda *_: None)
    with pytest.raises(EngineError, match=r"no counterpart"):
        switch.add("adapter_bad", check_adapter(bad, base))
    torch.testing.assert_close(logits_of(model, switch, None), alone[0])
    if not before:
        switch.add("adapter_good", check_adapter(tmp_path / "good", base))
    torch.testing.assert_close(
        logits_of(model, switch, "adapter_good"), alone[1], atol=2e-5, rtol=1e-5
    )


def adapter_of_single_experts(base, folder, experts, weights):
    """An adapter as transformers 4 saved it, expert by expert; the logits of the base with it."""
    stored = load_file(base.path / "model.safetensors")
    torch.manual_seed(2)
    tensors = {}
    for name in [f"{experts.format(layer)}.{e}.{w}" for layer in (0, 1) for e in range(4)
                 for w in weights]:  # fmt: skip
        out_features, in_features = stored[f"{name}.weight"].shape
        a, b = 0.2 * torch.randn(4, in_features), 0.2 * torch.randn(out_features, 4)
        key = f"base_model.model.{name}.lora_"
        tensors |= {f"{key}A.weight": a, f"{key}B.weight": b}
        stored[f"{name}.weight"] += 1.5 * b @ a
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 6, "target_modules": list(weights)}
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors")
    merged = folder.with_name("merged")
    shutil.copytree(base.path, merged)
    save_file(stored, merged / "model.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        return load(BaseModel("merged", merged))(TOKENS).logits


def test_experts_adapted_one_by_one_are_fused_or_refused(bases, tmp_path):
    """PEFT fuses Mixtral's; on Qwen2-MoE it would leave them out without a word."""
    base = bases["mixtral"]
    experts, weights = "model.layers.{}.block_sparse_moe.experts", ("w1", "w2", "w3")
    expected = adapter_of_single_experts(base, tmp_path / "one", experts, weights)
    assert len(read_adapter(tmp_path / "one").modules) == 24
    found = compare_logits(base, tmp_path / "one")[1]
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
    base, folder = bases["qwen2_moe"], tmp_path / "two" / "adapter"
    folder.parent.mkdir()
    weights = ("gate_proj", "up_proj", "down_proj")
    adapter_of_single_experts(base, folder, "model.layers.{}.mlp.experts", weights)
    with pytest.raises(EngineError, match="experts one by one"):
        compare_logits(base, folder)


@pytest.mark.parametrize("name", ["lora.gguf", "adapter_model.safetensors", "notes.txt"])
def test_a_file_where_a_folder_is_asked_for_is_named(tmp_path, settings, name):
    (tmp_path / name).touch()
    with pytest.raises(EngineError, match=name) as caught:
        resolve_adapter(str(tmp_path / name), settings)
    assert "folder" in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": ["k_proj"]},
        {"target_modules": []},
        {"layers_to_transform": 1},
        {"layers_to_transform": [0, 1], "layers_pattern": "h"},
        {"exclude_modules": ["layers.0.self_attn.q_proj"]},
        {"modules_to_save": ["self_attn"]},
    ],
)
def test_factors_that_the_configuration_leaves_out_are_named(bases, plain, tmp_path, fields):
    folder = changed(plain, tmp_path / "a", **fields)
    with pytest.raises(EngineError, match=r"self_attn") as caught:
        compare_logits(bases["llama"], folder)
    assert "Check that" in caught.value.remedy or "half-written" in caught.value.problem


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_biases_that_are_not_in_the_file_are_missed(bases, plain, tmp_path, bias):
    folder = changed(plain, tmp_path / "a", bias=bias)
    with pytest.raises(EngineError, match="half-written.*bias"):
        check_adapter(folder, bases["llama"])


@pytest.mark.parametrize(
    "fields",
    [
        {"velora_config": {"rank": 1}},
        {"loftq_config": {"loftq_bits": 4}},
        {"eva_config": {"rho": 2.0}},
        {"megatron_core": "os.system"},
        {"base_model_name_or_path": "../../etc/passwd"},
        {"auto_mapping": {"base_model_class": "os.system", "parent_library": "os"}},
        {"a_field_of_a_later_peft": {"a": 1}},
        {"modules_to_save": ["nothing_of_this_name"]},
        {"rank_pattern": None, "alpha_pattern": None, "lora_dropout": 0.5},
    ],
)
def test_fields_that_change_no_answer_change_none(bases, plain, tmp_path, fields):
    folder = changed(plain, tmp_path / "a", **fields)
    expected = compare_logits(bases["llama"], plain)[1]
    torch.testing.assert_close(compare_logits(bases["llama"], folder)[1], expected)


@pytest.mark.parametrize(
    "fields",
    [
        {"alora_invocation_tokens": [5, 6]},
        {"trainable_token_indices": [3]},
        {"layer_replication": [[0, 2]]},
        {"arrow_config": {"top_k": 2}},
        {"use_qalora": True},
        {"kasa_config": {"beta": 1}},
        {"megatron_config": {"a": 1}},
        {"init_lora_weights": "corda"},
        {"init_lora_weights": "lora_ga"},
        {"init_lora_weights": "loftq"},
    ],
)
def test_fields_that_cannot_be_honoured_are_named(bases, plain, tmp_path, fields):
    folder = changed(plain, tmp_path / "a", **fields)
    with pytest.raises(EngineError) as caught:
        check_adapter(folder, bases["llama"])
    ((name, value),) = fields.items()
    assert (value if name == "init_lora_weights" else name) in caught.value.problem
    assert "plain LoRA, or one that Rankscope" not in caught.value.remedy


def test_dora_on_a_tied_head_is_shown_with_the_embedding_s_weight(bases, tmp_path):
    settings = settings_of("head", "tied") | {"use_dora": True}
    adapted = make(bases["tied"], tmp_path, LoraConfig(**settings))
    shown = describe_adapter(tmp_path, bases["tied"].path)
    (head,) = [module for module in shown.modules if module.name == "lm_head"]
    before = adapted.base_model.model.lm_head.base_layer.weight.detach().clone()
    after = adapted.merge_and_unload().lm_head.weight.detach()
    assert head.complete
    norm = float((after - before).norm())
    assert head.frobenius_norm == pytest.approx(norm, rel=1e-4)
    assert any("embeddings, saved along: lm_head" in note for note in shown.notes)
