"""What a step of the lesson is: its words, its formula, and how its picture is built.

Knows no step and no other page than those that a step leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import gradio as gr

from lora_engine.engine import Engine
from pages import Page


@dataclass(frozen=True)
class Lesson:
    """What a step is built with: the engine, and the page's Blocks for `blocks.load`."""

    engine: Engine
    blocks: gr.Blocks


@dataclass(frozen=True)
class TryIt:
    """A link from a step to a page of the workbench, in a state that shows the same there.

    text: what the link says, made `translatable`.
    """

    text: str
    page: Page
    state: Mapping[str, str | int]


@dataclass(frozen=True)
class Step:
    """One step of the lesson.

    key: its name in element ids. title and claim: made `translatable`; the claim is one sentence.
    formula: LaTeX between $$, without words; several stand in a row as long as they fit. build:
    adds the picture and its controls to the page; it is called inside the step's column, once for
    each language.
    """

    key: str
    title: str
    claim: str
    formula: str
    build: Callable[[Lesson], None]
    try_it: tuple[TryIt, ...] = ()
