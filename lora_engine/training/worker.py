"""The worker: one process that trains one run and talks only through its run directory.

    python -m lora_engine.training.worker RUN_DIR [--resume] [--lock-fd N]

It holds the run's lock for life, reads `spec.json`, appends to `metrics.jsonl`, saves checkpoints
and the adapter, and ends by writing `result.json`. SIGTERM asks it to stop after the present
step. It knows nothing of the list of runs or of who started it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import random
import resource
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from lora_engine.base_models import (
    BaseModel,
    fingerprint,
    load_base_model,
    load_tokenizer,
    pick_device,
    resolve_base_model,
    template_hash,
)
from lora_engine.data import TokenizedRow, load_dataset, split_rows, tokenize
from lora_engine.data.sources import is_on_the_hub
from lora_engine.errors import Conflict, EngineError
from lora_engine.settings import Settings, load_settings
from lora_engine.training import adapter_model
from lora_engine.training.checkpoints import (
    Identity,
    Progress,
    newest_valid_checkpoint,
    save_checkpoint,
)
from lora_engine.training.choosing import choose_path
from lora_engine.training.loop import Hooks, NotFinite, Position, train
from lora_engine.training.plan import Plan, make_plan
from lora_engine.training.run_directory import (
    MetricsWriter,
    RunDirectory,
    RunLock,
    RunProblem,
    RunResult,
    try_lock,
    write_atomically,
)
from lora_engine.training.spec import RunSpec

log = logging.getLogger("lora_engine.training.worker")
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "safetensors", "tokenizers")


@dataclass(frozen=True)
class PreparedData:
    """Rows as tokens, and what they came from."""

    training: list[TokenizedRow]
    evaluation: list[TokenizedRow]
    content_hash: str


def main(arguments: list[str] | None = None) -> int:
    """Train the run of the command line. Exit 0: finished or cancelled; 2: a person's problem."""
    parser = argparse.ArgumentParser(prog="python -m lora_engine.training.worker")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--lock-fd", type=int)
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    directory = RunDirectory(options.run_dir.resolve())
    lock = _hold_lock(directory, options.lock_fd)
    try:
        return _run(directory, load_settings(), options.resume)
    finally:
        lock.close()


def _hold_lock(directory: RunDirectory, inherited: int | None) -> RunLock:
    if inherited is not None:
        # The launcher locked it before we existed; children of ours must not hold it on.
        os.set_inheritable(inherited, False)
        return RunLock(inherited)
    lock = try_lock(directory)
    if lock is None:
        raise SystemExit(f"error: another worker is training {directory.path}.")
    return lock


def _run(directory: RunDirectory, settings: Settings, resume: bool) -> int:
    """Train and write the result, whatever happens short of a kill."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    directory.clear_result()
    position = Position()
    try:
        finished = _train(directory, settings, resume, position, stop)
    except EngineError as error:
        log.error("%s %s", error.problem, error.remedy)
        problem = RunProblem(problem=error.problem, remedy=error.remedy)
        directory.write_result(_result("failed", position, problem))
        return 2
    except MemoryError:
        log.exception("out of memory")
        directory.write_result(_result("failed", position, _out_of_memory()))
        return 2
    except Exception as error:
        log.exception("training stopped on a bug")
        directory.write_result(_result("failed", position, _describe(error, directory)))
        return 1
    directory.write_result(_result("finished" if finished else "cancelled", position, None))
    log.info("%s after step %d", "finished" if finished else "cancelled", position.step)
    return 0


def _train(
    directory: RunDirectory,
    settings: Settings,
    resume: bool,
    position: Position,
    stop: threading.Event,
) -> bool:
    """The whole run, top to bottom. True when all steps are done, False when asked to stop."""
    spec = directory.spec()
    if spec.quantization is None:
        _leave_out_bitsandbytes()
    base = resolve_base_model(spec.base_model, settings)
    if base.is_local and not is_on_the_hub(spec.dataset.source, settings):
        # The person named nothing on the hub, so nothing may be asked of it. The hub's client
        # reads this when it is first imported.
        os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    device = pick_device(settings)
    log.info("base model %s on %s", base.source, device)
    tokenizer = load_tokenizer(base)
    data = _prepare_data(spec, settings, tokenizer)
    plan = make_plan(len(data.training), spec.optimization, spec.seed)
    log.info(
        "%d rows to train on, %d to evaluate, %d steps",
        len(data.training), len(data.evaluation), plan.total_steps,
    )  # fmt: skip

    torch.manual_seed(spec.seed)
    random.seed(spec.seed)
    dtype = _dtype(spec, device)
    _write_prediction(directory, spec, base, device, str(dtype).removeprefix("torch."), data, plan)
    base_model = load_base_model(base, device, dtype, spec.quantization)
    model = adapter_model.add_adapter(base_model, spec.method, spec.quantization is not None)
    optimizer = adapter_model.make_optimizer(model, spec.method, spec.optimization)
    identity = Identity(
        spec_hash=_spec_hash(spec), data_hash=data.content_hash, base_fingerprint=fingerprint(base)
    )
    if resume:
        _restore(directory, identity, model, optimizer, position)
    path = choose_path(model, data.training, tokenizer.pad_token_id, device)

    provenance = _provenance(directory, spec, base, identity, template_hash(tokenizer))
    writer = MetricsWriter(directory)

    def save(at: Position) -> None:
        save_checkpoint(
            directory.checkpoints_path,
            identity,
            _progress(at),
            adapter_model.trained_tensors(model),
            adapter_model.optimizer_tensors(optimizer),
        )
        log.info("checkpoint at step %d", at.step)

    hooks = Hooks(
        should_stop=stop.is_set,
        on_step=writer.write,
        save=save,
        memory_bytes=lambda: _memory_bytes(device),
    )
    try:
        finished = train(
            path,
            optimizer,
            data.training,
            data.evaluation,
            plan,
            spec.optimization,
            position,
            hooks,
        )
    except NotFinite:
        adapter_model.save_adapter(model, directory.adapter_path, provenance)
        raise
    finally:
        writer.close()
    if not finished:
        save(position)
    adapter_model.save_adapter(model, directory.adapter_path, provenance)
    return finished


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


def _dtype(spec: RunSpec, device: str):
    import torch

    chosen = spec.optimization.precision
    if chosen == "auto":
        chosen = "bfloat16" if device == "cuda" else "float32"
    return getattr(torch, chosen)


def _write_prediction(
    directory: RunDirectory,
    spec: RunSpec,
    base: BaseModel,
    device: str,
    dtype: str,
    data: PreparedData,
    plan: Plan,
) -> None:
    """The memory this run should need, for the calculator to hold against the measured peak.

    Written just before the model is loaded, with what the process takes by then.
    """
    from lora_engine.calculator import prediction

    if base.path is None:
        return
    lengths = [len(row.input_ids) for row in data.training]
    tokens = prediction.heaviest_batch(lengths, plan.batch_size, plan.total_steps)
    learned = sum(label >= 0 for row in data.training for label in row.labels)
    try:
        question = prediction.question_of(
            spec, base.path, device, dtype, tokens, learned / max(1, sum(lengths))
        )
        prediction.predict(question, 0)  # loads all that the baseline should hold
        baseline = _memory_bytes(device) if device == "cpu" else 0
        predicted = prediction.predict(question, baseline)
    except EngineError as error:
        log.info("memory not predicted: %s", error.problem)
        return
    write_atomically(directory.path / prediction.FILE, predicted.model_dump_json().encode())
    log.info("%.0f MiB predicted beside the process's own", predicted.total_bytes / 2**20)


def _restore(directory: RunDirectory, identity: Identity, model, optimizer, position) -> None:
    """Go on from the newest valid checkpoint; from the start where there is none."""
    checkpoint = newest_valid_checkpoint(directory.checkpoints_path)
    if checkpoint is None:
        log.info("no checkpoint to resume from; starting at step 1")
        return
    changed = [
        name
        for name, was in checkpoint.identity.model_dump().items()
        if was != getattr(identity, name)
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


def _progress(position: Position) -> Progress:
    return Progress(
        step=position.step,
        tokens=position.tokens,
        elapsed_s=position.elapsed_s,
        loss_sum=position.loss_sum,
        best_eval_loss=position.best_eval_loss,
        evaluations_since_best=position.evaluations_since_best,
    )


def _result(state: str, position: Position, error: RunProblem | None) -> RunResult:
    seconds = max(position.elapsed_s, 1e-9)
    return RunResult(
        state=state,
        steps=position.step,
        train_loss=position.loss_sum / position.step if position.step else None,
        eval_loss=position.last_eval_loss,
        tokens=position.tokens,
        tokens_per_s=round(position.tokens / seconds, 1) if position.step else 0.0,
        peak_memory_bytes=_peak_memory_bytes(),
        elapsed_s=round(position.elapsed_s, 3),
        error=error,
    )


def _provenance(
    directory: RunDirectory, spec: RunSpec, base: BaseModel, identity: Identity, template: str
) -> bytes:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    document = {
        "run": directory.path.name,
        "spec": spec.model_dump(mode="json"),
        "base_model": base.name,
        "base_fingerprint": identity.base_fingerprint,
        "data_hash": identity.data_hash,
        "chat_template_hash": template,
        "versions": {"python": platform.python_version(), **versions},
    }
    return json.dumps(document, indent=1).encode()


def _spec_hash(spec: RunSpec) -> str:
    """Over everything but the name, which may change freely."""
    return hashlib.sha256(spec.model_dump_json(exclude={"name"}).encode()).hexdigest()[:16]


def _memory_bytes(device: str) -> int:
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    import psutil

    return psutil.Process().memory_info().rss


def _peak_memory_bytes() -> int:
    """Peak of the device where a GPU trained, else of the process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _describe(error: Exception, directory: RunDirectory) -> RunProblem:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.cuda.OutOfMemoryError):
        return _out_of_memory()
    if isinstance(error, OSError) and error.errno in (28, 122):
        return RunProblem(
            problem=f"The disk is full: {error}.",
            remedy="Free some space, then resume the run from its newest checkpoint.",
        )
    return RunProblem(
        problem=f"Something went wrong: {type(error).__name__}: {error}",
        remedy=f"The whole log is in {directory.log_path}.",
        is_bug=True,
    )


def _out_of_memory() -> RunProblem:
    return RunProblem(
        problem="The worker ran out of memory.",
        remedy="Halve the batch size or the longest row, or choose 4-bit quantization.",
    )


if __name__ == "__main__":
    sys.exit(main())
