"""What this machine cannot run, each with its reason: packages, cards, several devices.

The form asks before anything is submitted, and `preflight` before a run exists. Which choices of a
spec exclude each other is in `conflicts`. Imports no torch, and does not look for the model or the
data.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lora_engine.devices import CPU, list_devices, most_devices
from lora_engine.errors import EngineError, FieldProblem
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from lora_engine.training.conflicts import (
    choice_conflicts,
    float16_conflicts,
    streaming_conflicts,
)

OPTIONAL_PACKAGES = ("bitsandbytes", "tensorboard", "wandb", "trackio")
WHOLE_BATCHES = ("kto", "orpo")  # a row's loss depends on the other rows of its batch


@dataclass(frozen=True)
class Machine:
    """Whether runs get a GPU, which optional packages can be imported, and is the GPU a Mac's.

    devices: how many one run may take. gpus_field, cores_field: where a run asks for them; empty
    for this machine, which has what it has.
    """

    has_gpu: bool
    packages: frozenset[str]
    is_mps: bool = False
    devices: int = 1
    gpus_field: str = ""
    cores_field: str = ""


def this_machine(settings: Settings) -> Machine:
    """The machine on which this server's runs train."""
    found = (name for name in OPTIONAL_PACKAGES if importlib.util.find_spec(name) is not None)
    return Machine(
        CPU not in list_devices(settings),
        frozenset(found),
        is_mps=settings.device == "mps",
        devices=most_devices(settings),
    )


def machine_of(spec: RunSpec, settings: Settings) -> Machine:
    """Where a run will train: on this machine, or on what it asks of its cluster."""
    if spec.launcher == "local":
        return this_machine(settings)
    asked = spec.resources
    return asked_machine(asked.gpus, asked.cpus, "resources.gpus", "resources.cpus")


def asked_machine(gpus: int, cpus: int | None, gpus_field: str, cores_field: str) -> Machine:
    """A machine elsewhere, with what a run asks for."""
    return Machine(
        gpus > 0,
        frozenset(OPTIONAL_PACKAGES),
        devices=gpus or max(2, cpus or 1),
        gpus_field=gpus_field,
        cores_field=cores_field,
    )


def unavailable_choices(machine: Machine) -> dict[str, dict[str, str]]:
    """The choices that this machine cannot run: field path → choice → reason."""
    paged = tr("pages move between a GPU and the host, and this machine has no GPU")
    no_gpu = tr("float16 is for GPUs, and this machine has none; choose float32 or bfloat16")
    if machine.gpus_field:
        field = machine.gpus_field
        paged = tr("pages move between a GPU and the host; ask for one in {field}", field=field)
        no_gpu = tr("float16 is for GPUs; ask for one in {field}, or choose bfloat16", field=field)
    bitsandbytes = tr("{name} is not installed: pip install {name}", name="bitsandbytes")
    optimizers: dict[str, str] = {}
    if not machine.has_gpu:
        optimizers |= {"paged_adamw": paged, "paged_adamw_8bit": paged}
    if "bitsandbytes" not in machine.packages:
        for name in ("adamw_8bit", "paged_adamw", "paged_adamw_8bit"):
            optimizers[name] = bitsandbytes
    trackers = {
        name: tr("{name} is not installed: pip install {name}", name=name)
        for name in ("tensorboard", "wandb", "trackio")
        if name not in machine.packages
    }
    bits: dict[str, str] = {}
    if machine.is_mps:
        apple = tr("quantized bases were not tried on an Apple GPU; set LORA_DEVICE to cpu")
        bits = {"4": apple, "8": apple}
    if "bitsandbytes" not in machine.packages:
        bits = {"4": bitsandbytes, "8": bitsandbytes}
    return {
        "optimization.optimizer": optimizers,
        "report.report_to": trackers,
        "quantization.bits": bits,
        "optimization.precision": {} if machine.has_gpu else {"float16": no_gpu},
    }


def compatibility_problems(spec: RunSpec, machine: Machine) -> list[FieldProblem]:
    """Every choice of a spec that the machine cannot run, or that excludes another choice."""
    return [
        *_unavailable(spec, machine),
        *choice_conflicts(spec),
        *_device_problems(spec, machine),
        *_offloading_problems(spec, machine),
    ]


def refuse_other_group(spec: RunSpec, count: int, settings: Settings) -> None:
    """Raises EngineError where `count` processes, as torchrun starts them, do not fit the spec."""
    if count != spec.optimization.devices:
        raise EngineError(
            tr(
                "{count} processes were started for a run whose spec asks for {devices} devices.",
                count=count,
                devices=spec.optimization.devices,
            ),
            tr("Set optimization.devices to {count}, or start as many.", count=count),
        )
    machine = replace(this_machine(settings), devices=count)
    for problem in _device_problems(spec, machine):
        raise EngineError(f"{problem}.", tr("Change the spec, or use one device."))


def allows_streaming(spec: RunSpec) -> bool:
    """Whether a run of this kind can stream its base, on one device."""
    return not any(streaming_conflicts(spec)) and spec.optimization.devices == 1


def allows_float16(spec: RunSpec) -> bool:
    """Whether a run of this kind can train in float16, on a GPU."""
    return not any(float16_conflicts(spec))


def _device_problems(spec: RunSpec, machine: Machine) -> Iterator[FieldProblem]:
    """What several devices cannot do, and devices that are not there."""
    optimization, kind = spec.optimization, spec.objective.kind
    count, path = optimization.devices, "optimization.devices"
    if optimization.sharding != "none":
        yield from _sharding_problems(spec)
    if count == 1:
        return
    if count > machine.devices:
        yield FieldProblem(path, _missing_devices(count, machine))
    if kind == "grpo":
        yield FieldProblem(path, tr("grpo samples its answers on one device; set it to 1"))
    if spec.method.finetuning_type == "galore":
        yield FieldProblem(path, tr("galore trains on one device; set it to 1"))
    if optimization.stream_base:
        yield FieldProblem(path, tr("a streamed base trains on one device; set it to 1"))
    if kind in WHOLE_BATCHES and optimization.gradient_accumulation < count:
        yield FieldProblem(
            path,
            tr(
                "{kind} compares the rows of a batch with each other, so that each device takes "
                "whole batches; raise optimization.gradient_accumulation to {count} at the least",
                kind=kind,
                count=count,
            ),
        )


def _offloading_problems(spec: RunSpec, machine: Machine) -> Iterator[FieldProblem]:
    """What activations cannot wait in the host's memory for."""
    if not spec.optimization.offload_activations:
        return
    bits = spec.quantization.bits if spec.quantization else None
    no_gpu = tr("moves activations off a GPU, and this machine has none; leave it out")
    if machine.gpus_field:
        no_gpu = tr(
            "moves activations off a GPU; ask for one in {field}, or leave it out",
            field=machine.gpus_field,
        )
    reasons = (
        (not machine.has_gpu, no_gpu),
        (spec.task != "causal_lm", tr("is for the task causal_lm")),
        (
            not spec.method.has_adapter,
            tr("is for adapters; here copies of the base's weights would move along"),
        ),
        (
            bits == 8,
            tr("layers in 8 bits keep their inputs to themselves; choose 4 bits, or none"),
        ),
        (
            spec.optimization.stream_base,
            tr("a streamed base computes its layers again; leave out one of the two"),
        ),
        (
            spec.optimization.sharding != "none",
            tr("the fetched weights of fsdp would move along; leave out one of the two"),
        ),
    )
    for excludes, reason in reasons:
        if excludes:
            yield FieldProblem("optimization.offload_activations", reason)


def _missing_devices(wanted: int, machine: Machine) -> str:
    """That a run takes more devices than there are, or than it asks for."""
    there = machine.devices
    if machine.has_gpu and machine.gpus_field:
        return tr(
            "takes {wanted} GPUs, and {field} asks for {there}; ask for as many",
            wanted=wanted,
            field=machine.gpus_field,
            there=there,
        )
    if machine.has_gpu:
        return tr(
            "asks for {wanted} GPUs, and this machine has {there}", wanted=wanted, there=there
        )
    if machine.cores_field:
        return tr(
            "takes {wanted} processes; ask for as many cores in {cores}, or GPUs in {gpus}",
            wanted=wanted,
            cores=machine.cores_field,
            gpus=machine.gpus_field,
        )
    return tr(
        "asks for {wanted} processes, and this machine's processor runs {there} at most",
        wanted=wanted,
        there=there,
    )


def _sharding_problems(spec: RunSpec) -> Iterator[FieldProblem]:
    """What a base that is divided over the devices cannot be trained with."""
    path = "optimization.sharding"
    if spec.optimization.devices == 1:
        yield FieldProblem(path, tr("fsdp divides the base over several devices; choose none"))
    if not spec.method.is_lora:
        yield FieldProblem(path, tr("fsdp divides a frozen base, under lora alone; choose none"))
    if spec.quantization is not None:
        yield FieldProblem(path, tr("fsdp does not divide quantized weights; choose none"))
    if spec.task != "causal_lm" or spec.objective.kind != "sft":
        yield FieldProblem(
            path, tr("fsdp is for language models with the objective sft; choose none")
        )
    if spec.method.init in ("pissa", "olora", "eva"):
        yield FieldProblem(
            path,
            tr("the init {init} needs the whole base; choose another init", init=spec.method.init),
        )


def _unavailable(spec: RunSpec, machine: Machine) -> Iterator[FieldProblem]:
    chosen: dict[str, Sequence[str]] = {
        "optimization.optimizer": [spec.optimization.optimizer],
        "optimization.precision": [spec.optimization.precision],
        "report.report_to": spec.report.report_to,
        "quantization.bits": [str(spec.quantization.bits)] if spec.quantization else [],
    }
    for path, reasons in unavailable_choices(machine).items():
        for choice in chosen[path]:
            if choice in reasons:
                yield FieldProblem(
                    path,
                    tr(
                        "{choice} cannot run here: {reasons}",
                        choice=choice,
                        reasons=reasons[choice],
                    ),
                )
