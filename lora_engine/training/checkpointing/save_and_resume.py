"""Saving a run's checkpoints and its result, and resuming from a checkpoint."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.errors import Conflict
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory
from lora_engine.training.checkpointing.checkpoints import (
    Checkpoint,
    SavedProgress,
    checkpoint_of_step,
    newest_valid_checkpoint,
    save_checkpoint,
)
from lora_engine.training.checkpointing.extending import refuse_unextendable
from lora_engine.training.checkpointing.identity import RunIdentity, identity_changes
from lora_engine.training.checkpointing.provenance import provenance
from lora_engine.training.kernels.loss_scale import LossScale
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.models.trained_model import TrainedModel
from lora_engine.training.optimizers.factory import optimizer_tensors, restore_optimizer
from lora_engine.training.preparation import PreparedRun

if TYPE_CHECKING:
    import torch

log = logging.getLogger("lora_engine.training.worker")


@dataclass(frozen=True)
class RunSaver:
    """Writes a run's checkpoints and result into its directory, and reads a checkpoint back.

    scale: of the gradients, where the run has one; it is a part of the checkpoint.
    """

    run: PreparedRun
    identity: RunIdentity
    scale: LossScale | None = None

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
                tr(
                    "{upper}{what} changed since the checkpoint at step {step}.",
                    upper=what[0].upper(),
                    what=what[1:],
                    step=checkpoint.progress.step,
                ),
                tr("Put back what changed, or start a new run."),
            )
        return checkpoint

    def checkpoint_to_extend(self) -> Checkpoint:
        """The last checkpoint of the finished run that this one extends.

        Raises Conflict as `refuse_unextendable` does.
        """
        extension, folder = self.run.spec.extended_from, self.run.extended_run
        assert extension is not None, "this run extends no other"
        assert folder is not None, "prepared with the extended run's folder"
        extended = RunDirectory(folder)
        refuse_unextendable(extended, extension.step, self.identity)
        checkpoint = checkpoint_of_step(extended.checkpoints_path, extension.step)
        assert checkpoint is not None, "its hashes were those of its manifest"
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
        if self.scale is not None:
            self.scale.restore(checkpoint.optimizer)
        for name, value in checkpoint.progress.model_dump().items():
            setattr(progress, name, value)
        extension = self.run.spec.extended_from
        if extension is not None and progress.step == extension.step:
            progress.evaluations_since_best = 0  # early stopping starts to count anew
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
            optimizer_tensors(optimizer) | (self.scale.tensors() if self.scale else {}),
        )
        log.info("checkpoint at step %d", progress.step)

    def save_last_checkpoint(
        self,
        trained_model: TrainedModel,
        optimizer: torch.optim.Optimizer,
        progress: TrainingProgress,
    ) -> None:
        """The checkpoint of a finished run, so that it can be extended.

        A disk without room for it does not undo the run: the log says that it cannot be extended.
        """
        from safetensors import SafetensorError

        try:
            self.save_checkpoint(trained_model, optimizer, progress)
        except (OSError, SafetensorError) as error:
            log.warning("no checkpoint of the last step, so the run cannot be extended: %s", error)

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
        checkpoint = self._best_checkpoint(best)
        if checkpoint is None:
            log.warning(
                "the checkpoint of the best step, %d, is damaged or gone; the last step is saved "
                "instead",
                best,
            )
            self.save_result(trained_model, progress)
            return
        trained_model.restore(checkpoint.trained)
        self.save_result(trained_model, progress)
        progress.saved_step = best
        log.info("the result has the weights of step %d, the best evaluation", best)

    def _best_checkpoint(self, step: int) -> Checkpoint | None:
        """From this run's folder, or that of the run it extends, and so on."""
        folder: RunDirectory | None = self.run.directory
        runs, extension = self.run.extended_run, self.run.spec.extended_from
        while folder is not None:
            found = checkpoint_of_step(folder.checkpoints_path, step)
            if found is not None or runs is None or extension is None:
                return found
            folder = RunDirectory(runs.with_name(extension.run))
            extension = folder.spec().extended_from if folder.spec_path.is_file() else None
        return None
