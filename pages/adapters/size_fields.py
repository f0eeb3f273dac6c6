"""The fields that say how small an adapter is to be: one rank, a share of energy, a threshold.

Only the field that the chosen kind needs is shown. Knows no adapter and no operation.
"""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from lora_engine.language import tr, translatable
from pages.adapters.resize_work import ENERGY, RANK, THRESHOLD
from pages.shared.live import number_range
from pages.shared.wiring import Update, wire

KINDS = [
    (translatable("one rank"), RANK),
    (translatable("a share of each module's energy"), ENERGY),
    (translatable("one threshold for σ"), THRESHOLD),
]


@dataclass(frozen=True)
class SizeFields:
    """The kind, and a value for each kind."""

    kind: gr.Radio
    rank: gr.Number
    energy: gr.Number
    threshold: gr.Number

    @property
    def inputs(self) -> list[gr.Radio | gr.Number]:
        """What `resize_target` is given, in its order."""
        return [self.kind, self.rank, self.energy, self.threshold]

    def show_kind(self, kind: str) -> Update:
        """The one field that this way of choosing needs."""
        return {
            self.rank: gr.Number(visible=kind == RANK),
            self.energy: gr.Number(visible=kind == ENERGY),
            self.threshold: gr.Number(visible=kind == THRESHOLD),
        }

    def connect(self, problem: gr.HTML) -> None:
        """Let the kind show its field."""
        fields = [self.rank, self.energy, self.threshold]
        wire([self.kind.input], self.show_kind, [self.kind], fields, problem=problem)


def size_fields(prefix: str, label: str, kind: str = RANK, rank: int = 8) -> SizeFields:
    """prefix: begins the element ids; kind, rank: what stands there first."""
    chosen = gr.Radio(
        [(tr(words), one) for words, one in KINDS],
        value=kind,
        label=label,
        elem_id=f"{prefix}-kind",
    )
    fields = SizeFields(
        kind=chosen,
        rank=gr.Number(
            rank, label=tr("Rank"), precision=0, visible=kind == RANK, elem_id=f"{prefix}-rank"
        ),
        energy=gr.Number(
            0.99, label=tr("Energy kept"), step=0.01, visible=kind == ENERGY,
            elem_id=f"{prefix}-energy", info=tr("In every module, from above 0 to 1."),
        ),
        threshold=gr.Number(
            None, label=tr("Threshold"), step=0.01, visible=kind == THRESHOLD,
            elem_id=f"{prefix}-threshold", info=tr("Directions with a smaller singular value go."),
        ),
    )  # fmt: skip
    number_range(fields.rank, 1, 64)
    number_range(fields.energy, 0.5, 1, 0.01)
    return fields
