"""The judgement of a sweep: the smallest rank that is not worse, with its evidence.

Each rank is represented by its best setting (mostly: its best learning rate), since a comparison
at one learning rate can mistake the rate for the rank (arXiv 2602.06204). A setting's loss on a row
is the mean over its seeds. The differences of all pairs of ranks get intervals that hold together
(`bootstrap.py`), so the best rank may be chosen from the same rows. Not worse means: the upper end
of the interval of loss minus the best's is at most the margin. Rows are what the intervals are
over; they say nothing of how another seed would have ended, which the seeds' points show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lora_engine.advisor.bootstrap import (
    CONFIDENCE,
    DRAWS,
    Interval,
    pairs_of,
    pairwise_intervals,
    simultaneous_intervals,
)
from lora_engine.advisor.children import Child, Children, MissingChild
from lora_engine.advisor.judgement_report import (
    CORRECTION,
    Judgement,
    RankForgetting,
    RankJudgement,
    SeedLoss,
    SettingLoss,
)
from lora_engine.advisor.loss_tables import LossTable, MeasuredTables, mean_scores
from lora_engine.compare.scoring import PairedDifference, classify_forgetting
from lora_engine.compare.scoring.held_out_loss import ROWS_FOR_INTERVAL
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr

MARGIN_SHARE = 0.02
PARETO_COSTS = ("parameters", "seconds", "peak_memory_bytes", "forgetting")


@dataclass(frozen=True)
class _Setting:
    """The children of one setting, and their mean loss."""

    children: tuple[Child, ...]
    loss: float

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(one.id for one in self.children)


def judge(
    children: Children,
    tables: MeasuredTables,
    *,
    not_worse_by: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Judgement:
    """What the losses in `tables` say of the ranks of `children`.

    not_worse_by: the margin in nats a token; `MARGIN_SHARE` of the best loss where it is None.
    Raises InvalidInput for a margin below 0; EngineError for fewer than two rows.
    """
    if not_worse_by is not None and not 0 <= not_worse_by < 1_000:
        problem = FieldProblem(
            "not_worse_by",
            tr("got {not_worse_by}; 0 to 1,000 nats are allowed", not_worse_by=f"{not_worse_by:g}"),
        )
        raise InvalidInput(tr("The judgement"), [problem], tr("Give a margin in nats a token."))
    table = tables.held_out
    by_rank = _settings_by_rank(children.present, table)
    chosen = [settings[0] for settings in by_rank.values()]
    losses = np.stack([table.of(one.ids) for one in chosen], axis=1)
    best = int(np.argmin([one.loss for one in chosen]))
    margin = MARGIN_SHARE * chosen[best].loss if not_worse_by is None else not_worse_by
    intervals = _against(best, losses, table.tokens, draws, seed)
    forgetting = _forgetting(chosen, tables.general, draws, seed)
    ranks = tuple(
        _rank(rank, settings, chosen[best], tables, interval, forgot, interval.high <= margin)
        for (rank, settings), interval, forgot in zip(
            by_rank.items(), intervals, forgetting, strict=True
        )
    )
    ranks = mark_pareto(ranks)
    recommended = next(one for one in ranks if one.not_worse)
    return Judgement(
        recommended_rank=recommended.rank,
        best_rank=ranks[best].rank,
        not_worse_by=margin,
        rows=table.rows,
        interval=recommended.interval,
        base_loss=table.mean(table.base),
        ranks=ranks,
        missing=children.missing,
        confidence=CONFIDENCE,
        correction=tr(CORRECTION),
        notes=(
            *_objective_notes(children.present),
            *_notes(ranks, recommended, margin, table, children.missing),
            *_forgets_less(chosen, ranks, recommended, tables.general, draws, seed),
            *tables.notes,
        ),
    )


def mark_pareto(ranks: Sequence[RankJudgement]) -> tuple[RankJudgement, ...]:
    """The ranks, each with the costs for which no other is as good in loss and cost, and better
    in one of them."""
    return tuple(
        one.with_pareto(
            tuple(
                cost
                for cost in PARETO_COSTS
                if one.cost(cost) is not None
                and not any(_dominates(other, one, cost) for other in ranks)
            )
        )
        for one in ranks
    )


def _dominates(other: RankJudgement, one: RankJudgement, cost: str) -> bool:
    theirs, ours = other.cost(cost), one.cost(cost)
    if theirs is None or ours is None:
        return False
    as_good = other.eval_loss <= one.eval_loss and theirs <= ours
    return as_good and (other.eval_loss < one.eval_loss or theirs < ours)


def _settings_by_rank(
    children: Sequence[Child], table: LossTable
) -> dict[int, tuple[_Setting, ...]]:
    """By rank, ascending: its settings, the best first."""
    found: dict[int, list[_Setting]] = {}
    for name in dict.fromkeys(one.setting for one in children):
        of_it = tuple(one for one in children if one.setting == name)
        loss = table.mean(table.of([one.id for one in of_it]))
        found.setdefault(of_it[0].rank, []).append(_Setting(of_it, loss))
    return {
        rank: tuple(sorted(settings, key=lambda one: one.loss))
        for rank, settings in sorted(found.items())
    }


def _against(
    best: int, losses: np.ndarray, tokens: np.ndarray, draws: int, seed: int
) -> list[Interval]:
    """The interval of each column's loss minus the best's; those of all pairs hold together."""
    pairs = pairs_of(losses.shape[1])
    found = [Interval(0.0, 0.0, 0.0)] * losses.shape[1]
    if not pairs:
        return found
    for (i, j), one in zip(
        pairs, pairwise_intervals(losses, tokens, pairs, draws=draws, seed=seed), strict=True
    ):
        if j == best:
            found[i] = one
        elif i == best:
            found[j] = Interval(-one.mean, -one.high, -one.low)
    return found


def _forgetting(
    chosen: Sequence[_Setting], table: LossTable | None, draws: int, seed: int
) -> list[RankForgetting | None]:
    """The loss on general questions minus the base's; the intervals of all ranks hold together."""
    if table is None:
        return [None] * len(chosen)
    losses = np.stack([table.of(one.ids) for one in chosen], axis=1)
    differences = losses - table.base[:, None]
    found: list[RankForgetting | None] = []
    for place, one in enumerate(
        simultaneous_intervals(differences, table.tokens, draws=draws, seed=seed)
    ):
        loss = table.mean(losses[:, place])
        pair = PairedDifference(
            str(place),
            table.mean(table.base),
            loss,
            one.mean,
            one.low,
            one.high,
            table.rows,
            CONFIDENCE,
        )
        found.append(RankForgetting(one, classify_forgetting(pair), table.rows))
    return found


def _rank(
    rank: int,
    settings: Sequence[_Setting],
    best: _Setting,
    tables: MeasuredTables,
    interval: Interval,
    forgetting: RankForgetting | None,
    not_worse: bool,
) -> RankJudgement:
    shown, *others = settings
    results = [one.result for one in shown.children]
    scores = mean_scores([tables.scores[one] for one in shown.ids if one in tables.scores])
    return RankJudgement(
        rank=rank,
        learning_rate=shown.children[0].learning_rate,
        eval_loss=shown.loss,
        interval=interval,
        not_worse=not_worse,
        forgetting=forgetting,
        seeds=tuple(_seed_loss(one, best, tables.held_out) for one in shown.children),
        other_settings=tuple(
            SettingLoss(one.ids, one.children[0].learning_rate, one.loss) for one in others
        ),
        parameters=shown.children[0].parameters,
        bytes=shown.children[0].bytes,
        seconds=float(np.mean([one.elapsed_s for one in results])),
        peak_memory_bytes=max(one.peak_memory_bytes for one in results),
        signs=tuple(dict.fromkeys(words for one in shown.children for words in one.signs.words)),
        accuracy=None if scores is None else scores.accuracy,
        f1=None if scores is None else scores.f1,
    )


def _seed_loss(child: Child, best: _Setting, table: LossTable) -> SeedLoss:
    losses = table.of([child.id])
    partners = [one.id for one in best.children if one.spec.seed == child.spec.seed]
    difference = table.mean(losses - table.of(partners)) if partners else None
    return SeedLoss(child.id, child.spec.seed, table.mean(losses), difference)


def _objective_notes(present: Sequence[Child]) -> list[str]:
    """That answers are judged where something else was learned."""
    kinds = sorted({one.spec.objective.kind for one in present} - {"sft"})
    if not kinds:
        return []
    return [
        tr(
            "These runs learned by {kinds}, and are judged by the loss on good answers: a run may "
            "tell good answers from bad ones better and lose here. Their own held-out losses and "
            "margins stand on Runs.",
            kinds=", ".join(kinds),
        )
    ]


def _notes(
    ranks: Sequence[RankJudgement],
    recommended: RankJudgement,
    margin: float,
    table: LossTable,
    missing: Sequence[MissingChild],
) -> list[str]:
    notes = []
    if table.rows < ROWS_FOR_INTERVAL:
        notes.append(
            tr(
                "The intervals come from {rows} rows. Below {enough} they may be too narrow where "
                "the differences are skewed.",
                rows=table.rows,
                enough=ROWS_FOR_INTERVAL,
            )
        )
    if any(one.other_settings for one in ranks):
        notes.append(
            tr(
                "Each rank is represented by its best setting on these rows. Its loss is a little "
                "too good for that, and the more so the more settings were tried."
            )
        )
    elif len(ranks) > 1:
        notes.append(
            tr(
                "Every rank was trained at one learning rate. The best rate may differ by rank "
                "(arXiv 2602.06204); try two or three rates before you trust the order."
            )
        )
    spread = max((one.spread for one in ranks), default=0.0)
    if spread > margin:
        notes.append(
            tr(
                "A rank's difference to the best varies by up to {spread} nats between seeds, more "
                "than the margin: another seed could change the choice.",
                spread=f"{spread:.4f}",
            )
        )
    elif all(len(one.seeds) == 1 for one in ranks):
        notes.append(tr("One seed each: how much chance of training adds is not known."))
    worse = [one for one in ranks if not one.not_worse and one.interval.low <= 0.0]
    if worse and len(ranks) > 1:
        named = ", ".join(str(one.rank) for one in worse)
        notes.append(
            tr(
                "Undecided: rank {ranks}. More held-out rows would narrow the intervals.",
                ranks=named,
            )
        )
    if recommended.rank == ranks[-1].rank and len(ranks) > 1:
        notes.append(tr("The largest rank was needed: a larger one may be better still."))
    if missing:
        notes.append(tr("Runs missing from this judgement: {count}.", count=len(missing)))
    return notes


def _forgets_less(
    chosen: Sequence[_Setting],
    ranks: Sequence[RankJudgement],
    recommended: RankJudgement,
    table: LossTable | None,
    draws: int,
    seed: int,
) -> list[str]:
    """A word where another rank that is not worse clearly forgets less than the recommended."""
    if table is None or len(ranks) < 2:
        return []
    losses = np.stack([table.of(one.ids) for one in chosen], axis=1)
    ours = ranks.index(recommended)
    against = _against(ours, losses, table.tokens, draws, seed)
    less = [
        str(one.rank)
        for one, interval in zip(ranks, against, strict=True)
        if one.not_worse and interval.high < 0.0
    ]
    if not less:
        return []
    return [
        tr(
            "Rank {rank} forgets clearly more than rank {others}, which is not worse on the "
            "held-out rows: it is not simply better.",
            rank=recommended.rank,
            others=", ".join(less),
        )
    ]
