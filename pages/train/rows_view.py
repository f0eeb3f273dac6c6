"""The mask viewer: rows exactly as the model sees them, as HTML. Everything is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lora_engine.data import HistogramBar, Preview, PreviewExample, PreviewToken, SetCounts
from pages.shared import layout

ROWS = 3
NUMBER = ' class="rs-number"'
SET_COLUMNS = ("share", "rows", "in an epoch", "evaluated")
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
        f"</strong>{template}: {layout.count(preview.counts.training)} to train on"
        f"{' in an epoch' if len(preview.counts.sets) > 1 else ''}, "
        f"{layout.count(preview.counts.evaluation)} to evaluate."
    )
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in preview.warnings)
    listing = f'<ul class="rs-warnings">{warnings}</ul>' if warnings else ""
    notes = "".join(f'<p class="rs-row-note">{escape(note)}</p>' for note in preview.notes)
    rows = "".join(_row(example) for example in preview.examples)
    return (
        f'<div class="rs-rows"><p>{facts}</p>{_sets(preview)}{listing}{notes}{LEGEND}{rows}'
        f"{_counts(preview)}{_lengths(preview.length_histogram, preview.max_length)}</div>"
    )


def _sets(preview: Preview) -> str:
    """What the filters left out, and where there are several sets, how many rows of each."""
    removed = "".join(
        f"<li>{layout.count(one.rows)} rows {escape(one.what)}</li>" for one in preview.removed
    )
    told = f'<p>The filters leave out:</p><ul class="rs-removed">{removed}</ul>' if removed else ""
    if len(preview.counts.sets) < 2:
        return told
    heads = "".join(
        f'<th scope="col"{number}>{head}</th>'
        for head, number in (("set", ""), *((name, NUMBER) for name in SET_COLUMNS))
    )
    rows = "".join(map(_set, preview.counts.sets))
    return (
        '<div class="rs-columns-table" tabindex="0" role="region" aria-label="The sets"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{told}"
    )


def _set(one: SetCounts) -> str:
    repeats = f" ({one.epoch / one.trained:.3g} ×)" if one.trained < one.epoch else ""
    cells = "".join(
        f"<td{NUMBER}>{cell}</td>"
        for cell in (
            layout.share(one.share),
            layout.count(one.rows),
            f"{layout.count(one.epoch)}{repeats}",
            layout.count(one.evaluated),
        )
    )
    return f'<tr><th scope="row">{escape(one.source)}</th>{cells}</tr>'


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
    """A row; of a pair both answers beside each other, of a judged answer what is said of it."""
    where = example.where[:1].upper() + example.where[1:]
    if example.rejected is not None:
        sides = (("chosen", example), ("rejected", example.rejected))
        both = "".join(_figure(f"{where}, {side}", one) for side, one in sides)
        return f'<div class="rs-pair">{both}</div>'
    if example.is_desirable is not None:
        where += ", a good answer" if example.is_desirable else ", a bad answer"
    return _figure(where, example)


def _figure(where: str, example: PreviewExample) -> str:
    tokens = "".join(map(_token, example.tokens))
    counted = f"{example.supervised_tokens} of {example.total_tokens} tokens supervised"
    caption = f"class {escape(example.label[:300])}" if example.label else counted
    return (
        f"<figure><figcaption>{escape(where)}: {caption}</figcaption>"
        f'<pre tabindex="0">{tokens}</pre></figure>'
    )


def _token(token: PreviewToken) -> str:
    text = escape(token.text)
    if token.special:
        text = f'<span class="rs-special">{text}</span>'
    if token.supervised and token.kept:
        text = f"<mark>{text}</mark>"
    return text if token.kept else f"<s>{text}</s>"
