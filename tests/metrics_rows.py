"""A step's row of a run's metrics, for tests that need only some of its fields."""

from __future__ import annotations

from typing import Any

from lora_engine.run_folder import MetricsRow


def metrics_row(step: int = 1, **fields: Any) -> MetricsRow:
    """The row of this step; what is not given is 0 or 1."""
    plain = {
        "seq": step, "epoch": 0.0, "loss": 1.0, "learning_rate": 1e-4, "grad_norm": 1.0,
        "tokens": 1, "tokens_per_s": 1.0, "elapsed_s": 1.0, "memory_bytes": 1, "total_steps": 9,
    }  # fmt: skip
    return MetricsRow(step=step, **{**plain, **fields})
