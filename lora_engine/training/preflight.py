"""Checks before a run exists: its choices, its base model, its data, its target modules.

Reads configuration, dataset rows and safetensors headers, never weights. Imports torch only where
these do not tell what a target is or which tokens a row has. The worker checks again with the real
model; this check saves the wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lora_engine.base_models import (
    BUNDLED,
    BaseModel,
    read_config,
    refuse_other_task_of,
    resolve_base_model,
    spec_on_base,
    target_suffixes,
    weight_module_names,
    weight_shapes,
)
from lora_engine.base_models.adaptable import BYPASSED_IN, REFUSED_IN
from lora_engine.base_models.streamed import refuse_stored_quantized
from lora_engine.base_models.tokenizer_files import check_tokenizer_files
from lora_engine.calculator.meta_model import build_meta_model
from lora_engine.calculator.model_source import path_source
from lora_engine.calculator.targets import ALL_LINEAR, target_names, targeted_modules
from lora_engine.data import Dataset, load_dataset, split_rows
from lora_engine.data.class_labels import labels_of, refuse_other_task
from lora_engine.data.embedding_range import refuse_rows_beyond
from lora_engine.data.objective_rows import refuse_other_objective
from lora_engine.data.prompt_rows import refuse_unanswerable
from lora_engine.data.template_check import refuse_role_orders
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.language import tr
from lora_engine.scrubbing import has_token
from lora_engine.settings import Settings
from lora_engine.spec import USED_BY, MethodSpec, RunSpec
from lora_engine.training.compatibility import compatibility_problems, machine_of
from lora_engine.training.models.rank_bounds import adapted_sides, is_named, rank_problems
from lora_engine.training.starting_adapter import (
    INIT_FROM,
    checked_adapter,
    refuse_other_labels,
    with_adapter_shape,
)


def check_run(spec: RunSpec, settings: Settings) -> RunSpec:
    """The spec as it is to be kept: itself, or with the shape of the adapter that it goes on from.

    Raises EngineError where the run could not work, with all problems together.
    """
    errors: dict[str, EngineError] = {}
    problems: list[FieldProblem] = []
    base, adapter, kept = None, None, spec
    try:
        base = _base_of(spec, settings)
    except EngineError as error:
        errors["base_model"] = error
    try:
        if base is not None:
            kept = with_adapter_shape(spec, base, settings)
            adapter = checked_adapter(kept, base, settings)
            spec = spec_on_base(kept, base) if base.is_local else kept
    except EngineError as error:
        errors[INIT_FROM] = error
    try:
        if _has_targets(spec.method) and base is not None and adapter is None and not errors:
            problems += _target_problems(base, spec.method)
    except EngineError as error:
        errors["method.target_modules"] = error
    problems = [*compatibility_problems(spec, machine_of(spec, settings)), *problems]
    problems += _tokens_in(spec.model_dump(), "")
    try:
        dataset = load_dataset(spec.dataset, settings)
        refuse_other_task(spec.task, dataset)
        refuse_other_objective(spec.objective, dataset)
        if adapter is not None and spec.task != "causal_lm":
            refuse_other_labels(adapter.path, labels_of(dataset.rows))
        if spec.objective.kind == "grpo":
            refuse_unanswerable(dataset.rows, spec.objective.rules)
        else:
            _refuse_without_answers(dataset)
            _refuse_equal_answers(dataset)
        split_rows(dataset, spec.dataset.eval_fraction, spec.seed)
        if base is not None and base.path is not None:
            refuse_role_orders(dataset, base.path, spec.dataset.template)
            if spec.task == "causal_lm":
                longest, template = spec.optimization.max_length, spec.dataset.template
                refuse_rows_beyond(base, dataset.rows, longest, template)
    except EngineError as error:
        errors["dataset"] = error
    _raise_together(errors, problems)
    return kept


def _base_of(spec: RunSpec, settings: Settings) -> BaseModel:
    """The base model, whose files and precision fit the run. Raises EngineError."""
    base = resolve_base_model(spec.base_model, settings)
    if base.is_local:
        refuse_other_task_of(base, spec.task)
        if base.path is not None and base.name not in BUNDLED:
            check_tokenizer_files(base.path)
        spec_on_base(spec, base)
        if spec.optimization.stream_base:
            refuse_stored_quantized(base)
    return base


def _raise_together(errors: dict[str, EngineError], problems: list[FieldProblem]) -> None:
    """Raises one EngineError for all that was found, where anything was."""
    if len(errors) == 1 and not problems:
        raise next(iter(errors.values()))
    for path, error in errors.items():
        of_fields = error.problems if isinstance(error, InvalidInput) and path == INIT_FROM else []
        problems = [*problems, *(of_fields or [FieldProblem(path, error.problem.rstrip("."))])]
    if problems:
        remedies = " ".join(error.remedy for error in errors.values())
        raise InvalidInput(tr("The run"), problems, remedies or tr("Change these fields."))


def _refuse_without_answers(dataset: Dataset) -> None:
    """Raises EngineError where no chat has an answer to learn from."""
    has_answer = False
    for row in dataset.rows:
        answers = [turn for turn in row.messages if turn.role == "assistant"]
        if row.text is not None or row.words or any(turn.is_learned for turn in answers):
            return
        has_answer = has_answer or bool(answers)
    if not has_answer:
        raise EngineError(
            tr(
                "None of the {count} rows of {source} has a turn of the assistant's, so "
                "there is nothing to learn.",
                count=f"{len(dataset.rows):,}",
                source=dataset.source,
            ),
            tr("Give rows with answers, or check which column holds them."),
        )
    raise EngineError(
        tr(
            "The rows of {source} say of every answer that it is not to be learned (weight "
            "0, train false), so there is nothing to learn.",
            source=dataset.source,
        ),
        tr("Give the answers to learn a weight of 1, or leave the weight out."),
    )


def _refuse_equal_answers(dataset: Dataset) -> None:
    """Raises EngineError where the rows are pairs, and the answers of no pair differ."""
    if not dataset.rows or not dataset.rows[0].rejected:
        return
    if all(row.messages == row.rejected for row in dataset.rows):
        raise EngineError(
            tr(
                "In each of the {count} rows of {source} the chosen answer is the rejected "
                "one, so there is nothing to learn.",
                count=f"{len(dataset.rows):,}",
                source=dataset.source,
            ),
            tr("Give pairs whose answers differ, or check which columns hold them."),
        )


def _tokens_in(node: Any, path: str) -> Iterator[FieldProblem]:
    """A field for each access token: a spec is shown, copied and saved with the adapter."""
    if isinstance(node, str) and has_token(node):
        yield FieldProblem(path, tr("holds an access token; take it out and set HF_TOKEN instead"))
    named = node.items() if isinstance(node, dict) else ()
    listed = enumerate(node) if isinstance(node, list) else ()
    for name, value in (*named, *listed):
        yield from _tokens_in(value, f"{path}.{name}".lstrip("."))


def _target_problems(base: BaseModel, method: MethodSpec) -> list[FieldProblem]:
    """Ranks over a side of their weight. Raises EngineError for targets and keys of patterns that
    name no module.

    The headers of the files answer nearly always. Where they do not (a tied head has no weight of
    its own, a shortcut is no name, a tower is no part of the language model), the model is built
    without its weights and asked as training will ask it.
    """
    modules = weight_module_names(base)
    if base.path is None or not modules:
        return []
    if _headers_tell(base.path, method, modules):
        sides = adapted_sides(weight_shapes(base), method)
    else:
        model = build_meta_model(path_source(base.path))
        sides = {
            m.path: min(m.in_features, m.out_features) for m in targeted_modules(model, method)
        }
        modules = [path for path, _ in model.named_modules() if path]
    keys = dict.fromkeys([*method.rank_pattern, *method.alpha_pattern])
    if missing := [key for key in keys if not any(is_named(name, [key]) for name in modules)]:
        raise EngineError(
            tr(
                "A pattern names {missing}, and no module of {name} is called so.",
                missing=", ".join(missing),
                name=f"{base.name!r}",
            ),
            tr("It has: {target_suffixes}.", target_suffixes=", ".join(target_suffixes(modules))),
        )
    return rank_problems(sides, method) if method.finetuning_type in ("lora", "loha") else []


def _has_targets(method: MethodSpec) -> bool:
    return method.is_lora or "target_modules" in USED_BY[method.finetuning_type]


def _headers_tell(folder: Path, method: MethodSpec, modules: list[str]) -> bool:
    """Whether the names in the files are all that is needed to read the targets."""
    config = read_config(folder)
    if "text_config" in config or config.get("model_type") in REFUSED_IN | BYPASSED_IN:
        return False
    named = [*target_names(method), *method.rank_pattern, *method.alpha_pattern]
    return all(
        name == ALL_LINEAR or any(is_named(module, [name]) for module in modules) for name in named
    )
