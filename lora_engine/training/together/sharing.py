"""Which runs can train in one worker, over one frozen base: those with equal sharing keys.

Reads specs alone: no file, no torch. That a base or a dataset is really there is another question.
"""

from __future__ import annotations

from dataclasses import dataclass

from lora_engine.spec import RunSpec

CHANGES_BASE = ("pissa", "olora")  # these starts subtract from the base weights


@dataclass(frozen=True)
class SharingKey:
    """What runs in one worker have in common. dataset, quantization: the section of the spec as
    JSON."""

    base_model: str
    dataset: str
    quantization: str
    precision: str
    max_length: int
    gradient_checkpointing: bool
    offload_activations: bool
    stream_base: bool


def sharing_key(spec: RunSpec) -> SharingKey | None:
    """The key of a run; None where it must train alone.

    Alone train: what asks for a worker of its own or for several devices, classifiers, objectives
    other than sft, methods other than LoRA, modules trained whole, biases of the base, starts that
    change the base weights, runs that extend another, and 8-bit bases, whose weights bitsandbytes
    moves into the layer that runs first. All else may differ: rank, alpha, targets, dropout, DoRA,
    learning rate, optimizer, schedule, batches, number of steps, the adapter to go on from, and the
    seed. Another seed holds other rows out.
    """
    if not _leaves_base_alone(spec):
        return None
    return SharingKey(
        base_model=spec.base_model,
        dataset=spec.dataset.model_dump_json(),
        quantization="" if spec.quantization is None else spec.quantization.model_dump_json(),
        precision=spec.optimization.precision,
        max_length=spec.optimization.max_length,
        gradient_checkpointing=spec.optimization.gradient_checkpointing,
        offload_activations=spec.optimization.offload_activations,
        stream_base=spec.optimization.stream_base,
    )


def _leaves_base_alone(spec: RunSpec) -> bool:
    method, quantization = spec.method, spec.quantization
    return (
        spec.task == "causal_lm"
        and not spec.report.own_worker
        and spec.optimization.devices == 1
        and spec.objective.kind == "sft"
        and spec.extended_from is None
        and method.is_lora
        and not method.modules_to_save
        and method.bias == "none"
        and method.init not in CHANGES_BASE
        and (quantization is None or quantization.bits == 4)
    )
