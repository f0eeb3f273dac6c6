"""Advice as HTML: the numbers, what to know besides, and each rule with its source and year.

Everything is escaped here. What the numbers are is the engine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby

from lora_engine.advisor import Advice, AdviceForSpec, AdvisedTask, Rule
from pages.shared import layout

TASK_NAMES: Mapping[AdvisedTask, str] = {
    "faq": "answers to known questions",
    "style": "a tone or a format",
    "classification": "a class for each text",
    "entities": "a class for each word (entities)",
    "verse": "verse, or prose of a kind",
    "reasoning": "mathematics and reasoning",
    "code": "code",
}
FIELD_NAMES = {
    "rank": "Rank",
    "alpha": "Alpha",
    "dropout": "Dropout",
    "target_modules": "Target modules",
    "loraplus_lr_ratio": "LoRA+ ratio",
    "learning_rate": "Learning rate",
    "quantization": "Quantization",
}


def as_html(advice: Advice, about: str) -> str:
    """about: what the advice is for."""
    return (
        f'<div class="rs-advice"><p>{escape(about)}</p>{layout.tiles_html(_tiles(advice))}'
        f"{layout.notes_html(advice.remarks)}{_rules(advice.rules)}</div>"
    )


def about_spec(found: AdviceForSpec, source: str, base_model: str) -> str:
    """What was read from the data, and what was only guessed."""
    said = (
        f"For {layout.count(found.rows)} training rows of {source} with about "
        f"{layout.count(found.tokens)} supervised tokens, and the base {base_model}."
    )
    if found.guess is None:
        return said
    guessed = TASK_NAMES[found.guess.task]
    return f"{said} The task is a guess: {guessed}, because {found.guess.why}."


def _tiles(advice: Advice) -> list[tuple[str, str, str]]:
    low, high = advice.range
    targets = advice.target_modules
    names = targets if isinstance(targets, str) else ", ".join(targets)
    ratio = advice.loraplus_lr_ratio
    rates = ", ".join(f"{rate:g}" for rate in advice.learning_rates)
    return [
        ("rank to start with", str(advice.suggested_rank), f"try {low} to {high}"),
        ("likely best", str(advice.likely_best), "where the rules meet"),
        ("alpha", f"{advice.alpha:g}", f"α/r = {advice.alpha / advice.suggested_rank:g}"),
        ("dropout", f"{advice.dropout:g}", "of the adapter's inputs"),
        ("target modules", names, "that get an adapter"),
        ("LoRA+ ratio", "none" if ratio is None else f"{ratio:g}", "rate of B by that of A"),
        ("learning rate", f"{advice.learning_rate:g}", f"try {rates}"),
        *_memory(advice),
    ]


def _memory(advice: Advice) -> list[tuple[str, str, str]]:
    memory = advice.memory
    if memory is None:
        return []
    fits = "fits" if memory.fits else "does not fit"
    peak = f"{layout.number(memory.total_gib)} GiB"
    return [("peak memory", peak, f"{fits} {memory.card_gib:g} GiB")]


def _rules(rules: Sequence[Rule]) -> str:
    """A part for each field; what contradicts each other stands side by side."""
    parts = []
    for field in FIELD_NAMES:
        of_field = [rule for rule in rules if rule.field == field]
        if of_field:
            parts.append(f"<h4>{FIELD_NAMES[field]}</h4>{_of_field(of_field)}")
    return f'<div class="rs-rules">{"".join(parts)}</div>'


def _of_field(rules: Iterable[Rule]) -> str:
    ordered = sorted(rules, key=lambda rule: rule.disagreement)
    cells = []
    for subject, same in groupby(ordered, key=lambda rule: rule.disagreement):
        listed = "".join(map(_rule, same))
        if subject:
            listed = (
                f'<div class="rs-disagree"><p>Sources differ: {escape(subject)}</p>'
                f"<div>{listed}</div></div>"
            )
        cells.append(listed)
    return "".join(cells)


def _rule(rule: Rule) -> str:
    value = "" if rule.value is None else _value(rule.value)
    source = escape(rule.source.name)
    if rule.source.url:
        source = f'<a href="{escape(rule.source.url)}" target="_blank" rel="noopener">{source}</a>'
    year = "" if rule.source.year is None else f", {rule.source.year}"
    return (
        f'<div class="rs-rule"><b>{escape(value)}</b><p>{escape(rule.rule)} '
        f"<small>{source}{year}</small></p></div>"
    )


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
