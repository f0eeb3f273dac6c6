"""An answer carries what it was asked for: what reaches a field or a result, and what does not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.errors import EngineError
from pages.shared.wiring import problem_box, wire

# Every gr.Blocks leaves the event loop it made to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")


class Page:
    """Two fields, a result and a part that the person edits; `wired` binds a handler to them."""

    def __init__(self) -> None:
        self.blocks = gr.Blocks()
        with self.blocks:
            self.model = gr.Dropdown(["a", "b"], value="a", label="Model")
            self.rank = gr.Number(8, label="Rank")
            self.result = gr.HTML()
            self.edited = gr.HTML()
            self.note = gr.Textbox(interactive=False)
            self.problem = problem_box()

    def wired(self, handler, inputs, outputs, **options):
        with self.blocks:
            wire([self.rank.input], handler, inputs, outputs, problem=self.problem, **options)
        return list(self.blocks.fns.values())


def carried(answer: dict) -> dict:
    (text,) = [value for part, value in answer.items() if part.visible is False]
    return json.loads(text)


def test_a_field_among_the_outputs_is_set_by_the_browser_with_what_was_asked() -> None:
    page = Page()

    def fill(rank: float) -> dict:
        return {page.model: "b", page.note: "filled"}

    asked, settled = page.wired(fill, [page.rank], [page.model, page.note])
    answer = asked.fn(8, "a")

    assert [part.label for part in asked.inputs] == ["Rank", "Model"]
    assert answer[page.note] == "filled"
    assert page.model not in answer
    assert carried(answer) == {"said": ["a"], "values": {"0": "b"}}
    assert settled.fn is None
    assert settled.outputs == [page.model]
    assert settled.inputs[1:] == [page.model]


def test_choices_are_set_as_they_come_and_the_value_is_not() -> None:
    page = Page()

    def offer(values: dict) -> dict:
        return {page.model: gr.Dropdown(choices=["b", "c"], value="c")}

    asked, _ = page.wired(offer, {page.rank}, [page.model])
    answer = asked.fn({page.rank: 8, page.model: "a"})

    assert answer[page.model] == {"__type__": "update", "choices": ["b", "c"]}
    assert carried(answer)["values"] == {"0": "c"}


def test_a_field_that_only_gets_values_is_no_output_of_the_server() -> None:
    page = Page()

    def offer(rank: float) -> dict:
        return {page.model: gr.Dropdown(choices=["b", "c"], value="c"), page.rank: 4}

    fields = [page.model, page.rank]
    asked, settled = page.wired(offer, [page.rank], [*fields, page.note], redraws=[page.model])
    answer = asked.fn(8, "a", 8)

    assert asked.outputs[:-1] == [page.model, page.note, page.problem]
    assert set(answer) <= set(asked.outputs)
    assert carried(answer)["values"] == {"0": "c", "1": 4}
    assert settled.outputs == fields


def test_what_follows_the_fields_is_set_only_by_the_browser() -> None:
    page = Page()

    def count(model: str, rank: float) -> dict:
        return {page.result: f"{model} {rank}"}

    dimmed, asked, settled = page.wired(count, [page.model, page.rank], [page.result], follows=True)
    answer = asked.fn("a", 8, "a", 8)

    assert dimmed.fn is None
    assert asked.trigger_mode == "always_last"
    assert page.result not in asked.outputs
    assert page.problem not in asked.outputs
    assert carried(answer) == {"said": ["a", 8], "values": {"0": "a 8", "1": ""}}
    assert settled.outputs == [page.result, page.problem]


def test_a_refusal_empties_what_follows_the_fields() -> None:
    page = Page()

    def count(rank: float) -> dict:
        raise EngineError("Rank is 0.", "Give at least 1.")

    _, asked, _ = page.wired(count, [page.rank], [page.result], follows=True)
    values = carried(asked.fn(0, 0))["values"]

    assert values["0"] == ""
    assert json.loads(values["1"])["problem"] == "Rank is 0."


def test_a_part_that_the_person_edits_is_a_field() -> None:
    page = Page()

    def step(state: str) -> str:
        return state + "!"

    asked, settled = page.wired(step, [page.edited], [page.edited])

    assert carried(asked.fn("x", "x")) == {"said": ["x"], "values": {"0": "x!"}}
    assert settled.outputs == [page.edited]


def test_a_request_still_reaches_the_handler() -> None:
    page = Page()
    got = []

    def open_page(rank: float, request: gr.Request) -> dict:
        got.append((rank, request))
        return {page.rank: 4}

    asked, _ = page.wired(open_page, [page.rank], [page.rank])
    request = gr.Request()
    given = gr.helpers.special_args(asked.fn, [8, 8], request)[0]
    answer = asked.fn(*given)

    assert got == [(8, request)]
    assert carried(answer) == {"said": [8], "values": {"0": 4}}


def test_without_a_field_nothing_is_added() -> None:
    page = Page()
    (event,) = page.wired(lambda rank: "x", [page.rank], [page.result])
    assert event.outputs == [page.result, page.problem]


def test_a_question_never_answers_with_one_of_its_own_fields() -> None:
    page = Page()
    with pytest.raises(TypeError, match="follow"):
        page.wired(lambda rank: 4, [page.rank], [page.rank], follows=True)


def test_a_stream_cannot_follow() -> None:
    page = Page()

    def stream(rank: float) -> Iterator[str]:
        yield "x"

    with pytest.raises(TypeError, match="stream"):
        page.wired(stream, [page.rank], [page.result], follows=True)
