"""The parameters a method trains in a whole model, counted by PEFT on the meta device.

No weights, no GPU: transformers builds the shapes, PEFT adds its adapters to them, and what PEFT
made is counted. Layers that are twins are given to PEFT once (`repeated_layers.py`); a parity test
holds the result equal to PEFT on the whole model.
"""

from __future__ import annotations

import warnings as python_warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lora_engine.adapters.lora_config import lora_config
from lora_engine.base_models.adaptable import left_out_in_words, left_out_of_runs_in_words
from lora_engine.calculator import prepared
from lora_engine.calculator.matrix_count import rank_warnings
from lora_engine.calculator.meta_model import (
    build_errors,
    build_meta_model,
    defaulted_fields,
    embeddings_of,
)
from lora_engine.calculator.model_count import ModelCount, ModuleCount, SavedModule, TrainedBias
from lora_engine.calculator.model_source import ModelSource
from lora_engine.calculator.repeated_layers import (
    find_twins,
    keep_one_of_each,
    kind_of,
    names_of_all_twins,
    natural_order,
    tells_layers_apart,
)
from lora_engine.calculator.targets import (
    ALL_LINEAR,
    FUSED_QKV,
    AvailableModule,
    group_modules,
    head_path,
    paths_all_linear_leaves_out,
    resolve_targets,
    target_names,
    targetable_modules,
    targeted_modules,
)
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.language import tr
from lora_engine.library_imports import import_peft
from lora_engine.spec import MethodSpec

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer
    from torch import nn
    from transformers import PreTrainedModel

ADAPTER_BYTES = 4  # PEFT keeps and saves the adapter in float32 unless told otherwise


def count_model(source: ModelSource, method: MethodSpec) -> ModelCount:
    """Count what the adapter of `method` trains in the model of `source`.

    Raises InvalidInput for a target or saved module that matches nothing (naming what would), for
    a config that lacks its shapes, and EngineError with PEFT's own words where PEFT refuses.
    """
    model = build_meta_model(source)
    base_parameters = sum(p.numel() for p in model.parameters())
    said: list[str] = []
    if ALL_LINEAR in target_names(method):
        said += left_out_in_words(model, paths_all_linear_leaves_out(model, text_only=False))
        said += left_out_of_runs_in_words(model, paths_all_linear_leaves_out(model))
    patterns = (*method.rank_pattern, *method.alpha_pattern)
    given = (*target_names(method), *patterns, *method.modules_to_save)
    twins = {} if tells_layers_apart(given) else find_twins(model)
    keep_one_of_each(model, twins)
    _check_saved(model, method)
    targets = resolve_targets(model, method, text_only=False)
    saves_embedding = _targets_embedding(model, method)
    # How A and B start changes no count, and costs a decomposition where it is orthogonal.
    counting = {"target_modules": targets, "init": "default"}
    adapted = add_lora(model, method.model_copy(update=counting), said)
    counted, saved, trained_biases = _read_counts(adapted)
    modules = _spread(counted, twins)
    saved_modules = tuple(
        replace(s, name=name) for s in saved for name in names_of_all_twins(s.name, twins)
    )
    biases = tuple(
        replace(bias, name=name)
        for bias in trained_biases
        for name in names_of_all_twins(bias.name, twins)
    )
    trained = [*modules, *saved_modules, *biases]
    total = sum(m.parameters for m in trained)
    return ModelCount(
        model=source.label,
        method=method,
        base_parameters=base_parameters,
        trainable_parameters=total,
        modules=modules,
        saved_modules=saved_modules,
        biases=biases,
        resolved_targets=_for_all_twins(targets, twins),
        adapter_bytes=ADAPTER_BYTES * (total + saves_embedding) + 240 * len(trained),
        warnings=(
            *source.notes,
            *defaulted_fields(source),
            *_warnings(modules, method, targets),
            *said,
        ),
    )


def count_without_adapter(source: ModelSource, method: MethodSpec) -> ModelCount:
    """The count of a method that adds nothing to the model of `source`, as full training.

    Its targets are not looked at. Raises as `count_model` does for the config.
    """
    base = sum(p.numel() for p in build_meta_model(source).parameters())
    said = (*source.notes, *defaulted_fields(source))
    return ModelCount(source.label, method, base, 0, (), (), (), (), 0, said)


def _for_all_twins(
    targets: str | list[str], twins: dict[str, tuple[str, ...]]
) -> str | tuple[str, ...]:
    """The targets as the whole model needs them: a full path is one for each twin."""
    if isinstance(targets, str):
        return targets
    return tuple(name for target in targets for name in names_of_all_twins(target, twins))


def available_modules(
    source: ModelSource, method: MethodSpec | None = None
) -> tuple[AvailableModule, ...]:
    """What the model of `source` has that LoRA can adapt, one line a kind, for a tick-list.

    With a method, the lines it adapts are marked `chosen`. Raises InvalidInput for a target that
    matches nothing, naming what would.
    """
    known = prepared.modules_of(source, method)
    if known is not None:
        return known
    model = build_meta_model(source)
    chosen = targeted_modules(model, method, text_only=False) if method is not None else []
    return group_modules(targetable_modules(model), head_path(model), chosen)


def add_lora(model: PreTrainedModel, method: MethodSpec, said: list[str]) -> nn.Module:
    """`model` with PEFT's adapters, on the meta device; PEFT's own warnings are added to `said`.

    Raises EngineError with PEFT's words where it refuses the combination.
    """
    import torch

    import_peft()
    from peft import get_peft_model

    try:
        config = lora_config(method, task=None)
        with python_warnings.catch_warnings(record=True) as caught, torch.device("meta"):
            python_warnings.simplefilter("always")
            # Not PEFT's low_cpu_mem_usage: it patches torch for every thread, and a model that
            # another thread loads meanwhile would fail.
            adapted = get_peft_model(model, config)
    except build_errors() as error:
        message = " ".join(str(error).split())[:400]
        raise EngineError(
            tr("PEFT refuses this method: {value}", value=message),
            tr("Change the targets or the option it names."),
        ) from error
    # PEFT also warns of keys it adds itself for fused experts; only the person's own are news.
    own_keys = {*method.rank_pattern, *method.alpha_pattern}
    unmatched = [str(w.message) for w in caught if "_pattern keys did not match" in str(w.message)]
    said += [m for m in unmatched if any(f"'{key}'" in m for key in own_keys)]
    return adapted


def _check_saved(model: PreTrainedModel, method: MethodSpec) -> None:
    """Raise InvalidInput for every module to save that the model does not have."""
    paths = [path for path, _ in model.named_modules() if path]
    problems = [
        FieldProblem("method.modules_to_save", tr("{name} matches no module", name=f"{name!r}"))
        for name in method.modules_to_save
        if not any(path.endswith(name) for path in paths)  # as PEFT matches them
    ]
    if problems:
        outer = sorted({p for p in paths if "*" not in kind_of(p) and p.count(".") < 3})[:40]
        raise InvalidInput(
            tr("The method"), problems, tr("This model has: {outer}.", outer=", ".join(outer))
        )


def _targets_embedding(model: PreTrainedModel, method: MethodSpec) -> int:
    """Parameters of the base's embedding that PEFT saves along because it is targeted, else 0."""
    embedding, _ = embeddings_of(model)
    path = next((p for p, module in model.named_modules() if module is embedding), None)
    targeted = path is not None and any(
        target in ("embeddings", path) or path.endswith(f".{target}")
        for target in target_names(method)
    )
    weight = getattr(embedding, "weight", None)
    return weight.numel() if targeted and weight is not None else 0


def _read_counts(
    adapted: nn.Module,
) -> tuple[list[ModuleCount], list[SavedModule], list[TrainedBias]]:
    """What PEFT made, module by module, under the names the modules have in the base model."""
    from peft.tuners.lora import LoraLayer
    from peft.tuners.lora.layer import ParamWrapper
    from peft.utils import ModulesToSaveWrapper

    counted, saved = [], []
    for path, module in adapted.named_modules():
        name = path.removeprefix("base_model.model.")
        if isinstance(module, ParamWrapper):
            while name.endswith(".base_layer"):
                name = name.removesuffix(".base_layer")
            name = f"{name}.{module.parameter_name}".removesuffix(".weight")
            counted.append(_module_count(name, module, module.num_experts))
        elif isinstance(module, LoraLayer):
            counted.append(_module_count(name, module, 1))
        elif isinstance(module, ModulesToSaveWrapper):
            copies = module.modules_to_save["default"]
            tensors = list(copies.parameters())
            shapes = tuple(tuple(p.shape) for p in tensors)
            saved.append(SavedModule(name, sum(p.numel() for p in tensors), shapes))
    return counted, saved, _trained_biases(adapted)


def _trained_biases(adapted: nn.Module) -> list[TrainedBias]:
    """What trains and is no adapter's own: the base's biases that PEFT let train."""
    own = (".lora_", ".modules_to_save.")
    return [
        TrainedBias(
            path.removeprefix("base_model.model.").replace(".base_layer", ""), parameter.numel()
        )
        for path, parameter in adapted.named_parameters()
        if parameter.requires_grad and not any(mark in path for mark in own)
    ]


def _module_count(name: str, module: LoraLayer, experts: int) -> ModuleCount:
    """The count of one PEFT layer: its own adapter tensors, not those of layers inside it."""
    own = [getattr(module, name) for name in sorted(set(module.adapter_layer_names))]
    tensors = [p for holder in own if "default" in holder for p in _tensors(holder)]
    assert module.in_features is not None
    assert module.out_features is not None
    return ModuleCount(
        name,
        module.in_features,
        module.out_features,
        module.r["default"],
        sum(p.numel() for p in tensors),
        experts,
        tuple(tuple(p.shape) for p in tensors),
    )


def _tensors(holder: Any) -> list[Any]:
    """The tensors of an adapter's entry, which is a module or a bare parameter."""
    entry = holder["default"]
    return [entry] if hasattr(entry, "numel") else list(entry.parameters())


def _spread(counted: list[ModuleCount], twins: dict[str, tuple[str, ...]]) -> tuple:
    """Every count copied to the twins of its layer, in the model's natural order."""
    places = {name: i for i, name in enumerate(dict.fromkeys(kind_of(m.name) for m in counted))}
    spread = [replace(m, name=name) for m in counted for name in names_of_all_twins(m.name, twins)]
    by_layer = [([p for p in natural_order(m.name) if p[0] == 0], m) for m in spread]
    stacks = {kind_of(m.name): kind_of(m.name).partition("*")[0] for m in counted}
    order = list(dict.fromkeys(stacks.values()))
    by_layer.sort(
        key=lambda item: (
            order.index(stacks[kind_of(item[1].name)]),
            item[0],
            places[kind_of(item[1].name)],
        )
    )
    return tuple(m for _, m in by_layer)


def _warnings(
    modules: tuple[ModuleCount, ...], method: MethodSpec, targets: str | list[str]
) -> tuple[str, ...]:
    """One warning for each kind whose rank saves nothing, and for roles that are fused."""
    found: dict[str, None] = {}
    for name in targets if {"q", "k", "v"} & set(target_names(method)) else ():
        if name.rpartition(".")[2] in FUSED_QKV:
            fused = tr(
                "Query, key and value are one weight here ({name}): all three are adapted.",
                name=name,
            )
            found[fused] = None
    for m in modules:
        if m.experts == 1 and m.in_features and m.out_features:
            warned = rank_warnings(kind_of(m.name), m.out_features, m.in_features, m.rank)
            found |= dict.fromkeys(warned)
    return tuple(found)
