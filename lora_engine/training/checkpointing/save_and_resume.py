"""Saving a run's checkpoints and its result, and resuming from a checkpoint."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.errors import Conflict
from lora_engine.training.checkpointing.checkpoints import (
    Checkpoint,
    SavedProgress,
    checkpoint_of_step,
    newest_valid_checkpoint,
    save_checkpoint,
)
from lora_engine.training.checkpointing.identity import RunIdentity, identity_changes
from lora_engine.training.checkpointing.provenance import provenance
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.models.trained_model import TrainedModel
from lora_engine.training.optimizers.factory import optimizer_tensors, restore_optimizer
from lora_engine.training.preparation import PreparedRun

if TYPE_CHECKING:
    import torch

log = logging.getLogger("lora_engine.training.worker")


@dataclass(frozen=True)
class RunSaver:
    """Writes a run's checkpoints and result into its directory, and reads a checkpoint back."""

    run: PreparedRun
    identity: RunIdentity

    def checkpoint_to_resume(self) -> Checkpoint | None:
        """The newest valid checkpoint, None where there is none.

        Raises Conflict where it belongs to another spec, dataset or base model.
        """
        checkpoint = newest_valid_checkpoint(self.run.directory.checkpoints_path)
        if checkpoint is None:
            log.info("no checkpoint to resume from; starting at step 1")
            return None
        changes = identity_changes(checkpoint.identity, self.identity)
        if changes:
            what = " and ".join(changes)
            raise Conflict(
                f"{what[0].upper()}{what[1:]} changed since the checkpoint at step "
                f"{checkpoint.progress.step}.",
                "Put back what changed, or start a new run.",
            )
        return checkpoint

    def restore(
        self,
        checkpoint: Checkpoint,
        trained_model: TrainedModel,
        optimizer: torch.optim.Optimizer,
        progress: TrainingProgress,
    ) -> None:
        """Put weights, optimizer, random state and progress back as the checkpoint has them."""
        trained_model.restore(checkpoint.trained)
        restore_optimizer(optimizer, checkpoint.optimizer)
        for name, value in checkpoint.progress.model_dump().items():
            setattr(progress, name, value)
        log.info("resumed after step %d", progress.step)

    def save_checkpoint(
        self,
        trained_model: TrainedModel,
        optimizer: torch.optim.Optimizer,
        progress: TrainingProgress,
    ) -> None:
        """Save a checkpoint; only the last two and the best are kept."""
        save_checkpoint(
            self.run.directory.checkpoints_path,
            self.identity,
            SavedProgress.model_validate(vars(progress)),
            trained_model.tensors(),
            optimizer_tensors(optimizer),
        )
        log.info("checkpoint at step %d", progress.step)

    def save_result(self, trained_model: TrainedModel, progress: TrainingProgress) -> None:
        """Write `adapter/` or `model/`, and note in `progress` what was written."""
        folder = self.run.directory.path / trained_model.saved_as
        trained_model.save(folder, provenance(self.run, self.identity))
        progress.saved_as, progress.saved_step = trained_model.saved_as, progress.step

    def save_best_result(self, trained_model: TrainedModel, progress: TrainingProgress) -> None:
        """As `save_result`, with the weights of the best evaluation."""
        best = progress.best_step
        if best is None or best == progress.step:
            self.save_result(trained_model, progress)
            return
        checkpoint = checkpoint_of_step(self.run.directory.checkpoints_path, best)
        if checkpoint is None:
            log.warning(
                "the checkpoint of the best step, %d, is damaged; the last step is saved instead",
                best,
            )
            self.save_result(trained_model, progress)
            return
        trained_model.restore(checkpoint.trained)
        self.save_result(trained_model, progress)
        progress.saved_step = best
        log.info("the result has the weights of step %d, the best evaluation", best)
