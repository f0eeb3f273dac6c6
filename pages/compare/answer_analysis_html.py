"""The analysis of one answer as HTML, a table and a figure: its tokens, strengths and layers.

Draws what `compare.scoring.token_comparison` measured; every text of a model is escaped here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import exp

from lora_engine.compare.generate import BASE_COLUMN
from lora_engine.compare.scoring import (
    Alternative,
    CurvePoint,
    LayersOffScores,
    TokenComparison,
    TokenDetail,
)
from lora_engine.language import tr
from pages.shared import figures, layout
from pages.shared.live import Column, table_value

FULL_SHIFT = 4.0  # nats at which a token has the full colour

Title = Callable[[str], str]


def token_columns() -> tuple[Column, ...]:
    return (
        Column(tr("Place"), layout.count, numeric=True),
        Column(tr("Token")),
        Column(tr("p base"), layout.number, numeric=True),
        Column(tr("p adapted"), layout.number, numeric=True),
        Column(tr("Shift (nats)"), layout.number, numeric=True),
        Column(tr("KL (nats)"), layout.number, numeric=True),
        Column(tr("Base would say")),
        Column(tr("Adapted would say")),
    )


def tokens_html(found: TokenComparison, column: str, title: Title) -> str:
    """The answer with each token coloured by how much the adapter raised or lowered it."""
    tokens = "".join(_token(token, column) for token in found.tokens)
    perplexities = tr("; ").join(
        tr("{name}: {value}", name=title(name), value=layout.number(value))
        for name, value in found.perplexity.items()
    )
    first = found.first_divergence[column]
    parting = (
        tr("Both would choose the same token everywhere.")
        if first is None
        else tr("They first part at token {place}.", place=first + 1)
    )
    words = tr("Perplexity of this answer: {perplexities}.", perplexities=perplexities)
    return (
        f'<p class="rs-tokens">{tokens}</p>'
        f'<p class="rs-compare-words">{escape(words)} {escape(parting)}</p>'
        f'<p class="rs-compare-words"><span class="rs-up">{tr("Raised")}</span> '
        f'<span class="rs-down">{tr("Lowered")}</span> '
        f"{tr('by the adapter. Point at a token to see what each would have said there.')}</p>"
    )


def _token(token: TokenDetail, column: str) -> str:
    shift = token.log_probability[column] - token.log_probability[BASE_COLUMN]
    strength = min(1.0, abs(shift) / FULL_SHIFT)
    hint = "\n".join(
        (
            tr("base: {options}", options=_probabilities(token.alternatives[BASE_COLUMN])),
            tr("adapted: {options}", options=_probabilities(token.alternatives[column])),
            tr("shift {shift} nats", shift=layout.number(shift)),
        )
    )
    direction = "up" if shift >= 0 else "down"
    return (
        f'<span class="rs-{direction}" style="--share:{100 * strength:.0f}%" '
        f'title="{escape(hint)}">{escape(token.text)}</span>'
    )


def _probabilities(alternatives: Sequence[Alternative]) -> str:
    return ", ".join(f"{item.text!r} {layout.share(item.probability)}" for item in alternatives[:3])


def tokens_table(found: TokenComparison, column: str) -> str:
    """The same as a table that sorts and downloads."""
    rows = [
        (
            place,
            token.text,
            exp(token.log_probability[BASE_COLUMN]),
            exp(token.log_probability[column]),
            token.log_probability[column] - token.log_probability[BASE_COLUMN],
            token.kl_from_base[column],
            _probabilities(token.alternatives[BASE_COLUMN]),
            _probabilities(token.alternatives[column]),
        )
        for place, token in enumerate(found.tokens, 1)
    ]
    return table_value(token_columns(), rows)


def strength_figure(points: Sequence[CurvePoint]) -> str:
    """ln p of the answer against the strength of the adapter, as a figure's JSON."""
    return figures.to_json(
        figures.curve(
            [point.x for point in points],
            [point.log_probability for point in points],
            x_title=tr("strength of the adapter (0 base, 1 as trained)"),
            y_title=tr("ln p of the answer"),
            description=tr("Log-probability of the chosen answer against the adapter's strength."),
        )
    )


def layers_html(points: Sequence[CurvePoint], whole: LayersOffScores) -> str:
    """What the answer loses in ln p without the adapter in each layer, as a list of bars."""
    lost = [(int(point.x), whole.full - point.log_probability) for point in points]
    most = max((abs(nats) for _, nats in lost), default=0.0) or 1.0
    rows = "".join(
        f"<dt>{tr('layer {layer}', layer=layer)}</dt>"
        f'<dd class="rs-layer-bar{"" if nats >= 0 else " rs-layer-against"}" '
        f'style="--share:{100 * abs(nats) / most:.0f}%"></dd>'
        f"<dd>{tr('{value} nats', value=layout.number(nats))}</dd>"
        for layer, nats in lost
    )
    words = tr("What the answer loses in ln p when the adapter is switched off in one layer:")
    return f'<p class="rs-compare-words">{escape(words)}</p><dl class="rs-layers">{rows}</dl>'


def layers_off_html(found: LayersOffScores, off: frozenset[int]) -> str:
    """ln p of the answer with these layers off, beside the base's and the whole adapter's."""
    values = {
        "base": layout.number(found.base),
        "whole": layout.number(found.full),
        "without": layout.number(found.without),
        "lost": layout.number(found.without - found.full),
    }
    layers = ", ".join(map(str, sorted(off)))
    if not off:
        words = tr(
            "ln p of the answer: base {base}, whole adapter {whole}, all layers on.", **values
        )
    elif len(off) == 1:
        words = tr(
            "ln p of the answer: base {base}, whole adapter {whole}, without layer {layers} "
            "{without} ({lost}).",
            layers=layers,
            **values,
        )
    else:
        words = tr(
            "ln p of the answer: base {base}, whole adapter {whole}, without layers {layers} "
            "{without} ({lost}).",
            layers=layers,
            **values,
        )
    return f'<p class="rs-compare-words" role="status">{escape(words)}</p>'
