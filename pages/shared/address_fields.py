"""The fields of a page in its address, so that reload, share and back give all of them back.

The browser does it (`static/address.js`): it writes a field into the address when the person
changes it, and reads all of them when the page opens, before anything is asked. What the address
says wrongly is told in a problem box. Knows components; knows no page.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from pages.shared.static_files import event_js


class AddressFields:
    """A page's fields by their names in the address; each has an elem_id for its problem.

    What a field says as it is made is what it says where the address does not name it.
    """

    def __init__(self, fields: Mapping[str, Component]) -> None:
        self._components = list(fields.values())
        self._described = [_described(name, field) for name, field in fields.items()]

    def recall(self, blocks: gr.Blocks, problem: gr.HTML, api_name: str) -> Any:
        """Fill in the fields as the page opens. Returns Gradio's event; `.then` what they ask."""
        return blocks.load(
            fn=None,
            outputs=[*self._components, problem],
            js=event_js("shared/address.js", "recallFields", self._described),
            api_name=api_name,
            api_visibility="private",
        )

    def remember(self, triggers: Sequence[Callable] | Callable, api_name: str) -> None:
        """Write them into the address, on events or after one (`filled.then`). Bind it before what
        asks the server, which it would wait for."""
        bind = triggers if callable(triggers) else functools.partial(gr.on, list(triggers))
        bind(
            fn=None,
            inputs=self._components,
            js=event_js("shared/address.js", "rememberFields", self._described),
            api_name=api_name,
            api_visibility="private",
            trigger_mode="multiple",
        )


def _described(name: str, field: Component) -> dict[str, Any]:
    opening = getattr(field, "value", None)
    described = {"name": name, "id": field.elem_id, "kind": _kind(field), "opening": opening}
    if isinstance(field, gr.Dropdown) and not field.allow_custom_value:
        described["choices"] = [value for _, value in field.choices]
    return described


def _kind(field: Component) -> str:
    if isinstance(field, gr.Checkbox):
        return "truth"
    return "number" if isinstance(field, gr.Number) else "text"
