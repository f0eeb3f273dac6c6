"""Step: where adapters sit, and which modules carried the pirate when it was measured."""

from __future__ import annotations

from typing import Any

from lora_engine.language import tr, translatable
from lora_engine.lesson import WhereItSits, read_measured
from pages import COMPARE, SPECTRUM
from pages.learn import parts
from pages.learn.step import Lesson, Step, TryIt

# By PEFT's name of the module: a short name, and what it does in one sentence.
PARTS = {
    "q_proj": ("q", translatable("The query says what a token looks for in the others.")),
    "k_proj": ("k", translatable("The key says what a token can be found by.")),
    "v_proj": ("v", translatable("The value is what a token hands over once it is found.")),
    "o_proj": ("o", translatable("The output writes what attention collected back.")),
    "gate_proj": ("gate", translatable("The gate of the MLP decides what passes.")),
    "up_proj": ("up", translatable("Up widens each token's numbers, for the MLP to work on.")),
    "down_proj": ("down", translatable("Down writes what the MLP worked out back.")),
}


def build(lesson: Lesson) -> None:
    del lesson
    parts.picture("learn/where.js", "where", _content(), height=530, elem_id="where-picture")
    parts.remark(_remark(read_measured().where))


def _remark(measured: WhereItSits) -> str:
    """What the literature says, and that a large update need not be an important one."""
    cost = {place: measured.left_out[place] - measured.loss for place in measured.norms}
    largest = max(measured.norms, key=lambda place: measured.norms[place])
    dearest = max(cost, key=lambda place: cost[place])
    return tr(
        "The LoRA paper adapted q and v only, with a small budget. Later work (LoRA Without "
        "Regret, 2025) finds all layers better, the MLP above all; that is the default here. The "
        "largest ‖ΔW‖ need not matter most: here it is that of {largest}, and leaving it out "
        "costs {little}; {dearest} costs {much}.",
        largest=_called(largest),
        little=f"{cost[largest]:.3f}",
        dearest=_called(dearest),
        much=f"{cost[dearest]:.3f}",
    )


def _called(place: str) -> str:
    layer, part = place.split(".")
    return tr("{name} in layer {layer}", name=PARTS[part][0], layer=layer)


def _content() -> dict[str, Any]:
    found = read_measured()
    how, measured = found.how, found.where
    layers = sorted({place.split(".")[0] for place in measured.norms}, key=int)
    return {
        "measured": measured.model_dump(mode="json"),
        "parts": [
            {"key": key, "name": name, "text": tr(text)} for key, (name, text) in PARTS.items()
        ],
        "layers": layers,
        "words": {
            "layer": tr("layer {layer}"),
            "allLayers": tr("all layers"),
            "allParts": tr("whole layer"),
            "measure": tr("What the colors show"),
            "cost": tr("Loss without it"),
            "norm": tr("Size of ΔW"),
            "costCaption": tr(
                "By how much the held-out loss rises when this update is left out (nats a token)"
            ),
            "normCaption": tr(
                "‖ΔW‖ of each update; of several together, the root of the sum of squares"
            ),
            "ofModule": tr(
                "{name} in layer {layer}: without its update the loss is {without} rather than "
                "{loss} ({cost}). {text}"
            ),
            "ofPart": tr(
                "{name} in all layers: without these updates the loss is {without} rather than "
                "{loss} ({cost}); with them alone it is {alone}, without any it is {base}. {text}"
            ),
            "ofLayer": tr(
                "All of layer {layer}: without its updates the loss is {without} rather than "
                "{loss} ({cost})."
            ),
            "how": tr(
                "Measured on {date}: the starter learned {dataset} at rank {rank} for {epochs} "
                "epochs; {rows} held-out rows. Again with “{command}”.",
                date=how.date,
                dataset=how.dataset,
                rank=measured.rank,
                epochs=f"{how.epochs:g}",
                rows=measured.rows,
                command=how.command,
            ),
        },
    }


STEP = Step(
    key="where",
    title=translatable("Where it sits"),
    claim=translatable(
        "Every linear layer can have an adapter; some carry what was learned, others hardly matter."
    ),
    formula=(
        r"$$W_o \operatorname{softmax}\!\left(\tfrac{(W_q x)^\top W_k x}{\sqrt{d}}\right) W_v x$$"
        "\n\n"
        r"$$W_{down}\big(\operatorname{silu}(W_{gate}\,x)\odot W_{up}\,x\big)$$"
    ),
    build=build,
    try_it=(
        TryIt(translatable("Your adapter's layers in Spectrum"), SPECTRUM, {}),
        TryIt(translatable("Switch layers off in Compare"), COMPARE, {}),
    ),
)
