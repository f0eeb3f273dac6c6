"""The spec's method as PEFT's configuration, for the methods of PEFT that are not LoRA.

Their targets depend on the model at hand, so it is given; on the meta device is enough. Training
and counting both take their configuration from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lora_engine.adapters.lora_config import as_integer
from lora_engine.calculator.targets import (
    ALL_LINEAR,
    ROLE_NAMES,
    TARGETS_PATH,
    TargetableModule,
    resolve_targets,
    target_names,
    targetable_modules,
)
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr
from lora_engine.library_imports import import_peft
from lora_engine.spec import MethodSpec

if TYPE_CHECKING:
    from peft import IA3Config, PeftConfig
    from transformers import PreTrainedModel

KEYS_AND_VALUES = {*ROLE_NAMES["k"], *ROLE_NAMES["v"]}
LINEAR = ("linear", "conv1d")


def other_config(
    method: MethodSpec, model: PreTrainedModel, task_type: str = "CAUSAL_LM"
) -> PeftConfig:
    """PEFT's configuration for prefix, prompt, p_tuning, ia3, vera or loha on `model`.

    Raises InvalidInput naming each target that matches nothing, or that the method cannot adapt.
    """
    import_peft()
    import peft

    kind, tokens = method.finetuning_type, method.virtual_tokens
    if kind == "prefix":
        return peft.PrefixTuningConfig(
            task_type=task_type,
            num_virtual_tokens=tokens,
            prefix_projection=method.prefix_projection,
            # PEFT has no default, and its encoder of width None cannot be built.
            encoder_hidden_size=method.encoder_size or model.config.get_text_config().hidden_size,
        )
    if kind == "prompt":
        return peft.PromptTuningConfig(
            task_type=task_type,
            num_virtual_tokens=tokens,
            prompt_tuning_init=peft.PromptTuningInit.SAMPLE_VOCAB,
        )
    if kind == "p_tuning":
        return peft.PromptEncoderConfig(
            task_type=task_type,
            num_virtual_tokens=tokens,
            encoder_hidden_size=method.encoder_size or model.config.get_text_config().hidden_size,
        )
    if kind == "ia3":
        return _ia3_config(method, model, task_type)
    targets = _linear_targets(method, model)
    if kind == "vera":
        return peft.VeraConfig(
            task_type=task_type,
            r=method.rank,
            target_modules=targets,
            vera_dropout=method.dropout,
            d_initial=method.vera_d_initial,
            projection_prng_key=method.projection_seed,
            save_projection=True,  # the generator's numbers may differ elsewhere
        )
    assert kind == "loha", f"{kind} is no method of PEFT"
    alpha: Any = as_integer(method.alpha)  # PEFT says int, and takes a float
    return peft.LoHaConfig(task_type=task_type, r=method.rank, alpha=alpha, target_modules=targets)


def _linear_targets(method: MethodSpec, model: PreTrainedModel) -> str | list[str]:
    """The targets, which must be linear layers. Raises InvalidInput for others."""
    targets = resolve_targets(model, method)
    _refuse_other_layers(targets, method, model)
    return targets


def _refuse_other_layers(
    targets: str | list[str], method: MethodSpec, model: PreTrainedModel
) -> None:
    """Raises InvalidInput for targets that are embeddings, convolutions or fused experts."""
    if targets == ALL_LINEAR:
        return
    kind = method.finetuning_type
    allowed = ("linear",) if kind == "loha" else LINEAR
    wrong = {
        (name, module.type): None
        for module in targetable_modules(model)
        for name in targets
        if _ends_with(module.path, name) and module.type not in allowed
    }
    if wrong:
        found = [
            tr(
                "{name} is of the kind {its}, which {method} cannot adapt",
                name=name,
                its=its,
                method=kind,
            )
            for name, its in wrong
        ]
        problems = [FieldProblem(TARGETS_PATH, words) for words in found[:10]]
        raise InvalidInput(tr("The method"), problems, tr("Leave these out, or choose lora."))


def _ia3_config(method: MethodSpec, model: PreTrainedModel, task_type: str) -> IA3Config:
    """IA³ on keys, values and the MLP's last weight, or on the targets given.

    Its own places are PEFT's for the architecture; where PEFT knows none, those with the usual
    names and shapes. An MLP's last weight has its inputs scaled, every other its outputs.
    """
    import peft
    from peft.utils import (
        TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as FEEDFORWARD,
    )
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as TARGETS

    model_type = model.config.model_type
    modules = [m for m in targetable_modules(model) if m.type in LINEAR]
    last = list(FEEDFORWARD.get(model_type, ())) or _last_of_mlp(modules, model)
    if target_names(method) == [ALL_LINEAR]:
        named = list(TARGETS.get(model_type, ())) or [*_keys_and_values(modules), *last]
        if not named or not any(_ends_with(m.path, name) for m in modules for name in named):
            found = tr("PEFT does not know where IA³ goes in this architecture")
            remedy = tr("Name the keys, the values and the MLP's last weight as target modules.")
            raise InvalidInput(tr("The method"), [FieldProblem(TARGETS_PATH, found)], remedy)
    else:
        resolved = resolve_targets(model, method)
        _refuse_other_layers(resolved, method, model)
        named = [m.path for m in modules if any(_ends_with(m.path, name) for name in resolved)]
    scaled = [name for name in named if any(_ends_with(name, one) for one in last)]
    return peft.IA3Config(task_type=task_type, target_modules=named, feedforward_modules=scaled)


def _keys_and_values(modules: list[TargetableModule]) -> list[str]:
    found = (m.leaf for m in modules if m.in_attention and m.leaf in KEYS_AND_VALUES)
    return list(dict.fromkeys(found))


def _last_of_mlp(modules: list[TargetableModule], model: PreTrainedModel) -> list[str]:
    """Outside attention, inside a numbered layer: what leads back to the model's width."""
    width = model.config.get_text_config().hidden_size
    found = (
        m.leaf
        for m in modules
        if not m.in_attention
        and any(part.isdigit() for part in m.path.split("."))
        and m.out_features == width
        and m.in_features != width
    )
    return list(dict.fromkeys(found))


def _ends_with(path: str, name: str) -> bool:
    """PEFT's rule: a target is a whole path, or ends one after a dot."""
    return path == name or path.endswith(f".{name}")
