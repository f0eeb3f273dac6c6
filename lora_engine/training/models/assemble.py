"""From a prepared run to the model that trains, its initial weights and its forward path."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, cast

from lora_engine.adapters.lora_config import HEADS
from lora_engine.base_models import head_modules, load_base_model
from lora_engine.base_models.streamed import load_streamed_model
from lora_engine.data.bundled_templates import NO_TEMPLATE_NAME
from lora_engine.data.class_labels import Classes
from lora_engine.data.templates import chat_template_of
from lora_engine.errors import EngineError
from lora_engine.host_memory import return_large_blocks, share_one_heap
from lora_engine.language import tr
from lora_engine.spec import MethodSpec
from lora_engine.training.forward.autocast import AutocastPath
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.forward.classifier_path import ClassifierPath
from lora_engine.training.forward.offloaded import OffloadedPath
from lora_engine.training.forward.padded import PaddedBatch, PaddedPath
from lora_engine.training.forward.select import causal_lm_of, choose_path
from lora_engine.training.models import lora_init
from lora_engine.training.models.adapter_model import AdaptedModel, add_adapter
from lora_engine.training.models.classifier import load_classifier
from lora_engine.training.models.other_model import add_other
from lora_engine.training.models.starting_weights import load_starting_weights
from lora_engine.training.models.trained_model import TrainedModel
from lora_engine.training.models.whole_model import WholeModel, make_trainable
from lora_engine.training.preparation import PreparedRun
from lora_engine.training.streaming.layer_stream import LayerStream
from lora_engine.training.streaming.open_base import open_streamed_path

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn
    from transformers import PreTrainedModel

log = logging.getLogger("lora_engine.training.worker")
HAS_OWN_MEMORY = ("cuda",)  # devices from which activations can move to the host
EVA_STEPS = 16  # EVA goes over the rows of this many steps until its directions converge


def build_trained_model(
    run: PreparedRun, fresh: bool, base: PreTrainedModel | None = None
) -> TrainedModel:
    """The base model with the weights that train, their initial values drawn from the spec's seed.

    fresh: False where a checkpoint will be restored, so that initial values need no computing.
    base: as `load_base` gives it, where it is loaded already.
    """
    import torch

    torch.manual_seed(run.spec.seed)
    random.seed(run.spec.seed)
    if base is None:
        base = load_base(run)
    if not run.spec.method.has_adapter:
        whole = make_trainable(base, run.spec.method)
        return WholeModel(whole, run.tokenizer, run.dtype, _chat_template(run))
    if not run.spec.method.is_lora:
        quantized, template = run.spec.quantization is not None, _chat_template(run)
        return add_other(base, run.spec.method, quantized, run.tokenizer, template)
    return _adapted(run, base, fresh)


def load_base(run: PreparedRun) -> PreTrainedModel:
    """The base model of a run, without what trains. Sets up the process's memory before it."""
    if run.device == "cpu":
        _limit_host_memory(run)
    if run.loaded is None:
        base = _base(run)
    else:
        log.info("the base model was loaded ahead")
        base = run.loaded.model
    if run.spec.optimization.gradient_checkpointing and not run.spec.optimization.stream_base:
        base.activation_checkpointing_enable({"use_reentrant": False})
    return base


def _base(run: PreparedRun) -> PreTrainedModel:
    if run.spec.optimization.stream_base:
        return load_streamed_model(run.base, run.device, run.dtype, run.spec.quantization)
    if run.spec.task == "causal_lm":
        # A base that is divided fits no one device: it is loaded on the host, and each part moved.
        device = "cpu" if run.ranks.is_lockstep else run.device
        return load_base_model(run.base, device, run.dtype, run.spec.quantization)
    return load_classifier(
        run.base, run.spec.task, run.data.labels, run.device, run.dtype, run.spec.quantization
    )


def _chat_template(run: PreparedRun) -> str:
    """What lies beside the result: the template of the rows, or the one that says there is none."""
    template = chat_template_of(run.tokenizer)
    is_written = run.data.template or template.name == NO_TEMPLATE_NAME
    return template.source if is_written else ""


def _limit_host_memory(run: PreparedRun) -> None:
    """Settings of the allocator and of oneDNN, before the first tensor of the model is made."""
    from lora_engine.training.kernels import matmul

    share_one_heap()
    matmul.use(run.library)
    if run.library == "onednn":
        matmul.limit_kernel_cache()
    spec = run.spec
    optimization = spec.optimization
    recomputes = optimization.gradient_checkpointing or optimization.stream_base
    if spec.quantization is not None or recomputes:
        return_large_blocks()


def _adapted(run: PreparedRun, base: PreTrainedModel, fresh: bool) -> AdaptedModel:
    method = _with_whole_head(run, base)
    model = add_adapter(base, method, run.spec.quantization is not None, run.spec.task)
    trained_model = AdaptedModel(model, _chat_template(run))
    if not fresh:
        return trained_model
    if run.starting_adapter is not None:
        load_starting_weights(model, run.starting_adapter)
    elif method.init in lora_init.CHANGES_BASE:
        trained_model.initial_factors = lora_init.init_from_weights(model, method.init)
    elif method.init == "loftq":
        if run.base.path is None:
            raise EngineError(
                tr(
                    "LoftQ reads the base model's weights before their quantization, from a folder."
                ),
                tr("Download the model into a folder first, or choose another init."),
            )
        lora_init.init_from_quantization(model, run.base.path)
    elif method.init == "eva":
        lora_init.init_from_rows(model, _eva_batches(run, model))
    return trained_model


def _with_whole_head(run: PreparedRun, base: PreTrainedModel) -> MethodSpec:
    """The run's method; for a classifier, with the parts of its head that PEFT does not know."""
    method = run.spec.method
    if run.spec.task == "causal_lm":
        return method
    known = (*HEADS, *method.modules_to_save)
    more = [name for name in head_modules(base, run.base) if name not in known]
    return method.model_copy(update={"modules_to_save": [*method.modules_to_save, *more]})


def _eva_batches(run: PreparedRun, model: PeftModel) -> list[PaddedBatch]:
    """The batches of the first steps, within one epoch."""
    path = PaddedPath(model, run.tokenizer.pad_token_id, run.device)
    steps = range(1, min(EVA_STEPS, run.plan.total_steps, run.plan.steps_per_epoch) + 1)
    rows = run.data.training
    return [
        path.collate([rows[i] for i in some]) for step in steps for some in run.plan.batches(step)
    ]


def _divide(run: PreparedRun, trained_model: TrainedModel) -> None:
    """Leave on each device its part of the frozen base."""
    from lora_engine.training.ranks.sharding import shard_layers

    causal_lm = causal_lm_of(trained_model.model)
    count = shard_layers(causal_lm.base_model, run.device, run.ranks.count)
    cast("nn.Module", causal_lm).to(run.device)  # transformers' own `to` has no type
    log.info("the frozen weights of %d layers are divided over %d devices", count, run.ranks.count)


def build_forward_path(
    run: PreparedRun, trained_model: TrainedModel, stream: LayerStream | None = None
) -> ForwardPath:
    """The forward path of the run's task and precision; autocast where float32 weights train.

    stream: as `open_streamed_path` has it, for a base that is streamed.
    """
    import torch

    rows, pad_id = run.data.training, run.tokenizer.pad_token_id
    if run.ranks.is_lockstep:
        _divide(run, trained_model)
    if run.spec.task != "causal_lm":
        classes = Classes(run.data.labels, run.spec.task == "token_classification")
        return ClassifierPath(trained_model.model, pad_id, run.device, run.dtype, classes)
    if run.spec.optimization.stream_base:
        return open_streamed_path(run, cast("PeftModel", trained_model.model), stream)
    if trained_model.saved_as == "adapter" or run.dtype == torch.float32:
        path = choose_path(trained_model.model, rows, pad_id, run.device)
        offloads = run.spec.optimization.offload_activations and run.device in HAS_OWN_MEMORY
        return OffloadedPath(path) if offloads else path
    # The path is checked as it will run: under autocast.
    with torch.autocast(run.device, run.dtype):
        return AutocastPath(choose_path(trained_model.model, rows, pad_id, run.device), run.dtype)
