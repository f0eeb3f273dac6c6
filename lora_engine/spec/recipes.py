"""Specs to start from: one for each bundled dataset, with values that suit the starter model."""

from __future__ import annotations

from typing import Any

from lora_engine.errors import NotFound
from lora_engine.language import tr, translatable
from lora_engine.spec.method import WHOLE_MODEL_TYPES, FinetuningType
from lora_engine.spec.optimization import OptimizationSpec
from lora_engine.spec.parse import spec_from
from lora_engine.spec.run import RunSpec

RECIPES = {
    "pirate": translatable("Pirate speech"),
    "json": translatable("Answers as JSON"),
    "facts": translatable("A made-up world"),
    "polite": translatable("Polite answers, by preference"),
    "sums": translatable("Sums, by reward"),
    "entities": translatable("Entities, by an encoder"),
}

# Measured on the starter with benchmarks/starter_adapters.py. The spec's 2e-4 suits models a
# thousand times its size. It teaches the starter the style too, but loses more of the meaning and
# teaches it no new facts.
STARTER_LEARNING_RATE = 1e-3
ENCODER_LEARNING_RATE = 5e-3  # docs/classifiers.md has what it reaches
EPOCHS = {
    "facts": 5.0,
    "polite": 1.0,
    "sums": 2.0,
    "entities": 6.0,
}  # new knowledge takes more passes than a new style
OBJECTIVES: dict[str, dict[str, Any]] = {
    # DPO moves the starter towards courtesy too, but lets some answers run on: docs/preferences.md.
    "polite": {"kind": "orpo"},
    "sums": {
        "kind": "grpo",
        "rules": [{"kind": "equal", "compare": "last_number"}],
        "max_new_tokens": 24,
    },
}
# What is not the starter's own model, answering.
MODELS: dict[str, dict[str, str]] = {
    "entities": {"base_model": "starter-encoder", "task": "token_classification"}
}
OPTIMIZATIONS: dict[str, dict[str, Any]] = {
    "polite": {"eval_every": 20},
    "entities": {"learning_rate": ENCODER_LEARNING_RATE},
    "sums": {"batch_size": 16, "eval_every": 5},
}


def recipe_spec(name: str) -> RunSpec:
    """The spec of an example. Raises NotFound, listing the examples."""
    if name not in RECIPES:
        raise NotFound(
            tr("There is no example {name}.", name=f"{name!r}"),
            tr("Choose one of {recipes}.", recipes=", ".join(RECIPES)),
        )
    return spec_from(
        {
            "name": f"{name} r8",
            **MODELS.get(name, {}),
            "dataset": {"source": f"starter:{name}"},
            "objective": OBJECTIVES.get(name, {}),
            "optimization": {
                "learning_rate": STARTER_LEARNING_RATE,
                "epochs": EPOCHS.get(name, 3.0),
                **OPTIMIZATIONS.get(name, {}),
            },
        }
    )


# Rates for models of the usual sizes. prefix, prompt, p_tuning: those of PEFT's examples. ia3:
# that of 2205.05638. bottleneck: the middle one of 1902.00751's search. vera: that of 2310.11454
# for language models. loha: LoRA's.
LEARNING_RATES: dict[FinetuningType, float] = {
    "prefix": 3e-2,
    "prompt": 3e-2,
    "p_tuning": 1e-3,
    "ia3": 3e-3,
    "bottleneck": 3e-4,
    "vera": 4e-3,
}


# On the starter: of three or four rates (docs/other_methods.md), the one with the lowest evaluation
# loss after 60 steps of the pirate example in batches of 8 (nats a token: prefix 1.25, prompt 1.67,
# p_tuning 2.58, ia3 1.36, bottleneck 0.77, vera 0.87, loha 0.59; lora at its 1e-3 has 0.97).
STARTER_RATES: dict[FinetuningType, float] = {
    "prefix": 0.3,
    "prompt": 0.05,
    "p_tuning": 1e-2,
    "ia3": 0.2,
    "bottleneck": 1e-2,
    "vera": 0.1,
    "loha": 1e-2,
}


def suited_learning_rate(base_model: str, method: FinetuningType = "lora") -> float:
    """A rate to start from: the starter's own, else the method's or the spec's.

    A tenth of LoRA's where weights of the base train.
    """
    is_starter = base_model == "starter"
    own = STARTER_RATES if is_starter else LEARNING_RATES
    if method in own:
        return own[method]
    if base_model == "starter-encoder" and method == "lora":
        return ENCODER_LEARNING_RATE
    rate = STARTER_LEARNING_RATE if is_starter else OptimizationSpec().learning_rate
    return rate / 10 if method in WHOLE_MODEL_TYPES else rate
