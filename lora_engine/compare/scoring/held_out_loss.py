"""Loss of base and adapter on the same rows, and whether the difference is more than chance.

The held-out loss is everywhere the same number: the mean of −ln p over all supervised tokens of
the rows, so a long answer weighs more than a short one. A run's `eval_loss` is this number too.
Each row is its own pair, so the rows' difficulty cancels: the interval is that of the mean
difference, t-distributed over the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.compare.generate.adapter_settings import (
    ALL_AS_TRAINED,
    AdapterSettings,
    AdapterVariant,
)
from lora_engine.compare.generate.comparison_model import BASE_COLUMN, ComparisonModel
from lora_engine.compare.scoring.log_probabilities import log_probabilities, next_token_logits
from lora_engine.data import TokenizedRow
from lora_engine.data.tokenization import IGNORED
from lora_engine.errors import EngineError
from lora_engine.language import tr

ROWS_FOR_INTERVAL = 30


@dataclass(frozen=True)
class RowLoss:
    """Mean −ln p over a row's supervised tokens, by column."""

    number: int
    tokens: int
    loss: Mapping[str, float]


@dataclass(frozen=True)
class PairedDifference:
    """Held-out loss of a column minus the base's with its interval, in nats a token.

    Where the interval excludes 0 the column is better (below 0) or worse (above) than the base.
    The base's place may be another column's (`paired_difference`).
    """

    column: str
    base_loss: float
    loss: float
    difference: float
    low: float
    high: float
    rows: int
    confidence: float

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `no clear difference`."""
        if self.high < 0:
            return "better"
        return "worse" if self.low > 0 else "no clear difference"

    @property
    def warning(self) -> str:
        """What to think of an interval from few rows; empty from `ROWS_FOR_INTERVAL` on."""
        if self.rows >= ROWS_FOR_INTERVAL:
            return ""
        return tr(
            "The interval comes from {rows} rows. Below {enough} it is too narrow where the "
            "differences are skewed: at 5 rows 95 % means 81 %, at 20 rows 87 %.",
            rows=self.rows,
            enough=ROWS_FOR_INTERVAL,
        )


def row_losses(
    model: ComparisonModel,
    rows: Sequence[TokenizedRow],
    stop: StopSignal = NEVER_STOPPED,
    adapter_settings: Mapping[str, AdapterSettings] = ALL_AS_TRAINED,
) -> Iterator[RowLoss]:
    """The loss of each row under every column, in order, as soon as it is known.

    Adapters are as trained where `adapter_settings` does not name them.
    Raises EngineError for a row without supervised tokens or longer than the context.
    """
    columns = [BASE_COLUMN, *(name for name in model.columns if name != BASE_COLUMN)]
    with model.shared.keep_loaded({name: model.columns[name] for name in columns}) as keys:
        variants = model.variants(keys, adapter_settings)
        for row in rows:
            if stop.is_set():
                return
            yield _row_loss(model, row, columns, variants)


def paired_difference(
    losses: Sequence[RowLoss],
    column: str,
    confidence: float = 0.95,
    base_column: str = BASE_COLUMN,
) -> PairedDifference:
    """The difference in held-out loss between `column` and the base over at least two rows.

    base_column: what takes the base's place, such as an adapter that this one was made from.

    With d the difference of a row's mean losses and w its supervised tokens, the difference is
    the ratio D = Σ w d / Σ w, its standard error √(Σ e² / (n (n − 1))) with e = w (d − D) / w̄
    (Cochran, Sampling Techniques, 1977, chapter 6), and the margin Student's t with n − 1 degrees
    of freedom times that. For rows of one length it is Student's paired interval.
    Raises EngineError for fewer than two rows.
    """
    count = len(losses)
    if count < 2:
        raise EngineError(
            tr("{count} row gives no interval; at least 2 are needed.", count=count),
            tr("Give more held-out rows."),
        )
    tokens = math.fsum(row.tokens for row in losses)
    base = math.fsum(row.tokens * row.loss[base_column] for row in losses) / tokens
    loss = math.fsum(row.tokens * row.loss[column] for row in losses) / tokens
    difference = loss - base
    residuals = [
        row.tokens * (row.loss[column] - row.loss[base_column] - difference) * count / tokens
        for row in losses
    ]
    error = math.sqrt(math.fsum(one**2 for one in residuals) / (count * (count - 1)))
    margin = student_quantile(confidence, count - 1) * error
    return PairedDifference(
        column=column,
        base_loss=base,
        loss=loss,
        difference=difference,
        low=difference - margin,
        high=difference + margin,
        rows=count,
        confidence=confidence,
    )


@lru_cache  # an integral of 200,000 points, often asked for the same t
def student_quantile(confidence: float, degrees: int) -> float:
    """The t for which P(|T| < t) is `confidence`, T Student's with `degrees` of freedom.

    With t = √ν tan θ the density becomes proportional to cos^(ν−1) θ on [0, π/2): integrated by
    the trapezoid rule and read off where the share is reached.
    """
    import numpy as np

    angles = np.linspace(0.0, math.pi / 2, 200_001)
    heights = np.cos(angles) ** (degrees - 1)
    areas = np.concatenate([[0.0], np.cumsum(heights[1:] + heights[:-1])])
    angle = np.interp(confidence, areas / areas[-1], angles)
    return math.sqrt(degrees) * math.tan(angle)


def _row_loss(
    model: ComparisonModel,
    row: TokenizedRow,
    columns: Sequence[str],
    variants: Sequence[AdapterVariant],
) -> RowLoss:
    limit = model.shared.context_length
    if limit is not None and len(row.input_ids) > limit:
        raise EngineError(
            tr(
                "Row {number} has {count} tokens; this model reads {limit}.",
                number=row.number,
                count=f"{len(row.input_ids):,}",
                limit=f"{limit:,}",
            ),
            tr("Cut the rows to the model's length first."),
        )
    supervised = [index for index, label in enumerate(row.labels) if label != IGNORED]
    supervised = [index for index in supervised if index > 0]
    if not supervised:
        raise EngineError(
            tr("Row {number} has no supervised token.", number=row.number), tr("Leave it out.")
        )
    logits = next_token_logits(model, row.input_ids, 1, variants)
    loss = {}
    for column, one in zip(columns, logits, strict=True):
        scores = log_probabilities(one, row.input_ids[1:])
        loss[column] = -float(scores[[index - 1 for index in supervised]].mean())
    return RowLoss(row.number, len(supervised), loss)
