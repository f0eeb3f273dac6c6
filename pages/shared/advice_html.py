"""Advice as HTML: the numbers, what to know besides, and each rule with its source and year.

Everything is escaped here. What the numbers are is the engine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby

from lora_engine.advisor import Advice, AdviceForSpec, AdvisedTask, Rule
from lora_engine.language import tr, translatable
from pages.shared import layout

TASK_NAMES: Mapping[AdvisedTask, str] = {
    "faq": translatable("answers to known questions"),
    "style": translatable("a tone or a format"),
    "classification": translatable("a class for each text"),
    "entities": translatable("a class for each word (entities)"),
    "verse": translatable("verse, or prose of a kind"),
    "reasoning": translatable("mathematics and reasoning"),
    "code": translatable("code"),
}
FIELD_NAMES = {
    "rank": translatable("Rank"),
    "alpha": translatable("Alpha"),
    "dropout": translatable("Dropout"),
    "target_modules": translatable("Target modules"),
    "loraplus_lr_ratio": translatable("LoRA+ ratio"),
    "learning_rate": translatable("Learning rate"),
    "quantization": translatable("Quantization"),
}


def as_html(advice: Advice, about: str) -> str:
    """about: what the advice is for."""
    return (
        f'<div class="rs-advice"><p>{escape(about)}</p>{layout.tiles_html(_tiles(advice))}'
        f"{layout.notes_html(advice.remarks)}{_rules(advice.rules)}</div>"
    )


def about_spec(found: AdviceForSpec, source: str, base_model: str) -> str:
    """What was read from the data, and what was only guessed."""
    said = tr(
        "For {rows} training rows of {source} with about {tokens} supervised tokens, and the base "
        "{base_model}.",
        rows=layout.count(found.rows),
        source=source,
        tokens=layout.count(found.tokens),
        base_model=base_model,
    )
    if found.guess is None:
        return said
    guess = tr(
        "The task is a guess: {task}, because {why}.",
        task=tr(TASK_NAMES[found.guess.task]),
        why=found.guess.why,
    )
    return f"{said} {guess}"


def _tiles(advice: Advice) -> list[tuple[str, str, str]]:
    low, high = advice.range
    targets = advice.target_modules
    names = targets if isinstance(targets, str) else ", ".join(targets)
    ratio = advice.loraplus_lr_ratio
    rates = ", ".join(f"{rate:g}" for rate in advice.learning_rates)
    return [
        (
            tr("rank to start with"),
            str(advice.suggested_rank),
            tr("try {low} to {high}", low=low, high=high),
        ),
        (tr("likely best"), str(advice.likely_best), tr("where the rules meet")),
        (tr("alpha"), f"{advice.alpha:g}", f"α/r = {advice.alpha / advice.suggested_rank:g}"),
        (tr("dropout"), f"{advice.dropout:g}", tr("of the adapter's inputs")),
        (tr("target modules"), names, tr("that get an adapter")),
        (
            tr("LoRA+ ratio"),
            tr("none") if ratio is None else f"{ratio:g}",
            tr("rate of B by that of A"),
        ),
        (tr("learning rate"), f"{advice.learning_rate:g}", tr("try {rates}", rates=rates)),
        *_memory(advice),
    ]


def _memory(advice: Advice) -> list[tuple[str, str, str]]:
    memory = advice.memory
    if memory is None:
        return []
    peak = f"{layout.number(memory.total_gib)} GiB"
    room = f"{memory.card_gib:g}"
    fits = (
        tr("fits {room} GiB", room=room)
        if memory.fits
        else tr("does not fit {room} GiB", room=room)
    )
    return [(tr("peak memory"), peak, fits)]


def _rules(rules: Sequence[Rule]) -> str:
    """A part for each field; what contradicts each other stands side by side."""
    parts = []
    for field in FIELD_NAMES:
        of_field = [rule for rule in rules if rule.field == field]
        if of_field:
            parts.append(f"<h4>{tr(FIELD_NAMES[field])}</h4>{_of_field(of_field)}")
    return f'<div class="rs-rules">{"".join(parts)}</div>'


def _of_field(rules: Iterable[Rule]) -> str:
    ordered = sorted(rules, key=lambda rule: rule.disagreement)
    cells = []
    for subject, same in groupby(ordered, key=lambda rule: rule.disagreement):
        listed = "".join(map(_rule, same))
        if subject:
            differ = tr("Sources differ: {subject}", subject=tr(subject))
            listed = f'<div class="rs-disagree"><p>{escape(differ)}</p><div>{listed}</div></div>'
        cells.append(listed)
    return "".join(cells)


def _rule(rule: Rule) -> str:
    value = "" if rule.value is None else _value(rule.value)
    source = escape(tr(rule.source.name))
    if rule.source.url:
        address = escape(rule.source.url)
        source = f'<a href="{address}" target="_blank" rel="noopener" lang="en">{source}</a>'
    year = "" if rule.source.year is None else f", {rule.source.year}"
    return (
        f'<div class="rs-rule"><b>{escape(value)}</b><p>{escape(rule.rule)} '
        f"<small>{source}{year}</small></p></div>"
    )


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
