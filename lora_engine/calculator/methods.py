"""LoRA beside the other ways to fine-tune: what each trains, its optimizer state, its latency.

Counts come from PEFT itself where it has the method (LoRA, DoRA, prefix tuning, prompt tuning,
IA3); full, freeze and Houlsby's adapters from their formulas. It says nothing of quality.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from lora_engine.calculator.count_parameters import count_model
from lora_engine.calculator.matrix_count import integer_problems
from lora_engine.calculator.memory_request import GIB, MemoryRequest
from lora_engine.calculator.meta_model import build_errors, build_meta_model
from lora_engine.calculator.model_profile import ModelProfile, read_profile, trained_parameters
from lora_engine.calculator.model_source import ModelSource
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.library_imports import import_peft
from lora_engine.spec import MethodSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FORMULAS = {
    "full": "every weight",
    "freeze": "every weight of the last layers",
    "LoRA": "sum of r (in + out) over the targets",
    "QLoRA": "as LoRA, on a base in 4 bits",
    "DoRA": "as LoRA, and one magnitude a row of each target",
    "bottleneck adapters": "layers x 2 x (2 m d + d + m)",
    "prefix tuning": "virtual tokens x layers x 2 x key width",
    "prompt tuning": "virtual tokens x d",
    "IA3": "one factor a key, a value and an inner MLP width",
}
ADAM_BYTES = 8  # two float32 moments a trained weight


@dataclass(frozen=True)
class MethodOptions:
    """Sizes the methods beside LoRA need. Raises InvalidInput naming those out of bounds."""

    bottleneck: int = 64
    virtual_tokens: int = 20

    def __post_init__(self) -> None:
        problems = [
            *integer_problems("bottleneck", self.bottleneck, 1, 65_536),
            *integer_problems("virtual_tokens", self.virtual_tokens, 1, 65_536),
        ]
        if problems:
            raise InvalidInput("The methods' options", problems, "Correct the fields named.")


@dataclass(frozen=True)
class MethodCount:
    """One row of the comparison.

    trainable_parameters: None where the method does not apply, and then `note` says why.
    optimizer_state_gib: AdamW with float32 moments. adds_latency: whether an answer takes longer
    after training than from the base model. counted_by: PEFT, or the formula.
    formula: what the count amounts to, in words.
    """

    method: str
    trainable_parameters: int | None
    trainable_fraction: float | None
    optimizer_state_gib: float | None
    adds_latency: bool
    latency: str
    counted_by: str
    formula: str
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_methods(
    source: ModelSource, method: MethodSpec, options: MethodOptions = MethodOptions()
) -> tuple[MethodCount, ...]:
    """Every way to fine-tune the model of `source`, LoRA as `method` has it.

    Raises as `count_model` does.
    """
    plain = method.model_copy(update={"use_dora": False, "finetuning_type": "lora"})
    profile = read_profile(source, plain)
    base = profile.shape.parameters
    freeze = MemoryRequest(source, plain.model_copy(update={"finetuning_type": "freeze"}))
    frozen_count = trained_parameters(profile, freeze)
    last = min(method.freeze_layers, len(profile.shape.layers))
    lora = profile.count.trainable_parameters
    merged = "none once merged"
    return (
        _row("full", base, base, "none", "every weight"),
        _row("freeze", frozen_count, base, "none", f"the last {last} layers"),
        _row("LoRA", lora, base, merged, "PEFT"),
        _row("QLoRA", lora, base, "4-bit weights are unpacked at every step", "PEFT", slower=True),
        _dora(source, method, base, merged),
        _houlsby(profile, options.bottleneck),
        _by_peft(source, "prefix tuning", options, base, "longer keys and values in every layer"),
        _by_peft(source, "prompt tuning", options, base, "a longer input"),
        _by_peft(source, "IA3", options, base, merged),
    )


def _row(
    method: str, trained: int, base: int, latency: str, counted_by: str, slower: bool = False
) -> MethodCount:
    state = ADAM_BYTES * trained / GIB
    return MethodCount(
        method, trained, trained / base, state, slower, latency, counted_by, FORMULAS[method]
    )


def _not_offered(method: str, slower: bool, latency: str, reason: str) -> MethodCount:
    return MethodCount(method, None, None, None, slower, latency, "PEFT", FORMULAS[method], reason)


def _dora(source: ModelSource, method: MethodSpec, base: int, merged: str) -> MethodCount:
    try:
        counted = count_model(source, method.model_copy(update={"use_dora": True}))
    except EngineError as error:
        return _not_offered("DoRA", False, merged, error.problem)
    return _row("DoRA", counted.trainable_parameters, base, merged, "PEFT")


def _houlsby(profile: ModelProfile, bottleneck: int) -> MethodCount:
    """Two bottlenecks a layer, each m d + m + d m + d (Houlsby et al., arXiv 1902.00751, 2.1)."""
    d, layers = profile.shape.hidden_size, len(profile.shape.layers)
    trained = layers * 2 * (2 * bottleneck * d + d + bottleneck)
    formula = f"{layers} layers x 2 x (2 x {bottleneck} x {d:,} + {d:,} + {bottleneck}), 1902.00751"
    row = _row(
        "bottleneck adapters",
        trained,
        profile.shape.parameters,
        "two more layers in sequence in every layer; cannot be merged",
        formula,
        slower=True,
    )
    return replace(row, note="layer norms, which the paper trains too, are not counted")


def _by_peft(
    source: ModelSource, method: str, options: MethodOptions, base: int, latency: str
) -> MethodCount:
    """A method that PEFT adds to the whole model on the meta device and counts itself."""
    import torch

    import_peft()
    from peft import get_peft_model

    slower = method != "IA3"
    model = build_meta_model(source)
    try:
        config = _peft_config(method, options, model)
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")  # how PEFT reads a Conv1D is no news to the person
            trained = get_peft_model(model, config).get_nb_trainable_parameters()[0]
    except build_errors() as error:
        reason = f"PEFT does not offer it for this model: {' '.join(str(error).split())[:150]}"
        return _not_offered(method, slower, latency, reason)
    row = _row(method, trained, base, latency, "PEFT", slower=slower)
    tokens = f"{options.virtual_tokens} virtual tokens" if slower else "PEFT's default targets"
    return replace(row, note=tokens)


def _peft_config(method: str, options: MethodOptions, model: PreTrainedModel) -> Any:
    from peft import IA3Config, PrefixTuningConfig, PromptTuningConfig

    if model.config.is_encoder_decoder:
        task_type = "SEQ_2_SEQ_LM"
    else:
        task_type = "CAUSAL_LM" if model.can_generate() else "FEATURE_EXTRACTION"
    if method == "IA3":
        return IA3Config(task_type=task_type)
    chosen = PrefixTuningConfig if method == "prefix tuning" else PromptTuningConfig
    return chosen(task_type=task_type, num_virtual_tokens=options.virtual_tokens)
