"""The learning rate of each step: a linear warm-up, then cosine, linear or constant.

Pure arithmetic on the spec and the step number, so a resumed run has the rates that the
uninterrupted run would have had. After the warm-up the rates equal those of transformers' schedules
(`get_scheduler`). Its warm-up of w steps is 0, 1/w, 2/w …: the first step learns nothing. Here it
is 1/(w + 1), 2/(w + 1) …, so that every step learns.
"""

from __future__ import annotations

import math

from lora_engine.spec import OptimizationSpec


def learning_rate_at(step: int, total_steps: int, optimization: OptimizationSpec) -> float:
    """The learning rate of `step`, which counts from 1.

    With η the spec's learning rate and w the warm-up steps, the rate of warm-up step k is
    η · k / (w + 1). After the warm-up, with t the share of the remaining steps already done:

        cosine    η/2 · (1 + cos πt)
        linear    η · (1 − t)
        constant  η
    """
    peak = optimization.learning_rate
    warmup_steps = math.ceil(optimization.warmup_ratio * total_steps)
    done = step - 1
    if done < warmup_steps:
        return peak * (done + 1) / (warmup_steps + 1)
    t = (done - warmup_steps) / max(1, total_steps - warmup_steps)
    if optimization.schedule == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * t))
    if optimization.schedule == "linear":
        return peak * (1.0 - t)
    return peak
