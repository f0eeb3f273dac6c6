"""A page's fields in its address: what the browser is told of each."""

import json
import re

import gradio as gr  # noqa: TID251
import pytest

from pages.shared.address_fields import AddressFields
from pages.shared.wiring import problem_box

# Every gr.Blocks leaves the event loop it made to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")


def test_each_field_is_described_and_filled_by_the_browser_alone():
    with gr.Blocks() as blocks:
        fields = {
            "rows": gr.Number(8, elem_id="rows"),
            "on": gr.Checkbox(True, elem_id="on"),
            "card": gr.Dropdown(["a", "b"], value="b", elem_id="card"),
            "model": gr.Dropdown(["m"], value="m", allow_custom_value=True, elem_id="model"),
        }
        problem = problem_box()
        address = AddressFields(fields)
        address.remember([fields["rows"].input], "remember")
        address.recall(blocks, problem, "recall")
    remembered, recalled = blocks.fns.values()

    assert remembered.fn is None
    assert recalled.fn is None
    assert recalled.outputs == [*fields.values(), problem]
    described = json.loads(re.search(r"recallFields\((\[.*\]), \.\.\.", recalled.js)[1])
    assert [item["kind"] for item in described] == ["number", "truth", "text", "text"]
    assert [item["opening"] for item in described] == [8, True, "b", "m"]
    assert [item.get("choices") for item in described] == [None, None, ["a", "b"], None]
