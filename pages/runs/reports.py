"""What a run writes at its evaluations: sample answers, ΔW by module, a classifier's classes.

Values for the page, by part; all text is escaped here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from lora_engine.run_folder import (
    CLASSES,
    SAMPLES,
    UPDATES,
    ClassesRow,
    SampleRow,
    UpdateRow,
    read_classes,
    read_samples,
    read_updates,
)
from lora_engine.runs import RunView
from pages.runs import run_figures
from pages.shared import class_scores, figures

MOST_STEPS = 40  # of a heatmap
SHOWN_ANSWERS = 6  # of a prompt: the first, and the newest
MOST_PROMPTS = 3  # beneath the curve

NO_SAMPLES = translatable(
    "No sample answers yet. A run answers a few prompts at every evaluation, unless its spec says "
    "report.samples 0."
)
NO_SCORES = translatable("No scores yet. A classifier is scored at every evaluation.")
NO_UPDATE = translatable("The update is measured at every evaluation; there was none yet.")


def key_of(engine: Engine, run_id: str) -> list[int]:
    """Changes when a run's files of samples, updates and classes grow."""
    paths = [engine.runs.directory(run_id).path / name for name in (SAMPLES, UPDATES, CLASSES)]
    return [path.stat().st_size if path.exists() else 0 for path in paths]


def parts_of(engine: Engine, view: RunView) -> Mapping[str, str]:
    """The answers or classes of a run, short and whole, and the growth of its update."""
    directory = engine.runs.directory(view.id)
    updates = _thinned(read_updates(directory))
    scored = read_classes(directory)[-1:]
    samples = [] if scored else read_samples(directory)
    classifies = bool(scored) or _classifies(view)
    return {
        "now": scores_html(scored[0]) if scored else now_html(samples, classifies),
        "answers": _all_scores(scored) if classifies else samples_html(samples),
        "classes": class_scores.table(scored[0].classes) if scored else "",
        "norms": _heatmap(updates, "frobenius_norm", tr("‖ΔW‖ (Frobenius) by module")),
        "ranks": _heatmap(updates, "effective_rank", tr("Effective rank of ΔW by module")),
        "growth-note": "" if updates else _none(tr(NO_UPDATE)),
    }


def now_html(rows: Sequence[SampleRow], classifies: bool = False) -> str:
    """The first prompts, each with its answer before training and the newest one."""
    if not rows:
        return "" if classifies else _title(tr("Sample answers"), "") + no_answers()
    newest = rows[-1].step
    cards = []
    for prompt in list(dict.fromkeys(row.prompt for row in rows))[:MOST_PROMPTS]:
        answers = [row for row in rows if row.prompt == prompt]
        shown = answers[:1] if len(answers) == 1 else [answers[0], answers[-1]]
        told = "".join(
            f'<div><dt>{_when(row)}</dt><dd translate="no">{_text(row)}</dd></div>' for row in shown
        )
        cards.append(f'<li><p translate="no">{escape(prompt)}</p><dl>{told}</dl></li>')
    words = tr("after step {step}", step=f"{newest:,}") if newest else tr("before the first step")
    return _title(tr("Sample answers"), words) + f'<ul class="rs-now">{"".join(cards)}</ul>'


def scores_html(row: ClassesRow) -> str:
    """A classifier's classes in one sentence."""
    words = tr("after step {step}", step=f"{row.step:,}")
    told = escape(class_scores.in_words(row))
    return _title(tr("Scores on held-out rows"), words) + f'<p class="rs-scores">{told}</p>'


def samples_html(rows: Sequence[SampleRow]) -> str:
    """A table for each prompt: the answer before training and the newest ones."""
    if not rows:
        return no_answers()
    tables = []
    for prompt in dict.fromkeys(row.prompt for row in rows):
        answers = [row for row in rows if row.prompt == prompt]
        if len(answers) > SHOWN_ANSWERS:
            answers = [answers[0], *answers[1 - SHOWN_ANSWERS :]]
        lines = "".join(
            f'<tr><th scope="row">{_when(row)}</th><td translate="no">{_text(row)}</td></tr>'
            for row in answers
        )
        tables.append(f'<div><h3 translate="no">{escape(prompt)}</h3><table>{lines}</table></div>')
    return f'<div class="rs-samples">{"".join(tables)}</div>'


def no_answers() -> str:
    return _none(tr(NO_SAMPLES))


def _all_scores(scored: Sequence[ClassesRow]) -> str:
    return scores_html(scored[0]) if scored else _none(tr(NO_SCORES))


def _none(words: str) -> str:
    return f'<p class="rs-none">{escape(words)}</p>'


def _title(title: str, when: str) -> str:
    return f"<h3>{escape(title)} <small>{escape(when)}</small></h3>"


def _when(row: SampleRow) -> str:
    return escape(tr("step {step}", step=f"{row.step:,}") if row.step else tr("before training"))


def _text(row: SampleRow) -> str:
    return escape(row.text) + ("" if row.finished else " …")


def _classifies(view: RunView) -> bool:
    return view.record.spec is not None and view.record.spec.task != "causal_lm"


def _heatmap(updates: Sequence[UpdateRow], number: str, title: str) -> str:
    if not updates:
        return ""
    names = [module.name for module in updates[-1].modules]
    by_step = [{module.name: getattr(module, number) for module in row.modules} for row in updates]
    rows = [[found.get(name) for found in by_step] for name in names]
    steps = [row.step for row in updates]
    short = [name.removeprefix("model.").replace("layers.", "") for name in names]
    return figures.to_json(run_figures.growth(short, steps, rows, title))


def _thinned(updates: Sequence[UpdateRow]) -> Sequence[UpdateRow]:
    """At most MOST_STEPS rows, the last among them."""
    every = -(-len(updates) // MOST_STEPS) or 1
    return [*updates[:-1:every], updates[-1]] if updates else []
