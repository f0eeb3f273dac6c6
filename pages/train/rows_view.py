"""The mask viewer: rows exactly as the model sees them, as HTML. Everything is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lora_engine.data import HistogramBar, Preview, PreviewExample, PreviewToken
from pages.shared import layout

ROWS = 3
LEGEND = (
    '<p class="rs-legend"><mark>marked</mark> carries the loss · '
    '<span class="rs-special">small</span> is a special token · <s>struck</s> is cut off</p>'
)


def as_html(preview: Preview) -> str:
    """What was found, warnings and notes, lengths, and the first rows with the loss marked."""
    template = (
        f", written with {escape(preview.template)} chat template" if preview.template else ""
    )
    facts = (
        f"{layout.count(preview.rows)} rows in the format <strong>{escape(preview.format)}"
        f"</strong>{template}."
    )
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in preview.warnings)
    listing = f'<ul class="rs-warnings">{warnings}</ul>' if warnings else ""
    notes = "".join(f'<p class="rs-row-note">{escape(note)}</p>' for note in preview.notes)
    rows = "".join(_row(example) for example in preview.examples)
    return (
        f'<div class="rs-rows"><p>{facts}</p>{listing}{notes}{LEGEND}{rows}'
        f"{_counts(preview)}{_lengths(preview.length_histogram, preview.max_length)}</div>"
    )


def _counts(preview: Preview) -> str:
    """The measured figures, zeros included: a zero is what one wants to see."""
    shares = (
        [(layout.share(preview.supervised_share), "of the tokens carry the loss")]
        if preview.format != "classification"
        else []
    )
    cells = (
        *shares,
        (layout.count(preview.truncated_rows), "rows over the limit"),
        (layout.count(preview.dropped_rows), "rows left out"),
        (layout.count(preview.duplicate_rows), "duplicates"),
        (layout.count(preview.empty_answers), "empty answers"),
    )
    listed = "".join(f"<div><dd>{value}</dd><dt>{label}</dt></div>" for value, label in cells)
    return f'<dl class="rs-row-counts">{listed}</dl>'


def _lengths(bars: Sequence[HistogramBar], limit: int) -> str:
    """A histogram of row lengths; bars wholly behind the limit look cut off."""
    most = max(bar.rows for bar in bars)
    drawn = "".join(_bar(bar, most, limit) for bar in bars)
    return (
        '<figure class="rs-lengths"><figcaption>How long the rows are, in tokens; the limit is '
        f'{limit:,}</figcaption><div class="rs-histogram">{drawn}</div>'
        f'<div class="rs-histogram-axis"><span>0</span><span>{bars[-1].end:,}</span></div></figure>'
    )


def _bar(bar: HistogramBar, most: int, limit: int) -> str:
    words = f"{bar.rows:,} rows of {bar.start:,} to {bar.end - 1:,} tokens"
    over = ' class="rs-over"' if bar.start > limit else ""
    height = 100 * bar.rows / most
    shown = f'role="img" aria-label="{words}" title="{words}"'
    return f'<i{over} {shown} style="height:{height:.1f}%"></i>'


def _row(example: PreviewExample) -> str:
    tokens = "".join(map(_token, example.tokens))
    counted = f"{example.supervised_tokens} of {example.total_tokens} tokens supervised"
    caption = f"class {escape(example.label[:300])}" if example.label else counted
    return (
        f"<figure><figcaption>Row {example.number}: {caption}</figcaption>"
        f'<pre tabindex="0">{tokens}</pre></figure>'
    )


def _token(token: PreviewToken) -> str:
    text = escape(token.text)
    if token.special:
        text = f'<span class="rs-special">{text}</span>'
    if token.supervised and token.kept:
        text = f"<mark>{text}</mark>"
    return text if token.kept else f"<s>{text}</s>"
