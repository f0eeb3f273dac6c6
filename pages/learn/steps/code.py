"""Step: the method in code. A layer from scratch, shown as it is in the file, and run."""

from __future__ import annotations

from html import escape

import gradio as gr

from lora_engine.language import tr, translatable
from lora_engine.lesson import LayerCheck, compare_with_peft, layer_source
from pages import TRAIN
from pages.learn.step import Lesson, Step, TryIt
from pages.shared import layout
from pages.shared.wiring import problem_box, wire


def build(lesson: Lesson) -> None:
    name = tr("The Python of the layer")
    gr.HTML(
        f'<pre class="rs-source" tabindex="0" aria-label="{escape(name)}" role="region">'
        f"<code>{escape(layer_source())}</code></pre>",
        apply_default_css=False,
    )
    with gr.Row(elem_classes="rs-actions"):
        run = gr.Button(
            tr("Run it beside PEFT’s"),
            variant="primary",
            elem_id="lesson-run",
            scale=0,
            min_width=220,
        )
    problem = problem_box()
    result = gr.HTML(_waiting(), elem_id="lesson-result", elem_classes="rs-source-result")
    wire([run.click], ran, [], [result], problem=problem, show_progress="minimal")


def ran() -> str:
    return _report(compare_with_peft())


def _waiting() -> str:
    said = tr("The first time takes some seconds: PyTorch and PEFT load.")
    return f'<p class="rs-remark">{escape(said)}</p>'


def _report(check: LayerCheck) -> str:
    """What came out, as tiles and a sentence."""
    tiles = [
        (
            tr("trained"),
            tr("{count} numbers", count=layout.count(check.trained_parameters)),
            tr("W has {count}", count=layout.count(check.frozen_parameters)),
        ),
        (
            tr("before the first step"),
            layout.number(check.start_difference),
            tr("largest difference from the base"),
        ),
        (
            tr("after {count} steps", count=len(check.losses) - 1),
            layout.number(check.output_difference),
            tr("largest difference from PEFT’s answers"),
        ),
        (
            tr("merged weight"),
            layout.number(check.merged_difference),
            tr("largest difference from PEFT’s W′"),
        ),
    ]
    said = tr(
        "The loss fell from {first} to {last}, with PEFT from {peft_first} to {peft_last}.",
        first=layout.number(check.losses[0]),
        last=layout.number(check.losses[-1]),
        peft_first=layout.number(check.peft_losses[0]),
        peft_last=layout.number(check.peft_losses[-1]),
    )
    return f'{layout.tiles_html(tiles)}<p class="rs-remark" role="status">{escape(said)}</p>'


STEP = Step(
    key="code",
    title=translatable("The whole method in code"),
    claim=translatable(
        "LoRA is one layer of some twenty lines, and it computes what PEFT computes."
    ),
    formula=r"$$h = W x + \frac{\alpha}{r}\, B\,(A x)$$ $$B_0 = 0$$ "
    r"$$A_0 \sim \mathcal{U}\!\left(-\tfrac{1}{\sqrt{k}}, \tfrac{1}{\sqrt{k}}\right)$$",
    build=build,
    try_it=(TryIt(translatable("Train an adapter"), TRAIN, {}),),
)
