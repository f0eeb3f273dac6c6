"""The rules of GRPO on the train page: a row for each, with the fields that its kind reads.

A row appears once the one before it says a rule; a row whose rule is 'none' is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr
from gradio.blocks import Block

from lora_engine.spec import FIELDS_OF_KIND, MAX_RULES
from pages.shared.forms import NONE, SpecForm
from pages.shared.wiring import Update, wire

OF_A_KIND = tuple(name for names in FIELDS_OF_KIND.values() for name in names)
NARROW = {"weight": 100, "minimum": 100, "maximum": 100, "unit": 120}  # pixels
USUAL = 180


def lay_out(form: SpecForm) -> list[gr.Row]:
    """The rows; only the first one shows until a rule is chosen."""
    rows = []
    for place in range(MAX_RULES):
        with gr.Row(elem_classes="rs-fields", visible=place == 0) as row:
            for name in ("kind", "weight", *OF_A_KIND):
                form.field(
                    f"objective.rules.{place}.{name}",
                    min_width=NARROW.get(name, USUAL),
                    visible=name == "kind",
                )
        rows.append(row)
    return rows


def connect(rows: Sequence[gr.Row], form: SpecForm, blocks: gr.Blocks, problem: gr.HTML) -> None:
    """Let the rows and their fields follow the kinds that are chosen."""
    kinds = [form.component(f"objective.rules.{place}.kind") for place in range(MAX_RULES)]
    fields = [
        {name: form.component(f"objective.rules.{place}.{name}") for name in ("weight", *OF_A_KIND)}
        for place in range(MAX_RULES)
    ]

    def follow_rules(*chosen: str) -> Update:
        shown: dict[Block, Block] = {}
        for place, kind in enumerate(chosen):
            read = () if kind == NONE else ("weight", *FIELDS_OF_KIND[kind])
            is_next = place == 0 or chosen[place - 1] != NONE
            shown[rows[place]] = gr.Row(visible=kind != NONE or is_next)
            for name, field in fields[place].items():
                shown[field] = type(field)(visible=name in read)
        return shown

    outputs = [*rows, *(field for of_row in fields for field in of_row.values())]
    triggers = [blocks.load, *(kind.change for kind in kinds)]
    wire(triggers, follow_rules, kinds, outputs, problem=problem, keeps_problem=True, queue=False)
