"""The train page: what its address carries, and what its form says of this machine."""

from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.adapters import AdapterSummary
from lora_engine.engine import Engine
from lora_engine.spec import USED_BY, spec_from, suited_learning_rate
from lora_engine.training.compatibility import Machine
from pages import train
from pages.shared import alpha_note
from pages.shared.forms import SpecForm
from pages.shared.train_link import (
    address_of,
    opening_spec,
    spec_in_address,
    whole_address_of,
)
from pages.train import form_fields, method_fields, place_fields

# Every gr.Blocks leaves the event loop it made to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")


class Request:
    def __init__(self, address: str) -> None:
        self.query_params = dict(parse_qsl(urlsplit(address).query))


def test_method_quantization_and_steps_arrive():
    spec = spec_from(
        {
            "base_model": "org/name",
            "method": {"rank": 32, "alpha": 64.0, "target_modules": ["q_proj"], "use_dora": True},
            "quantization": {"double": False},
            "optimization": {
                "learning_rate": 3e-4,
                "optimizer": "paged_adamw_8bit",
                "batch_size": 1,
                "gradient_accumulation": 16,
                "max_length": 2048,
                "gradient_checkpointing": True,
                "precision": "bfloat16",
            },
        }
    )
    arrived = spec_in_address(None, Request(address_of(spec)))
    assert arrived.method == spec.method
    assert arrived.quantization == spec.quantization
    assert arrived.optimization == spec.optimization
    assert (arrived.base_model, arrived.dataset) == (spec.base_model, opening_spec().dataset)


def test_what_the_page_shows_anyway_is_left_out():
    assert urlsplit(address_of(opening_spec())).query == "base_model=starter"


def test_the_whole_form_arrives_from_its_address():
    spec = spec_from(
        {
            "name": "mine & yours r4",
            "base_model": "org/name",
            "task": "sequence_classification",
            "seed": 7,
            "dataset": {"source": "a b.csv", "columns": {"text": "Satz", "label": "Art"}},
            "method": {"rank": 4, "alpha": 9.0, "rank_pattern": {"q_proj": 2}},
            "quantization": {"bits": 8},
            "optimization": {"epochs": 2.0, "early_stopping": 3},
            "report": {"sample_prompts": ["one, two?", "x" * 600]},
        }
    )
    assert spec_in_address(None, Request(whole_address_of(spec))) == spec
    assert urlsplit(whole_address_of(opening_spec())).query == ""


def test_the_form_says_what_this_machine_cannot_run_and_why(settings, monkeypatch):
    bare = Machine(has_gpu=False, packages=frozenset({"tensorboard", "bitsandbytes"}))
    monkeypatch.setattr(form_fields, "this_machine", lambda _: bare)
    form = SpecForm()
    with gr.Blocks():
        form_fields.more_fields(form, Engine(settings))
    trackers = form.component("report.report_to").info
    assert "(wandb is not installed: pip install wandb)" in trackers
    assert "(trackio is not installed: pip install trackio)" in trackers
    assert "TensorBoard" not in trackers
    optimizers = form.component("optimization.optimizer").info
    assert "Paged AdamW, Paged 8-bit AdamW (pages move between a GPU and the host, and this " in (
        optimizers
    )


@pytest.mark.parametrize(
    ("rank", "alpha", "use_rslora", "said", "has_remark"),
    [
        (8.0, None, False, "α/r = 2", False),
        (16, 32.0, True, "α/√r with rsLoRA = 8", True),
        (64, 16, False, "α/r = 0.25", True),
        (4, 2, False, "α/r = 0.5", False),
    ],
)
def test_what_alpha_means_is_said_beside_it(rank, alpha, use_rslora, said, has_remark):
    shown = alpha_note.as_html(rank, alpha, use_rslora)
    assert f"<strong>{said}</strong>" in shown
    assert ("rs-note" in shown) == has_remark


@pytest.mark.parametrize(
    ("rank", "alpha"), [(None, 8), (0, 8), (2.5, 8), (8, 0), (8, float("nan"))]
)
def test_nothing_is_said_of_what_is_no_rank_or_alpha(rank, alpha):
    assert alpha_note.as_html(rank, alpha, use_rslora=False) == ""


def test_an_alpha_of_twice_the_rank_is_an_empty_field():
    spec = spec_from({"method": {"rank": 4}})
    assert alpha_note.shown_alpha(spec) is None
    assert alpha_note.shown_alpha(spec_from({"method": {"rank": 4, "alpha": 9}})) == 9


@pytest.mark.parametrize("kind", [kind for kind in USED_BY if kind != "full"])
def test_every_field_of_a_method_stands_in_the_form(kind):
    shown = {*method_fields.FIELDS, *method_fields.OF_LORA_TOO}
    assert set(USED_BY[kind]) <= shown


def test_the_line_about_a_method_says_its_rate_and_what_it_reads_of_lora_s():
    assert method_fields.as_html("lora", "starter") == ""
    words = method_fields.as_html("vera", "starter")
    assert f"{suited_learning_rate('starter', 'vera'):g}" in words
    assert "Rank, LoRA dropout, Target modules" in words
    assert "none" in method_fields.as_html("prompt", "elsewhere")


def test_a_run_goes_on_from_adapters_of_lora_alone_or_from_none(settings, monkeypatch):
    engine = Engine(settings)
    known = [
        AdapterSummary(
            name, Path(f"/runs/{name}/adapter"), 8, "starter", None, name, "", 1, kind=kind
        )
        for name, kind in (("r1", "lora"), ("r2", "vera"))
    ]
    monkeypatch.setattr(engine.adapters, "list", lambda: known)
    page = train.build(engine)
    (event,) = [one for one in page.fns.values() if one.api_name == "page_open_page"]
    request = SimpleNamespace(query_params={}, session_hash="tab")
    opened = event.fn(request, *[None] * len(event.inputs))
    shown = {part.elem_id: value for part, value in opened.items()}
    field = next(one for one in page.blocks.values() if one.elem_id == "field-method-init-from")
    for choices in (field.choices, shown["field-method-init-from"]["choices"]):
        assert [value for _, value in choices] == ["", "r1"]


def test_gradio_makes_only_the_fields_anew_whose_choices_change(settings, monkeypatch):
    page = train.build(Engine(settings))
    (event,) = [one for one in page.fns.values() if one.api_name == "page_open_page"]
    (settled,) = [one for one in page.fns.values() if one.trigger_after == event._id]
    made_anew = {part.elem_id for part in event.outputs} & {
        part.elem_id for part in settled.outputs
    }
    assert made_anew == {"field-method-init-from", "field-base-model"}
    assert len(settled.outputs) > 100


@pytest.mark.parametrize(
    ("has_gpu", "devices", "expected"),
    [(False, 8, (False, False)), (True, 1, (True, False)), (True, 2, (True, True))],
)
def test_fields_of_cards_are_shown_where_there_are_so_many(
    settings, monkeypatch, has_gpu, devices, expected
):
    machine = Machine(has_gpu, frozenset(), devices=devices)
    monkeypatch.setattr(place_fields, "this_machine", lambda _: machine)
    with gr.Blocks():
        form = SpecForm()
        form_fields.more_fields(form, Engine(settings))
    names = ("offload_activations", "devices")
    shown = tuple(form.component(f"optimization.{name}").visible for name in names)
    assert shown == expected
