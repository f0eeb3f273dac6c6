"""The calculator page: what a low-rank update costs, for one matrix and for a whole model."""

from __future__ import annotations

import json
from collections.abc import Sequence

import gradio as gr

from lora_engine import calculator
from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from lora_engine.spec import MAX_RANK
from pages import CALCULATOR
from pages.calculator import (
    calibration,
    measured_section,
    memory_estimate,
    whole_model,
    worked_example,
)
from pages.shared import layout, live
from pages.shared.address_fields import AddressFields
from pages.shared.introduction import introduction
from pages.shared.wiring import expose, problem_box, wire

START_RANK = 8
START_SIZE = 4096  # of Llama-2-7B's query projection
MOST_FRAMES = 512  # ranks that the browser shows without asking
HELP = translatable(r"""
A weight matrix $W$ has $d \cdot k$ numbers. LoRA leaves $W$ as it is and trains an update of
rank $r$ beside it, written as a product of two thin matrices:

$$W' = W + \Delta W, \qquad \Delta W = \frac{\alpha}{r}\, B A, \qquad
B \in \mathbb{R}^{d \times r},\; A \in \mathbb{R}^{r \times k}$$

So it trains $r\,(d + k)$ numbers instead of $d \cdot k$. That saves something as long as
$r < \dfrac{d\,k}{d + k}$, the break-even rank.

**Example.** A query projection of Llama-2-7B has $d = k = 4096$: $4096 \cdot 4096 = 16{,}777{,}216$
numbers. At $r = 8$ the update has $8 \cdot (4096 + 4096) = 65{,}536$, which is 0.39 % of them.

For a whole model, transformers builds the shapes from the model's published configuration without
its weights, PEFT adds its adapters, and what PEFT made is counted. Source: Hu et al. 2021,
[arXiv 2106.09685](https://arxiv.org/abs/2106.09685), section 4.1.
""")


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(CALCULATOR) as blocks:
        introduction(CALCULATOR)
        _one_matrix(blocks)
        whole_model.section(engine, blocks)
        worked_example.section()
        measured_section.section(engine, blocks)
        calibration.section(engine, blocks)
        layout.how_this_works(tr(HELP))
        expose(params, "params")
        expose(memory_estimate.memory, "memory")
    return blocks


def _one_matrix(blocks: gr.Blocks) -> None:
    layout.section(tr("One weight matrix"), tr("Move the rank and watch the update shrink."))
    with gr.Row(elem_classes="rs-workbench"):
        with gr.Column(elem_classes="rs-inputs", min_width=300):
            rank = gr.Number(START_RANK, label=tr("Rank r"), elem_id="field-rank")
            live.number_range(rank, 1, _range_end(START_SIZE, START_SIZE))
            with gr.Row(elem_classes="rs-pair"):
                d = _size(tr("d, out features"), "field-d")
                k = _size(tr("k, in features"), "field-k")
            address_problem, problem = problem_box(), problem_box()
        with gr.Column(elem_classes="rs-results", min_width=300):
            start = matrix_frames(START_SIZE, START_SIZE, START_RANK)
            picture = live.rank_picture(start, elem_id="matrix")
    sizes = [d, k, rank]

    address = AddressFields({"d": d, "k": k, "r": rank})
    address.remember([d.input, k.input, rank.input], "page_remember_matrix")
    gr.on(
        [rank.input],
        fn=None,
        inputs=[rank, d, k],
        js=live.show_rank_js("matrix"),
        api_name="page_show_rank",
        trigger_mode="multiple",
    )
    recalled = address.recall(blocks, address_problem, "page_recall_matrix")
    for triggers in ([d.input, k.input, picture.input], recalled.then):
        wire(triggers, matrix_frames, sizes, [picture], problem=problem, follows=True, queue=False)


def _size(label: str, elem_id: str) -> gr.Number:
    return gr.Number(START_SIZE, label=label, elem_id=elem_id, min_width=120)


def matrix_frames(d: float, k: float, rank: float) -> str:
    """The JSON for `live.rank_picture`: what to show at the rank, and at each rank from 1.

    512 counts take less than one answer over the network, and moving the rank then needs none.
    """
    rows, columns = layout.whole(d), layout.whole(k)
    chosen = calculator.count_matrix(rows, columns, layout.whole(rank))
    frames = [
        _frame(calculator.count_matrix(rows, columns, number))
        for number in range(1, MOST_FRAMES + 1)
    ]
    return json.dumps(
        {
            "d": chosen.d,
            "k": chosen.k,
            "full": chosen.full_parameters,
            "chosen": {"rank": chosen.rank, "frame": _frame(chosen)},
            "frames": frames,
            "range": {"field": "field-rank", "most": _range_end(chosen.d, chosen.k)},
            "tiles": [
                (tr("whole matrix"), layout.count(chosen.full_parameters), "d · k"),
                (tr("low-rank update"), "", "r (d + k)"),
                (tr("share of the matrix"), "", ""),
                (tr("break-even rank"), layout.number(chosen.break_even_rank), "d k / (d + k)"),
            ],
            "bars": [tr("whole matrix"), tr("low rank")],
            "under": tr(
                "Full fine-tuning changes every number of W by a ΔW of its own. LoRA takes "
                "ΔW ≈ (α/r) · B · A."
            ),
        },
        separators=(",", ":"),
    )


def _range_end(d: int, k: int) -> int:
    """The last rank at which the factors are no larger than the matrix: d k / (d + k)."""
    return min(max(d * k // (d + k), 1), MAX_RANK)


def _frame(found: calculator.MatrixCount) -> tuple[int, str, str, Sequence[str]]:
    """What the rank alone decides: the numbers trained, their share as two texts, and warnings."""
    return (
        found.lora_parameters,
        _share(found.ratio),
        layout.times(found.ratio),
        found.warnings,
    )


def _share(ratio: float) -> str:
    """A percentage, as long as one can picture it."""
    return layout.share(ratio) if ratio <= 10 else f"{layout.number(ratio)} ×"


def params(
    d: int = 4096,
    k: int = 4096,
    rank: int = 8,
    preset: str = "",
    target_modules: str = "q,v",
) -> dict:
    """Parameters that LoRA trains: for a preset model where one is named, else for one d x k
    matrix. The keys are those of `python -m lora_engine params --json`."""
    if not preset:
        return calculator.count_matrix(d, k, rank).to_json()
    method = calculator.read_method(rank=rank, target_modules=target_modules)
    return calculator.count_model(calculator.preset_source(preset), method).to_json()
