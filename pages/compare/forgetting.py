"""What an adapter forgot of what it was not trained for, measured on general rows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from html import escape
from pathlib import Path

import gradio as gr

from lora_engine.compare.scoring import (
    FORGOTTEN_NATS,
    KEPT_NATS,
    Forgetting,
    classify_forgetting,
    general_rows_for,
)
from lora_engine.data import tokenize_rows
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from pages.compare import held_out_losses
from pages.compare.conversation import column_title
from pages.compare.conversation_fields import ConversationFields
from pages.shared import layout
from pages.shared.stop_button import Stops
from pages.shared.uploads import unless_refused
from pages.shared.wiring import problem_box, wire

MAX_ROWS = 500
DEFAULT_LENGTH = 2048
WORDS = {
    Forgetting.KEPT: translatable("kept"),
    Forgetting.SLIGHTLY: translatable("slightly forgotten"),
    Forgetting.FORGOTTEN: translatable("forgotten"),
    Forgetting.UNCLEAR: translatable("unclear, more rows are needed"),
}
VERDICTS = translatable(
    "Kept: the difference is surely below {kept} nats a token. Slightly forgotten: surely above 0. "
    "Forgotten: surely above {forgotten}. An adapter that answers in another style on purpose "
    "counts as having forgotten the old one."
)


def section(engine: Engine, fields: ConversationFields) -> None:
    """General rows, the loss before and after, and a word for it."""
    layout.section(
        tr("What was forgotten"),
        tr(
            "The loss on questions that the adapter was not trained for, before and after. For the "
            "starter 120 general questions are bundled; for another base upload rows of your own, "
            "in any format that Train reads."
        ),
    )
    upload = gr.File(
        label=tr("Rows of your own"),
        height=130,
        file_types=[".jsonl", ".json", ".csv", ".tsv", ".parquet", ".gz"],
        elem_id="general-rows",
    )
    with gr.Row(elem_classes="rs-actions"):
        measure = gr.Button(
            tr("Measure what was forgotten"), variant="primary", elem_id="measure-forgetting"
        )
        stop = gr.Button(tr("Stop"), variant="stop", elem_id="stop-forgetting")
    problem = problem_box()
    result = gr.HTML(elem_id="forgetting-result", js_on_load="")
    stops = Stops()

    def measure_forgetting(
        path: str | None, adapters: list[str], base: str, request: gr.Request
    ) -> Iterator[str]:
        if not adapters:
            raise EngineError(tr("No adapter is chosen."), tr("Choose one above."))
        model = engine.compare.model(base, adapters)
        own_rows = Path(path) if path else None
        with unless_refused(own_rows):
            rows = general_rows_for(model.shared.base, own_rows, engine.settings)[:MAX_ROWS]
        length = min(model.shared.context_length or DEFAULT_LENGTH, DEFAULT_LENGTH)
        with stops.running(request) as stop_signal:
            tokenized = tokenize_rows(rows, model.shared.tokenizer, length)
            found = yield from held_out_losses.losses(model, tokenized, stop_signal)
        title = partial(column_title, engine)
        lines = held_out_losses.differences_html(
            found, adapters, title, lambda pair: tr(WORDS[classify_forgetting(pair)])
        )
        words = tr(VERDICTS, kept=f"{KEPT_NATS:g}", forgotten=f"{FORGOTTEN_NATS:g}")
        yield f'{lines}<p class="rs-compare-words">{escape(words)}</p>'

    wire([measure.click], measure_forgetting, [upload, fields.adapters, fields.base], [result],
         problem=problem)  # fmt: skip
    stops.connect(stop)
