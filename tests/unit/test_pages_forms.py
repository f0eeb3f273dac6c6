"""Form fields from the spec's metadata, and the document read back from them."""

from __future__ import annotations

import re
from typing import Any, get_args

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.engine import Engine
from lora_engine.errors import InvalidInput
from lora_engine.spec import RunSpec, spec_from
from pages import train
from pages.shared.field_words import WORDS, empty_words
from pages.shared.forms import NONE, SpecForm
from pages.shared.spec_fields import info_of, kind_of, listed_choices
from pages.train import objective_fields
from pages.train.changed_marks import default_in_words

# Every gr.Blocks leaves the event loop it made to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")

PATHS = (
    "name",
    "base_model",
    "seed",
    "dataset.source",
    "dataset.eval_fraction",
    "method.rank",
    "method.alpha",
    "method.target_modules",
    "method.use_rslora",
    "method.loraplus_lr_ratio",
    "method.rank_pattern",
    "method.modules_to_save",
    "quantization.bits",
    "quantization.type",
    "optimization.learning_rate",
    "optimization.max_steps",
    "optimization.schedule",
    "report.sample_prompts",
    "report.report_to",
)


@pytest.fixture
def form() -> SpecForm:
    made = SpecForm()
    with gr.Blocks():
        for path in PATHS:
            made.field(path)
    return made


def _changed(form: SpecForm, changes: dict[str, Any]) -> dict[str, Any]:
    changed = {form.component(path): value for path, value in changes.items()}
    return form.document({**form.filled(RunSpec()), **changed})


def test_a_field_has_the_specs_label_help_bounds_and_default(form: SpecForm) -> None:
    rank = form.component("method.rank")

    assert isinstance(rank, gr.Number)
    assert (rank.label, rank.value) == ("Rank", 8)
    assert "(1 to 4,096)" in rank.info
    assert rank.elem_id == "field-method-rank"


def test_each_kind_of_field_becomes_its_component(form: SpecForm) -> None:
    kinds = {
        "optimization.schedule": gr.Dropdown,
        "method.use_rslora": gr.Checkbox,
        "name": gr.Textbox,
        "dataset.eval_fraction": gr.Number,
    }
    for path, kind in kinds.items():
        assert isinstance(form.component(path), kind), path
    schedule = form.component("optimization.schedule")
    assert [value for _, value in schedule.choices] == ["cosine", "linear", "constant"]


def test_a_number_has_no_bounds_of_gradios_own() -> None:
    with gr.Blocks():
        rank = SpecForm().field("method.rank")

    assert isinstance(rank, gr.Number)
    assert (rank.minimum, rank.maximum) == (None, None)


def test_choices_make_a_list_that_also_takes_what_is_typed() -> None:
    with gr.Blocks():
        base = SpecForm().field("base_model", choices=["starter", "other"])

    assert isinstance(base, gr.Dropdown)
    assert base.allow_custom_value


def test_the_values_of_a_spec_read_back_as_that_spec(form: SpecForm) -> None:
    document = {
        "name": "a b",
        "method": {
            "rank": 4,
            "target_modules": ["q_proj", "v_proj"],
            "rank_pattern": {"q_proj": 2},
            "loraplus_lr_ratio": 16.0,
            "modules_to_save": ["lm_head"],
        },
        "quantization": {"bits": 8},
        "optimization": {"max_steps": 5},
    }
    spec = spec_from(document)

    assert spec_from(form.document(form.filled(spec))) == spec
    assert spec_from(form.document(form.filled(RunSpec()))) == RunSpec()


def test_no_bits_means_no_quantization(form: SpecForm) -> None:
    without = _changed(form, {"quantization.bits": NONE, "quantization.type": "fp4"})
    four = _changed(form, {"quantization.bits": 4, "quantization.type": "fp4"})

    assert without["quantization"] is None
    assert four["quantization"] == {"bits": 4, "type": "fp4"}


def test_typed_text_is_read_as_names_and_objects(form: SpecForm) -> None:
    document = _changed(
        form,
        {
            "method.target_modules": " q_proj , v_proj,",
            "method.rank_pattern": '{"q_proj": 2}',
            "optimization.max_steps": None,
        },
    )

    assert document["method"]["target_modules"] == ["q_proj", "v_proj"]
    assert document["method"]["rank_pattern"] == {"q_proj": 2}
    assert document["optimization"]["max_steps"] is None


def test_everything_wrong_is_named_at_once_by_its_path(form: SpecForm) -> None:
    document = _changed(
        form,
        {"method.rank": 0, "optimization.learning_rate": None, "method.rank_pattern": "{q: 2"},
    )

    with pytest.raises(InvalidInput) as caught:
        spec_from(document)

    assert {problem.path for problem in caught.value.problems} == {
        "method.rank",
        "optimization.learning_rate",
        "method.rank_pattern",
    }


def test_a_fraction_where_a_whole_number_belongs_is_not_rounded(form: SpecForm) -> None:
    assert _changed(form, {"method.rank": 8.0})["method"]["rank"] == 8
    with pytest.raises(InvalidInput, match=r"method\.rank"):
        spec_from(_changed(form, {"method.rank": 8.6}))


def test_an_unknown_path_is_a_mistake_of_ours() -> None:
    with gr.Blocks(), pytest.raises(KeyError):
        SpecForm().field("method.rang")


def test_prompts_are_one_a_line_and_a_list_of_choices_is_ticked(form: SpecForm) -> None:
    changes = {"report.sample_prompts": "Hello, you\n\n Why? ", "report.report_to": ["wandb"]}
    document = _changed(form, changes)
    assert document["report"] == {
        "sample_prompts": ["Hello, you", "Why?"],
        "report_to": ["wandb"],
    }
    shown = form.filled(spec_from(document))
    assert shown[form.component("report.sample_prompts")] == "Hello, you\nWhy?"
    assert shown[form.component("report.report_to")] == ["wandb"]
    assert form.component("report.report_to").multiselect


def test_only_the_first_field_of_an_optional_section_can_leave_it_out(form: SpecForm) -> None:
    bits, kind = form.component("quantization.bits"), form.component("quantization.type")
    assert (bits.value, kind.value) == (NONE, "nf4")
    assert NONE not in [value for _, value in kind.choices]
    four = _changed(form, {"quantization.bits": 4})
    assert four["quantization"] == {"bits": 4, "type": "nf4"}


RULES = [
    {"kind": "length", "minimum": 2, "unit": "characters", "weight": 0.5},
    {"kind": "regex", "pattern": "a, b"},
    {"kind": "json_valid", "keys": ["answer", "topic"]},
]


@pytest.fixture
def objective_form() -> SpecForm:
    made = SpecForm()
    with gr.Blocks():
        objective_fields.lay_out(made, width=200)
    return made


@pytest.mark.parametrize(
    "objective",
    [
        {},
        {"kind": "grpo", "rules": RULES, "epsilon": 0.1},
        {"kind": "dpo", "loss": "hinge"},
        {"kind": "kto", "desirable_weight": 1.5},
    ],
)
def test_an_objective_and_its_rules_come_back_from_the_form(objective_form, objective) -> None:
    spec = spec_from({"objective": objective})
    document = objective_form.document(objective_form.filled(spec))
    assert spec_from(document).objective == spec.objective
    assert len(document["objective"].get("rules", ())) == len(objective.get("rules", ()))


def test_what_another_kind_reads_is_left_out_of_the_document(objective_form) -> None:
    spec = spec_from({"objective": {"kind": "grpo", "rules": RULES}})
    values = objective_form.filled(spec)
    values[objective_form.component("objective.rules.1.kind")] = "equal"
    values[objective_form.component("objective.rules.0.kind")] = NONE
    rules = spec_from(objective_form.document(values)).objective.rules
    assert [rule.kind for rule in rules] == ["equal", "json_valid"]
    values[objective_form.component("objective.kind")] = "simpo"
    values[objective_form.component("objective.beta")] = None
    assert spec_from(objective_form.document(values)).objective.strength == 2.0


def test_what_a_page_says_of_a_field_names_no_code(settings: Any) -> None:
    page = train.build(Engine(settings))
    shown = [part for part in page.blocks.values() if getattr(part, "info", None)]
    assert len(shown) > 80
    for part in shown:
        assert not re.search(r"\bnull\b", part.info, re.IGNORECASE), part.info
        choices = getattr(part, "choices", None) or []
        for name, value in choices if part.elem_id != "field-dataset-source" else ():
            assert "_" not in str(name), (part.label, name)
            assert name == str(value) or f"{value}:" not in part.info, (part.label, value)


def test_every_word_belongs_to_a_field_and_a_choice_of_it() -> None:
    for path, words in WORDS.items():
        kind, _ = kind_of(info_of(RunSpec, path.replace("rules.", "rules.0.")).annotation)
        assert words.choices.keys() <= {*listed_choices(kind), *get_args(kind)}, path


def test_an_empty_field_says_what_it_means() -> None:
    with gr.Blocks():
        steps = SpecForm().field("optimization.max_steps")
    assert isinstance(steps, gr.Number)
    assert (steps.value, steps.placeholder) == (None, "as the epochs say")
    assert default_in_words(steps, empty_words("optimization.max_steps")) == "as the epochs say"
