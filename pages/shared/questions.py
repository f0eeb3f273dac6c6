"""A question that the person takes back: hidden in the browser, at once.

An answer of the server's that hides it could come after that of the next click, which shows it
again, and would leave that click without a question. Knows no question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.components import Component

from pages.shared.static_files import event_js


def wire_taking_back(trigger: Callable[..., Any], group: gr.Column, *emptied: Component) -> None:
    """Hide `group` on the trigger, and empty these fields."""
    gr.on(
        [trigger],
        fn=None,
        outputs=[group, *emptied],
        js=event_js("shared/questions.js", "takeBack", len(emptied)),
        api_name="page_take_back",
        api_visibility="private",
    )
