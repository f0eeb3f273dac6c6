"""What a judgement says: typed values, words and JSON. Knows nothing of how it is found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from lora_engine.advisor.bootstrap import Interval
from lora_engine.advisor.children import MissingChild
from lora_engine.compare.scoring import Forgetting
from lora_engine.language import tr, translatable

CORRECTION = translatable(
    "bootstrap-t over the rows, 95 % for all pairs of ranks together (single-step max-t), no end "
    "nearer than Student's"
)


@dataclass(frozen=True)
class SeedLoss:
    """Held-out loss of one run, on the rows that it never saw.

    difference: of it minus that of the best rank's run of the same seed, on the rows of both; None
    where there is no such run.
    """

    run: str
    seed: int
    eval_loss: float
    difference: float | None


@dataclass(frozen=True)
class SettingLoss:
    """A setting of a rank that was not its best."""

    runs: tuple[str, ...]
    learning_rate: float
    eval_loss: float


@dataclass(frozen=True)
class RankForgetting:
    """Loss on general questions minus the base's, in nats a token, and a word for it."""

    interval: Interval
    word: Forgetting
    rows: int

    def to_json(self) -> dict[str, Any]:
        return {
            "difference": self.interval.mean,
            "interval": self.interval.to_json(),
            "word": str(self.word),
            "rows": self.rows,
        }


@dataclass(frozen=True)
class RankJudgement:
    """One rank, by its best setting. eval_loss: mean over the seeds, in nats a token.

    interval: of its loss minus the best rank's. not_worse: its upper end is within the margin.
    seconds: mean over the seeds; peak_memory_bytes: the largest. signs: stalls and early turning.
    pareto: the costs for which no other rank is at least as good in loss and cost.
    accuracy, f1 (macro): of classifiers, between 0 and 1, mean over the seeds; None for others.
    answers_equal: the share of greedy answers that equal the reference, mean over the seeds; None
    where the rows have no short answers.
    """

    rank: int
    learning_rate: float
    eval_loss: float
    interval: Interval
    not_worse: bool
    forgetting: RankForgetting | None
    seeds: tuple[SeedLoss, ...]
    other_settings: tuple[SettingLoss, ...]
    parameters: int
    bytes: int
    seconds: float
    peak_memory_bytes: int
    signs: tuple[str, ...]
    pareto: tuple[str, ...] = ()
    accuracy: float | None = None
    f1: float | None = None
    answers_equal: float | None = None

    @property
    def spread(self) -> float:
        """How far the differences of its seeds to the best rank lie apart."""
        found = [one.difference for one in self.seeds if one.difference is not None]
        return max(found) - min(found) if found else 0.0

    def cost(self, name: str) -> float | None:
        """`parameters`, `seconds`, `peak_memory_bytes`, or `forgetting` where it is measured."""
        if name == "forgetting":
            return None if self.forgetting is None else self.forgetting.interval.mean
        costs = {
            "parameters": float(self.parameters),
            "seconds": self.seconds,
            "peak_memory_bytes": float(self.peak_memory_bytes),
        }
        return costs[name]

    def with_pareto(self, costs: tuple[str, ...]) -> RankJudgement:
        return replace(self, pareto=costs)

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "interval": self.interval.to_json(),
            "forgetting": self.forgetting and self.forgetting.to_json(),
        }


@dataclass(frozen=True)
class Judgement:
    """The smallest rank that is not worse than the best by more than `not_worse_by` nats a token.

    interval: of its loss minus the best rank's. ranks: ascending. missing: runs not judged, and
    why. notes: what a person should know besides.
    """

    recommended_rank: int
    best_rank: int
    not_worse_by: float
    rows: int
    interval: Interval
    base_loss: float
    ranks: tuple[RankJudgement, ...]
    missing: tuple[MissingChild, ...]
    confidence: float
    correction: str
    notes: tuple[str, ...]

    def sentence(self) -> str:
        """The finding with its evidence."""
        if len(self.ranks) == 1:
            return tr("Only rank {rank} was judged.", rank=self.recommended_rank)
        if self.recommended_rank == self.best_rank:
            return tr(
                "Rank {rank} has the lowest loss, and no smaller one is shown to be within "
                "{margin} nats of it on {rows} rows.",
                rank=self.best_rank,
                margin=f"{self.not_worse_by:.4f}",
                rows=self.rows,
            )
        return tr(
            "Rank {rank} is the smallest that is not worse than the best (rank {best}) by more "
            "than {margin} nats: the difference lies between {low} and {high} on {rows} rows.",
            rank=self.recommended_rank,
            best=self.best_rank,
            margin=f"{self.not_worse_by:.4f}",
            low=f"{self.interval.low:+.4f}",
            high=f"{self.interval.high:+.4f}",
            rows=self.rows,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "recommended_rank": self.recommended_rank,
            "best_rank": self.best_rank,
            "not_worse_by": self.not_worse_by,
            "rows": self.rows,
            "interval": self.interval.to_json(),
            "sentence": self.sentence(),
            "base_loss": self.base_loss,
            "confidence": self.confidence,
            "correction": self.correction,
            "ranks": [one.to_json() for one in self.ranks],
            "missing": [one.to_json() for one in self.missing],
            "notes": list(self.notes),
        }
