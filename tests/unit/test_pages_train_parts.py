"""Parts of the train page: cards, summary, marks of what is changed, a spec file opened."""

import json
import re

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.advisor import METHODS, MethodForecast, RunForecast
from lora_engine.engine import Engine
from lora_engine.errors import InvalidInput
from lora_engine.spec import RunSpec, recipe_spec, spec_from
from pages import train
from pages.shared.spec_fields import kind_of, title_of
from pages.train import changed_marks, method_cards, run_summary, spec_file, words
from tests.page_events import answered

pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")


def found(**changes) -> RunForecast:
    lora = MethodForecast(0.4893, 25.3, 163_840, True)
    methods = {name: MethodForecast(why="not here") for name in METHODS} | {"lora": lora}
    facts = {
        "name": "lora",
        "rows": 688,
        "evaluated": 76,
        "steps": 258,
        "tokens": 53_000,
        "place": "local",
        "device": "cpu",
        "device_gib": 22.4,
        "measured_on": 0,
        "methods": methods,
    }
    return RunForecast(**{**facts, **changes})


def test_every_method_has_a_card_and_its_figures():
    cards = json.loads(method_cards.as_json(found(), "starter"))["cards"]
    assert sorted(card["id"] for card in cards) == sorted(METHODS)
    by_id = {card["id"]: card for card in cards}
    assert (by_id["lora"]["memory"], by_id["lora"]["time"]) == ("0.49 GiB", "about 25 s")
    assert (by_id["full"]["memory"], by_id["full"]["why"]) == ("", "not here")
    assert by_id["qlora"]["kind"] == by_id["dora"]["kind"] == "lora"


def test_the_line_says_rows_steps_time_and_memory():
    line = re.sub("<[^>]*>", "", run_summary.line_html(found()))
    assert line == "688 rows · 258 steps · about 25 s · 0.49 GiB of 22"


def test_what_does_not_fit_and_what_is_not_known_are_said():
    over = MethodForecast(93.0, 10.0, 5, False)
    html = run_summary.figures_html(
        found(methods={**found().methods, "lora": over}, changes=("gradient checkpointing",)),
        recipe_spec("pirate"),
    )
    assert "gradient checkpointing" in html
    unknown = {**found().methods, "lora": MethodForecast(why="because <b>")}
    html = run_summary.figures_html(found(methods=unknown), recipe_spec("pirate"))
    assert "because &lt;b&gt;" in html


@pytest.mark.parametrize(
    ("asked", "device", "says"),
    [(None, "cpu", "node"), (None, "cuda", "card of the cluster"), (8.0, "cpu", "of 8.0 GiB")],
)
def test_a_cluster_is_never_compared_with_this_machine(asked, device, says):
    there = found(place="slurm", device=device, device_gib=asked)
    html = run_summary.figures_html(there, recipe_spec("pirate"))
    assert says in html
    assert "this machine" not in html
    assert ("rs-run-meter" in html) is (asked is not None)
    line = re.sub("<[^>]*>", "", run_summary.line_html(there))
    assert line.endswith("0.49 GiB" if asked is None else "0.49 GiB of 8")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3.21, "3.21 s"), (25.3, "25 s"), (118.9, "2 min"), (133.6, "2 min 15 s"), (640, "11 min")],
)
def test_a_forecasts_seconds_are_no_finer_than_it_is(seconds, said):
    assert words.about(seconds) == f"about {said}"


def leaves(model, prefix=""):
    """Every field of a spec by its path, the mixture and the rules as one."""
    for name, info in model.model_fields.items():
        kind = kind_of(info.annotation)[0]
        if hasattr(kind, "model_fields"):
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_field_of_the_spec_stands_on_the_page(settings):
    with_a_cluster = settings.model_copy(update={"ray_address": "http://head:8265"})
    page = train.build(Engine(with_a_cluster))
    ids = {part.elem_id for part in page.blocks.values()}
    expected = {f"field-{path.replace('.', '-').replace('_', '-')}" for path in leaves(RunSpec)}
    not_on_a_form = {one for one in expected if one.startswith("field-extended-from")}
    rules = {"field-objective-rules"}  # in rows of their own
    assert expected - not_on_a_form - rules <= ids


def test_a_default_is_said_as_its_field_shows_it():
    with gr.Blocks():
        choices = gr.Dropdown([("none", "none"), ("4 bit", 4)], value=4)
        assert changed_marks.default_in_words(choices) == "4 bit"
        assert changed_marks.default_in_words(gr.Checkbox(False)) == "off"
        assert changed_marks.default_in_words(gr.Textbox("")) == "empty"
        assert changed_marks.default_in_words(gr.Number(0.03)) == "0.03"


def test_an_opened_spec_fills_what_is_right_and_names_all_that_is_wrong(tmp_path):
    path = tmp_path / "spec.json"
    method = {"rank": 0, "alpha": 4, "colour": "red"}
    path.write_text(json.dumps({"name": "mine", "method": method, "objective": {"kind": "no"}}))
    spec, wrong = spec_file.read_what_can_be(path)
    assert (spec.name, spec.method.alpha) == ("mine", 4)
    assert spec.method.rank == 8
    named = {problem.path for problem in wrong.problems}
    assert {"method.rank", "method.colour", "objective.kind"} <= named


def test_a_sound_spec_is_filled_whole_and_what_is_none_is_refused(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(recipe_spec("sums").model_dump_json())
    assert spec_file.read_what_can_be(path) == (recipe_spec("sums"), None)
    for content in ("no JSON", "[1]"):
        path.write_text(content)
        with pytest.raises(InvalidInput):
            spec_file.read_what_can_be(path)


def test_rows_and_steps_come_first_until_the_libraries_are_there(settings, monkeypatch):
    """The rest is asked for by a new value of the hidden part, and at the end there is none."""
    engine = Engine(settings)
    monkeypatch.setattr(engine.advisor, "get_ready", lambda: None)
    monkeypatch.setattr(engine.advisor, "forecast", lambda spec: found())
    page = train.build(engine)
    events = {event.api_name: event for event in page.fns.values()}
    first, rest = events["page_foresee"], events["page_foresee_all"]
    given = {field: getattr(field, "value", None) for field in first.inputs}

    def shown(event) -> list[str]:
        return [str(value) for value in answered(page, event, dict(given)).values() if value]

    at_once = shown(first)
    assert any(">688<" in html and ">258<" in html and "0.49 GiB" not in html for html in at_once)
    assert any(re.fullmatch("[0-9a-f]{32}", value) for value in at_once)
    assert any("0.49 GiB" in html for html in shown(rest))
    monkeypatch.setattr(engine.advisor, "first_figures", lambda spec: None)
    assert shown(first) == shown(rest)


def test_a_wrong_field_is_named_as_a_person_reads_it():
    with pytest.raises(InvalidInput) as caught:
        spec_from({"optimization": {"batch_size": 0}, "objective": {"kind": "nix"}})
    html = run_summary.unknown_html(caught.value)
    assert "Batch size" in html
    assert "batch_size" not in html
    assert title_of("method.rank_pattern.q_proj") == "Rank by module"
    assert title_of("no.such.field") == "no.such.field"
