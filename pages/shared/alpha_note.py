"""What alpha means at the rank, live beside its field; an empty alpha is twice the rank.

The scaling and its limits are the engine's; here they become a line of words.
"""

from __future__ import annotations

import math

import gradio as gr

from lora_engine.advisor import alpha_remark
from lora_engine.language import tr
from lora_engine.spec import RunSpec
from pages.shared import layout
from pages.shared.forms import SpecForm
from pages.shared.wiring import problem_box, wire

RANK, ALPHA, RSLORA = "method.rank", "method.alpha", "method.use_rslora"


def alpha_note(elem_id: str = "alpha-note") -> gr.HTML:
    """The line, empty until `connect` binds it to a form's fields."""
    return gr.HTML(js_on_load="", elem_id=elem_id)


def connect(note: gr.HTML, form: SpecForm, blocks: gr.Blocks) -> None:
    """Let the line follow rank, alpha and rsLoRA, which the form has."""
    fields = [form.component(path) for path in (RANK, ALPHA, RSLORA)]

    def say_scaling(rank: float | None, alpha: float | None, use_rslora: bool) -> str:
        return as_html(rank, alpha, use_rslora)

    triggers = [blocks.load, *(field.change for field in fields)]
    box = problem_box()
    wire(triggers, say_scaling, fields, [note], problem=box, follows=True, queue=False)


def as_html(rank: float | None, alpha: float | None, use_rslora: bool) -> str:
    """`alpha 16: α/r = 2; …` and a word where that is unusual; nothing for what is no rank or
    alpha, which the spec refuses where the form is used."""
    is_rank = _is_positive(rank) and float(rank or 0).is_integer()
    if not is_rank or not (alpha is None or _is_positive(alpha)):
        return ""
    whole = int(rank or 0)
    chosen = 2.0 * whole if alpha is None else float(alpha)
    found = alpha_remark(whole, chosen, use_rslora)
    plain, stable = tr("α/r"), tr("α/√r with rsLoRA")
    here, other = (stable, plain) if use_rslora else (plain, stable)
    return (
        f'<p class="rs-scaling">alpha {chosen:g}: '
        f"<strong>{here} = {found.scaling:.3g}</strong>; "
        f"{other} = {found.other_scaling:.3g}.</p>"
        + layout.notes_html([found.remark] if found.remark else [])
    )


def shown_alpha(spec: RunSpec) -> float | None:
    """What the field shows for a spec: nothing where alpha is twice the rank."""
    method = spec.method
    return None if method.alpha == 2 * method.rank else method.alpha


def _is_positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0
