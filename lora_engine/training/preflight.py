"""What can be checked before a run exists: the choices, the model, the data, the targets.

Reads configuration, dataset rows and safetensors headers, never weights, and imports no torch,
so a form can ask it. The worker checks again with the real model; this only saves the wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lora_engine.base_models import (
    BaseModel,
    resolve_base_model,
    target_suffixes,
    weight_module_names,
    weight_shapes,
)
from lora_engine.data import load_dataset
from lora_engine.data.labelling import refuse_other_task
from lora_engine.data.role_orders import refuse_role_orders
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.settings import Settings
from lora_engine.training.availability import this_machine, unavailable
from lora_engine.training.spec import MethodSpec, RunSpec


def check_run(spec: RunSpec, settings: Settings) -> None:
    """Raises EngineError where the run could not work, all problems together."""
    problems = unavailable(spec, this_machine(settings))
    errors: dict[str, EngineError] = {}
    base = None
    try:
        base = resolve_base_model(spec.base_model, settings)
        problem = unmatched_targets(base, spec.method) if spec.method.has_adapter else None
        if problem is not None:
            errors["method.target_modules"] = problem
        problems += rank_problems(base, spec.method)
    except EngineError as error:
        errors["base_model"] = error
    try:
        dataset = load_dataset(spec.dataset, settings)
        refuse_other_task(spec.task, dataset)
        if base is not None and base.path is not None:
            refuse_role_orders(dataset, base.path)
    except EngineError as error:
        errors["dataset"] = error
    if len(errors) == 1 and not problems:
        raise next(iter(errors.values()))
    problems += [FieldProblem(path, error.problem) for path, error in errors.items()]
    if problems:
        remedies = " ".join(error.remedy for error in errors.values())
        raise InvalidInput("The run", problems, remedies or "Change these fields.")


def rank_problems(base: BaseModel, method: MethodSpec) -> list[FieldProblem]:
    """Ranks over the smaller side of every weight they are for: ΔW cannot have such a rank.

    A rank over one of many targets (a router of 8 experts) is let through: it costs little.
    """
    if not method.has_adapter:
        return []
    sides = {name: min(shape) for name, shape in weight_shapes(base).items() if _is_linear(name)}
    targets = None if method.target_modules == "all-linear" else method.target_modules
    problems = [_rank_problem("method.rank", method.rank, sides, targets)]
    for name, rank in method.rank_pattern.items():
        problems.append(_rank_problem("method.rank_pattern", rank, sides, [name]))
    return [problem for problem in problems if problem is not None]


def _rank_problem(
    path: str, rank: int, sides: Mapping[str, int], targets: Sequence[str] | None
) -> FieldProblem | None:
    found = [side for name, side in sides.items() if targets is None or _is_one(name, targets)]
    if not found or rank <= max(found):
        return None
    return FieldProblem(
        path,
        f"{rank:,} is over the dimension: the adapted weights' smaller side is at most "
        f"{max(found):,}, and ΔW can have no higher rank",
    )


def _is_linear(name: str) -> bool:
    return "embed" not in name and name.rpartition(".")[2] not in ("wte", "wpe")


def _is_one(name: str, targets: Iterable[str]) -> bool:
    """As PEFT matches: the module's whole name, or its end after a dot."""
    return any(name == target or name.endswith(f".{target}") for target in targets)


def unmatched_targets(base: BaseModel, method: MethodSpec) -> EngineError | None:
    """The error for target modules and patterns that name no module of the base, if any."""
    modules = weight_module_names(base)
    if not modules:
        return None
    targets = [] if method.target_modules == "all-linear" else list(method.target_modules)
    wanted = [*targets, *method.rank_pattern, *method.alpha_pattern]
    missing = [
        target
        for target in dict.fromkeys(wanted)
        if not any(_is_one(name, [target]) for name in modules)
    ]
    if not missing:
        return None
    return EngineError(
        f"No module of {base.name!r} is called {', '.join(missing)}.",
        f"It has: {', '.join(target_suffixes(modules))}. Or choose all-linear.",
    )
