"""What an event of a page changes, as a browser would show it where no field moved meanwhile."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr  # noqa: TID251
from gradio.blocks import Block  # noqa: TID251


def answered(page: gr.Blocks, event: Any, *given: Any) -> dict[Block, Any]:
    """The outputs of an event by component: those the server sets, then those the browser sets.

    given: the handler's own arguments; fields whose late answers are held back say nothing.
    """
    settling = _settling(page, event)
    if settling is None:
        return event.fn(*given)
    carrier, *asked = settling.inputs
    changed = event.fn(*given, *([] if event.inputs_as_dict else [None] * len(asked)))
    values = json.loads(changed.pop(carrier))["values"]
    return changed | {settling.outputs[int(place)]: value for place, value in values.items()}


def _settling(page: gr.Blocks, event: Any) -> Any:
    """The event in which the browser sets what is not too late; None where there is none."""
    after = [other for other in page.fns.values() if other.trigger_after == event._id]
    found = [other for other in after if other.fn is None and "late_answers.js" in (other.js or "")]
    return found[0] if found else None
