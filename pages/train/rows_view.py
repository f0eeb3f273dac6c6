"""The mask viewer: rows exactly as the model sees them, as HTML. Everything is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lora_engine.data import HistogramBar, Preview, PreviewExample, PreviewToken, SetCounts
from lora_engine.language import tr, tr_count, translatable
from pages.shared import layout

ROWS = 3
NUMBER = ' class="rs-number"'
SET_COLUMNS = (
    translatable("share"),
    translatable("rows"),
    translatable("in an epoch"),
    translatable("evaluated"),
)


def as_html(preview: Preview) -> str:
    """What was found, warnings and notes, lengths, and the first rows with the loss marked."""
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in preview.warnings)
    listing = f'<ul class="rs-warnings">{warnings}</ul>' if warnings else ""
    notes = "".join(f'<p class="rs-row-note">{escape(note)}</p>' for note in preview.notes)
    rows = "".join(_row(example) for example in preview.examples)
    return (
        f'<div class="rs-rows"><p>{_facts(preview)}</p>{_sets(preview)}{listing}{notes}{_legend()}'
        f"{rows}{_counts(preview)}{_lengths(preview.length_histogram, preview.max_length)}</div>"
    )


def _facts(preview: Preview) -> str:
    """How many rows there are, in which format, and how they are parted."""
    counts = preview.counts
    facts = [
        tr_count(
            "{count} row in the format {format}.",
            "{count} rows in the format {format}.",
            preview.rows,
            format=f"<strong>{escape(preview.format)}</strong>",
        ),
        tr("{training} to train on in an epoch, {evaluation} to evaluate.",
           training=layout.count(counts.training), evaluation=layout.count(counts.evaluation))
        if len(counts.sets) > 1
        else tr("{training} to train on, {evaluation} to evaluate.",
                training=layout.count(counts.training),
                evaluation=layout.count(counts.evaluation)),
    ]  # fmt: skip
    if preview.template:
        facts.append(
            tr("Written with {template} chat template.", template=escape(tr(preview.template)))
        )
    return " ".join(facts)


def _legend() -> str:
    """The three ways in which a token looks, said in words that look so."""
    words = (
        tr("{marked} carries the loss", marked=f"<mark>{tr('marked')}</mark>"),
        tr("{small} is a special token", small=f'<span class="rs-special">{tr("small")}</span>'),
        tr("{struck} is cut off", struck=f"<s>{tr('struck')}</s>"),
    )
    return f'<p class="rs-legend">{" · ".join(words)}</p>'


def _sets(preview: Preview) -> str:
    """What the filters left out, and where there are several sets, how many rows of each."""
    removed = "".join(f"<li>{escape(_removed(one.rows, one.what))}</li>" for one in preview.removed)
    said = tr("The filters leave out:")
    told = f'<p>{said}</p><ul class="rs-removed">{removed}</ul>' if removed else ""
    if len(preview.counts.sets) < 2:
        return told
    heads = "".join(
        f'<th scope="col"{number}>{head}</th>'
        for head, number in ((tr("set"), ""), *((tr(name), NUMBER) for name in SET_COLUMNS))
    )
    rows = "".join(map(_set, preview.counts.sets))
    return (
        '<div class="rs-columns-table" tabindex="0" role="region" '
        f'aria-label="{escape(tr("The sets"))}"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{told}"
    )


def _removed(rows: int, what: str) -> str:
    return tr_count("{count} row {what}", "{count} rows {what}", rows, what=what)


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
        [(layout.share(preview.supervised_share), tr("of the tokens carry the loss"))]
        if preview.format != "classification"
        else []
    )
    cells = (
        *shares,
        (layout.count(preview.truncated_rows), tr("rows over the limit")),
        (layout.count(preview.dropped_rows), tr("rows left out")),
        (layout.count(preview.duplicate_rows), tr("duplicates")),
        (layout.count(preview.empty_answers), tr("empty answers")),
    )
    listed = "".join(f"<div><dd>{value}</dd><dt>{label}</dt></div>" for value, label in cells)
    return f'<dl class="rs-row-counts">{listed}</dl>'


def _lengths(bars: Sequence[HistogramBar], limit: int) -> str:
    """A histogram of row lengths; bars wholly behind the limit look cut off."""
    most = max(bar.rows for bar in bars)
    drawn = "".join(_bar(bar, most, limit) for bar in bars)
    caption = tr("How long the rows are, in tokens; the limit is {limit}", limit=f"{limit:,}")
    return (
        f'<figure class="rs-lengths"><figcaption>{caption}</figcaption>'
        f'<div class="rs-histogram">{drawn}</div>'
        f'<div class="rs-histogram-axis"><span>0</span><span>{bars[-1].end:,}</span></div></figure>'
    )


def _bar(bar: HistogramBar, most: int, limit: int) -> str:
    words = tr_count(
        "{count} row of {least} to {most} tokens",
        "{count} rows of {least} to {most} tokens",
        bar.rows,
        least=f"{bar.start:,}",
        most=f"{bar.end - 1:,}",
    )
    over = ' class="rs-over"' if bar.start > limit else ""
    height = 100 * bar.rows / most
    shown = f'role="img" aria-label="{words}" title="{words}"'
    return f'<i{over} {shown} style="height:{height:.1f}%"></i>'


def _row(example: PreviewExample) -> str:
    """A row; of a pair both answers beside each other, of a judged answer what is said of it."""
    where = example.where[:1].upper() + example.where[1:]
    if example.rejected is not None:
        sides = (
            (tr("{where}, chosen", where=where), example),
            (tr("{where}, rejected", where=where), example.rejected),
        )
        both = "".join(_figure(side, one) for side, one in sides)
        return f'<div class="rs-pair">{both}</div>'
    if example.is_desirable is not None:
        good = example.is_desirable
        where = tr("{where}, a good answer" if good else "{where}, a bad answer", where=where)
    return _figure(where, example)


def _figure(where: str, example: PreviewExample) -> str:
    tokens = "".join(map(_token, example.tokens))
    caption = tr(
        "{where}: {supervised} of {total} tokens supervised",
        where=where,
        supervised=example.supervised_tokens,
        total=example.total_tokens,
    )
    if example.label:
        caption = tr("{where}: class {label}", where=where, label=example.label[:300])
    return (
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f'<pre tabindex="0">{tokens}</pre></figure>'
    )


def _token(token: PreviewToken) -> str:
    text = escape(token.text)
    if token.special:
        text = f'<span class="rs-special">{text}</span>'
    if token.supervised and token.kept:
        text = f"<mark>{text}</mark>"
    return text if token.kept else f"<s>{text}</s>"
