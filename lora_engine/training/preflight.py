"""Checks before a run exists: its choices, its base model, its data, its target modules.

Reads configuration, dataset rows and safetensors headers, never weights, and imports no torch, so
a form can use it. The worker checks again with the real model; this check saves the wait.
"""

from __future__ import annotations

from lora_engine.base_models import (
    BaseModel,
    refuse_other_task_of,
    resolve_base_model,
    spec_on_base,
    target_suffixes,
    weight_module_names,
    weight_shapes,
)
from lora_engine.data import Dataset, load_dataset, split_rows
from lora_engine.data.class_labels import refuse_other_task
from lora_engine.data.template_check import refuse_role_orders
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.settings import Settings
from lora_engine.spec import MethodSpec, RunSpec
from lora_engine.training.compatibility import compatibility_problems, this_machine
from lora_engine.training.models.rank_bounds import adapted_sides, is_named, rank_problems


def check_run(spec: RunSpec, settings: Settings) -> None:
    """Raises EngineError where the run could not work, with all problems together."""
    errors: dict[str, EngineError] = {}
    problems: list[FieldProblem] = []
    base = None
    try:
        base = resolve_base_model(spec.base_model, settings)
        if base.is_local:
            refuse_other_task_of(base, spec.task)
            spec = spec_on_base(spec, base)
        if spec.method.has_adapter:
            problem = unmatched_targets(base, spec.method)
            if problem is not None:
                errors["method.target_modules"] = problem
            problems += rank_problems(adapted_sides(weight_shapes(base), spec.method), spec.method)
    except EngineError as error:
        errors["base_model"] = error
    problems = [*compatibility_problems(spec, this_machine(settings)), *problems]
    try:
        dataset = load_dataset(spec.dataset, settings)
        refuse_other_task(spec.task, dataset)
        _refuse_without_answers(dataset)
        split_rows(dataset, spec.dataset.eval_fraction, spec.seed)
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


def _refuse_without_answers(dataset: Dataset) -> None:
    """Raises EngineError where no chat has an answer to learn from."""
    if any(row.text is not None or row.words for row in dataset.rows):
        return
    answers = [t for row in dataset.rows for t in row.messages if t.role == "assistant"]
    if not answers:
        raise EngineError(
            f"None of the {len(dataset.rows):,} rows of {dataset.source} has a turn of the "
            "assistant's, so there is nothing to learn.",
            "Give rows with answers, or check which column holds them.",
        )
    if not any(turn.is_learned for turn in answers):
        raise EngineError(
            f"The rows of {dataset.source} say of every answer that it is not to be learned "
            "(weight 0, train false), so there is nothing to learn.",
            "Give the answers to learn a weight of 1, or leave the weight out.",
        )


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
        if not any(is_named(name, [target]) for name in modules)
    ]
    if not missing:
        return None
    return EngineError(
        f"No module of {base.name!r} is called {', '.join(missing)}.",
        f"It has: {', '.join(target_suffixes(modules))}. Or choose all-linear.",
    )
