"""Advice after a run: what its curves and the spectrum of its update say of the next rank.

Stated rules, in this order: evaluation turned up early, so half the rank and more dropout; training
stalled, so double it; 95 % of the update lies in at most half of the directions, so the power of
two that holds them; else the rank stays. A spectrum shows what was used, not what a task needs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lora_engine.advisor.advice import Advice
from lora_engine.advisor.children import Child
from lora_engine.advisor.evidence import Rule, Source, alpha_rules
from lora_engine.advisor.used_rank import ModuleUse, module_use
from lora_engine.language import tr
from lora_engine.spec import MAX_RANK
from lora_engine.spectrum import describe_adapter

MORE_DROPOUT, MOST_DROPOUT = 0.05, 0.2


@dataclass(frozen=True)
class UsedDirections:
    """Of a run's modules. k95_most: what nine in ten of them need at most for 95 %.

    effective_rank, k90, k95, k99: medians.
    """

    effective_rank: float
    k90: float
    k95: float
    k99: float
    k95_most: int


@dataclass(frozen=True)
class AdviceAfter:
    """advice: for the next run. used: of this one."""

    run: str
    rank: int
    used: UsedDirections
    advice: Advice

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "rank": self.rank,
            "used": vars(self.used),
            **self.advice.to_json(),
        }


def advise_after(child: Child) -> AdviceAfter:
    """Advice for the run after this one. Raises as `describe_adapter` for an unsound adapter."""
    modules = [module_use(one) for one in describe_adapter(child.adapter).modules]
    used = used_directions(modules)
    method, optimization = child.spec.method, child.spec.optimization
    rank, rules = next_rank(child, used)
    dropout = method.dropout
    if child.signs.turned_early:
        dropout = max(dropout, min(MOST_DROPOUT, round(dropout + MORE_DROPOUT, 3)))
        said = tr("Evaluation turned up early: a little more dropout.")
        rules.append(Rule("dropout", said, dropout, _this_run(child)))
    power = 0.5 if method.use_rslora else 1.0
    advice = Advice(
        suggested_rank=rank,
        range=(max(1, rank // 2), min(MAX_RANK, rank * 2)),
        likely_best=rank,
        alpha=round(method.alpha * (rank / method.rank) ** power, 4),
        dropout=dropout,
        target_modules=method.target_modules,
        loraplus_lr_ratio=method.loraplus_lr_ratio,
        learning_rate=optimization.learning_rate,
        learning_rates=(optimization.learning_rate,),
        quantization=child.spec.quantization,
        memory=None,
        rules=(*rules, *alpha_rules(rank)),
        remarks=(
            *child.signs.words,
            tr(
                "What a spectrum used is no proof of what the task needs; a sweep over the range, "
                "judged on held-out rows, is."
            ),
        ),
    )
    return AdviceAfter(child.id, method.rank, used, advice)


def used_directions(modules: Sequence[ModuleUse]) -> UsedDirections:
    """The figures over all modules of a run."""
    needed = sorted(one.k95 for one in modules)
    return UsedDirections(
        effective_rank=statistics.median(one.effective_rank for one in modules),
        k90=statistics.median(one.k90 for one in modules),
        k95=statistics.median(needed),
        k99=statistics.median(one.k99 for one in modules),
        k95_most=needed[math.ceil(0.9 * len(needed)) - 1],
    )


def next_rank(child: Child, used: UsedDirections) -> tuple[int, list[Rule]]:
    """The next rank, with every rule that speaks; the first of them decides."""
    rank, source = child.rank, _this_run(child)
    rules = []
    if child.signs.turned_early:
        said = tr("Evaluation turned up early: half the rank.")
        rules.append(Rule("rank", said, max(1, rank // 2), source))
    if child.signs.stalled:
        said = tr("The training loss stalled: double the rank.")
        rules.append(Rule("rank", said, min(MAX_RANK, 2 * rank), source))
    holding = 2 ** (max(1, used.k95_most) - 1).bit_length()
    if holding <= rank / 2:
        said = tr(
            "Nine in ten modules have 95 % of their update in at most {most} of {rank} "
            "directions: rank {holding} holds them.",
            most=used.k95_most,
            rank=rank,
            holding=holding,
        )
        rules.append(Rule("rank", said, holding, source))
    else:
        said = tr(
            "Nine in ten modules have 95 % of their update in at most {most} of {rank} "
            "directions: the rank is used.",
            most=used.k95_most,
            rank=rank,
        )
        rules.append(Rule("rank", said, rank, source))
    return rules[0].rank or rank, rules


def _this_run(child: Child) -> Source:
    return Source(tr("run {run}", run=child.id), None)
