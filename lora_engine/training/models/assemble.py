"""From a prepared job to what trains: the model, its start, the optimizer, the forward path."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from lora_engine.base_models import load_base_model
from lora_engine.data.templates import chat_template_of
from lora_engine.errors import EngineError
from lora_engine.host_memory import return_large_blocks, share_one_heap
from lora_engine.training.forward.autocast import AutocastPath
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.forward.padded import PaddedPath
from lora_engine.training.forward.select import choose_path
from lora_engine.training.models import lora_init
from lora_engine.training.models.adapter_model import AdaptedModel, add_adapter
from lora_engine.training.models.classifier import ClassifyingPath, load_classifier
from lora_engine.training.models.trained_model import Trainee
from lora_engine.training.models.whole_model import WholeModel, make_trainable
from lora_engine.training.preparation import Job

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger("lora_engine.training.worker")
EVA_STEPS = 16  # steps whose rows EVA looks at, again and again until its directions stand still


def build_trainee(job: Job, fresh: bool) -> Trainee:
    """The base with what trains on it; every random start from the seed.

    fresh: False where a checkpoint will be restored into it, so that no start need be found.
    """
    import torch

    torch.manual_seed(job.spec.seed)
    random.seed(job.spec.seed)
    if job.device == "cpu":
        _spare_host_memory(job)
    base = _base(job)
    if job.spec.optimization.gradient_checkpointing:
        base.activation_checkpointing_enable({"use_reentrant": False})
    if not job.spec.method.has_adapter:
        whole = make_trainable(base, job.spec.method)
        return WholeModel(whole, job.tokenizer, job.dtype, _chat_template(job))
    return _adapted(job, base, fresh)


def _base(job: Job) -> PreTrainedModel:
    if job.spec.task == "causal_lm":
        return load_base_model(job.base, job.device, job.dtype, job.spec.quantization)
    return load_classifier(job.base, job.spec.task, job.data.labels, job.device, job.dtype)


def _chat_template(job: Job) -> str:
    return chat_template_of(job.tokenizer).source if job.data.template else ""


def _spare_host_memory(job: Job) -> None:
    import torch

    from lora_engine.training.kernels.matmul import bound_kept_kernels

    share_one_heap()
    if job.dtype == torch.float32:
        bound_kept_kernels()
    spec = job.spec
    if spec.quantization is not None or spec.optimization.gradient_checkpointing:
        return_large_blocks()


def _adapted(job: Job, base: PreTrainedModel, fresh: bool) -> AdaptedModel:
    method = job.spec.method
    model = add_adapter(base, method, job.spec.quantization is not None, job.spec.task)
    trainee = AdaptedModel(model, _chat_template(job))
    if not fresh:
        return trainee
    if method.init in lora_init.MOVES_BASE:
        trainee.started = lora_init.start_from_weights(model, method.init)
    elif method.init == "loftq":
        if job.base.path is None:
            raise EngineError(
                "LoftQ reads the base's weights as they were before 4 bits, from a folder.",
                "Download the model into a folder first, or choose another start.",
            )
        lora_init.start_from_quantization(model, job.base.path)
    elif method.init == "eva":
        lora_init.start_from_rows(model, _eva_batches(job, model))
    return trainee


def _eva_batches(job: Job, model) -> list:
    path = PaddedPath(model, job.tokenizer.pad_token_id, job.device)
    steps = range(1, min(EVA_STEPS, job.plan.total_steps, job.plan.steps_per_epoch) + 1)
    rows = job.data.training
    return [
        path.collate([rows[i] for i in some]) for step in steps for some in job.plan.batches(step)
    ]


def build_path(job: Job, trainee: Trainee) -> ForwardPath:
    """How rows become a loss; float32 weights that train beside 16-bit ones, under autocast."""
    import torch

    rows, pad_id = job.data.training, job.tokenizer.pad_token_id
    if job.spec.task != "causal_lm":
        return ClassifyingPath(trainee.model, pad_id, job.device, job.dtype)
    if trainee.saved_as == "adapter" or job.dtype == torch.float32:
        return choose_path(trainee.model, rows, pad_id, job.device)
    with torch.autocast(job.device, job.dtype):
        return AutocastPath(choose_path(trainee.model, rows, pad_id, job.device), job.dtype)
