"""The losses of preferences, as functions of log-probabilities. Pure arithmetic on tensors.

Names: π the model that trains, π₀ the reference; y⁺ the chosen answer and y⁻ the rejected one to a
question x; r(y) = ln π(y|x) − ln π₀(y|x); |y| the answer's tokens; σ the logistic function.

dpo    −(1 − ε) ln σ(β Δ) − ε ln σ(−β Δ), Δ = r(y⁺) − r(y⁻); ε = label_smoothing
       (arXiv 2305.18290; ε: "conservative DPO", Mitchell 2023); hinge: max(0, 1 − β Δ) (2305.10425)
ipo    (r(y⁺)/|y⁺| − r(y⁻)/|y⁻| − 1/(2β))² (2310.12036; a token's mean, as its authors and TRL)
simpo  −ln σ(β (ln π(y⁺)/|y⁺| − ln π(y⁻)/|y⁻|) − γ) (2405.14734)
orpo   −ln π of the chosen row, a token's mean over question and answer, − β ln σ(ln odds(y⁺) −
       ln odds(y⁻)) (2403.07691), odds(y) = p/(1 − p) with ln p = ln π(y)/|y|
kto    w⁺ (1 − σ(β (r(y) − z))) for a good answer, w⁻ (1 − σ(β (z − r(y)))) for a bad one, z the KL
       estimate (2402.01306)

Rewards are those that TRL logs: β r(y), or β ln π(y)/|y| where there is no reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.spec import ObjectiveSpec
from lora_engine.training.objectives.answers import ScoredPairs

if TYPE_CHECKING:
    import torch

LN_HALF = -0.6931471805599453


@dataclass(frozen=True)
class PairLosses:
    """A loss and two rewards for each pair, (pairs,) each; the rewards are detached."""

    losses: torch.Tensor
    chosen_rewards: torch.Tensor
    rejected_rewards: torch.Tensor


def pair_losses(
    objective: ObjectiveSpec, scored: ScoredPairs, reference: torch.Tensor | None
) -> PairLosses:
    """The losses of pairs. reference: ln π₀ of both answers, (pairs, 2); None where none is needed.

    orpo's losses are those of the odds ratio alone; `ScoredPairs.whole_loss` is its other part.
    """
    import torch

    if reference is None:
        return _without_reference(objective, scored)
    beta = objective.strength
    chosen = scored.chosen.log_probabilities - reference[:, 0]
    rejected = scored.rejected.log_probabilities - reference[:, 1]
    if objective.kind == "ipo":
        apart = chosen / scored.chosen.tokens - rejected / scored.rejected.tokens
        losses = (apart - 1 / (2 * beta)) ** 2
    elif objective.loss == "hinge":
        losses = torch.relu(1 - beta * (chosen - rejected))
    else:
        losses = _smoothed(beta * (chosen - rejected), objective.label_smoothing)
    return PairLosses(losses, beta * chosen.detach(), beta * rejected.detach())


def judged_losses(
    objective: ObjectiveSpec, ratios: torch.Tensor, is_good: torch.Tensor, kl: torch.Tensor
) -> torch.Tensor:
    """kto's losses, (answers,). ratios: r(y); is_good: bool; (answers,) each. kl: z, a scalar."""
    import torch

    sign = torch.where(is_good, 1.0, -1.0)
    weight = torch.where(is_good, objective.desirable_weight, objective.undesirable_weight)
    return weight * (1 - torch.sigmoid(objective.strength * sign * (ratios - kl)))


def estimated_kl(mismatched: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """kto's z: the mean of r(y) over answers to other questions, not below 0; a detached scalar.

    mismatched, reference: ln π and ln π₀ of them, (answers,) each.
    """
    return (mismatched - reference).mean().clamp(min=0).detach()


def _without_reference(objective: ObjectiveSpec, scored: ScoredPairs) -> PairLosses:
    from torch.nn.functional import logsigmoid

    beta, chosen, rejected = objective.strength, scored.chosen.means, scored.rejected.means
    if objective.kind == "orpo":
        log_odds = (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))
        losses = -beta * logsigmoid(log_odds)
    else:
        losses = -logsigmoid(beta * (chosen - rejected) - objective.gamma)
    return PairLosses(losses, beta * chosen.detach(), beta * rejected.detach())


def _smoothed(margins: torch.Tensor, smoothing: float) -> torch.Tensor:
    from torch.nn.functional import logsigmoid

    losses = -logsigmoid(margins)
    if smoothing == 0:
        return losses
    return (1 - smoothing) * losses - smoothing * logsigmoid(-margins)


def _log1mexp(x: torch.Tensor) -> torch.Tensor:
    """ln(1 − eˣ) for x < 0, by the form that cancels the least on either side of −ln 2."""
    import torch

    return torch.where(x < LN_HALF, torch.log1p(-torch.exp(x)), torch.log(-torch.expm1(x)))
