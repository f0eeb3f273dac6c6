"""Compare, token by token: one answer under every column, and against the adapter's strength.

Draws what `compare.scoring.token_comparison` measured; every text of a model is escaped here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from lora_engine.compare.generate.comparison_model import BASE_COLUMN
from lora_engine.compare.scoring.column_proof import IntegrityProof
from lora_engine.compare.scoring.token_comparison import (
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


def badge(proof: IntegrityProof, title: Title) -> str:
    """What was measured on this prompt about which column is which."""
    good = proof.base_is_base and proof.adapters_differ and not proof.other_templates
    words = (
        "The base column is the bare base model"
        if proof.base_is_base
        else "The base column is NOT the bare base model"
    )
    parts = [f"{words}: largest |Δ logit| {layout.number(proof.base.max_difference)}"]
    for column in proof.adapters:
        differs = column.max_difference > proof.tolerance
        parts.append(
            f"{escape(title(column.column))} {'differs' if differs else 'changes nothing'}: "
            f"{layout.number(column.max_difference)} (adapter {str(column.adapter_sha256)[:8]})"
        )
    parts.append(f"base {proof.base_fingerprint[:8]}, template {proof.template_hash[:8]}")
    parts += [
        f"{escape(title(column.column))} was trained with ANOTHER chat template: "
        f"{escape(str(column.trained_template)[:8])}"
        for column in proof.other_templates
    ]
    kind = "good" if good else "bad"
    return f'<p class="rs-badge rs-badge-{kind}" role="note">{" · ".join(parts)}</p>'


def mismatches(said: Mapping[str, str]) -> str:
    """In red, which adapters (by title) were trained with another chat template."""
    return "".join(
        f'<p class="rs-badge rs-badge-bad" role="note">{escape(f"{title} {words}")}</p>'
        for title, words in said.items()
    )


def coloured(found: TokenComparison, column: str, title: Title) -> str:
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
        f"base: {_said(token.alternatives[BASE_COLUMN])}\n"
        f"adapted: {_said(token.alternatives[column])}\nshift {layout.number(shift)} nats"
    )
    direction = "up" if shift >= 0 else "down"
    return (
        f'<span class="rs-{direction}" style="--share:{100 * strength:.0f}%" '
        f'title="{escape(hint)}">{escape(token.text)}</span>'
    )


def _said(alternatives: Sequence[Alternative]) -> str:
    return ", ".join(f"{item.text!r} {layout.share(item.probability)}" for item in alternatives[:3])


def token_table(found: TokenComparison, column: str) -> str:
    """The same as a table that sorts and downloads."""
    from math import exp

    rows = [
        (
            place,
            token.text,
            exp(token.log_probability[BASE_COLUMN]),
            exp(token.log_probability[column]),
            token.log_probability[column] - token.log_probability[BASE_COLUMN],
            token.kl_from_base[column],
            _said(token.alternatives[BASE_COLUMN]),
            _said(token.alternatives[column]),
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


def layer_bars(points: Sequence[CurvePoint], whole: LayersOffScores) -> str:
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


def switched(found: LayersOffScores, off: frozenset[int]) -> str:
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
