"""The shell that all pages share: header, help, numbers in words, links with state.

Knows Gradio and how things look; knows no model, no run and no arithmetic beyond rounding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from lora_engine.language import LANGUAGES, language, tr
from pages import CALCULATOR, Page
from pages.shared import building, static_files
from pages.shared.languages import CODES, in_language, prefix_of

STATIC = static_files.ROOT

COUNT_WORDS: Mapping[str, Sequence[tuple[float, float, str]]] = {
    "en": ((1e12, 1e12, "trillion"), (1e9, 1e9, "billion"), (1e6, 1e6, "million")),
    "zh": ((1e12, 1e12, "万亿"), (1e8, 1e8, "亿"), (1e6, 1e4, "万")),
}
"""From which count on, in which unit, and its word, by language."""

LATEX: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "$", "right": "$", "display": False},
]


@contextmanager
def shell(page: Page) -> Iterator[gr.Blocks]:
    """The Blocks of one page: bar and header stand in it already, the foot comes at its end.

    Use it as `with shell(TRAIN) as blocks: ...` and return `blocks` from the page's build().
    """
    title = tr(page.title)
    with gr.Blocks(title=f"{title} · Rankscope", analytics_enabled=False) as blocks:
        building.leave_undescribed(blocks)
        gr.Navbar(main_page_name=tr(CALCULATOR.title))
        gr.HTML(
            f"<h1>{escape(title)}</h1><p>{escape(tr(page.purpose))}</p>{_language_switch(page)}",
            js_on_load=f"document.title = {json.dumps(title)} + ' · Rankscope';"
            "document.querySelector('gradio-app nav a.active')"
            "?.scrollIntoView({ block: 'nearest', inline: 'center' });"
            + static_files.call_js("shared/language.js", "languageSwitch")
            + 'if (document.cookie.includes("rankscope_person")) '
            + static_files.call_js("access/person.js", "whoIsHere"),
            elem_classes="rs-header",
        )
        yield blocks
        gr.HTML(
            f'<a href="{in_language("/settings")}">{escape(tr("Settings"))}</a>',
            elem_classes="rs-foot",
            js_on_load="",
        )


def _language_switch(page: Page) -> str:
    """Links to this page in each other language; in the browser they keep its state."""
    return "".join(
        f'<a class="rs-language" data-language="{name}" href="{prefix_of(name)}{page.path}" '
        f'hreflang="{CODES[name]}" lang="{CODES[name]}">{words}</a>'
        for name, words in LANGUAGES.items()
        if name != language()
    )


def how_this_works(markdown: str, title: str = "") -> gr.Accordion:
    """A closed accordion with the formula (LaTeX between $ or $$) and a worked example."""
    with gr.Accordion(
        title or tr("How this works"), open=False, elem_classes="rs-how"
    ) as accordion:
        gr.Markdown(markdown, latex_delimiters=LATEX)
    return accordion


def folded(title: str, elem_id: str | None = None, visible: bool = True) -> gr.Accordion:
    """A closed accordion for fields that are typed into.

    With open=False Gradio draws the fields when they are first shown and sets their first values
    some frames later, over what was typed meanwhile. It takes 0 for closed too, and then draws
    them with the page.
    """
    closed: Any = 0
    return gr.Accordion(title, open=closed, elem_id=elem_id, visible=visible)


def section(title: str, text: str = "") -> gr.HTML:
    """A heading within a page, with at most one sentence beneath it."""
    sentence = f"<p>{escape(text)}</p>" if text else ""
    return gr.HTML(f"<h2>{escape(title)}</h2>{sentence}", elem_classes="rs-section", js_on_load="")


def tiles_html(tiles: Sequence[tuple[str, str, str]]) -> str:
    """A row of numbers, each (label, value, note), for the value of a gr.HTML; escaped here."""
    cells = "".join(
        f'<div class="rs-tile"><dt>{escape(label)}</dt><dd>{escape(value)}</dd>'
        f'<dd class="rs-small-note">{escape(note)}</dd></div>'
        for label, value, note in tiles
    )
    return f'<dl class="rs-tiles">{cells}</dl>'


def notes_html(notes: Sequence[str]) -> str:
    """Warnings under the numbers they are about, for the value of a gr.HTML; escaped here."""
    return "".join(f'<p class="rs-note">{escape(note)}</p>' for note in notes)


def empty_state_html(title: str, text: str, link_text: str = "", href: str = "") -> str:
    """What a page says where it has nothing to show: what is missing and the next step.

    For the value of a gr.HTML; all four are escaped here.
    """
    button = (
        f'<a class="rs-button" href="{escape(href)}">{escape(link_text)}</a>' if link_text else ""
    )
    return f'<div class="rs-empty"><h3>{escape(title)}</h3><p>{escape(text)}</p>{button}</div>'


@cache
def version_of(file: Path) -> str:
    """Eight hex digits of a file's content, for addresses that a browser may cache for ever."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:8]


def link(page: Page, **state: str | int | float | None) -> str:
    """The address of a page in a given state and the present language, as `/runs?run=…`.

    None leaves a key out.
    """
    given = {name: value for name, value in state.items() if value is not None}
    return in_language(page.path) + (f"?{urlencode(given)}" if given else "")


def state_of(request: gr.Request, name: str, default: str = "") -> str:
    """What the page's address says for `name`, at most 500 characters; untrusted."""
    return request.query_params.get(name, default)[:500]


def whole_state_of(request: gr.Request, name: str, default: int) -> int:
    """The same for a whole number; what is no number counts as absent."""
    text = state_of(request, name)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else default


def whole(value: float | None) -> Any:
    """A Number's 4096.0 as 4096; anything else as it is, for the engine to check and name."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def remember_js(*names: str) -> str:
    """JavaScript for `event(fn=None, inputs=[…], js=…)` that writes the inputs into the address.

    One name for each input, in order; an empty value removes the name.
    """
    return static_files.event_js("shared/address.js", "remember", names)


def count(value: int) -> str:
    """1234567 -> '1,234,567'."""
    return f"{value:,}"


def number(value: float) -> str:
    """Three significant digits with thousands separators: 0.012346 -> '0.0123'."""
    if value != value or value in (float("inf"), float("-inf")):
        return tr("not finite")
    if value == 0:
        return "0"
    if abs(value) >= 1e15 or abs(value) < 1e-4:
        return f"{value:.2e}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{float(f'{value:.3g}'):,.{_decimals(value)}f}"


def _decimals(value: float) -> int:
    rounded = abs(float(f"{value:.3g}"))
    exponent = 0
    while rounded >= 10 ** (exponent + 1):
        exponent += 1
    while rounded < 10**exponent:
        exponent -= 1
    return max(0, 2 - exponent)


def share(value: float) -> str:
    """0.0039 -> '0.390 %'."""
    return f"{number(100 * value)} %"


def times(ratio: float) -> str:
    """A count beside another: 1/256 -> '256 times fewer', 3.3 -> '3.30 times more'."""
    if ratio <= 1:
        return tr("{ratio} times fewer", ratio=number(1 / ratio))
    return tr("{ratio} times more", ratio=number(ratio))


def short_count(value: float) -> str:
    """6738415616 -> '6.74 billion', '67.4 亿'; below a million the number itself."""
    for least, size, word in COUNT_WORDS[language()]:
        if abs(value) >= least:
            return f"{number(value / size)} {word}"
    return f"{value:,.0f}"


def byte_size(value: float) -> str:
    """Bytes in binary units: 2147483648 -> '2.00 GiB'."""
    for size, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(value) >= size:
            return f"{number(value / size)} {unit}"
    return f"{value:,.0f} B"


def duration(seconds: float) -> str:
    """75 -> '1 min 15 s'."""
    if seconds < 60:
        short = number(seconds) if seconds < 10 else f"{seconds:.0f}"
        return tr("{seconds} s", seconds=short)
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return tr("{minutes} min {seconds} s", minutes=minutes, seconds=rest)
    hours, minutes = divmod(minutes, 60)
    return tr("{hours} h {minutes} min", hours=f"{hours:,}", minutes=minutes)
