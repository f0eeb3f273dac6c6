"""The error boundary: what a person sees, what a script gets, what is logged."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from pages.shared.wiring import expose, field_id, problem_box, problem_value, wire

# Every gr.Blocks leaves the event loop it made to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")


def _bound(handler, outputs: int, **options):
    """The function that Gradio calls for a wired handler; its answer by the outputs' labels."""
    with gr.Blocks() as blocks:
        button = gr.Button()
        texts = [gr.Textbox(label=name, interactive=False) for name in "abc"[:outputs]]
        problem = problem_box()
        wire([button.click], handler, [], texts, problem=problem, **options)
    (event,) = blocks.fns.values()
    assert event.api_visibility == "private"
    names = {text: text.label for text in texts} | {problem: "problem"}

    def named(update: dict) -> dict:
        return {names[component]: value for component, value in update.items()}

    if inspect.isgeneratorfunction(handler):
        return lambda: [named(update) for update in event.fn()]
    return lambda: named(event.fn())


def _refused() -> str:
    raise EngineError("Rank is 0.", "Give at least 1.")


def test_a_result_empties_the_problem_box() -> None:
    assert _bound(lambda: "x", 1)() == {"a": "x", "problem": ""}
    assert _bound(lambda: None, 0)() == {"problem": ""}


def test_a_handler_names_what_it_changes_and_the_rest_stays() -> None:
    with gr.Blocks() as blocks:
        button, kept, changed, problem = gr.Button(), gr.HTML(), gr.HTML(), problem_box()
        wire([button.click], lambda: {changed: "x"}, [], [kept, changed], problem=problem)
    (event,) = blocks.fns.values()
    assert event.fn() == {changed: "x", problem: ""}


def test_outputs_without_names_are_a_bug_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    assert list(_bound(lambda: ("x", "y"), 2)()) == ["problem"]
    assert "names its 2 outputs" in caplog.text


def test_what_happens_of_itself_leaves_the_problem_box_alone() -> None:
    assert _bound(lambda: "a", 1, keeps_problem=True)() == {
        "a": "a",
        "problem": gr.skip(),
    }
    assert _bound(_refused, 1, keeps_problem=True)()["problem"] != gr.skip()


def test_skipping_leaves_every_output_alone() -> None:
    assert _bound(lambda: gr.skip(), 2)() == {"problem": ""}


def test_an_engine_error_keeps_the_outputs_and_is_shown_with_its_remedy() -> None:
    update = _bound(_refused, 1)()

    assert list(update) == ["problem"]
    assert json.loads(update["problem"]) == {
        "problem": "Rank is 0.",
        "remedy": "Give at least 1.",
        "fields": [],
    }


def test_wrong_fields_are_named_by_the_elements_they_stand_in() -> None:
    error = InvalidInput("The spec", [FieldProblem("method.use_dora", "got 3")], "Correct it.")

    (field,) = json.loads(problem_value(error))["fields"]

    assert field == {"id": "field-method-use-dora", "path": "method.use_dora", "message": "got 3"}
    assert field["id"] == field_id("method.use_dora")


def test_a_bug_is_logged_whole_and_shown_without_its_insides(
    caplog: pytest.LogCaptureFixture, tmp_path
) -> None:
    def broken() -> str:
        raise ZeroDivisionError("secret")

    file = RotatingFileHandler(tmp_path / "rankscope.log")
    logging.getLogger().addHandler(file)
    try:
        shown = json.loads(_bound(broken, 1)()["problem"])
    finally:
        logging.getLogger().removeHandler(file)
        file.close()

    assert "secret" not in json.dumps(shown)
    assert str(tmp_path / "rankscope.log") in shown["remedy"]
    assert "ZeroDivisionError: secret" in caplog.text


def test_a_stream_that_fails_keeps_what_it_had_shown() -> None:
    def stream() -> Iterator[str]:
        yield "first"
        raise EngineError("The model is gone.", "Choose another.")

    first, last = _bound(stream, 1)()

    assert first == {"a": "first", "problem": ""}
    assert list(last) == ["problem"]
    assert json.loads(last["problem"])["problem"] == "The model is gone."


def test_what_a_stream_hides_stays_hidden_in_the_updates_that_follow() -> None:
    """Gradio's client would take back what it has not drawn yet."""

    def stream() -> Iterator[dict]:
        yield {texts[0]: gr.Textbox(visible=False), texts[1]: gr.Textbox("once", visible=True)}
        yield {texts[2]: "last"}
        raise EngineError("The model is gone.", "Choose another.")

    with gr.Blocks() as blocks:
        button = gr.Button()
        texts = [gr.Textbox(interactive=False) for _ in range(3)]
        wire([button.click], stream, [], texts, problem=problem_box())
    (event,) = blocks.fns.values()

    _, second, failed = event.fn()

    for update in (second, failed):
        assert update[texts[0]].constructor_args == {"visible": False}
        assert texts[1] not in update  # its value may have been typed over


def test_a_script_gets_the_error_itself() -> None:
    def params(rank: int = 8) -> dict:
        """Counts."""
        return {"rank": rank} if rank else _refused()

    with gr.Blocks() as blocks:
        expose(params, "params")
    (event,) = blocks.fns.values()

    assert event.api_name == "params"
    assert event.fn(2) == {"rank": 2}
    with pytest.raises(gr.Error, match=r"Rank is 0\. Give at least 1\."):
        event.fn(0)


def test_a_script_gets_no_path_that_its_client_would_download() -> None:
    def export() -> dict:
        """Written."""
        return {"path": "/a", "loads": [{"path": "/b", "ok": True}], "bytes": 3}

    with gr.Blocks() as blocks:
        expose(export, "export")
    (event,) = blocks.fns.values()

    assert event.fn() == {"folder": "/a", "loads": [{"folder": "/b", "ok": True}], "bytes": 3}
