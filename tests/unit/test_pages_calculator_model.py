"""The calculator's second half: fields to the engine's types, and what can be taken along."""

import json
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import gradio as gr  # noqa: TID251
import pytest

from lora_engine import calculator
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.spec import RunSpec, parse_spec
from pages.calculator import form, parameter_count, whole_model
from pages.shared.train_link import address_of, spec_in_address
from tests.calculator_requests import NF4, ask, lora

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


@pytest.fixture
def section(settings):
    """The section's handlers, on fields drawn as the page draws them."""
    engine = SimpleNamespace(settings=settings, base_models=SimpleNamespace(names=list))
    made = []

    def keep(blocks, handlers, problem, advice):
        made.append(handlers)

    with pytest.MonkeyPatch.context() as patch, gr.Blocks() as blocks:
        patch.setattr(whole_model, "_wire", keep)
        whole_model.section(engine, blocks)
    return made[0]


def values_of(handlers, changes=None, **fields):
    """The fields' values as they were drawn, but for changes by path, and by the form's names."""
    form = handlers.form
    values = {component: component.value for component in form.inputs}
    values[form.model], values[form.uploaded] = "gpt2", ""
    for path, value in (changes or {}).items():
        values[form.spec.component(path)] = value
    return values | {getattr(form, name): value for name, value in fields.items()}


def read(handlers, changes=None, **fields):
    return handlers.form.read(values_of(handlers, changes, **fields), handlers.settings)


def test_every_way_to_name_a_model(settings, tmp_path):
    folder = settings.models_dir / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(TINY))
    for name in ("gpt2", "starter", "tiny", str(folder), str(folder / "config.json")):
        assert form.source_of(name, "", settings).config["model_type"] in ("gpt2", "llama")
    uploaded = form.source_of(form.UPLOADED, json.dumps(TINY), settings)
    assert uploaded.label == form.UPLOADED
    for name in ("", "no such model", "../../etc"):
        with pytest.raises(EngineError):
            form.source_of(name, "", settings)


def test_fields_become_a_request(section):
    changes = {
        "method.alpha": 4.0,
        "method.dropout": 0.1,
        "method.rank_pattern": '{"c_attn": 2}',
        "method.alpha_pattern": '{"c_attn": 3.5}',
        "method.modules_to_save": "lm_head",
        "method.bias": "all",
        "method.use_dora": True,
        "quantization.bits": 8,
        "workload.batch_size": 2.0,
    }
    request = read(section, changes).request
    expected = lora(
        8, "q,v", alpha=4.0, dropout=0.1, rank_pattern={"c_attn": 2}, bias="all", use_dora=True,
        alpha_pattern={"c_attn": 3.5}, modules_to_save="lm_head",
    )  # fmt: skip
    assert request.method == expected
    assert request.quantization.bits == 8
    assert (request.workload.batch_size, request.workload.seq_length) == (2, 2048)
    plain = read(section).request
    assert (plain.method.alpha, plain.quantization) == (16, None)


def test_the_fields_are_those_of_the_spec(section):
    field = section.form.spec.component
    dropout = RunSpec.model_fields["method"].annotation.model_fields["dropout"]
    assert field("method.dropout").label == dropout.title
    assert dropout.description in field("method.dropout").info
    assert field("workload.seq_length").label == "Tokens a row"
    assert field("method.rank").elem_id == "field-method-rank"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("method.rank_pattern", "{"),
        ("method.rank_pattern", "[" * 99_999),
        ("method.rank", 0.0),
        ("method.rank", 5000),
        ("method.rank", None),
        ("method.target_modules", ""),
        ("method.target_modules", "(a+)+$"),
        ("method.alpha", 0),
        ("method.dropout", 1.0),
        ("workload.batch_size", 0),
    ],
)
def test_a_wrong_field_is_named(section, path, value):
    with pytest.raises(InvalidInput) as caught:
        read(section, {path: value})
    assert {problem.path for problem in caught.value.problems} & {path, f"{path}.0"}
    assert all(problem.path.startswith(path) for problem in caught.value.problems)


def test_the_spec_taken_along_is_a_spec(section):
    changes = {"workload.batch_size": 2, "workload.seq_length": 512}
    selection = read(section, changes, model="llama-2-7b")
    counted = calculator.count_model(selection.source, selection.method)
    part = section.results.export
    shown = part.update(selection, counted)
    run = parse_spec(shown[part.spec])
    assert run.base_model == "meta-llama/Llama-2-7b-hf"
    assert run.method.target_modules == ["q_proj", "v_proj"]
    assert (run.optimization.batch_size, run.optimization.max_length) == (2, 512)
    assert "method.target_modules=" in shown[part.way]
    assert "optimization.batch_size=2" in shown[part.way]
    assert "r=8" in shown[part.snippet]


EVERYTHING = {
    "dtype": "bfloat16", "batch_size": 3, "seq_length": 640, "gradient_accumulation": 5,
    "gradient_checkpointing": True, "optimizer": "adafactor",
}  # fmt: skip


@pytest.mark.parametrize(
    ("base", "method", "rate"),
    [("starter", "lora", 1e-3), ("gpt2", "lora", 2e-4), ("gpt2", "qlora", 2e-4),
     ("gpt2", "full", 2e-5)],
)  # fmt: skip
def test_all_that_was_asked_arrives_on_the_train_page(settings, base, method, rate):
    whole = method == "full"
    kind, quantization = "full" if whole else "lora", NF4 if method == "qlora" else None
    choice = lora(
        12, "q,v", alpha=7.0, dropout=0.0 if whole else 0.25, use_dora=not whole,
        use_rslora=not whole, rank_pattern={} if whole else {"c_attn": 4},
    )  # fmt: skip
    source = calculator.preset_source("gpt2")
    counted = calculator.count_model(source, choice)
    asked = ask(source, choice, kind=kind, quantization=quantization, **EVERYTHING)
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


def test_every_method_becomes_a_run_and_what_no_run_has_is_said(section):
    selection = read(section, {"method.lora_bias": True})
    counted = calculator.count_model(selection.source, selection.method)
    part = section.results.export
    shown = part.update(selection, counted)
    assert "lora_bias=True" in shown[part.snippet]
    assert parse_spec(shown[part.spec]).method.lora_bias
    for kind in ("full", "freeze", "galore"):
        asked = ask(selection.source, selection.method, kind=kind)
        run = calculator.run_spec("gpt2", counted, asked)
        assert run.method.finetuning_type == kind
    asked = ask(selection.source, selection.method, dtype="float16")
    assert calculator.run_spec("gpt2", counted, asked).optimization.precision == "float16"
    asked = ask(selection.source, selection.method, other_optimizer="sgd")
    with pytest.raises(EngineError, match="sgd"):
        calculator.run_spec("gpt2", counted, asked)


def test_ticks_are_what_the_targets_mean():
    source = calculator.preset_source("llama-2-7b")
    for targets, ticked in (
        ("q,v", ["q_proj", "v_proj"]),
        ("embeddings", ["embed_tokens"]),
        ("model.layers.3.self_attn.k_proj", ["k_proj"]),
    ):
        found = calculator.available_modules(source, lora(8, targets))
        assert [item.name for item in found if item.chosen] == ticked
    found = calculator.available_modules(source, lora(8))
    assert [item.name for item in found if not item.chosen] == ["embed_tokens", "lm_head"]


def test_names_of_another_model_are_refused_and_its_own_are_offered(section):
    other = values_of(section, {"method.target_modules": "q_proj,v_proj"})
    with pytest.raises(InvalidInput) as caught:
        section.view(other)
    assert {problem.path for problem in caught.value.problems} == {"method.target_modules"}
    beside = section.beside(other)
    offered = json.loads(beside[section.form.ticks])
    assert offered["ticked"] == []
    assert ["c_attn"] in [module["targets"] for module in offered["modules"]]
    assert beside[section.results.methods] == ""


def test_ticks_stand_in_the_order_of_the_targets(section):
    values = values_of(section, {"method.target_modules": "c_fc,c_attn"})
    ticks = json.loads(section.beside(values)[section.form.ticks])
    named = [ticks["modules"][index]["targets"] for index in ticks["ticked"]]
    assert named == [["c_fc"], ["c_attn"]]


def test_what_is_left_out_of_an_uploaded_config_is_said_at_every_answer(section, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(TINY | {"quantization_config": {"quant_method": "bitsandbytes"}}))
    taken = section.take_config({section.form.upload: str(file)})
    uploaded = taken[section.form.uploaded]
    source = form.source_of(taken[section.form.model], uploaded, section.settings)
    assert any("quantization_config" in note for note in source.notes)


def test_an_uploaded_config_that_is_gone_is_named(section):
    with pytest.raises(EngineError, match="uploaded"):
        read(section, model=form.UPLOADED)


def test_every_field_that_an_answer_depends_on_is_in_the_address(section):
    fields = section.form
    named = fields.in_address
    assert set(named.values()) == fields.inputs - {fields.uploaded}
    assert {"preset", "rank", "targets", "method", "bits", "batch_size", "card"} <= set(named)
    assert len({field.elem_id for field in named.values()} - {None}) == len(named)


def test_the_tiles_show_a_rank_beyond_the_range(section):
    selection = read(section, {"method.rank": 600.0})
    counted = calculator.read_profile(selection.source, selection.method).count
    tiles = json.loads(
        section.results.count.update(selection, counted)[section.results.count.tiles]
    )
    assert tiles["chosen"][1][1] == f"{counted.trainable_parameters:,}"
    assert len(tiles["frames"]) == form.MOST_RANKS


def test_the_methods_stand_side_by_side():
    source = calculator.preset_source("gpt2")
    rows = calculator.compare_methods(source, lora(8, "q,v"))
    table = json.loads(parameter_count.methods_table(rows))
    names = [row["raw"][0] for row in table["rows"]]
    assert names[:4] == ["LoRA", "QLoRA", "DoRA", "full"]
    assert all(row["raw"][5] for row in table["rows"])
