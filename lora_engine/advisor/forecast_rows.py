"""A run's rows and steps before it starts: what a forecast counts from, and what it can say first.

Knows the data and the plan; knows nothing of memory and time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.advisor.sampled_lengths import SampledLengths
from lora_engine.base_models import BaseModel
from lora_engine.data import load_dataset, split_rows
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from lora_engine.training.plan import Plan, make_plan

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Rows:
    """What the data says. lengths: tokens of a sample of the training rows, None where a
    tokenizer would have to be downloaded or the task is another. supervised: their share with a
    loss."""

    training: int
    evaluated: int
    lengths: np.ndarray | None
    supervised: float


@dataclass(frozen=True)
class FirstFigures:
    """What needs no model library. steps: None where the rows' tokens decide it."""

    rows: int
    evaluated: int
    steps: int | None


def first_figures(spec: RunSpec, settings: Settings) -> FirstFigures:
    """Rows and steps of a run. Raises EngineError where its data cannot be read."""
    dataset = load_dataset(spec.dataset, settings)
    training, evaluation = split_rows(dataset, spec.dataset.eval_fraction, spec.seed)
    rows = Rows(len(training), len(evaluation), None, 1.0)
    by_tokens = spec.optimization.max_tokens_per_batch is not None
    is_open = by_tokens and spec.optimization.max_steps is None
    steps = None if is_open else plan_of(spec, rows).total_steps
    return FirstFigures(rows.training, rows.evaluated, steps)


def rows_of(spec: RunSpec, base: BaseModel, settings: Settings, known: SampledLengths) -> Rows:
    """Raises EngineError where the data or the tokenizer cannot be read."""
    dataset = load_dataset(spec.dataset, settings)
    training, evaluation = split_rows(dataset, spec.dataset.eval_fraction, spec.seed)
    counts = len(training), len(evaluation)
    if spec.task != "causal_lm" or not base.is_local:
        return Rows(*counts, None, 1.0)
    found = known.of(spec, base, dataset.content_hash, training)
    return Rows(*counts, found.tokens, found.supervised)


def plan_of(spec: RunSpec, rows: Rows) -> Plan:
    import numpy as np

    lengths = np.ones(1, np.int64) if rows.lengths is None else rows.lengths
    keeps_batches = spec.objective.kind == "kto"
    of_all = repeated(lengths, rows.training)
    return make_plan(of_all, spec.optimization, spec.seed, keeps_batches=keeps_batches)


def repeated(lengths: np.ndarray, rows: int) -> np.ndarray:
    """The sample's lengths for so many rows."""
    import numpy as np

    return np.resize(lengths, max(1, rows))


def passed(plan: Plan) -> float:
    """How many rows the run passes, repeats counted."""
    return plan.total_steps * plan.rows / max(1, plan.steps_per_epoch)
