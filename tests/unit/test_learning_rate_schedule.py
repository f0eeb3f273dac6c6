"""The learning rate's warm-up, whose first step already learns."""

import pytest

from lora_engine.spec import spec_from
from lora_engine.training.learning_rate_schedule import learning_rate_at


def test_the_warm_up_starts_above_zero_and_the_peak_follows_it():
    spec = {"learning_rate": 1.0, "warmup_ratio": 0.3, "schedule": "constant"}
    optimization = spec_from({"optimization": spec}).optimization
    rates = [learning_rate_at(step, 10, optimization) for step in range(1, 6)]
    assert rates == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1, 1])
