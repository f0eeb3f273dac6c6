"""Step: which rank to start with, as the advisor answers it."""

from __future__ import annotations

import json
from typing import Any

from lora_engine.advisor import TASKS, AdviceRequest, Rule, advise
from lora_engine.language import tr, translatable
from pages import CALCULATOR, TRAIN
from pages.learn import parts
from pages.learn.step import Lesson, Step, TryIt
from pages.shared import layout
from pages.shared.advice_cases import CASES
from pages.shared.advice_html import TASK_NAMES
from pages.shared.wiring import problem_box, wire


def build(lesson: Lesson) -> None:
    del lesson  # the advisor's rules need no data folder
    first = CASES[0]
    picture = parts.picture(
        "learn/choose.js", "choose", _content(first.task, first.rows), height=440,
        elem_id="choose-picture",
    )  # fmt: skip
    wire([picture.input], asked_again, [picture], [picture], problem=problem_box(), queue=False,
         trigger_mode="always_last")  # fmt: skip
    parts.remark(
        tr(
            "r₁ is usual for the task, r₂ for the number of rows; beyond 50,000 rows the larger "
            "counts. The sources contradict each other: some say that a stronger base needs less "
            "rank, others give larger models larger ranks. So take these as places to start; a "
            "sweep over the range, judged on held-out rows, says which rank your data needs."
        )
    )


def asked_again(state: str) -> str:
    """The advisor's answer to the task and the rows that the picture asks about."""
    task, rows = parts.sent(state, "task", "rows", inside="asked")
    return json.dumps(_content(task, rows))


def _content(task: Any, rows: Any) -> dict[str, Any]:
    """Raises InvalidInput for a task or rows that the advisor does not know."""
    advice = advise(AdviceRequest(task=task, rows=rows))
    low, high = advice.range
    rank = advice.suggested_rank
    return {
        "asked": {"task": task, "rows": rows},
        "answer": {
            "rank": rank,
            "low": low,
            "high": high,
            "alpha": f"{advice.alpha:g}",
            "reasons": [_reason(rule) for rule in advice.rules if rule.field == "rank"],
            "link": layout.link(TRAIN, rank=rank, alpha=f"{advice.alpha:g}"),
        },
        "cases": [
            {"title": tr(case.title), "task": case.task, "rows": case.rows} for case in CASES
        ],
        "tasks": [[task, tr(TASK_NAMES[task])] for task in TASKS],
        "words": {
            "cases": tr("Three examples"),
            "task": tr("Task"),
            "rows": tr("Training rows"),
            "answer": tr("Start with rank {rank} and alpha {alpha}; try {low} to {high}."),
            "train": tr("Train with rank {rank}"),
        },
    }


def _reason(rule: Rule) -> dict[str, Any]:
    year = f", {rule.source.year}" if rule.source.year else ""
    return {
        "text": rule.rule,
        "source": f"({tr(rule.source.name)}{year})",
        "url": rule.source.url,
    }


STEP = Step(
    key="choose",
    title=translatable("How to choose r"),
    claim=translatable(
        "The rank follows from the task and from how much data there is: the smallest one that is "
        "not worse is the right one."
    ),
    formula=(r"$$r \approx \sqrt{r_1 \, r_2}, \qquad \tfrac{r}{2} \;\dots\; 2r$$"),
    build=build,
    try_it=(
        TryIt(translatable("Advice for your model in Calculator"), CALCULATOR, {}),
        TryIt(translatable("Try several ranks in Train"), TRAIN, {}),
    ),
)
