"""Specs to start from: one for each bundled dataset, with values that suit the starter model."""

from __future__ import annotations

from lora_engine.errors import NotFound
from lora_engine.spec.optimization import OptimizationSpec
from lora_engine.spec.parse import spec_from
from lora_engine.spec.run import RunSpec

RECIPES = {
    "pirate": "Pirate speech",
    "json": "Answers as JSON",
    "facts": "A made-up world",
}

# Measured on the starter with benchmarks/starter_adapters.py. The spec's 2e-4 suits models a
# thousand times its size. It teaches the starter the style too, but loses more of the meaning and
# teaches it no new facts.
STARTER_LEARNING_RATE = 1e-3
EPOCHS = {"facts": 5.0}  # new knowledge takes more passes than a new style


def recipe_spec(name: str) -> RunSpec:
    """The spec of an example. Raises NotFound, listing the examples."""
    if name not in RECIPES:
        raise NotFound(f"There is no example {name!r}.", f"Choose one of {', '.join(RECIPES)}.")
    return spec_from(
        {
            "name": f"{name} r8",
            "dataset": {"source": f"starter:{name}"},
            "optimization": {
                "learning_rate": STARTER_LEARNING_RATE,
                "epochs": EPOCHS.get(name, 3.0),
            },
        }
    )


def suited_learning_rate(base_model: str, has_adapter: bool) -> float:
    """A rate to start from: the starter's own, else the spec's; a tenth where the base trains."""
    is_starter = base_model == "starter"
    rate = STARTER_LEARNING_RATE if is_starter else OptimizationSpec().learning_rate
    return rate if has_adapter else rate / 10
