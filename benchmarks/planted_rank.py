"""Is the recommended rank the true one? On problems whose rank is known.

    python benchmarks/planted_rank.py [--json] [--seeds 10]

A frozen layer y = W x of 64 x 64 has to become (W + D) x, D of rank 2, 8 or 32 with equal singular
values; the outputs carry noise. LoRA factors of rank 1 to 64 (alpha = 2r, B zero, A random, as PEFT
starts them) are trained by Adam, each at two learning rates. What each loses on 60 rows that it did
not see goes to lora_engine/advisor/judgement.py, as the losses of real runs do: a row's loss is
the Gaussian one, in nats an output, and all rows have one weight. Right is the planted rank itself.
Must reach: at least 9 of 10 seeds for each planted rank.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import _path  # noqa: F401
import numpy as np
import torch

from lora_engine.advisor.children import Child, Children
from lora_engine.advisor.curve_signs import CurveSigns
from lora_engine.advisor.judgement import judge
from lora_engine.advisor.judgement_report import Judgement
from lora_engine.advisor.loss_tables import LossTable, MeasuredTables
from lora_engine.run_folder import RunResult
from lora_engine.spec import spec_from

SIDE, TRAINING_ROWS, HELD_OUT_ROWS = 64, 800, 60
PLANTED = (2, 8, 32)
RANKS = (1, 2, 4, 8, 16, 32, 64)
RATES = (5e-3, 2e-2)
STEPS = 250
NOISE = 0.5
NEEDED = 0.9


@dataclass(frozen=True)
class Problem:
    """Rows (x, y) of a frozen weight and a planted update, to train on and held out."""

    weight: torch.Tensor
    training: tuple[torch.Tensor, torch.Tensor]
    held_out: tuple[torch.Tensor, torch.Tensor]


def problem(rank: int, seed: int) -> Problem:
    """The update's singular values are all 1, so no direction of it can be left out."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    weight = normal(SIDE, SIDE) / math.sqrt(SIDE)
    left, right = (torch.linalg.qr(normal(SIDE, rank))[0] for _ in range(2))
    tuned = weight + left @ right.T

    def rows(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = normal(count, SIDE)
        return inputs, inputs @ tuned.T + NOISE * normal(count, SIDE)

    return Problem(weight, rows(TRAINING_ROWS), rows(HELD_OUT_ROWS))


def train(given: Problem, rank: int, rate: float, seed: int) -> np.ndarray:
    """The held-out loss of each row, (rows,), in nats an output, after training at this rank."""
    torch.manual_seed(seed)
    lora_a = torch.empty(rank, SIDE)
    torch.nn.init.kaiming_uniform_(lora_a, a=math.sqrt(5))
    lora_a, lora_b = lora_a.requires_grad_(), torch.zeros(SIDE, rank, requires_grad=True)
    optimizer = torch.optim.Adam([lora_a, lora_b], lr=rate)
    inputs, outputs = given.training
    wanted = outputs - inputs @ given.weight.T
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * step / STEPS)) / 2
        loss = (2.0 * (inputs @ lora_a.T) @ lora_b.T - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        inputs, outputs = given.held_out
        found = inputs @ given.weight.T + 2.0 * (inputs @ lora_a.T) @ lora_b.T
        return _nats(found - outputs)


def _nats(errors: torch.Tensor) -> np.ndarray:
    variance = NOISE**2
    squared = errors.square().mean(dim=1).double().numpy()
    return squared / (2 * variance) + 0.5 * math.log(2 * math.pi * variance)


def planted_judgement(rank: int, seed: int, draws: int = 2_000) -> Judgement:
    """What the judgement says of a problem of this rank."""
    given = problem(rank, seed)
    children, losses = [], []
    for tried in RANKS:
        for rate in RATES:
            losses.append(train(given, tried, rate, seed))
            children.append(_child(tried, rate, seed))
    inputs, outputs = given.held_out
    table = LossTable(
        tuple(one.id for one in children),
        np.stack(losses, axis=1),
        _nats(inputs @ given.weight.T - outputs),
        np.ones(HELD_OUT_ROWS),
    )
    found = Children(tuple(children), ())
    return judge(found, MeasuredTables(table, None, ()), draws=draws, seed=seed)


def _child(rank: int, rate: float, seed: int) -> Child:
    method, optimization = {"rank": rank}, {"learning_rate": rate}
    spec = spec_from({"method": method, "optimization": optimization, "seed": seed})
    figures = dict.fromkeys(("steps", "tokens", "peak_memory_bytes"), 0)
    times = dict.fromkeys(("tokens_per_s", "elapsed_s"), 0.0)
    result = RunResult(state="finished", train_loss=None, eval_loss=None, **figures, **times)
    signs = CurveSigns(False, False, ())
    size = 2 * SIDE * rank
    return Child(f"r{rank} lr {rate:g}", spec, Path(), size, 4 * size, result, signs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    claims = []
    for rank in PLANTED:
        found = [planted_judgement(rank, seed).recommended_rank for seed in range(options.seeds)]
        share = found.count(rank) / len(found)
        claims.append(Claim(rank, tuple(found), share, share >= NEEDED))
    document = {
        "planted": [asdict(one) for one in claims],
        "reached": all(one.reached for one in claims),
        "elapsed_s": time.perf_counter() - started,
    }
    if options.json:
        print(json.dumps(document, indent=1))
        return
    for one in claims:
        print(f"planted {one.rank:2d}: {one.right:.0%} right; recommended {one.recommended}")


@dataclass(frozen=True)
class Claim:
    """For one planted rank: what was recommended for each seed, and the share that is right."""

    rank: int
    recommended: tuple[int, ...]
    right: float
    reached: bool


if __name__ == "__main__":
    main()
