"""What stands in a page before Gradio has drawn anything: its styles, its bar, title and sentence.

Gradio's page is empty until its scripts have run. This screen stands in the page as it is sent, at
the very places where Gradio will draw the same, and hides what Gradio draws until that is whole;
then it goes (`static/rankscope.css`, `.rs-first`). Knows no page's content.
"""

from __future__ import annotations

import importlib.util
import json
import re
from functools import cache
from html import escape
from pathlib import Path

from lora_engine.language import LANGUAGES, language, speaking, tr
from pages import PAGES, Page
from pages.shared import static_files
from pages.shared.languages import CODES, in_language

LISTED = re.compile(r"m\.f=(\[[^\]]*\])")
FIRST_NEEDED = re.compile(r"__vite__mapDeps\(\[([\d,]+)\]\)")

DARK = """
const wanted = new URLSearchParams(location.search).get("__theme");
const isDark = wanted ? wanted === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
document.body.classList.toggle("dark", isDark);
"""

UNTIL_DRAWN = """
const first = document.querySelector(".rs-first");
first.querySelector(".active")?.scrollIntoView({ block: "nearest", inline: "center" });
const drawn = new MutationObserver(() => {
    if (!document.querySelector("gradio-app .rs-header h1")) return;
    if (document.querySelector("gradio-app .app > .wrap.full.translucent")) return;
    drawn.disconnect();
    first.remove();
});
drawn.observe(document.querySelector("gradio-app"), { childList: true, subtree: true });
"""


@cache
def head(code: str, path: str) -> str:
    """The tags in the head of a page, in the language of an HTML code; path: 'train', or ''."""
    with speaking(_language(code)):
        return static_files.head(_page(path)) + "".join(
            f'<link rel="modulepreload" crossorigin href="./assets/{name}">'
            for name in gradios_own()
        )


@cache
def body(code: str, path: str) -> str:
    """The screen itself, for the beginning of the body."""
    with speaking(_language(code)):
        here = _page(path)
        bar = "".join(_way(page, page is here) for page in PAGES)
        others = "".join(
            f'<span class="rs-language" lang="{CODES[name]}">{words}</span>'
            for name, words in LANGUAGES.items()
            if name != language()
        )
        return (
            f'<script>{{{DARK}}}</script><div class="gradio-container rs-first">'
            f'<div class="nav-holder"><nav class="fillable">{bar}</nav></div>'
            f'<div class="app fillable"><div class="rs-first-header"><h1>{escape(tr(here.title))}'
            f"</h1><p>{escape(tr(here.purpose))}</p>{others}</div></div></div>"
        )


def end() -> str:
    """The script for the end of the body."""
    return f"<script>{{{UNTIL_DRAWN}}}</script>"


@cache
def gradios_own() -> tuple[str, ...]:
    """The scripts that Gradio's page always asks for, which it finds one after the other.

    None where the files are not as this version of Gradio has them: then it finds them itself.
    """
    package = importlib.util.find_spec("gradio")
    if package is None or package.origin is None:
        return ()
    frontend = Path(package.origin).parent / "templates" / "frontend"
    started = re.search(r"assets/(index-[\w-]+\.js)", (frontend / "index.html").read_text("utf-8"))
    found: list[str] = []
    name = started.group(1) if started else ""
    while name:
        needed = _needed(frontend / "assets" / name)
        new = [script for script in needed if script not in found]
        found += new
        name = new[0] if new and len(found) == len(new) else ""  # its first one lists the rest
    return tuple(found)


def _needed(script: Path) -> list[str]:
    """The scripts that a script of Gradio's brings first."""
    text = script.read_text("utf-8")
    listed, first = LISTED.search(text), FIRST_NEEDED.search(text)
    if not (listed and first):
        return []
    names = json.loads(listed.group(1))
    chosen = [names[int(place)].removeprefix("./") for place in first.group(1).split(",")]
    return [name for name in chosen if name.endswith(".js") and not name.startswith("index-")]


def _way(page: Page, is_here: bool) -> str:
    mark = ' class="active" aria-current="page"' if is_here else ""
    return f'<a href="{in_language(page.path)}"{mark}>{escape(tr(page.title))}</a>'


def _page(path: str) -> Page:
    return next(page for page in PAGES if page.path == f"/{path}")


def _language(code: str) -> str:
    return next((name for name, known in CODES.items() if known == code), language())
