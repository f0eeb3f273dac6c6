"""What a run puts on disk to last: checkpoints to go on from, and its result."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lora_engine.chat_template import template_hash, templates_of
from lora_engine.errors import Conflict
from lora_engine.training.checkpointing.checkpoints import (
    Checkpoint,
    Progress,
    checkpoint_of_step,
    newest_valid_checkpoint,
    save_checkpoint,
)
from lora_engine.training.checkpointing.identity import changes_since, provenance_of
from lora_engine.training.loop import Position
from lora_engine.training.models.trained_model import Trainee
from lora_engine.training.optimizers.factory import optimizer_tensors, restore_optimizer
from lora_engine.training.preparation import Job

if TYPE_CHECKING:
    import torch

log = logging.getLogger("lora_engine.training.worker")


def checkpoint_to_resume(job: Job) -> Checkpoint | None:
    """The newest valid checkpoint, None where there is none.

    Raises Conflict where it belongs to another spec, dataset or base.
    """
    checkpoint = newest_valid_checkpoint(job.directory.checkpoints_path)
    if checkpoint is None:
        log.info("no checkpoint to resume from; starting at step 1")
        return None
    changed = changes_since(checkpoint.identity, job.identity)
    if changed:
        what = " and ".join(changed)
        raise Conflict(
            f"{what[0].upper()}{what[1:]} changed since the checkpoint at step "
            f"{checkpoint.progress.step}.",
            "Put back what changed, or start a new run.",
        )
    return checkpoint


def restore(
    checkpoint: Checkpoint,
    trainee: Trainee,
    optimizer: torch.optim.Optimizer,
    position: Position,
) -> None:
    """Put weights, optimizer, random state and position back as they were."""
    trainee.restore(checkpoint.trained)
    restore_optimizer(optimizer, checkpoint.optimizer)
    for name, value in checkpoint.progress.model_dump().items():
        setattr(position, name, value)
    log.info("resumed after step %d", position.step)


def keep_checkpoint(
    job: Job, trainee: Trainee, optimizer: torch.optim.Optimizer, at: Position
) -> None:
    """Save a checkpoint; the last two and the best are kept."""
    progress = Progress(
        step=at.step,
        tokens=at.tokens,
        elapsed_s=at.elapsed_s,
        loss_sum=at.loss_sum,
        best_eval_loss=at.best_eval_loss,
        best_step=at.best_step,
        last_eval_loss=at.last_eval_loss,
        last_eval_accuracy=at.last_eval_accuracy,
        last_eval_f1=at.last_eval_f1,
        evaluations_since_best=at.evaluations_since_best,
    )
    state = optimizer_tensors(optimizer)
    save_checkpoint(
        job.directory.checkpoints_path, job.identity, progress, trainee.tensors(), state
    )
    log.info("checkpoint at step %d", at.step)


def keep_result(job: Job, trainee: Trainee, position: Position) -> None:
    """Write `adapter/` or `model/`, and note in `position` what was written."""
    name, template = job.directory.path.name, template_hash(templates_of(job.tokenizer))
    provenance = provenance_of(
        name, job.spec, job.base, job.identity, template, job.data.template, job.data.labels
    )
    trainee.save(job.directory.path / trainee.saved_as, provenance)
    position.saved_as, position.saved_step = trainee.saved_as, position.step


def keep_best_result(job: Job, trainee: Trainee, position: Position) -> None:
    """As `keep_result`, with the weights of the best evaluation."""
    best = position.best_step
    if best is None or best == position.step:
        keep_result(job, trainee, position)
        return
    checkpoint = checkpoint_of_step(job.directory.checkpoints_path, best)
    if checkpoint is None:
        log.warning("the checkpoint of step %d, the best, is not whole; kept the last step", best)
        keep_result(job, trainee, position)
        return
    trainee.restore(checkpoint.trained)
    keep_result(job, trainee, position)
    position.saved_step = best
    log.info("the result is that of step %d, the best evaluation", best)
