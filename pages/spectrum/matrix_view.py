"""The view of one matrix: what the browser gets once, to show any k without asking again.

That is the curves over k, the numbers that do not depend on k, and words for method and
certificate. The pooled factors follow through `routes`, in parts. `static/` draws it all.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import gradio as gr
import numpy as np

from lora_engine.language import tr, translatable
from lora_engine.spectrum import SHARES, Decomposition, NoiseView, Summary
from lora_engine.weights import MatrixSource
from pages.shared import layout
from pages.shared.static_files import call_js
from pages.spectrum import routes
from pages.spectrum.matrix_cache import OpenMatrix

METHODS = {
    "svd": translatable("Plain SVD in float64."),
    "gram": translatable("Gram route: eigenvalues of W Wᵀ in float64, added up over blocks."),
    "band": translatable("Float32 reduction to a band, its values in float64."),
    "randomized": translatable("Randomized sketch (Halko, Martinsson, Tropp 2011)."),
    "factors": translatable(
        "From the factors: QR of B and of Aᵀ, SVD of the small core between them."
    ),
}
FORMULAS = {
    "rank": "σ > σ₁ · max(m, n) · ε",
    "stable": "‖W‖² / σ₁²",
    "effective": "exp(−Σ p ln p), p = σ / Σσ",
}
MOST_ABOVE_NOISE = 0.25  # of the values: beyond, their median says nothing of noise
MEAN_HOLDS = 0.95  # of the energy in one direction, where a matrix is offered without its mean


def matrix_view(*, elem_id: str) -> gr.HTML:
    """An output whose value is `view_value(…)` or `preview_value(…)`.

    `.input(handler)` comes when the person wants the matrix without its mean, or with it again;
    `state_in(value)` then says which.
    """
    return gr.HTML(
        value="",
        html_template='<div class="rs-spectrum" aria-busy="true"></div>',
        js_on_load=call_js("spectrum/matrix_view.js", "matrixView"),
        elem_id=elem_id,
        apply_default_css=False,
    )


STOPPED = json.dumps({"stopped": True})  # the view's value where the person stopped the work


def preview_value(source: MatrixSource, picture: np.ndarray) -> str:
    """The matrix itself, shown while its singular values are still being computed."""
    document = {
        "name": source.name,
        "shape": list(source.shape),
        "picture": {
            "height": picture.shape[0],
            "width": picture.shape[1],
            "data": _packed(picture, "<f4"),
        },
    }
    return json.dumps(document)


def state_in(value: str) -> dict[str, str]:
    """What a browser says is the state of the matrix it wants; untrusted."""
    try:
        state = json.loads(value)["wanted"]
    except (ValueError, TypeError, KeyError):
        return {}
    given = state.items() if isinstance(state, dict) else ()
    return {name: text[:500] for name, text in given if isinstance(text, str)}


def view_value(matrix: OpenMatrix, k: int, state: Mapping[str, str]) -> str:
    """Everything the view shows of a decomposed matrix.

    state: what the page's address says of it, besides k.
    """
    found, source = matrix.decomposition, matrix.source
    summary = found.summary()
    document = {
        "id": matrix.id,
        "address": f"{routes.ADDRESS}/{matrix.id}",
        "name": source.name,
        "shape": list(found.shape),
        "dtype": source.dtype,
        "state": dict(state),
        "k": min(max(1, k), found.singular_values.size),
        "method": tr(METHODS[found.method]),
        "mean": _mean(found, state),
        "certificate": found.truncate(1).certificate.statement,
        "curves": _curves(found),
        "norm": found.frobenius_norm,
        "ranks": _ranks(summary),
        "marks": _marks(summary),
        "noise": _noise(_noise_that_is_one(summary, found)),
        "noise_words": _noise_words(summary, found),
        "notes": list(source.notes),
        "pooled": {
            "height": matrix.pooled.picture.shape[0],
            "width": matrix.pooled.picture.shape[1],
            "ranks": matrix.pooled.left.shape[1],
        },
    }
    return json.dumps(document)


def start_k(found: Decomposition) -> int:
    """The k at which a matrix opens: enough for 90 % of the energy, and 2 or more."""
    k90 = found.summary().k90 or 1
    return max(k90, min(2, found.singular_values.size))


def _curves(found: Decomposition) -> dict[str, object]:
    """One value for each k, as base64 of float64; the energy's upper bound for a sketch only."""
    curves: dict[str, object] = {
        "sigma": _packed(found.singular_values, "<f8"),
        "energy": _packed(found.energy, "<f8"),
        "error": _packed(found.errors, "<f8"),
        "residual": found.residual_spectral_squared,
        "floor": found.value_floor,
    }
    if found.method == "randomized":
        curves["energy_high"] = _packed(found.energy_band()[1], "<f8")
    return curves


def _ranks(summary: Summary) -> list[tuple[str, str, str]]:
    rank, effective = layout.count(summary.rank), summary.effective_rank
    known = rank if summary.complete else tr("at least {rank}", rank=rank)
    told = tr("not known") if effective is None else layout.number(effective)
    return [
        (tr("numerical rank"), known, FORMULAS["rank"]),
        (tr("stable rank"), layout.number(summary.stable_rank), FORMULAS["stable"]),
        (tr("effective rank"), told, FORMULAS["effective"]),
    ]


def _mean(found: Decomposition, state: Mapping[str, str]) -> dict[str, str]:
    """What is offered for a matrix of which one direction holds nearly everything: words, what to
    press, and "without" or "" for the mean."""
    if state.get("mean") == "without":
        words = tr("Its mean is subtracted.")
        return {"words": words, "press": tr("With the mean again"), "mean": ""}
    if float(found.energy[0]) < MEAN_HOLDS or min(found.shape) < 3 or "update" in state:
        return {}
    words = tr(
        "One direction holds {share} of the energy. In a picture that is little but its mean "
        "brightness: without the mean the numbers tell more.",
        share=layout.share(float(found.energy[0])),
    )
    return {"words": words, "press": tr("Without the mean"), "mean": "without"}


def _marks(summary: Summary) -> list[dict[str, object]]:
    found = zip(SHARES, (summary.k90, summary.k95, summary.k99), strict=True)
    return [{"share": share, "k": k} for share, k in found]


def _noise_that_is_one(summary: Summary, found: Decomposition) -> NoiseView | None:
    """The noise view, where few enough values stand out of it for it to be noise."""
    noise = summary.noise
    if noise is None or noise.above_edge > MOST_ABOVE_NOISE * found.singular_values.size:
        return None
    return noise


def _noise(noise: NoiseView | None) -> dict[str, object] | None:
    return None if noise is None else {"edge": noise.edge, "threshold": noise.threshold}


def _noise_words(summary: Summary, found: Decomposition) -> str:
    noise, many = summary.noise, f"{found.singular_values.size:,}"
    if noise is None and found.method == "randomized":
        return tr(
            "No noise edge is drawn: it needs every singular value, and a sketch knows {known} of "
            "{all}.",
            known=many,
            all=f"{min(found.shape):,}",
        )
    if noise is None:
        return tr(
            "No noise edge is drawn: it means something only for a matrix of at least 16 × 16 of "
            "which more than half of the singular values are not zero."
        )
    if _noise_that_is_one(summary, found) is None:
        return tr(
            "No noise edge is drawn: this is not a few directions plus even noise, for {above} of "
            "{all} values would lie above it.",
            above=f"{noise.above_edge:,}",
            all=many,
        )
    return tr(
        "If this were a few directions plus even noise (standard deviation {std}, from the "
        "{source}): {above} of {all} values lie above the Marchenko–Pastur edge {edge}, {kept} "
        "above the Gavish–Donoho threshold {threshold}.",
        std=layout.number(noise.noise_std),
        source=tr(noise.source),
        above=f"{noise.above_edge:,}",
        all=many,
        edge=layout.number(noise.edge),
        kept=f"{noise.above_threshold:,}",
        threshold=layout.number(noise.threshold),
    )


def _packed(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()
