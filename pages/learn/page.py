"""The Learn page: the list of steps at the side, and the chosen one.

All steps are on the page; `static/lesson.js` shows the one that the address names and has its
pictures drawn then. This module knows no step.
"""

from __future__ import annotations

import gradio as gr

from lora_engine.engine import Engine
from pages import LEARN
from pages.learn import parts
from pages.learn.step import Lesson
from pages.learn.steps import STEPS
from pages.shared import layout
from pages.shared.introduction import introduction


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(LEARN) as blocks, gr.Row(elem_classes="rs-lesson"):
        lesson = Lesson(engine, blocks)
        with gr.Column(elem_classes="rs-lesson-side", min_width=0):
            parts.step_list(STEPS)
        with gr.Column(elem_classes="rs-lesson-main", min_width=0):
            for number, step in enumerate(STEPS, 1):
                with gr.Column(elem_id=f"step-{step.key}", elem_classes="rs-step"):
                    if number == 1:
                        introduction(LEARN)
                    parts.head(STEPS, number)
                    step.build(lesson)
                    parts.formula(step)
                    parts.foot(STEPS, number)
    return blocks
