"""A page of plain HTML, which needs no Gradio: the bar of all pages, a title and a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lora_engine.language import LANGUAGES, language, tr
from pages import PAGES
from pages.shared import static_files
from pages.shared.languages import CODES, in_language, prefix_of

STYLES = ("shared/rankscope.css", "shared/not_found.css")
DARK = """
const wanted = new URLSearchParams(location.search).get("__theme");
const isDark = wanted ? wanted === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.classList.toggle("dark", isDark);
"""


def plain_page_html(
    title: str, sentence: str, body: str, css_class: str, styles: Sequence[str] = (), path: str = ""
) -> str:
    """The page in the present language. title and sentence are escaped here, body is HTML.

    path: the page's own, for a switch to the other language.
    """
    bar = "".join(
        f'<a href="{in_language(page.path)}">{escape(tr(page.title))}</a>' for page in PAGES
    )
    sheets = "".join(
        f'<link rel="stylesheet" href="{static_files.address(sheet)}">'
        for sheet in (*STYLES, *styles)
    )
    switch = "".join(
        f'<a class="rs-language" href="{prefix_of(other)}{path}" '
        f'hreflang="{CODES[other]}" lang="{CODES[other]}">{words}</a>'
        for other, words in LANGUAGES.items()
        if path and other != language()
    )
    return f"""<!doctype html>
<html lang="{CODES[language()]}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} · Rankscope</title>
<link rel="icon" type="image/svg+xml" href="/favicon.ico">
{sheets}
<script>{DARK}</script>
</head>
<body>
<div class="gradio-container">
<div class="nav-holder"><nav class="fillable">{bar}</nav></div>
<main class="app fillable {css_class}">
<div class="rs-header"><h1>{escape(title)}</h1><p>{escape(sentence)}</p>{switch}</div>
{body}
</main>
</div>
</body>
</html>
"""
