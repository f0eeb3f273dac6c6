"""The calculator's second half: fields to the engine's types, and what can be taken along."""

import json
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import pytest

from lora_engine import calculator
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.settings import load_settings
from lora_engine.spec import parse_spec
from pages.calculator import choices as choices
from pages.calculator import export, whole_model
from pages.shared.train_link import address_of, spec_in_address

OPTIONS = [None, 0.0, "", "", False, False, False]
MEMORY = ["lora", "bf16", "adamw", 2.0, 512.0, False, "RTX 4090 24 GB"]
TINY = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}


@pytest.fixture
def settings(tmp_path):
    return load_settings({"LORA_DATA_DIR": str(tmp_path)})


def chosen(settings, name="gpt2", rank=8.0, targets="q,v", uploaded="", options=OPTIONS):
    return choices.chosen(settings, (name, rank, targets, uploaded, *options, *MEMORY))


def test_every_way_to_name_a_model(settings, tmp_path):
    folder = settings.models_dir / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(TINY))
    for name in ("gpt2", "starter", "tiny", str(folder), str(folder / "config.json")):
        assert choices.source_of(name, "", settings).config["model_type"] in ("gpt2", "llama")
    uploaded = choices.source_of(choices.UPLOADED, json.dumps(TINY), settings)
    assert uploaded.label == choices.UPLOADED
    for name in ("", "no such model", "../../etc"):
        with pytest.raises(EngineError):
            choices.source_of(name, "", settings)


def test_fields_become_a_choice(settings):
    options = [4.0, 0.1, '{"c_attn": 2}', "lm_head", True, True, True]
    choice = chosen(settings, options=options).choice
    assert (choice.rank, choice.lora_alpha, choice.dropout) == (8, 4, 0.1)
    assert dict(choice.rank_pattern) == {"c_attn": 2}
    assert choice.modules_to_save == ("lm_head",)
    assert choice.use_dora
    assert choice.use_rslora
    assert choice.lora_bias
    assert chosen(settings).choice.lora_alpha == 16


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("rank_pattern", {"options": [None, 0, "{", "", False, False, False]}),
        ("rank_pattern", {"options": [None, 0, "[" * 99_999, "", False, False, False]}),
        ("rank", {"rank": 0.0}),
        ("rank", {"rank": 1e9}),
        ("rank", {"rank": None}),
        ("target_modules", {"targets": ""}),
        ("target_modules", {"targets": "(a+)+$"}),
        ("alpha", {"options": [-1, 0, "", "", False, False, False]}),
    ],
)
def test_a_wrong_field_is_named(settings, field, given):
    with pytest.raises(InvalidInput) as caught:
        chosen(settings, **given)
    assert [problem.path for problem in caught.value.problems] == [field]


def test_the_spec_taken_along_is_a_spec(settings):
    found = chosen(settings, name="llama-2-7b")
    counted = calculator.count_model(found.source, found.choice)
    way, snippet, spec = export.view(found, counted)
    read = parse_spec(spec)
    assert read.base_model == "meta-llama/Llama-2-7b-hf"
    assert read.method.target_modules == ["q_proj", "v_proj"]
    assert (read.optimization.batch_size, read.optimization.max_length) == (2, 512)
    assert "method.target_modules=" in way
    assert "optimization.batch_size=2" in way
    assert "r=8" in snippet


EVERYTHING = {
    "dtype": "bf16", "batch_size": 3, "seq_length": 640, "gradient_accumulation": 5,
    "gradient_checkpointing": True, "optimizer": "adafactor",
}  # fmt: skip


@pytest.mark.parametrize(
    ("base", "method", "rate"),
    [("starter", "lora", 1e-3), ("gpt2", "lora", 2e-4), ("gpt2", "qlora", 2e-4),
     ("gpt2", "full", 2e-5)],
)  # fmt: skip
def test_all_that_was_asked_arrives_on_the_train_page(settings, base, method, rate):
    whole = method == "full"
    choice = calculator.LoraChoice(
        12, "q,v", alpha=7.0, dropout=0.0 if whole else 0.25, use_dora=not whole,
        use_rslora=not whole, rank_pattern={} if whole else {"c_attn": 4},
    )  # fmt: skip
    source = calculator.preset_source("gpt2")
    counted = calculator.count_model(source, choice)
    asked = calculator.MemoryQuestion(source, choice, method=method, **EVERYTHING)
    spec = calculator.run_spec(base, counted, asked)
    query = dict(parse_qsl(urlsplit(address_of(spec)).query))
    arrived = spec_in_address(None, SimpleNamespace(query_params=query))
    assert arrived.base_model == base
    assert arrived.method == spec.method
    assert (arrived.method.rank, arrived.method.alpha) == (12, 7.0)
    assert arrived.method.target_modules == ["c_attn"]
    assert (arrived.quantization is not None) == (method == "qlora")
    steps = arrived.optimization
    assert steps.learning_rate == pytest.approx(rate)
    assert (steps.precision, steps.batch_size, steps.max_length) == ("bfloat16", 3, 640)
    assert (steps.gradient_accumulation, steps.optimizer) == (5, "adafactor")
    assert steps.gradient_checkpointing
    assert arrived.dataset.source == "starter:pirate"


def test_every_method_becomes_a_run_and_what_no_run_has_is_said(settings):
    options = [None, 0, "", "", False, False, True]
    found = chosen(settings, options=options)
    counted = calculator.count_model(found.source, found.choice)
    _, snippet, spec = export.view(found, counted)
    assert "lora_bias=True" in snippet
    assert parse_spec(spec).method.lora_bias
    for method in ("full", "freeze", "galore"):
        asked = calculator.MemoryQuestion(found.source, found.choice, method=method)
        run = calculator.run_spec("gpt2", counted, asked)
        assert run.method.finetuning_type == method
    for name, value in (("optimizer", "sgd"), ("dtype", "fp16")):
        asked = calculator.MemoryQuestion(found.source, found.choice, **{name: value})
        with pytest.raises(EngineError, match=value):
            calculator.run_spec("gpt2", counted, asked)


def test_ticks_are_what_the_targets_mean():
    source = calculator.preset_source("llama-2-7b")
    for targets, ticked in (
        ("q,v", ["q_proj", "v_proj"]),
        ("embeddings", ["embed_tokens"]),
        ("model.layers.3.self_attn.k_proj", ["k_proj"]),
    ):
        found = calculator.available_modules(source, calculator.LoraChoice(8, targets))
        assert [item.name for item in found if item.chosen] == ticked
    found = calculator.available_modules(source, calculator.LoraChoice(8))
    assert [item.name for item in found if not item.chosen] == ["embed_tokens", "lm_head"]


def test_names_of_another_model_give_way_to_all_linear(settings):
    class OnlySettings:
        def __init__(self):
            self.settings = settings

    act = whole_model._Handlers(OnlySettings())
    values = ("gpt2", 8.0, "q_proj,v_proj", "", *OPTIONS, *MEMORY, 1000.0, 3.0)
    assert act.new_model(*values)[0] == "all-linear"
    assert act.new_model("gpt2", 8.0, "q,v", *values[3:])[0] == "q,v"
    targets, *_ = act.tick(["c_attn"], *values)
    assert targets == "c_attn"


def test_the_methods_stand_side_by_side():
    source = calculator.preset_source("gpt2")
    rows = calculator.compare_methods(source, calculator.LoraChoice(8, "q,v"))
    table = json.loads(whole_model.methods_table(rows))
    names = [row["raw"][0] for row in table["rows"]]
    assert names[:3] == ["full", "freeze", "LoRA"]
    assert all(row["raw"][5] for row in table["rows"])
