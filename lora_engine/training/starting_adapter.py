"""The adapter that a run goes on from: found, checked, and its shape written into the spec.

The adapter's own shape is what trains: rank, alpha, targets, rsLoRA, DoRA, patterns, biases and
modules trained whole. A field that the spec leaves out follows the adapter; one that it gives must
agree. Loads no model; `models.starting_weights` puts the weights into one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_engine.adapters import AdapterCheck, check_adapter, read_provenance, resolve_adapter
from lora_engine.adapters.config import WEIGHTS_FILE, AdapterConfig, read_applicable_config
from lora_engine.adapters.lora_config import HEAD_PARTS, HEADS, TASK_TYPES
from lora_engine.adapters.weights_keys import AdapterKeys, read_keys
from lora_engine.base_models import BaseModel
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.language import tr, translatable
from lora_engine.settings import Settings
from lora_engine.spec import MODULE_NAME, MethodSpec, RunSpec, Task, spec_from
from lora_engine.weights.safetensors_file import scan

INIT_FROM = "method.init_from"
AGREE = translatable(
    "Leave these fields out: what trains is the adapter's own shape. To change its rank, use "
    "`resize`."
)


@dataclass(frozen=True)
class AdapterShape:
    """What an adapter fixes of a run's method.

    fields: of MethodSpec, by name. modules: the full names of the adapted modules.
    """

    name: str
    fields: dict[str, Any]
    modules: tuple[str, ...]


def goes_on(spec: RunSpec) -> bool:
    return spec.method.is_lora and spec.method.init_from is not None


def with_adapter_shape(spec: RunSpec, base: BaseModel, settings: Settings) -> RunSpec:
    """The spec with the shape of the adapter that it goes on from; itself where there is none.

    `init_from` becomes the run's id or the folder, because a name may mean another adapter later.
    Raises NotFound, EngineError where the adapter cannot train here, and InvalidInput naming each
    field that contradicts it with both values.
    """
    if not goes_on(spec):
        return spec
    path = resolve_adapter(spec.method.init_from or "", settings)
    shape = shape_of(path, spec.task)
    problems = list(_contradictions(spec.method, shape, base))
    if problems:
        raise InvalidInput(tr("The run"), problems, tr(AGREE))
    document = spec.model_dump(mode="json")
    given = spec.method.model_fields_set
    kept = {"target_modules"} & given  # it means the same modules, perhaps in other words
    taken = {name: value for name, value in shape.fields.items() if name not in kept}
    document["method"] |= {**taken, "init_from": _reference(path, settings)}
    return spec_from(document)


def shape_of(path: Path, task: Task) -> AdapterShape:
    """The shape of the adapter in a folder, from its configuration and its weights' header.

    Raises NotFound; EngineError for an adapter of another task and for forms that a run does not
    train.
    """
    config = read_applicable_config(path)
    _refuse_other_task(path, config, task)
    keys = read_keys(scan(path / WEIGHTS_FILE), config)
    if keys.parameters:
        raise EngineError(
            tr(
                "{path} adapts fused experts ({next}), and a run cannot go on from those.",
                path=path,
                next=next(iter(keys.parameters.values())),
            ),
            tr("Train a new adapter, or go on from one of attention and MLP weights."),
        )
    saved = config.modules_to_save or []
    fields: dict[str, Any] = {
        "rank": config.r,
        "alpha": float(config.lora_alpha),
        "target_modules": _targets(config, keys, task),
        "use_rslora": config.use_rslora,
        "use_dora": config.use_dora,
        **_patterns(config, keys),
        # A classifier's head trains whole without being named.
        "modules_to_save": [n for n in saved if task == "causal_lm" or n not in HEAD_PARTS],
        "lora_bias": config.lora_bias,
        "bias": config.bias,
    }
    modules = tuple(module.replace(".base_layer", "") for module in keys.factors)
    return AdapterShape(path.parent.name if path.name == "adapter" else path.name, fields, modules)


def method_of_adapter(name: str, task: Task, settings: Settings) -> MethodSpec:
    """The method of a run that goes on from the adapter of this name, for a form to show.

    Raises as `resolve_adapter` and `shape_of` do.
    """
    shape = shape_of(resolve_adapter(name, settings), task)
    return spec_from({"method": {**shape.fields, "init_from": name}}).method


def checked_adapter(spec: RunSpec, base: BaseModel, settings: Settings) -> AdapterCheck | None:
    """The adapter that the spec goes on from, whole, finite and made for `base`; None for none.

    Raises EngineError as `adapters.check_adapter` does.
    """
    if not goes_on(spec):
        return None
    path = resolve_adapter(spec.method.init_from or "", settings)
    return check_adapter(path, base, spec.task)


def refuse_other_labels(adapter: Path, labels: Sequence[str]) -> None:
    """Raises EngineError where a classifier's adapter has other classes than the rows.

    Its head has an output a class, in the order that its provenance says.
    """
    known = (read_provenance(adapter) or {}).get("labels")
    if known != list(labels):
        said = ", ".join(map(str, known)) if isinstance(known, list) else tr("none that it names")
        raise EngineError(
            tr(
                "The adapter {adapter} was trained for the classes {said}; the rows have {labels}.",
                adapter=adapter,
                said=said,
                labels=", ".join(labels),
            ),
            tr("Give rows of the same classes, or start a new adapter."),
        )


def _refuse_other_task(path: Path, config: AdapterConfig, task: Task) -> None:
    is_causal = config.task_type in (None, TASK_TYPES["causal_lm"])
    fits = is_causal if task == "causal_lm" else config.task_type == TASK_TYPES[task]
    if not fits:
        raise EngineError(
            tr(
                "{path} is an adapter for {task_type}, and the run's task is {task}.",
                path=path,
                task_type=config.task_type or tr("no task that it names"),
                task=task,
            ),
            tr("Choose the task that the adapter was trained for, or another adapter."),
        )


def _targets(config: AdapterConfig, keys: AdapterKeys, task: Task) -> list[str]:
    """The adapter's own names where they alone decide; else the full name of every module."""
    names = config.listed_targets(() if task == "causal_lm" else HEADS)
    if names is not None:
        return sorted(names)
    return [module.replace(".base_layer", "") for module in keys.factors]


def _patterns(config: AdapterConfig, keys: AdapterKeys) -> dict[str, Any]:
    """Both patterns as they are; by full names where a key is a pattern that a spec cannot hold.

    A module whose rank alone is in a pattern has the alpha of the rest in PEFT. The spec would keep
    its scaling instead, so its alpha is written down.
    """
    ranks, alphas = dict(config.rank_pattern or {}), dict(config.alpha_pattern or {})
    if all(_is_plain(key) for key in (*ranks, *alphas)):
        covered = [name for name in ranks if any(f".{name}".endswith(f".{key}") for key in alphas)]
        left = {name: float(config.lora_alpha) for name in ranks if name not in covered}
        return {"rank_pattern": ranks, "alpha_pattern": alphas | left}
    modules = [module.replace(".base_layer", "") for module in keys.factors]
    power = 0.5 if config.use_rslora else 1.0
    of_module, scalings = config.ranks_of(modules), config.scalings_of(modules)
    by_rank = {name: rank for name, rank in of_module.items() if rank != config.r}
    by_alpha = {name: scalings[name] * of_module[name] ** power for name in modules}
    own = {name: alpha for name, alpha in by_alpha.items() if alpha != config.lora_alpha}
    return {"rank_pattern": by_rank, "alpha_pattern": own | {n: by_alpha[n] for n in by_rank}}


def _is_plain(key: str) -> bool:
    return re.fullmatch(MODULE_NAME, key) is not None


def _contradictions(
    method: MethodSpec, shape: AdapterShape, base: BaseModel
) -> Iterator[FieldProblem]:
    """Each field of the shape that the spec gives with another value."""
    given = method.model_fields_set
    for name, own in shape.fields.items():
        if name not in given:
            continue
        value = getattr(method, name)
        agrees = value == own
        if name == "target_modules":
            agrees = _same_targets(method, shape, base)
        if name == "modules_to_save":
            agrees = set(value) == set(own)
        if name == "alpha_pattern" and not agrees:
            agrees = _completed(method, shape) == own
        if not agrees:
            yield FieldProblem(
                f"method.{name}",
                tr(
                    "{shown} here, and the adapter {name} that the run goes on from has {shown_2}",
                    shown=_shown(value),
                    name=shape.name,
                    shown_2=_shown(own),
                ),
            )


def _completed(method: MethodSpec, shape: AdapterShape) -> dict[str, float]:
    """The spec's alpha pattern as it was written into the adapter that a run of it left."""
    own = {name: shape.fields[name] for name in ("rank", "alpha", "rank_pattern", "use_rslora")}
    return method.model_copy(update=own).consistent_alpha_pattern()


def _same_targets(method: MethodSpec, shape: AdapterShape, base: BaseModel) -> bool:
    """Whether the spec's targets are the adapter's: by name, else by the modules they mean."""
    named = method.target_modules
    if isinstance(named, list) and sorted(named) == sorted(shape.fields["target_modules"]):
        return True
    if base.path is None:
        return False
    from lora_engine.calculator.meta_model import build_meta_model
    from lora_engine.calculator.model_source import path_source
    from lora_engine.calculator.targets import targeted_modules

    meant = [m.path for m in targeted_modules(build_meta_model(path_source(base.path)), method)]
    # A classifier's modules have the name of its encoder before their own.
    return len(meant) == len(shape.modules) and all(
        any(f".{module}".endswith(f".{path}") for module in shape.modules) for path in meant
    )


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _reference(path: Path, settings: Settings) -> str:
    """A run's id for the adapter of a listed run, else the folder."""
    is_of_a_run = path.name == "adapter" and path.parent.parent == settings.runs_dir
    return path.parent.name if is_of_a_run else str(path.resolve())
