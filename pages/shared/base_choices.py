"""The base models a field offers are those there are when its page opens: more may have come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import gradio as gr

from pages.shared.wiring import Update, wire

if TYPE_CHECKING:
    from lora_engine.engine import Engine


def list_bases_at_opening(
    engine: Engine,
    blocks: gr.Blocks,
    fields: Sequence[gr.Dropdown],
    problem: gr.HTML,
    first: Sequence[str] = (),
) -> None:
    """Fill the choices of these fields on every opening; first: choices before the models."""

    def list_bases() -> Update:
        choices = [*first, *engine.base_models.names()]
        return {field: gr.Dropdown(choices=choices) for field in fields}

    wire([blocks.load], list_bases, [], fields, problem=problem)
