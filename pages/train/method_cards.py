"""The methods as cards, one of which is chosen, each with what it would take.

A card stands for three fields of the form: the method's kind, DoRA and the base's bits. Choosing
one sets them in the browser (`static/method_cards.js`). What a method takes is the engine's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import gradio as gr

from lora_engine.advisor import METHODS, MethodForecast, RunForecast
from lora_engine.language import tr, translatable
from lora_engine.spec import WAY_NAMES, suited_learning_rate
from pages.shared import layout
from pages.shared.forms import SpecForm
from pages.shared.static_files import call_js, event_js
from pages.train import words

KIND, DORA, BITS = "method.finetuning_type", "method.use_dora", "quantization.bits"
RATE, BASE = "optimization.learning_rate", "base_model"
SCRIPT = "train/method_cards.js"
FIRST = ("lora", "qlora", "dora", "full")
REST = tuple(name for name in METHODS if name not in FIRST)
OF_LORA = ("lora", "qlora", "dora")

NAMES: Mapping[str, str] = {
    **{str(way): name for way, name in WAY_NAMES.items()},
    "full": translatable("Full fine-tuning"),
    "freeze": translatable("Freeze"),
    "prefix": translatable("Prefix tuning"),
    "prompt": translatable("Prompt tuning"),
    "bottleneck": translatable("Bottleneck adapters"),
    "galore": "GaLore",
    "ia3": "IA³",
}
WHAT: Mapping[str, str] = {
    "lora": translatable("Two thin matrices beside each weight."),
    "qlora": translatable("LoRA on a base kept in 4 bits."),
    "dora": translatable("LoRA, and a length for each weight row."),
    "full": translatable("Every weight; leaves a whole model."),
    "freeze": translatable("The last layers; leaves a whole model."),
    "galore": translatable("Every weight, by low-rank gradients."),
    "prefix": translatable("Keys and values before every row."),
    "prompt": translatable("A few trained tokens before every row."),
    "p_tuning": translatable("Trained tokens that a small network makes."),
    "ia3": translatable("Scales of keys, values and the MLP."),
    "bottleneck": translatable("Small layers in between; cannot be merged."),
    "vera": translatable("Scales of random factors that all share."),
    "loha": translatable("The product of two low-rank updates."),
}


def lay_out() -> gr.HTML:
    """The cards, without figures until `as_json` brings them."""
    return gr.HTML(
        value=as_json(None, "starter"),
        html_template='<div class="rs-methods"></div>',
        js_on_load=call_js(SCRIPT, "methodCards"),
        elem_id="method-cards",
        apply_default_css=False,
    )


def connect(cards: gr.HTML, form: SpecForm, blocks: gr.Blocks) -> Any:
    """A chosen card sets its fields, and the fields choose their card. Returns the event of the
    first, for `.then`."""
    fields = [form.component(path) for path in (KIND, DORA, BITS, RATE)]
    chosen = cards.input(
        fn=None,
        inputs=fields[2:],
        outputs=fields,
        js=event_js(SCRIPT, "choose"),
        api_name="page_choose_method",
        api_visibility="private",
        show_progress="hidden",
    )
    gr.on(
        [blocks.load, *(field.change for field in fields[:3])],
        fn=None,
        inputs=fields[:3],
        js=event_js(SCRIPT, "follow"),
        api_name="page_follow_method",
        api_visibility="private",
        show_progress="hidden",
    )
    return chosen


def as_json(found: RunForecast | None, base_model: str) -> str:
    """What the cards show; figures are missing where nothing is found yet."""
    known = {} if found is None else found.methods
    cards = [_card(name, known.get(name), base_model) for name in (*FIRST, *REST)]
    more = tr("More methods ({count})", count=len(REST))
    label = tr("Method: which weights train")
    return json.dumps({"first": len(FIRST), "label": label, "more": more, "cards": cards})


def _card(name: str, found: MethodForecast | None, base_model: str) -> dict[str, Any]:
    kind: Any = "lora" if name in OF_LORA else name
    return {
        "id": name,
        "kind": kind,
        "name": tr(NAMES[name]),
        "what": tr(WHAT[name]),
        "rate": suited_learning_rate(base_model or "", kind),
        **_figures(found),
    }


def _figures(found: MethodForecast | None) -> dict[str, Any]:
    """Memory, time and what trains, each in words, "" where it is not counted yet."""
    if found is None:
        return {"memory": "", "time": "", "trained": "", "why": ""}
    trained = "" if found.trained is None else tr(
        "trains {count}", count=layout.short_count(found.trained)
    )  # fmt: skip
    refused = found.why and found.trained is None and found.memory_gib is None
    return {
        "memory": "" if refused else words.memory(found.memory_gib),
        "time": "" if refused else words.about(found.seconds),
        "trained": trained,
        "why": found.why if refused else "",
        "over": found.fits is False,
    }
