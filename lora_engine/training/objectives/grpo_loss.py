"""The loss of GRPO on tokens: group-relative advantages, the clipped ratio, and the KL.

    A_i = (r_i − mean(r)) / (std(r) + 1e-4)         over the answers to one prompt
    ρ_t = π(o_t) / π_old(o_t)
    ℓ_t = −min(ρ_t A_i, clip(ρ_t, 1 − ε, 1 + ε) A_i) + β D_t
    D_t = π_ref(o_t) / π(o_t) − ln(π_ref(o_t) / π(o_t)) − 1

Shao et al. 2024 (arXiv 2402.03300), eq. 3 and 4; D is Schulman's estimate of the KL. The loss is
the mean over answers of the mean of ℓ over an answer's tokens: TRL's loss_type "grpo". Dr. GRPO
(Liu et al. 2025, arXiv 2503.20783) leaves out the standard deviation, and divides the sum over all
tokens by answers · longest answer: TRL's "dr_grpo" with scale_rewards "none".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.spec import Advantage

if TYPE_CHECKING:
    import torch

STD_FLOOR = 1e-4  # TRL's: groups with nearly equal rewards get no huge advantages


def group_advantages(rewards: torch.Tensor, kind: Advantage) -> torch.Tensor:
    """rewards (prompts, group_size) to advantages of the same shape; 0 in a group of equals."""
    centred = rewards - rewards.mean(1, keepdim=True)
    centred = centred.masked_fill(are_equal(rewards)[:, None], 0.0)  # whatever rounding left
    if kind == "dr_grpo":
        return centred
    return centred / (rewards.std(1, keepdim=True) + STD_FLOOR)


def are_equal(rewards: torch.Tensor) -> torch.Tensor:
    """Which groups have one reward for all answers: rewards (prompts, size) to (prompts,)."""
    return rewards.amax(1) == rewards.amin(1)


def token_weights(
    lengths: torch.Tensor, answers: int, longest: int, kind: Advantage
) -> torch.Tensor:
    """What a token of each answer weighs in the loss, (len(lengths),).

    lengths: of the answers at hand, in tokens. answers: of the whole step. longest: an answer's
    limit.
    """
    if kind == "dr_grpo":
        return lengths.new_full(lengths.shape, answers * longest).reciprocal()
    return 1.0 / (answers * lengths.clamp(min=1))


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens of some answers one behind the other, (tokens,) each.

    advantages, weights: of the answer that a token belongs to. old: ln p when the answers were
    sampled. reference: ln p of the reference, None where the KL weighs nothing.
    """

    advantages: torch.Tensor
    weights: torch.Tensor
    old: torch.Tensor
    reference: torch.Tensor | None = None


@dataclass(frozen=True)
class TokenLoss:
    """loss: Σ weight · ℓ, differentiable in the log-probabilities. kl: Σ D over the tokens.

    clipped: tokens whose ratio lies beyond the clip on the side that their advantage moves to.
    """

    loss: torch.Tensor
    kl: float
    clipped: int


def token_loss(
    log_probabilities: torch.Tensor, answers: AnswerTokens, epsilon: float, beta: float
) -> TokenLoss:
    """The module's loss. log_probabilities: ln π of the tokens, (tokens,)."""
    import torch

    ratio = (log_probabilities - answers.old).exp()
    advantages = answers.advantages
    clipped_ratio = ratio.clamp(1 - epsilon, 1 + epsilon)
    losses = -torch.min(ratio * advantages, clipped_ratio * advantages)
    kl = 0.0
    if answers.reference is not None and beta:
        log_ratio = answers.reference - log_probabilities
        divergence = log_ratio.exp() - log_ratio - 1
        losses = losses + beta * divergence
        kl = float(divergence.detach().sum())
    beyond = (ratio < 1 - epsilon) & (advantages < 0) | (ratio > 1 + epsilon) & (advantages > 0)
    return TokenLoss((losses * answers.weights).sum(), kl, int(beyond.sum()))
