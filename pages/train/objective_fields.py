"""What a step makes likelier: the objective, and the fields that its kind reads.

A field of another kind stays in the form with its value, hidden, and is left out of the spec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from lora_engine.language import tr
from lora_engine.spec import OBJECTIVE_FIELDS
from pages.shared.forms import SpecForm
from pages.shared.wiring import Update, wire
from pages.train import rule_rows

KIND = "objective.kind"
ROWS = (
    ("beta", "loss", "label_smoothing", "gamma"),
    ("desirable_weight", "undesirable_weight", "class_weights"),
    ("group_size", "max_new_tokens", "temperature", "top_p"),
    ("updates_per_generation", "epsilon", "advantage"),
)


@dataclass(frozen=True)
class ObjectiveParts:
    """rows: one for each of `ROWS`. rules: the group of the rules' rows."""

    rows: list[gr.Row]
    rules: gr.Column
    rule_rows: list[gr.Row]


def lay_out(form: SpecForm, width: int) -> ObjectiveParts:
    with gr.Row(elem_classes="rs-fields"):
        form.field(KIND, min_width=width)
        form.field("task", min_width=width)
    with gr.Column(visible=False) as rules:
        gr.Markdown(
            tr(
                "An answer that meets a rule earns the rule's weight, and its reward is the sum. "
                "Answers with a higher reward than the others to the same question become likelier."
            )
        )
        of_rules = rule_rows.lay_out(form)
    rows = []
    for names in ROWS:
        with gr.Row(elem_classes="rs-fields", visible=False) as row:
            for name in names:
                form.field(f"objective.{name}", min_width=width, visible=False)
        rows.append(row)
    return ObjectiveParts(rows, rules, of_rules)


def connect(parts: ObjectiveParts, form: SpecForm, blocks: gr.Blocks, problem: gr.HTML) -> None:
    """Let the fields follow the kind, and the rules their own kinds."""
    kind = form.component(KIND)
    fields = {name: form.component(f"objective.{name}") for names in ROWS for name in names}

    def follow_objective(chosen: str) -> Update:
        read = OBJECTIVE_FIELDS.get(chosen, ())
        shown: Update = {field: type(field)(visible=name in read) for name, field in fields.items()}
        for row, names in zip(parts.rows, ROWS, strict=True):
            shown[row] = gr.Row(visible=not set(read).isdisjoint(names))
        return {**shown, parts.rules: gr.Column(visible="rules" in read)}

    def forget_beta() -> Update:
        """Each kind has a beta of its own, which an empty field stands for."""
        return {fields["beta"]: None}

    wire([kind.input], forget_beta, [], [fields["beta"]], problem=problem)
    outputs: Sequence[gr.blocks.Block] = [*fields.values(), *parts.rows, parts.rules]
    wire(
        [blocks.load, kind.change],
        follow_objective,
        [kind],
        outputs,
        problem=problem,
        keeps_problem=True,
        queue=False,
    )
    rule_rows.connect(parts.rule_rows, form, blocks, problem)
