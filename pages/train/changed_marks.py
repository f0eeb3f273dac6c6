"""Which values differ from the default: marked at the field and counted at its group's heading.

The default is the spec's, as the field was made with it. Marking and going back happen in the
browser (`static/changed_marks.js`); this module says what each default is, in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from lora_engine.language import tr
from pages.shared.field_words import empty_words
from pages.shared.forms import Field, SpecForm
from pages.shared.settled_changes import SettledChanges
from pages.shared.static_files import call_js, event_js

SCRIPT = "train/changed_marks.js"
# What stands open on the page is chosen on every run, and is no change from anything.
ALWAYS_CHOSEN = (
    "name",
    "base_model",
    "dataset.source",
    "method.finetuning_type",
    "method.rank",
    "method.alpha",
    "optimization.learning_rate",
    "optimization.epochs",
)
MOST_CHARACTERS = 40


def connect(form: SpecForm, changes: SettledChanges) -> Any:
    """Mark the fields as they change. Returns the event that sets a field back, for `.then`."""
    paths = [path for path in form.paths if path not in ALWAYS_CHOSEN]
    fields = [form.component(path) for path in paths]
    marks = gr.HTML(
        value="",
        html_template='<div class="rs-marks" hidden></div>',
        js_on_load=call_js(SCRIPT, "marks", _texts()),
        elem_classes="rs-range-holder",
        apply_default_css=False,
    )
    described = [
        {
            "id": field.elem_id,
            "value": field.value,
            "words": default_in_words(field, empty_words(path)),
        }
        for path, field in zip(paths, fields, strict=True)
    ]
    others = [field.change for field in fields if field not in changes.fields]
    gr.on(
        [changes.trigger, *others],
        fn=None,
        inputs=fields,
        js=event_js(SCRIPT, "mark", described),
        api_name="page_mark_changed",
        api_visibility="private",
        show_progress="hidden",
    )
    return marks.input(
        fn=None,
        inputs=[marks],
        outputs=fields,
        js=event_js(SCRIPT, "goBack", described),
        api_name="page_set_back",
        api_visibility="private",
        show_progress="hidden",
    )


def default_in_words(field: Field, empty: str = "") -> str:
    """What a field says where nobody changed it. empty: what an empty field means."""
    value = field.value
    if isinstance(field, gr.Checkbox):
        return tr("on") if value else tr("off")
    if isinstance(field, gr.Dropdown) and not isinstance(value, list):
        named = {choice: name for name, choice in field.choices}
        value = named.get(value, value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = ", ".join(map(str, value))
    if value is None or value == "":
        return empty or tr("empty")
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 2] + " …"


def _texts() -> dict[str, str]:
    """What the marks say; `{default}` and `{count}` are replaced in the browser."""
    return {
        "changed": tr("Changed. The default is {default}."),
        "back": tr("Back to it"),
        "one": tr("1 changed"),
        "several": tr("{count} changed"),
    }
