"""The spec's method as PEFT's `LoraConfig`: the one place where the spec's words become PEFT's.

Training, the calculator and the snippet to paste all take their configuration from here. The
starts that Rankscope computes itself (pissa, olora, eva, loftq) begin as PEFT's default.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_engine.adapters.config import CONFIG_FILE, PATTERNS
from lora_engine.library_imports import import_peft
from lora_engine.spec import MethodSpec, Task

if TYPE_CHECKING:
    from peft import LoraConfig

TASK_TYPES: dict[Task, str] = {
    "causal_lm": "CAUSAL_LM",
    "sequence_classification": "SEQ_CLS",
    "token_classification": "TOKEN_CLS",
}
HEADS = ("classifier", "score")  # what classification heads are called in transformers
HEAD_PARTS = (*HEADS, "pre_classifier", "pooler", "head")  # and what stands before them
PEFT_STARTS = ("gaussian", "orthogonal")


def lora_config(method: MethodSpec, task: Task | None = "causal_lm") -> LoraConfig:
    """PEFT's configuration for `method`. task: None where any kind of model may be adapted.

    A classifier's head is new, so it trains whole: PEFT puts it among the modules to save.
    """
    import_peft()
    from peft import LoraConfig

    return LoraConfig(
        task_type=None if task is None else TASK_TYPES[task],
        exclude_modules=None if task in (None, "causal_lm") else list(HEADS),
        **lora_arguments(method),
    )


def keep_pattern_order(folder: Path, config: LoraConfig) -> None:
    """Put the keys of both patterns back in their order in the adapter saved in `folder`.

    PEFT sorts them when it saves and takes the first that matches when it loads, so a sorted
    pattern can give a module another rank or scaling than it was trained with.
    """
    path = folder / CONFIG_FILE
    document = json.loads(path.read_text("utf-8"))
    document |= {name: dict(getattr(config, name) or {}) for name in PATTERNS}
    path.write_text(json.dumps(document, indent=2), "utf-8")


def lora_arguments(method: MethodSpec) -> dict[str, Any]:
    """The arguments of `LoraConfig` that `method` decides, under PEFT's own names."""
    return {
        "r": method.rank,
        "lora_alpha": as_integer(method.alpha),
        "lora_dropout": method.dropout,
        "target_modules": method.target_modules,
        "use_rslora": method.use_rslora,
        "use_dora": method.use_dora,
        "lora_bias": method.lora_bias,
        "bias": method.bias,
        "init_lora_weights": method.init if method.init in PEFT_STARTS else True,
        "rank_pattern": dict(method.rank_pattern),
        "alpha_pattern": {
            name: as_integer(alpha) for name, alpha in method.consistent_alpha_pattern().items()
        },
        "modules_to_save": list(method.modules_to_save) or None,
    }


def as_integer(alpha: float) -> float:
    """16 for 16.0: some readers of the saved adapter (Ollama) take integers alone."""
    return int(alpha) if alpha == int(alpha) else alpha
