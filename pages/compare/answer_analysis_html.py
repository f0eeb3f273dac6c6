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
from pages.shared import figures, layout
from pages.shared.live import Column, table_value

FULL_SHIFT = 4.0  # nats at which a token has the full colour

Title = Callable[[str], str]

TOKEN_COLUMNS = (
    Column("Place", layout.count, numeric=True),
    Column("Token"),
    Column("p base", layout.number, numeric=True),
    Column("p adapted", layout.number, numeric=True),
    Column("Shift (nats)", layout.number, numeric=True),
    Column("KL (nats)", layout.number, numeric=True),
    Column("Base would say"),
    Column("Adapted would say"),
)


def tokens_html(found: TokenComparison, column: str, title: Title) -> str:
    """The answer with each token coloured by how much the adapter raised or lowered it."""
    tokens = "".join(_token(token, column) for token in found.tokens)
    perplexities = "; ".join(
        f"{escape(title(name))}: {layout.number(value)}" for name, value in found.perplexity.items()
    )
    first = found.first_divergence[column]
    parting = (
        "Both would choose the same token everywhere."
        if first is None
        else f"They first part at token {first + 1}."
    )
    return (
        f'<p class="rs-tokens">{tokens}</p>'
        f"<p>Perplexity of this answer: {perplexities}. {parting} "
        '<span class="rs-up">Raised</span> and <span class="rs-down">lowered</span> by the '
        "adapter; hover over a token for what each would have said.</p>"
    )


def _token(token: TokenDetail, column: str) -> str:
    shift = token.log_probability[column] - token.log_probability[BASE_COLUMN]
    strength = min(1.0, abs(shift) / FULL_SHIFT)
    hint = (
        f"base: {_probabilities(token.alternatives[BASE_COLUMN])}\n"
        f"adapted: {_probabilities(token.alternatives[column])}\nshift {layout.number(shift)} nats"
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
    return table_value(TOKEN_COLUMNS, rows)


def strength_figure(points: Sequence[CurvePoint]) -> str:
    """ln p of the answer against the strength of the adapter, as a figure's JSON."""
    return figures.to_json(
        figures.curve(
            [point.x for point in points],
            [point.log_probability for point in points],
            x_title="strength of the adapter (0 base, 1 as trained)",
            y_title="ln p of the answer",
            description="Log-probability of the chosen answer against the adapter's strength.",
        )
    )


def layers_html(points: Sequence[CurvePoint], whole: LayersOffScores) -> str:
    """What the answer loses in ln p without the adapter in each layer, as a list of bars."""
    lost = [(int(point.x), whole.full - point.log_probability) for point in points]
    most = max((abs(nats) for _, nats in lost), default=0.0) or 1.0
    rows = "".join(
        f"<dt>layer {layer}</dt>"
        f'<dd class="rs-layer-bar{"" if nats >= 0 else " rs-layer-against"}" '
        f'style="--share:{100 * abs(nats) / most:.0f}%"></dd>'
        f"<dd>{layout.number(nats)} nats</dd>"
        for layer, nats in lost
    )
    return (
        '<p class="rs-compare-words">What the answer loses in ln p when the adapter is switched '
        f'off in one layer:</p><dl class="rs-layers">{rows}</dl>'
    )


def layers_off_html(found: LayersOffScores, off: frozenset[int]) -> str:
    """ln p of the answer with these layers off, beside the base's and the whole adapter's."""
    without = (
        f"without layer{'s' if len(off) > 1 else ''} {', '.join(map(str, sorted(off)))} "
        f"<strong>{layout.number(found.without)}</strong> "
        f"({layout.number(found.without - found.full)})"
        if off
        else "all layers on"
    )
    return (
        f'<p class="rs-compare-words" role="status">ln p of the answer: base '
        f"{layout.number(found.base)}, whole adapter {layout.number(found.full)}, {without}.</p>"
    )
