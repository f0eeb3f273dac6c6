"""One run from its spec to its result's folder, top to bottom: prepare, build, train, save.

Called by the worker with the run's directory; reads and writes there and nowhere else. How a
step is made is `loop`'s, what a checkpoint is `checkpoints`', how it all ended the worker's.
"""

from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.base_models import (
    BaseModel,
    load_base_model,
    load_tokenizer,
    pick_device,
    resolve_base_model,
    template_hash,
)
from lora_engine.data import TokenizedRow, load_dataset, split_rows, tokenize
from lora_engine.data.sources import is_on_the_hub
from lora_engine.errors import Conflict, EngineError
from lora_engine.settings import Settings
from lora_engine.training import adapter_model
from lora_engine.training.checkpoints import (
    Identity,
    Progress,
    newest_valid_checkpoint,
    save_checkpoint,
)
from lora_engine.training.choosing import choose_path
from lora_engine.training.identity import identity_of, provenance_of
from lora_engine.training.loop import Hooks, NotFinite, Position, train
from lora_engine.training.memory_use import memory_bytes
from lora_engine.training.plan import Plan, make_plan
from lora_engine.training.run_directory import MetricsWriter, RunDirectory, write_atomically
from lora_engine.training.spec import RunSpec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("lora_engine.training.worker")


@dataclass(frozen=True)
class PreparedData:
    """Rows as tokens, and what they came from."""

    training: list[TokenizedRow]
    evaluation: list[TokenizedRow]
    content_hash: str


@dataclass(frozen=True)
class Job:
    """All that a run needs before its model is loaded."""

    directory: RunDirectory
    spec: RunSpec
    base: BaseModel
    device: str
    dtype: torch.dtype
    tokenizer: PreTrainedTokenizerBase
    data: PreparedData
    plan: Plan
    identity: Identity


def train_run(
    directory: RunDirectory,
    settings: Settings,
    resume: bool,
    position: Position,
    should_stop: Callable[[], bool],
) -> bool:
    """The whole run. True when all steps are done, False when asked to stop.

    Raises EngineError for what the person can mend; the adapter is then only saved where the
    loss stopped being a number.
    """
    job = _prepare(directory, settings)
    _write_prediction(job)
    model, optimizer = _build(job)
    if resume:
        _restore(job, model, optimizer, position)
    path = choose_path(model, job.data.training, job.tokenizer.pad_token_id, job.device)
    spec, data = job.spec.optimization, job.data
    writer = MetricsWriter(directory)

    def save(at: Position) -> None:
        _save_checkpoint(job, model, optimizer, at)

    hooks = Hooks(should_stop, writer.write, save, lambda: memory_bytes(job.device))
    try:
        finished = train(
            path, optimizer, data.training, data.evaluation, job.plan, spec, position, hooks
        )
    except NotFinite:
        _save_result(job, model)
        raise
    finally:
        writer.close()
    if not finished:
        save(position)
    _save_result(job, model)
    return finished


def _prepare(directory: RunDirectory, settings: Settings) -> Job:
    spec = directory.spec()
    if spec.quantization is None:
        _leave_out_bitsandbytes()
    base = resolve_base_model(spec.base_model, settings)
    if base.is_local and not is_on_the_hub(spec.dataset.source, settings):
        # The person named nothing on the hub, so nothing may be asked of it. The hub's client
        # reads this when it is first imported.
        os.environ["HF_HUB_OFFLINE"] = "1"
    device = pick_device(settings)
    log.info("base model %s on %s", base.source, device)
    tokenizer = load_tokenizer(base)
    data = _prepare_data(spec, settings, tokenizer)
    plan = make_plan(len(data.training), spec.optimization, spec.seed)
    log.info(
        "%d rows to train on, %d to evaluate, %d steps",
        len(data.training), len(data.evaluation), plan.total_steps,
    )  # fmt: skip
    identity = identity_of(spec, base, data.content_hash)
    dtype = _dtype(spec, device)
    return Job(directory, spec, base, device, dtype, tokenizer, data, plan, identity)


def _prepare_data(spec: RunSpec, settings: Settings, tokenizer) -> PreparedData:
    dataset = load_dataset(spec.dataset, settings)
    training, evaluation = split_rows(dataset, spec.dataset.eval_fraction, spec.seed)
    tokenized = tokenize([*training, *evaluation], tokenizer, spec.optimization.max_length)
    for warning in tokenized.warnings:
        log.warning("%s", warning)
    held_out = {row.number for row in evaluation}
    prepared = PreparedData(
        [row for row in tokenized.rows if row.number not in held_out],
        [row for row in tokenized.rows if row.number in held_out],
        dataset.content_hash,
    )
    if not prepared.training:
        raise EngineError(
            f"No row to train on keeps an answer within {spec.optimization.max_length} tokens.",
            "Raise the longest row, or shorten the questions.",
        )
    return prepared


def _leave_out_bitsandbytes() -> None:
    """Keep PEFT from importing bitsandbytes, and torch's compiler with it: 2 of 7 seconds.

    A None in sys.modules is Python's own way to say that a module cannot be imported here.
    """
    sys.modules["bitsandbytes"] = None


def _dtype(spec: RunSpec, device: str) -> torch.dtype:
    import torch

    chosen = spec.optimization.precision
    if chosen == "auto":
        chosen = "bfloat16" if device == "cuda" else "float32"
    return getattr(torch, chosen)


def _build(job: Job):
    """The base with what trains on it, and the optimizer; every random start from the seed."""
    import torch

    spec = job.spec
    torch.manual_seed(spec.seed)
    random.seed(spec.seed)
    base_model = load_base_model(job.base, job.device, job.dtype, spec.quantization)
    model = adapter_model.add_adapter(base_model, spec.method, spec.quantization is not None)
    return model, adapter_model.make_optimizer(model, spec.method, spec.optimization)


def _write_prediction(job: Job) -> None:
    """The memory this run should need, for the calculator to hold against the measured peak.

    Written just before the model is loaded, with what the process takes by then.
    """
    from lora_engine.calculator import prediction

    if job.base.path is None:
        return
    lengths = [len(row.input_ids) for row in job.data.training]
    tokens = prediction.heaviest_batch(lengths, job.plan.batch_size, job.plan.total_steps)
    learned = sum(label >= 0 for row in job.data.training for label in row.labels)
    dtype = str(job.dtype).removeprefix("torch.")
    try:
        question = prediction.question_of(
            job.spec, job.base.path, job.device, dtype, tokens, learned / max(1, sum(lengths))
        )
        prediction.predict(question, 0)  # loads all that the baseline should hold
        baseline = memory_bytes(job.device) if job.device == "cpu" else 0
        predicted = prediction.predict(question, baseline)
    except EngineError as error:
        log.info("memory not predicted: %s", error.problem)
        return
    write_atomically(job.directory.path / prediction.FILE, predicted.model_dump_json().encode())
    log.info("%.0f MiB predicted beside the process's own", predicted.total_bytes / 2**20)


def _restore(job: Job, model, optimizer, position: Position) -> None:
    """Go on from the newest valid checkpoint; from the start where there is none."""
    checkpoint = newest_valid_checkpoint(job.directory.checkpoints_path)
    if checkpoint is None:
        log.info("no checkpoint to resume from; starting at step 1")
        return
    changed = [
        name
        for name, was in checkpoint.identity.model_dump().items()
        if was != getattr(job.identity, name)
    ]
    if changed:
        words = {"spec_hash": "spec", "data_hash": "dataset", "base_fingerprint": "base model"}
        raise Conflict(
            f"The {' and the '.join(words[name] for name in changed)} changed since the "
            f"checkpoint at step {checkpoint.progress.step}.",
            "Put back what changed, or start a new run.",
        )
    adapter_model.restore_trained(model, checkpoint.trained)
    adapter_model.restore_optimizer(optimizer, checkpoint.optimizer)
    for name, value in checkpoint.progress.model_dump().items():
        setattr(position, name, value)
    log.info("resumed after step %d", position.step)


def _save_checkpoint(job: Job, model, optimizer, at: Position) -> None:
    progress = Progress(
        step=at.step,
        tokens=at.tokens,
        elapsed_s=at.elapsed_s,
        loss_sum=at.loss_sum,
        best_eval_loss=at.best_eval_loss,
        evaluations_since_best=at.evaluations_since_best,
        last_eval_loss=at.last_eval_loss,
    )
    trained = adapter_model.trained_tensors(model)
    state = adapter_model.optimizer_tensors(optimizer)
    save_checkpoint(job.directory.checkpoints_path, job.identity, progress, trained, state)
    log.info("checkpoint at step %d", at.step)


def _save_result(job: Job, model) -> None:
    name = job.directory.path.name
    template = template_hash(job.tokenizer)
    provenance = provenance_of(name, job.spec, job.base, job.identity, template)
    adapter_model.save_adapter(model, job.directory.adapter_path, provenance)
