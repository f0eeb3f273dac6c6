"""What the program is, for a first screen: one sentence, the formula, and where to begin.

Knows the pages' addresses and no page.
"""

from __future__ import annotations

from html import escape

import gradio as gr

from lora_engine.language import tr
from pages import LEARN, TRAIN, Page
from pages.shared import layout


def introduction(here: Page) -> gr.HTML:
    """At the top of a page; it does not lead to the page that it stands on."""
    return gr.HTML(introduction_html(here), js_on_load="", elem_id="introduction")


def introduction_html(here: Page) -> str:
    sentence = tr(
        "Rankscope shows, trains and compares low-rank adapters of language models: "
        "the weights W stay as they are, and two thin matrices B and A learn what is added to them."
    )
    ways = [(LEARN, tr("Learn low rank step by step")), (TRAIN, tr("Train the sample"))]
    links = "".join(
        f'<a class="rs-button rs-small" href="{escape(layout.link(page))}">{escape(words)}</a>'
        for page, words in ways
        if page != here
    )
    return (
        f'<div class="rs-intro"><p>{escape(sentence)}</p><p class="rs-intro-formula">'
        f"W′ = W + (α/<i>r</i>) · "
        f'<b class="rs-b">B</b> · <b class="rs-a">A</b></p>'
        f'<p class="rs-intro-ways">{links}</p></div>'
    )
