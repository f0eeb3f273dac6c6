"""Where Gradio itself refuses what a page sends, the person reads our words and none of its own."""

from __future__ import annotations

import asyncio

import gradio as gr  # noqa: TID251
import pytest

from pages.shared.gradio_errors import say_errors

GRADIOS_OWN = ("<", "object", "Traceback", "list of choices", "minimum value", "Method", "textbox")


def dashboard(language: str = "en") -> gr.Blocks:
    with gr.Blocks() as built:
        fields = [
            gr.Dropdown(["a", "b"], label="Choice"),
            gr.Radio(["a", "b"], label="Radio"),
            gr.CheckboxGroup(["a", "b"], label="Group"),
            gr.Number(1, minimum=0, maximum=2, label="Number"),
            gr.Slider(0, 2, value=1, label="Slider"),
            gr.Textbox("", label="Text"),
            gr.UploadButton(file_types=[".zip"], label="Upload"),
        ]
        gr.Button().click(lambda *_: "", fields, fields[5])
        gr.Button().click(lambda _: 1 / 0, fields[5], fields[5])
        gr.Button().click(lambda _: ("", ""), fields[5], fields[5:])
    say_errors(built, language)
    return built


SOUND = ["a", "b", ["a"], 1, 1, "", None]


def sent(built: gr.Blocks, number: int, values: list) -> object:
    return asyncio.run(built.process_api(built.fns[number], list(values)))


@pytest.mark.parametrize(
    ("place", "value", "field"),
    [
        (0, "gone", "Choice"),
        (0, {"a": 1}, "Choice"),
        (1, "gone", "Radio"),
        (2, ["a", "gone"], "Group"),
        (2, 3, "Group"),
        (3, 7, "Number"),
        (3, "seven", "Number"),
        (3, [], "Number"),
        (4, -1, "Slider"),
        (4, None, "Slider"),
        (6, "no file", ""),
        (6, {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, ""),
    ],
)
def test_a_value_that_a_field_does_not_take_names_the_field(place, value, field):
    values = [*SOUND[:place], value, *SOUND[place + 1 :]]
    with pytest.raises(gr.Error) as refused:
        sent(dashboard(), 0, values)
    assert refused.value.message.startswith(field)
    assert "Reload" in refused.value.message
    assert not any(own in refused.value.message for own in GRADIOS_OWN)
    assert refused.value.title != "Error"


@pytest.mark.parametrize(("number", "values"), [(0, SOUND[:3]), (1, [""]), (2, [""])])
def test_too_few_fields_and_what_breaks_outside_a_handler_are_said_too(number, values):
    with pytest.raises(gr.Error) as refused:
        sent(dashboard(), number, values)
    assert refused.value.message
    assert not any(own in refused.value.message for own in GRADIOS_OWN)


def test_it_is_said_in_the_dashboards_language():
    with pytest.raises(gr.Error) as refused:
        sent(dashboard("zh"), 0, ["gone", *SOUND[1:]])
    assert refused.value.message.isascii() is False
    assert refused.value.title.isascii() is False


def test_what_the_fields_take_goes_on():
    assert sent(dashboard(), 0, SOUND)["data"] == [""]
