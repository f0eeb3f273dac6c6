"""Are these rows what the objective learns from? Asked before a run, and refused in words."""

from __future__ import annotations

from lora_engine.data.rows import Dataset
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import ObjectiveSpec

PAIRS, VERDICTS = "preference", "kto"
LEARNED_BY = {PAIRS: "dpo, ipo, orpo, simpo, kto", VERDICTS: "kto"}


def refuse_other_objective(objective: ObjectiveSpec, dataset: Dataset) -> None:
    """Raises EngineError where rows compare or judge answers and the objective learns from
    answers alone, or the other way round."""
    found, kind = dataset.format, objective.kind
    if objective.compares_answers and found != PAIRS:
        raise EngineError(
            tr(
                "{source} is in the format {found}, and the objective {kind} compares a "
                "chosen answer with a rejected one.",
                source=dataset.source,
                found=found,
                kind=kind,
            ),
            tr(
                "Give rows with chosen and rejected, or name these columns. Rows that judge one "
                "answer each are learned from by kto."
                if found == VERDICTS
                else "Give rows with chosen and rejected, or name these columns."
            ),
        )
    if kind == "kto" and found not in (PAIRS, VERDICTS):
        raise EngineError(
            tr(
                "{source} is in the format {found}, and the objective kto learns from "
                "answers that are said to be good or bad.",
                source=dataset.source,
                found=found,
            ),
            tr(
                "Give rows with prompt, completion and label (true or false), or with chosen "
                "and rejected; or name these columns. Where every label is true, set the "
                "format to kto."
            ),
        )
    if not objective.learns_preferences and found in (PAIRS, VERDICTS):
        raise EngineError(_of_preferences(dataset, kind), _remedy(dataset))


def _of_preferences(dataset: Dataset, kind: str) -> str:
    return tr(
        "The {count} rows of {source} are preference data (format {format}): each compares a "
        "chosen answer with a rejected one, and the objective {kind} would learn nothing of the "
        "rejected ones."
        if dataset.format == PAIRS
        else "The {count} rows of {source} are preference data (format {format}): they say of "
        "answers whether they are good, and the objective {kind} would learn the bad ones as good "
        "ones.",
        count=f"{len(dataset.rows):,}",
        source=dataset.source,
        format=dataset.format,
        kind=kind,
    )


def _remedy(dataset: Dataset) -> str:
    if dataset.format == PAIRS:
        return tr(
            "Choose the objective dpo (or ipo, orpo, simpo, kto) to learn from both answers. {how}",
            how=dataset.supervised,
        ).strip()
    return tr(
        "Choose the objective kto to learn from both kinds. To learn the good answers "
        "alone, keep their rows and name the columns to read (dataset.columns with "
        "prompt and answer)."
    )
