"""GRPO's loss and advantages against TRL's own code, on fixed numbers."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from lora_engine.training.objectives.grpo_loss import (
    AnswerTokens,
    group_advantages,
    token_loss,
    token_weights,
)

PROMPTS, SIZE, LONGEST = 3, 4, 7
EPSILON = 0.2


@pytest.fixture(scope="module")
def trainer():
    from trl import GRPOTrainer

    return GRPOTrainer


def numbers():
    """Padded (answers, LONGEST) log-probabilities as TRL has them, lengths and advantages."""
    made = torch.Generator().manual_seed(1)
    answers = PROMPTS * SIZE
    lengths = torch.randint(1, LONGEST + 1, (answers,), generator=made)
    old = -torch.rand(answers, LONGEST, generator=made) * 3
    now = old + torch.randn(answers, LONGEST, generator=made) * 0.3
    reference = old + torch.randn(answers, LONGEST, generator=made) * 0.2
    rewards = torch.randint(0, 3, (PROMPTS, SIZE), generator=made).float()
    mask = (torch.arange(LONGEST) < lengths[:, None]).long()
    return lengths, mask, old, now, reference, rewards


def trl_loss(trainer, kind: str, beta: float, advantages, now):
    """TRL's `_compute_loss` with its model's pass replaced by the numbers."""
    _, mask, old, _, reference, _ = numbers()
    passed = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (now, torch.zeros_like(now), None),
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        beta=beta,
        loss_type=kind,
        epsilon_low=EPSILON,
        epsilon_high=EPSILON,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False),
        use_vllm=False,
        model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1,
        max_completion_length=LONGEST,
        _entropy_bonus_enabled=False,
        aux_loss_enabled=False,
        _metrics={"train": defaultdict(list)},
        accelerator=SimpleNamespace(reduce=lambda x, **_: x, gather=lambda x: x),
    )
    prompts = torch.ones(len(mask), 1, dtype=torch.long)
    inputs = {
        "prompt_ids": prompts,
        "prompt_mask": prompts,
        "completion_ids": mask,
        "completion_mask": mask,
        "advantages": advantages.flatten(),
        "old_per_token_logps": old,
        "ref_per_token_logps": reference,
    }
    return trainer._compute_loss(passed, None, inputs), passed._metrics["train"]


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("kind", ["grpo", "dr_grpo"])
def test_loss_gradient_and_figures_are_trls(trainer, kind, beta):
    lengths, mask, old, now, reference, rewards = numbers()
    advantages = group_advantages(rewards, kind)
    padded = now.clone().requires_grad_()
    expected, figures = trl_loss(trainer, kind, beta, advantages, padded)
    expected.backward()

    kept = mask.bool()
    ours = now[kept].requires_grad_()
    weights = token_weights(lengths, PROMPTS * SIZE, LONGEST, kind)
    tokens = AnswerTokens(
        advantages.flatten().repeat_interleave(lengths),
        weights.repeat_interleave(lengths),
        old[kept],
        reference[kept],
    )
    result = token_loss(ours, tokens, EPSILON, beta)
    result.loss.backward()

    torch.testing.assert_close(result.loss, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.grad, padded.grad[kept], rtol=1e-5, atol=1e-7)
    count = int(lengths.sum())
    assert result.clipped / count == pytest.approx(figures["clip_ratio/region_mean"][0], abs=1e-6)
    assert result.clipped > 0
    if beta:
        assert result.kl / count == pytest.approx(figures["kl"][0], rel=1e-5)


def test_advantages_are_trls():
    from trl.trainer.utils import nanstd

    rewards = numbers()[-1]
    by_group = rewards - rewards.mean(1, keepdim=True)
    scaled = by_group / (nanstd(rewards, dim=1, keepdim=True) + 1e-4)
    torch.testing.assert_close(group_advantages(rewards, "grpo"), scaled)
    torch.testing.assert_close(group_advantages(rewards, "dr_grpo"), by_group)


def test_a_group_with_equal_rewards_has_no_advantage():
    for reward in (0.3, 1.0, -1.7):  # a mean in 32 bits is not always the number itself
        assert group_advantages(torch.full((1, 7), reward), "grpo").tolist() == [[0.0] * 7]
