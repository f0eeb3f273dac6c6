"""The loss of base and adapters on the rows that the first adapter never saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import gradio as gr

from lora_engine.compare.prompts import load_held_out_rows, training_spec_of
from lora_engine.data import Row, tokenize_rows, tokenizer_as_trained
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from pages.compare import held_out_losses
from pages.compare.conversation import column_title
from pages.compare.conversation_fields import ConversationFields
from pages.shared import layout
from pages.shared.stop_button import Stops
from pages.shared.wiring import problem_box, wire

MAX_HELD_OUT = 200
VERDICTS = {
    "better": translatable("better"),
    "worse": translatable("worse"),
    "no clear difference": translatable("no clear difference"),
}


def section(engine: Engine, fields: ConversationFields) -> None:
    """A button and the losses that it measures."""
    layout.section(
        tr("Loss on the held-out rows"),
        tr("What the adapter was trained for: rows of its own data that it never saw."),
    )
    with gr.Row(elem_classes="rs-actions"):
        measure = gr.Button(tr("Measure"), variant="primary", elem_id="measure-held-out")
        stop = gr.Button(tr("Stop"), variant="stop", elem_id="stop-held-out")
    problem = problem_box()
    result = gr.HTML(elem_id="held-out-result", js_on_load="")
    stops = Stops()

    def compare_losses(adapters: list[str], base: str, request: gr.Request) -> Iterator[str]:
        rows = held_out_rows(engine, adapters)
        folder = engine.adapters.get(adapters[0]).path
        length = training_spec_of(folder).optimization.max_length
        model = engine.compare.model(base, adapters)
        tokenizer = tokenizer_as_trained(model.shared.tokenizer, folder)
        tokenized = tokenize_rows(rows, tokenizer, length)
        with stops.running(request) as stop_signal:
            found = yield from held_out_losses.losses(model, tokenized, stop_signal)
        title = partial(column_title, engine)
        yield held_out_losses.differences_html(
            found, adapters, title, lambda pair: tr(VERDICTS[pair.verdict])
        )

    wire([measure.click], compare_losses, [fields.adapters, fields.base], [result],
         problem=problem)  # fmt: skip
    stops.connect(stop)


def held_out_rows(engine: Engine, adapters: Sequence[str]) -> Sequence[Row]:
    """Rows of the first adapter's own data that it never saw, at most MAX_HELD_OUT.

    Raises EngineError where no adapter is chosen, and as `load_held_out_rows`.
    """
    if not adapters:
        raise EngineError(tr("No adapter is chosen."), tr("Choose one above."))
    folder = engine.adapters.get(adapters[0]).path
    return load_held_out_rows(folder, engine.settings)[:MAX_HELD_OUT]
