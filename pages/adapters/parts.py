"""What the sections of the adapters page share: the opened adapter, and the list to keep fresh.

A section is a module with `build_section(engine, parts, blocks)`, called inside its tab. The
address says which adapter is open (`/adapters?adapter=…`), and choosing another opens the page
anew: a section shows it on `blocks.load` (or on `parts.tab.select` where that takes long) and asks
`opened_adapter` for it, while a click takes `parts.adapter` as its input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_engine.adapters import AdapterSummary
from lora_engine.engine import Engine
from pages.shared import layout


@dataclass(frozen=True)
class AdapterParts:
    """adapter: a field with what the opened adapter is called (`adapter_key`), which
    `engine.adapters.get` takes; None until the page is there.

    tab: the section's own. heading: what stands over the tabs, the adapter's name first.
    list_again: give it `event.then` of an event that wrote, changed or deleted an adapter, and the
    list and the choices know it.
    """

    adapter: gr.Dropdown
    tab: gr.Tab
    heading: gr.HTML
    list_again: Callable[[Callable[..., Any]], Any]


def opened_adapter(engine: Engine, request: gr.Request) -> AdapterSummary:
    """The adapter that the address names, else the newest; one that comes with the program where
    there is no other.

    Raises NotFound or EngineError for a name that leads to none.
    """
    if name := layout.state_of(request, "adapter"):
        return engine.adapters.get(name)
    return engine.adapters.list()[0]
