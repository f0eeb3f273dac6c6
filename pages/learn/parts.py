"""The pieces that steps are made of: the picture that is drawn when its step is first shown, and
the words around it.

Texts are escaped here. Knows no step.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from lora_engine.errors import EngineError
from lora_engine.language import tr
from pages import LEARN
from pages.learn.step import Step
from pages.shared import layout
from pages.shared.static_files import address, call_js

FRAME = "learn/lesson.js"
MOST_CHARACTERS = 100_000  # of what a picture sends


def picture(module: str, function: str, value: Any, *, height: int, elem_id: str) -> gr.HTML:
    """A picture drawn by a function of a module in `static`, as `learn/rank.js`.

    The module is fetched when the step is first shown; it exports the function as
    `function(box, props, watch, trigger)`, where box is the element to draw in and `props.value`
    is JSON of `value`. height: pixels kept free until it is drawn, so that nothing moves.
    """
    return gr.HTML(
        value=json.dumps(value),
        html_template=f'<div class="rs-picture" style="min-height:{height}px"></div>',
        js_on_load=call_js(FRAME, "picture", address(module), function),
        elem_id=elem_id,
        apply_default_css=False,
    )


def common_words() -> dict[str, str]:
    """What the matrices of every picture say; part of a picture's `value` under "words"."""
    return {
        "cell": tr("{name}, row {row}, column {column}"),
        "wrong": tr("“{text}” is no number from −1,000 to 1,000."),
    }


def remark(text: str) -> gr.HTML:
    """A kind word beside the picture, as where the literature names things otherwise."""
    return gr.HTML(f'<p class="rs-remark">{escape(text)}</p>', apply_default_css=False)


def step_list(steps: Sequence[Step]) -> gr.HTML:
    """The list of steps, each a link to it. On a phone their numbers stand in a row."""
    items = "".join(
        f'<li><a href="{escape(_address(number))}" data-step="{number}">'
        f"<b>{number}</b><span>{escape(tr(step.title))}</span></a></li>"
        for number, step in enumerate(steps, 1)
    )
    return gr.HTML(
        f'<nav class="rs-steps" aria-label="{escape(tr("The steps"))}"><ol>{items}</ol></nav>',
        js_on_load=call_js(FRAME, "list"),
        elem_id="lesson-steps",
        apply_default_css=False,
    )


def head(steps: Sequence[Step], number: int) -> None:
    """The heading of a step and its claim."""
    step = steps[number - 1]
    place = tr("Step {number} of {count}", number=number, count=len(steps))
    gr.HTML(
        f'<p class="rs-step-place">{escape(place)}</p>'
        f'<h2 tabindex="-1">{escape(tr(step.title))}</h2>'
        f'<p class="rs-claim">{escape(tr(step.claim))}</p>',
        js_on_load=call_js(FRAME, "head", number, len(steps)),
        elem_classes="rs-step-head",
        apply_default_css=False,
    )


def formula(step: Step) -> None:
    """The step's formula; the parts that `\\qquad` divides stand in a row as long as they fit."""
    parts = step.formula.replace(r", \qquad ", "$$ $$")
    gr.Markdown(parts, latex_delimiters=layout.LATEX, elem_classes="rs-formula")


def foot(steps: Sequence[Step], number: int) -> None:
    """Where a step leads: to the workbench, to the step before and to the next one."""
    tries = "".join(
        f'<a class="rs-button rs-small" href="{escape(layout.link(one.page, **one.state))}">'
        f"{escape(tr(one.text))}</a>"
        for one in steps[number - 1].try_it
    )
    label = escape(tr("Try it on your model"))
    gr.HTML(
        (f'<p class="rs-try"><b>{label}</b>{tries}</p>' if tries else "")
        + f'<p class="rs-moves">{_move(steps, number - 1)}{_move(steps, number + 1, True)}</p>',
        js_on_load=call_js(FRAME, "foot"),
        elem_classes="rs-step-foot",
        apply_default_css=False,
    )


def _move(steps: Sequence[Step], number: int, forward: bool = False) -> str:
    """The link to another step; nothing where there is none."""
    if not 1 <= number <= len(steps):
        return ""
    title = tr(steps[number - 1].title)
    text = tr("Next: {title}", title=title) if forward else tr("Back: {title}", title=title)
    kind = "rs-button rs-forward" if forward else "rs-button rs-backward"
    return (
        f'<a class="{kind}" href="{escape(_address(number))}" data-step="{number}">'
        f"{escape(text)}</a>"
    )


def _address(number: int) -> str:
    return layout.link(LEARN, step=number)


def sent(state: str, *names: str, inside: str = "") -> list[Any]:
    """What a picture sent to the server under these names, in order; untrusted.

    state: JSON. inside: the name under which they stand, if they do not stand at the top. Raises
    EngineError where they are not all there.
    """
    try:
        given = json.loads(state if len(state) <= MOST_CHARACTERS else "{}")
        values = given[inside] if inside else given
        return [values[name] for name in names]
    except (ValueError, TypeError, KeyError):
        raise EngineError(
            tr("What the picture asks for did not arrive whole."), tr("Reload the page.")
        ) from None
