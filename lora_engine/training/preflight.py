"""What can be checked before a run exists: the choices, the model, the data, the targets.

Reads configuration, dataset rows and safetensors headers, never weights, and imports no torch,
so a form can ask it. The worker checks again with the real model; this only saves the wait.
"""

from __future__ import annotations

from lora_engine.base_models import (
    BaseModel,
    resolve_base_model,
    target_suffixes,
    weight_module_names,
)
from lora_engine.data import load_dataset
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.settings import Settings
from lora_engine.training.availability import this_machine, unavailable
from lora_engine.training.spec import MethodSpec, RunSpec


def check_run(spec: RunSpec, settings: Settings) -> None:
    """Raises EngineError where the run could not work, all problems together."""
    problems = unavailable(spec, this_machine(settings))
    errors: dict[str, EngineError] = {}
    try:
        base = resolve_base_model(spec.base_model, settings)
        problem = unmatched_targets(base, spec.method) if spec.method.has_adapter else None
        if problem is not None:
            errors["method.target_modules"] = problem
    except EngineError as error:
        errors["base_model"] = error
    try:
        load_dataset(spec.dataset, settings)
    except EngineError as error:
        errors["dataset"] = error
    if len(errors) == 1 and not problems:
        raise next(iter(errors.values()))
    problems += [FieldProblem(path, error.problem) for path, error in errors.items()]
    if problems:
        remedies = " ".join(error.remedy for error in errors.values())
        raise InvalidInput("The run", problems, remedies or "Change these fields.")


def unmatched_targets(base: BaseModel, method: MethodSpec) -> EngineError | None:
    """The error for target modules and patterns that name no module of the base, if any.

    A name matches as PEFT matches it: the module's whole name, or its end after a dot.
    """
    modules = weight_module_names(base)
    if not modules:
        return None
    targets = [] if method.target_modules == "all-linear" else list(method.target_modules)
    wanted = [*targets, *method.rank_pattern, *method.alpha_pattern]
    missing = [
        target
        for target in dict.fromkeys(wanted)
        if not any(name == target or name.endswith(f".{target}") for name in modules)
    ]
    if not missing:
        return None
    return EngineError(
        f"No module of {base.name!r} is called {', '.join(missing)}.",
        f"It has: {', '.join(target_suffixes(modules))}. Or choose all-linear.",
    )
