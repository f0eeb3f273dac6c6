"""The spec of a task to try by every method: a short run, evaluated once at its end."""

from __future__ import annotations

import re
from typing import Any

from lora_engine.spec import RunSpec, spec_from, suited_learning_rate


def task_spec(base_model: str, dataset: str, steps: Any) -> RunSpec:
    """So many steps on this data, without samples. Raises InvalidInput."""
    return spec_from(
        {
            "name": re.split(r"[:/]", dataset)[-1][:100] or "task",
            "base_model": base_model,
            "dataset": {"source": dataset},
            "optimization": {
                "learning_rate": suited_learning_rate(base_model),
                "max_steps": steps,
                "epochs": None,
                "eval_every": steps,
                "save_every": steps,
            },
            "report": {"samples": 0},
        }
    )
