"""How much arithmetic a run is: steps, tokens and floating-point operations.

Multiply-adds count as two operations. A forward pass costs 2 N a token; a backward pass 2 N for
the gradients that flow through and 2 more for each weight that trains (Kaplan et al.,
arXiv 2001.08361, section 2.1, split into its two halves). Attention adds 4 s w a token and layer
for rows of s tokens and a query width w. It knows no machine: seconds come from a measured probe.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from lora_engine.calculator.matrix_count import integer_problems
from lora_engine.calculator.memory_request import MemoryRequest
from lora_engine.calculator.model_profile import ModelProfile, trained_parameters
from lora_engine.errors import InvalidInput
from lora_engine.language import tr


@dataclass(frozen=True)
class Work:
    """steps: optimizer steps; tokens: all tokens passed; flops: for all of them."""

    steps: int
    tokens: int
    flops_per_token: float
    flops: float
    formula: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def seconds(self, flops_per_second: float) -> float:
        """Duration at a measured rate."""
        return self.flops / flops_per_second


def estimate_work(
    profile: ModelProfile, request: MemoryRequest, rows: int, epochs: int = 1
) -> Work:
    """Steps, tokens and operations of `epochs` passes over `rows` rows of seq_length tokens.

    Raises InvalidInput where rows or epochs are out of bounds.
    """
    problems = [
        *integer_problems("rows", rows, 1, 10**10),
        *integer_problems("epochs", epochs, 1, 100_000),
    ]
    if problems:
        raise InvalidInput(tr("The run"), problems, tr("Correct the fields named."))
    workload, optimization = request.workload, request.optimization
    per_step = workload.batch_size * optimization.gradient_accumulation
    steps = math.ceil(rows / per_step) * epochs
    tokens = rows * epochs * workload.seq_length
    shape = profile.shape
    trained = trained_parameters(profile, request)
    adapter = trained if request.has_adapter else 0
    attention = 4 * workload.seq_length * shape.heads_width * len(shape.layers)
    # A table look-up is no multiplication; a tied embedding still multiplies as the head.
    multiplied = max(0, shape.active_parameters - shape.looked_up_parameters) + adapter
    passes = 4 if request.recomputes else 3
    through = 2 * (passes - 1) * multiplied + passes * attention
    per_token = through + 2 * min(trained, multiplied)
    numbers = {
        "N": f"{multiplied:,}",
        "trained": f"{trained:,}",
        "passes": passes,
        "attention": f"{attention:,}",
    }
    formula = (
        tr(
            "2 N forward + 2 N backward through, forward once more (checkpointing) + 2 × trained, "
            "N = {N}, trained = {trained}; attention {passes} × {attention} a token",
            **numbers,
        )
        if request.recomputes
        else tr(
            "2 N forward + 2 N backward through + 2 × trained, N = {N}, trained = {trained}; "
            "attention {passes} × {attention} a token",
            **numbers,
        )
    )
    return Work(steps, tokens, per_token, per_token * tokens, formula)
