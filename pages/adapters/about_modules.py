"""What one adapter's modules hold: the table of every A and B, and what it shows in words."""

from __future__ import annotations

from html import escape

from lora_engine.adapters import AdapterConfig, AdapterDetails, AdapterKind, PartFacts
from lora_engine.language import tr, translatable
from pages.shared import layout, live

_VIRTUAL = translatable(
    "These numbers stand before every row: as embeddings, or as keys and values in each layer. "
    "“Moved” is the norm of all of them."
)
OTHER_WORDS: dict[AdapterKind, str] = {
    "prefix": _VIRTUAL,
    "prompt": _VIRTUAL,
    "p_tuning": _VIRTUAL,
    "ia3": translatable(
        "Each factor multiplies one output or input of its weight. “Moved” is the distance from "
        "1, at which it changes nothing."
    ),
    "vera": translatable(
        "ΔW = Λ_b B Λ_d A with random A and B that all modules share. “Moved” is the norm of "
        "λ_b, which starts at 0."
    ),
    "loha": translatable(
        "ΔW = scaling · (B₁A₁) ∘ (B₂A₂), element by element. “Moved” is the norm of A₂, which "
        "starts at 0."
    ),
    "bottleneck": translatable(
        "Each layer adds up(activation(down(x))) to what its module gave. “Moved” is the "
        "norm of up, which starts at 0."
    ),
}
MODULES = (
    live.Column(translatable("module")),
    live.Column(translatable("rank"), layout.count, numeric=True),
    live.Column(translatable("A (rank × in)")),
    live.Column(translatable("B (out × rank)")),
    live.Column(translatable("scaling"), layout.number, numeric=True),
    live.Column(translatable("‖A‖"), layout.number, numeric=True),
    live.Column(translatable("‖B‖"), layout.number, numeric=True),
    live.Column(translatable("‖ΔW‖"), layout.number, numeric=True),
    live.Column(translatable("parameters"), layout.count, numeric=True),
)
OTHER_MODULES = (
    live.Column(translatable("module")),
    live.Column(translatable("tensors")),
    live.Column(translatable("moved"), layout.number, numeric=True),
    live.Column(translatable("parameters"), layout.count, numeric=True),
)


def table_value(found: AdapterDetails) -> str:
    """The table of every A and B; of another method, of every tensor."""
    if found.parts:
        parts = [(one.name, _tensors(one), one.norm, one.parameters) for one in found.parts]
        return live.table_value(OTHER_MODULES, parts)
    rows = [
        (
            one.name,
            one.rank,
            _shape(one.a_shape),
            _shape(one.b_shape),
            one.scaling,
            one.a_norm if one.a_norm is not None else float("nan"),
            one.b_norm if one.b_norm is not None else float("nan"),
            one.norm if one.norm is not None else float("nan"),
            one.parameters,
        )
        for one in found.modules
    ]
    return live.table_value(MODULES, rows)


def words(found: AdapterDetails) -> str:
    """What the table shows, in a sentence or two."""
    if found.parts:
        moved = tr(OTHER_WORDS[found.summary.kind])
        return f'<p class="rs-adapter-words">{escape(moved)}</p>'
    known = [one for one in found.modules if one.norm is not None]
    if not known:
        return ""
    largest = max(known, key=lambda one: one.norm or 0.0)
    smallest = min(known, key=lambda one: one.norm or 0.0)
    said = tr(
        "Each module adds ΔW = scaling · B·A to its weight. The largest ‖ΔW‖ is {largest} in "
        "{where}, the smallest {smallest} in {there}.",
        largest=layout.number(largest.norm or 0.0), where=largest.name,
        smallest=layout.number(smallest.norm or 0.0), there=smallest.name,
    )  # fmt: skip
    if isinstance(found.config, AdapterConfig) and found.config.use_dora:
        said += " " + tr("With DoRA this is the direction's part; Spectrum shows the true update.")
    return f'<p class="rs-adapter-words">{escape(said)}</p>'


def _tensors(part: PartFacts) -> str:
    return ", ".join(f"{name} {_shape(shape)}" for name, shape in part.tensors.items())


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{side:,}" for side in shape)
