"""Stop what is clearly worse: successive halving, with a paired test on the same rows.

The rule. At the RUNGS, a quarter and half of its steps, the loss of each run is measured on each
held-out row (mean over the row's supervised tokens, nats; of the first MOST_ROWS rows). Once all
living runs that hold the same rows out have come there, each is compared with the one whose mean
loss is lowest. It is clearly worse where both hold:

- its mean loss is more than MARGIN above the lowest, relative to that;
- a one-sided sign-flip test of the differences row by row gives p ≤ LEVEL / runs compared with the
  best (Bonferroni). The test asks how often differences with random signs have a mean as large; it
  supposes no distribution. DRAWS draws, seeded.

Of those, the ones with the highest losses stop, at most half of the runs at the rung. They keep a
checkpoint and can be resumed. With fewer than LEAST_ROWS rows nothing is stopped. A run that a
later learning rate would have helped can be stopped wrongly: the rule judges how far a run has
come, not where it would end. Method: successive halving, Jamieson and Talwalkar 2016, arXiv
1502.07943.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_engine.language import tr
from lora_engine.training.together.halving_rule import (
    LEAST_ROWS,
    LEVEL,
    MARGIN,
    RUNGS,
    rule_in_words,
)
from lora_engine.training.together.member import Member

log = logging.getLogger("lora_engine.training.worker")
MOST_ROWS = 200
DRAWS = 10_000


@dataclass(frozen=True)
class Verdict:
    """Why a run is clearly worse than the best. Losses are means over the rows, nats a token."""

    loss: float
    best: str
    best_loss: float
    p: float
    level: float
    rows: int

    def in_words(self, step: int, best: str) -> str:
        """best: what the person calls that run."""
        return tr(
            "Clearly worse than {best} at step {step}: held-out loss {loss} against {best_loss} "
            "nats a token on the same {rows} rows, more than {margin} apart and p = {p} in a "
            "paired sign-flip test, where {level} was enough.",
            best=best,
            step=step,
            loss=f"{self.loss:.4g}",
            best_loss=f"{self.best_loss:.4g}",
            rows=self.rows,
            margin=f"{MARGIN:.0%}",
            p=f"{self.p:.2g}",
            level=f"{self.level:.2g}",
        )


class Halving:
    """Watches the runs of a worker and stops those that are clearly worse at a rung."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._ahead = {member: _rungs_after(member) for member in members}
        self._losses: dict[tuple[int, float], dict[Member, list[float]]] = {}
        log.info(rule_in_words())

    def look_at(self, members: Sequence[Member]) -> None:
        """Measure the living runs that have come to a rung, and judge where all are there."""
        for member in members:
            due = [rung for rung, step in self._ahead[member].items() if step <= _step(member)]
            for rung in due:
                del self._ahead[member][rung]
                self._measure(member, rung, members)

    def _measure(self, member: Member, rung: float, members: Sequence[Member]) -> None:
        seed = member.prepared.spec.seed  # of one dataset, the seed decides which rows are held out
        measured = self._losses.setdefault((seed, rung), {})
        losses = member.held_out_losses(MOST_ROWS)
        if losses is not None:
            measured[member] = losses
        waiting = [
            other
            for other in members
            if other.is_living and other.prepared.spec.seed == seed and rung in self._ahead[other]
        ]
        if not waiting:
            self._judge(measured, members)

    def _judge(self, measured: Mapping[Member, list[float]], members: Sequence[Member]) -> None:
        named = {member.name: losses for member, losses in measured.items()}
        verdicts = clearly_worse(named)
        titles = {member.name: member.prepared.spec.name for member in measured}
        for member in members:
            if member.is_living and member.name in verdicts:
                verdict = verdicts[member.name]
                member.stop(verdict.in_words(_step(member), titles[verdict.best]))


def clearly_worse(losses: Mapping[str, Sequence[float]]) -> dict[str, Verdict]:
    """The runs to stop, by the rule above. losses: of each run, row by row in one order."""
    rows = min((len(of_run) for of_run in losses.values()), default=0)
    if rows < LEAST_ROWS or len(losses) < 2:
        return {}
    means = {name: math.fsum(of_run) / rows for name, of_run in losses.items()}
    best = min(means, key=lambda name: means[name])
    level = LEVEL / (len(losses) - 1)
    found = {}
    for name, mean in means.items():
        if not mean > means[best] * (1 + MARGIN):
            continue
        p = sign_flip_p([a - b for a, b in zip(losses[name], losses[best], strict=True)])
        if p <= level:
            found[name] = Verdict(mean, best, means[best], p, level, rows)
    worst_first = sorted(found, key=lambda name: -means[name])
    return {name: found[name] for name in worst_first[: len(losses) // 2]}


def sign_flip_p(differences: Sequence[float]) -> float:
    """One-sided p of a mean difference above 0: (1 + draws with a mean as large) / (1 + DRAWS).

    Each draw gives every difference a sign by chance; seeded, so that one answer is the only one.
    """
    import numpy as np

    values = np.asarray(differences)  # (rows,)
    signs = np.random.default_rng(0).choice((-1.0, 1.0), (DRAWS, len(values)))
    least = values.sum() - 1e-12 * np.abs(values).sum()  # equal sums differ in their last bits
    as_large = signs @ values >= least  # (DRAWS,)
    return (1 + int(as_large.sum())) / (1 + DRAWS)


def _rungs_after(member: Member) -> dict[float, int]:
    """The rungs that a run has before it, and their steps."""
    total = member.prepared.plan.total_steps
    steps = {rung: max(1, math.ceil(rung * total)) for rung in RUNGS}
    return {rung: step for rung, step in steps.items() if step > _step(member)}


def _step(member: Member) -> int:
    return member.progress.step
