"""One event for many fields that change at once.

A page that is filled changes a hundred fields, and each reports it. Gradio works out every event
on its own, with the state of all its inputs, so that ten parts that follow the fields kept the
browser busy for half a minute. Here each change is only noted, and what follows is asked for once
they have stopped (`static/settled_changes.js`), and not before the page is filled. Knows no field
and no page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from pages.shared.forms import Field
from pages.shared.static_files import call_js, event_js

SCRIPT = "shared/settled_changes.js"
TOGETHER = 8  # Gradio's client reads every trigger of an event each time one of them happens
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


class SettledChanges:
    """Make it inside the page's Blocks; `trigger` binds what follows the fields."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self._stamp = gr.HTML(
            value="", html_template="<div hidden></div>", elem_classes="rs-range-holder",
            apply_default_css=False,
        )  # fmt: skip
        self._name = f"settled-{self._stamp._id}"
        self._stamp.js_on_load = call_js(SCRIPT, "settledChanges", self._name)
        for start in range(0, len(self.fields), TOGETHER):
            gr.on(
                [field.change for field in self.fields[start : start + TOGETHER]],
                fn=None,
                js=event_js(SCRIPT, "noticed", self._name),
                **QUIET,
            )

    @property
    def trigger(self) -> Callable[..., Any]:
        return self._stamp.input

    def begin_after(self, filled: Any) -> None:
        """filled: the event after which the page shows what its address asks for."""
        filled.then(fn=None, js=event_js(SCRIPT, "begin", self._name), **QUIET)
