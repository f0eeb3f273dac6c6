"""What a run needs before its model is loaded: device, tokenizer, tokenized rows, plan.

Also writes the prediction of the memory the run will need. Knows nothing of the model's weights.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.adapters import AdapterCheck
from lora_engine.base_models import (
    BaseModel,
    load_tokenizer,
    read_config,
    refuse_other_task_of,
    resolve_base_model,
    spec_on_base,
)
from lora_engine.base_models.positions import longest_input
from lora_engine.calculator.several_devices import tokens_of_device
from lora_engine.data import Dataset, Row, TokenizedRow, load_dataset, split_rows
from lora_engine.data.bundled_templates import choice_warnings, choose_template
from lora_engine.data.class_labels import labels_of, refuse_other_task
from lora_engine.data.embedding_range import refuse_tokens_beyond
from lora_engine.data.filters import listed
from lora_engine.data.objective_rows import refuse_other_objective
from lora_engine.data.preference_tokens import (
    answers_of,
    learned_tokens,
    lengths_given,
    tokenize_for,
)
from lora_engine.data.prompt_rows import prompt_rows
from lora_engine.data.row_store import row_numbers
from lora_engine.data.sources import names_the_hub
from lora_engine.data.split import split_hash
from lora_engine.data.token_cache import TokenCache
from lora_engine.data.token_store import pieces_of
from lora_engine.data.trained_template import form_changes
from lora_engine.devices import pick_device
from lora_engine.errors import EngineError
from lora_engine.files import write_atomically
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from lora_engine.training.compatibility import WHOLE_BATCHES
from lora_engine.training.first_imports import import_for_training
from lora_engine.training.kept_base import LoadedBase
from lora_engine.training.memory.usage import memory_bytes
from lora_engine.training.plan import Plan, make_plan
from lora_engine.training.precision import precision_of_run
from lora_engine.training.product_library import library_of_run, sizes_of
from lora_engine.training.ranks.ranks import ALONE, Ranks
from lora_engine.training.starting_adapter import (
    checked_adapter,
    refuse_other_labels,
    with_adapter_shape,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from lora_engine.training.kernels.matmul import Library

RUNS_TO_LEARN_FROM = 50
log = logging.getLogger("lora_engine.training.worker")


@dataclass(frozen=True)
class PreparedData:
    """The tokenized rows, and what they were made from.

    sample_rows: the rows from which sample answers take their questions. template: the chat
    template's name, empty for none. labels: a classifier's classes in the order of its outputs.
    evaluated_sets: of a mixture, each evaluated set's name and how many of the evaluation's
    sequences are its own, in their order.
    """

    training: Sequence[TokenizedRow]
    evaluation: Sequence[TokenizedRow]
    sample_rows: Sequence[Row]
    content_hash: str
    template: str = ""
    labels: tuple[str, ...] = ()
    evaluated_sets: tuple[tuple[str, int], ...] = ()

    def answers(self) -> Iterator[TokenizedRow]:
        """Every sequence that the model is given: two for a pair."""
        return chain.from_iterable(map(answers_of, chain(self.training, self.evaluation)))


@dataclass(frozen=True)
class PreparedRun:
    """A run that is ready for its model to be loaded.

    starting_adapter: the adapter that it goes on from, checked. extended_run: the folder of the
    finished run that it extends. library: what computes its float32 products on the CPU. ranks:
    the processes that share it. loaded: its base, where that is in memory already.
    """

    directory: RunDirectory
    spec: RunSpec
    base: BaseModel
    device: str
    dtype: torch.dtype
    tokenizer: PreTrainedTokenizerBase
    data: PreparedData
    plan: Plan
    starting_adapter: AdapterCheck | None = None
    extended_run: Path | None = None
    library: Library = "torch"
    ranks: Ranks = ALONE
    loaded: LoadedBase | None = None


def prepare(
    directory: RunDirectory, settings: Settings, beside: Sequence[PreparedRun] = ()
) -> PreparedRun:
    """Read the spec, find the base model, tokenize the rows, plan the steps.

    beside: runs of the same base and dataset that are prepared already. Their tokenizer is taken,
    and the rows of one with the same seed. Raises EngineError where something is missing or does
    not fit.
    """
    spec = directory.spec()
    base = resolve_base_model(spec.base_model, settings)
    if base.is_local and not names_the_hub(spec.dataset, settings):
        # The person named nothing on the hub, so the run must not contact it. The hub's client
        # reads this variable when it is first imported.
        os.environ["HF_HUB_OFFLINE"] = "1"
    import_for_training()
    refuse_other_task_of(base, spec.task)
    spec = spec_on_base(with_adapter_shape(spec, base, settings), base)
    adapter = checked_adapter(spec, base, settings)
    device = pick_device(settings)
    log.info("base model %s on %s", base.source, device)
    tokenizer = beside[0].tokenizer if beside else _tokenizer(spec, base)
    with_its_split = next((run for run in beside if run.spec.seed == spec.seed), None)
    data = (
        _prepare_data(spec, settings, tokenizer) if with_its_split is None else with_its_split.data
    )
    if adapter is not None:
        log.info("the run goes on from the adapter %s", adapter.path)
        for warning in form_changes(adapter.path, tokenizer, data.template):
            log.warning("%s", warning)
        if data.labels:
            refuse_other_labels(adapter.path, data.labels)
    refuse_tokens_beyond(base, data.answers(), tokenizer)
    added = spec.method.added_tokens
    _refuse_beyond_context(base, data, added)
    lengths = lengths_given(data.training, added)
    # kto's estimate of the KL is one of fixed batches: its reference is then computed only once.
    keeps_batches = spec.objective.kind == "kto"
    plan = make_plan(lengths, spec.optimization, spec.seed, spec.extended_from, keeps_batches)
    counts = len(data.training), len(data.evaluation), plan.total_steps
    log.info("%d rows to train on, %d to evaluate, %d steps", *counts)
    extended = settings.runs_dir / spec.extended_from.run if spec.extended_from else None
    dtype = dtype_named(precision_of_run(directory, extended, spec, device, base))
    run = PreparedRun(
        directory, spec, base, device, dtype, tokenizer, data, plan, adapter, extended
    )
    if beside:
        _refuse_other_precision(run, beside[0])
        return replace(run, library=beside[0].library)
    if device != "cpu" or str(dtype) != "torch.float32":
        return run
    tokens = float(lengths.mean()) * plan.batch_size
    sizes = sizes_of(tokens, {} if base.path is None else read_config(base.path))
    cache = settings.token_cache_dir.parent
    return replace(run, library=library_of_run(directory.path, extended, sizes, cache))


def _refuse_other_precision(run: PreparedRun, beside: PreparedRun) -> None:
    """Raises EngineError for a run that began on a processor of another kind than the others."""
    if run.dtype != beside.dtype:
        raise EngineError(
            tr("The run began in another precision than the others, so they cannot share a base."),
            tr("Train it alone."),
        )


def _refuse_beyond_context(base: BaseModel, data: PreparedData, added: int) -> None:
    """Raises EngineError where rows with `added` virtual tokens before them exceed the model's
    positions; a local model's configuration says how many it has."""
    if not added or base.path is None:
        return
    config = read_config(base.path)
    limit = {**config, **config.get("text_config", {})}.get("max_position_embeddings")
    longest = max(len(row.input_ids) for row in data.answers())
    if isinstance(limit, int) and longest + added > limit:
        raise EngineError(
            tr(
                "The longest row has {longest} tokens and stands behind {added} virtual "
                "ones; {name} has {limit} positions.",
                longest=f"{longest:,}",
                added=f"{added:,}",
                name=base.name,
                limit=f"{limit:,}",
            ),
            tr(
                "Set the longest row to {value} tokens or fewer, or train fewer virtual tokens.",
                value=f"{max(1, limit - added):,}",
            ),
        )


def _tokenizer(spec: RunSpec, base: BaseModel) -> PreTrainedTokenizerBase:
    """The base's tokenizer with the template that the spec chooses."""
    tokenizer = load_tokenizer(base)
    if spec.task != "causal_lm":
        return tokenizer
    for warning in choice_warnings(tokenizer, spec.dataset.template):
        log.warning("%s", warning)
    return choose_template(tokenizer, spec.dataset.template)


def _prepare_data(
    spec: RunSpec, settings: Settings, tokenizer: PreTrainedTokenizerBase
) -> PreparedData:
    dataset = load_dataset(spec.dataset, settings)
    refuse_other_task(spec.task, dataset)
    refuse_other_objective(spec.objective, dataset)
    training, evaluation = split_rows(dataset, spec.dataset.eval_fraction, spec.seed)
    if spec.objective.kind == "grpo":
        return _prepare_prompts(spec, dataset, (training, evaluation), tokenizer)
    # All rows in the file's order: runs that split them otherwise find their tokens in the cache.
    rows, limit = dataset.rows, _longest_row(spec, settings, tokenizer)
    labels = () if spec.task == "causal_lm" else labels_of(rows)
    cache = TokenCache(settings.token_cache_dir, settings.max_cache_mb * 1_000_000)
    if labels:
        tokenized = cache.label_rows(rows, tokenizer, limit, labels)
    else:
        tokenized = tokenize_for(
            spec.objective, rows, lambda some: cache.tokenize(some, tokenizer, limit)
        )
    for warning in (*dataset.warnings, *tokenized.warnings):
        log.warning("%s", warning)
    if dataset.removed:
        log.info("the filters leave out %s", listed(dataset.removed))
    for note in dataset.notes if dataset.parts else ():
        log.info("%s", note)
    prepared = PreparedData(
        pieces_of(tokenized.rows, training),
        pieces_of(tokenized.rows, evaluation),
        evaluation or training,
        split_hash(dataset, spec.dataset.eval_fraction),
        tokenized.template,
        labels,
        _evaluated_sets(dataset, evaluation, tokenized.rows),
    )
    if not prepared.training:
        raise EngineError(
            tr(
                "No row to train on keeps an answer within {max_length} tokens.",
                max_length=spec.optimization.max_length,
            ),
            tr("Raise the longest row, or shorten the questions."),
        )
    return prepared


def _prepare_prompts(
    spec: RunSpec,
    dataset: Dataset,
    split: tuple[Sequence[Row], Sequence[Row]],
    tokenizer: PreTrainedTokenizerBase,
) -> PreparedData:
    """Rows as questions that the model answers by itself. split: to train on and to evaluate on."""
    prompts = prompt_rows(dataset.rows, tokenizer, spec.optimization.max_length)
    for warning in (*dataset.warnings, *prompts.warnings):
        log.warning("%s", warning)
    of_number = {row.number: row for row in prompts.rows}
    training, evaluation = (
        [of_number[row.number] for row in rows if row.number in of_number] for rows in split
    )
    if not training:
        raise EngineError(
            tr("Every question within the longest row is held out for evaluation."),
            tr("Add rows, raise the longest row, or lower dataset.eval_fraction."),
        )
    return PreparedData(
        training,
        evaluation,
        (),
        split_hash(dataset, spec.dataset.eval_fraction),
        prompts.template,
    )


def _longest_row(spec: RunSpec, settings: Settings, tokenizer: PreTrainedTokenizerBase) -> int:
    """The spec's longest row in tokens; for an encoder at most what it has positions for."""
    wanted = spec.optimization.max_length
    if spec.task == "causal_lm":
        return wanted
    return longest_input(resolve_base_model(spec.base_model, settings), tokenizer, wanted)


def _evaluated_sets(
    dataset: Dataset, evaluation: Sequence[Row], tokens: Sequence[TokenizedRow]
) -> tuple[tuple[str, int], ...]:
    """The sets of a mixture that evaluation rows come from; empty where there is one."""
    if not dataset.parts:
        return ()
    import numpy as np

    numbers = row_numbers(evaluation)
    ends = [part.added for part in dataset.parts[1:]]
    borders = [0, *np.searchsorted(numbers, ends, "right").tolist(), len(numbers)]
    found = [
        (part.source, len(pieces_of(tokens, evaluation[start:end])))
        for part, start, end in zip(dataset.parts, borders, borders[1:], strict=False)
        if end > start
    ]
    return tuple(found) if len(found) > 1 else ()


def dtype_named(precision: str) -> torch.dtype:
    import torch

    return getattr(torch, precision)


def write_memory_prediction(run: PreparedRun) -> None:
    """Write how much memory the run should need, to compare with its measured peak later.

    Called just before the model is loaded, so that the process's own memory by then is the
    baseline, without a base that is there already. The margins are fitted to earlier runs in the
    same folder, where there are enough.
    """
    from lora_engine.training.memory import prediction

    if run.base.path is None or run.spec.task != "causal_lm":
        return
    if run.spec.objective.kind == "grpo":
        return  # how long the sampled answers get is not known before
    added = run.spec.method.added_tokens
    lengths = lengths_given(run.data.training, added)
    batches = run.plan.fixed_batches
    if batches is not None:
        tokens = batches.heaviest(lengths)
    elif added:
        tokens = run.plan.batch_size * int(lengths.max())  # such rows are padded
    else:
        tokens = prediction.heaviest_batch(lengths, run.plan.batch_size, run.plan.total_steps)
    if run.spec.objective.kind not in WHOLE_BATCHES:
        tokens = tokens_of_device(tokens, int(lengths.max()), run.ranks.count)
    learned = learned_tokens(run.data.training)
    dtype = str(run.dtype).removeprefix("torch.")
    try:
        request = prediction.request_of(
            run.spec, run.base.path, run.device, dtype, tokens, learned / max(1, int(lengths.sum()))
        )
        prediction.predict(request, 0)  # imports what it needs, so that the baseline counts it
        baseline = memory_bytes(run.device) if run.device == "cpu" else 0
        baseline -= 0 if run.loaded is None else run.loaded.resident_bytes
        earlier = prediction.read_records(run.directory.path.parent, RUNS_TO_LEARN_FROM)
        margins = prediction.refit_margins(earlier, request.workload.device)
        predicted = prediction.predict(request, baseline, margins)
    except EngineError as error:
        log.info("the memory could not be predicted: %s", error.problem)
        return
    write_atomically(run.directory.path / prediction.FILE, predicted.model_dump_json().encode())
    log.info("predicted memory beyond the baseline: %.0f MiB", predicted.total_bytes / 2**20)
