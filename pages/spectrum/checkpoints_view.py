"""What is shown of two checkpoints: the map of what changed, and one module's change in words."""

from __future__ import annotations

from html import escape

from lora_engine.language import tr, tr_count, translatable
from lora_engine.spectrum import CheckpointComparison, Decomposition, ModuleChange
from pages.shared import layout
from pages.spectrum.module_grid import Cell, Measure, grid_value

MEASURES = (
    Measure(
        "share",
        translatable("relative change"),
        translatable("‖tuned − base‖ / ‖base‖."),
        "share",
        log=True,
    ),
    Measure(
        "norm",
        translatable("norm"),
        translatable("‖tuned − base‖, the Frobenius norm of the change."),
        log=True,
    ),
    Measure(
        "effective",
        translatable("effective rank"),
        translatable(
            "Of the change above the rounding of stored numbers: exp(−Σ p ln p), p = σ / Σσ."
        ),
    ),
    Measure(
        "k90",
        translatable("directions for 90 %"),
        translatable("Directions that carry 90 % of the change."),
        "count",
    ),
    Measure(
        "intruders",
        translatable("intruder dimensions"),
        translatable(
            "Of the tuned weight's first 10 directions, those with |cos| below 0.5 to every one of "
            "the base's (arXiv 2410.21228)."
        ),
        "count",
    ),
)


def changes_grid_value(found: CheckpointComparison, state: dict[str, str], picked: str) -> str:
    """The value of `module_grid` for two checkpoints, the module `picked` pressed."""
    return grid_value(
        [Cell(module.name, _numbers(module)) for module in found.modules],
        MEASURES,
        sentence=_in_words(found),
        notes=_notes(found),
        state=state,
        chosen=picked,
    )


def _notes(found: CheckpointComparison) -> list[str]:
    notes = []
    if found.changed_vectors:
        names = ", ".join(found.changed_vectors[:5])
        count = len(found.changed_vectors)
        notes.append(
            tr_count(
                "{count} vector changed too: {names}.",
                "{count} vectors changed too: {names}.",
                count,
                names=names,
            )
        )
    if found.only_in_base:
        names = ", ".join(found.only_in_base[:5])
        notes.append(tr("Only the base has {names}.", names=names))
    if found.only_in_tuned:
        names = ", ".join(found.only_in_tuned[:5])
        notes.append(tr("Only the tuned model has {names}.", names=names))
    return notes


def _in_words(found: CheckpointComparison) -> str:
    changed = [module for module in found.modules if module.changed]
    every = f"{len(found.modules):,}"
    if not changed:
        return tr("None of the {all} matrices changed.", all=every)
    most = max(changed, key=lambda module: module.relative_change)
    sentence = tr(
        "{count} of {all} matrices changed, {name} the most (by {share} of its norm).",
        count=f"{len(changed):,}",
        all=every,
        name=most.name,
        share=layout.share(most.relative_change),
    )
    searched = [module.intruders for module in changed if module.intruders is not None]
    if not searched:
        return sentence
    count = f"{sum(len(intruders) for intruders in searched):,}"
    return f"{sentence} {tr('Intruder dimensions found: {count}.', count=count)}"


def _numbers(module: ModuleChange) -> dict[str, float | None]:
    found = module.decomposition
    summary = found.summary() if found else None
    return {
        "share": module.relative_change,
        "norm": module.change_norm,
        "effective": module.effective_rank,
        "k90": summary.k90 if summary else None,
        "intruders": None if module.intruders is None else len(module.intruders),
    }


def change_html(name: str, change: Decomposition) -> str:
    """What one module's change amounts to, in words."""
    shape, k95 = change.shape, change.summary().k95
    every = f"{min(shape):,}"
    if k95 is None:
        known = f"{change.singular_values.size:,}"
        words = tr(
            "More than {count} of {all} directions carry 95 % of the change.",
            count=known,
            all=every,
        )
    else:
        words = tr(
            "{count} of {all} directions carry 95 % of the change.", count=f"{k95:,}", all=every
        )
    if change.noise is not None:
        above = int((change.singular_values > change.noise.edge).sum())
        beyond = tr(
            "{count} stand above {edge}, the edge of the {source}.",
            count=f"{above:,}",
            edge=layout.number(change.noise.edge),
            source=tr(change.noise.source),
        )
        words = f"{words} {beyond}"
    return (
        f'<div class="rs-module"><h3>{escape(name)} <span>{shape[0]:,} × {shape[1]:,}</span></h3>'
        f"<p>{escape(words)}</p></div>"
    )
