"""Are these rows what the objective learns from? Asked before a run, and refused in words."""

from __future__ import annotations

from lora_engine.data.rows import Dataset
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import ObjectiveSpec

PAIRS, VERDICTS = "preference", "kto"
LEARNED_BY = {PAIRS: "dpo, ipo, orpo, simpo or kto", VERDICTS: "kto"}


def refuse_other_objective(objective: ObjectiveSpec, dataset: Dataset) -> None:
    """Raises EngineError where rows compare or judge answers and the objective learns from
    answers alone, or the other way round."""
    found, kind = dataset.format, objective.kind
    if objective.compares_answers and found != PAIRS:
        judged = " Rows that judge one answer each are learned from by kto." * (found == VERDICTS)
        raise EngineError(
            tr(
                "{source} is in the format {found}, and the objective {kind} compares a "
                "chosen answer with a rejected one.",
                source=dataset.source,
                found=found,
                kind=kind,
            ),
            tr("Give rows with chosen and rejected, or name these columns.{judged}", judged=judged),
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
    of = f"The {len(dataset.rows):,} rows of {dataset.source} are preference data"
    if dataset.format == PAIRS:
        return (
            f"{of} (format {PAIRS}): each compares a chosen answer with a rejected one, and the "
            f"objective {kind} would learn nothing of the rejected ones."
        )
    return (
        f"{of} (format {VERDICTS}): they say of answers whether they are good, and the objective "
        f"{kind} would learn the bad ones as good ones."
    )


def _remedy(dataset: Dataset) -> str:
    if dataset.format == PAIRS:
        return (
            "Choose the objective dpo (or ipo, orpo, simpo, kto) to learn from both answers. "
            + dataset.supervised
        ).strip()
    return (
        "Choose the objective kto to learn from both kinds. To learn the good answers alone, keep "
        "their rows and name the columns to read (dataset.columns with prompt and answer)."
    )
