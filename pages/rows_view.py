"""The mask viewer: rows exactly as the model sees them, as HTML. Everything is escaped here."""

from __future__ import annotations

from html import escape

from lora_engine.data.previewing import Preview, PreviewExample, PreviewToken
from pages import layout

ROWS = 3


def as_html(preview: Preview) -> str:
    """What was found, warnings in words, and the first rows with the supervised tokens marked."""
    facts = (
        f"{layout.count(preview.rows)} rows in the format <strong>{escape(preview.format)}"
        f"</strong>; {layout.share(preview.supervised_share)} of the tokens carry the loss"
    )
    template = (
        f", written with {escape(preview.template)} chat template" if preview.template else ""
    )
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in preview.warnings)
    listing = f'<ul class="rs-warnings">{warnings}</ul>' if warnings else ""
    legend = (
        '<p class="rs-legend"><mark>marked</mark> carries the loss · '
        '<span class="rs-special">small</span> is a special token · <s>struck</s> is cut off</p>'
    )
    rows = "".join(_row(example) for example in preview.examples)
    return f'<div class="rs-rows"><p>{facts}{template}.</p>{listing}{legend}{rows}</div>'


def _row(example: PreviewExample) -> str:
    tokens = "".join(map(_token, example.tokens))
    return (
        f"<figure><figcaption>Row {example.number}: {example.supervised_tokens} of "
        f"{example.total_tokens} tokens supervised</figcaption><pre>{tokens}</pre></figure>"
    )


def _token(token: PreviewToken) -> str:
    text = escape(token.text)
    if token.special:
        text = f'<span class="rs-special">{text}</span>'
    if token.supervised:
        text = f"<mark>{text}</mark>"
    return text if token.kept else f"<s>{text}</s>"
