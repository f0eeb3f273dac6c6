"""The arithmetic of a run's frozen base on its device, where the spec leaves the choice to it.

On a processor that is float32, or bfloat16 where it loses nothing of the weights and was measured
to be faster (docs/training_speed.md, "bfloat16 on a CPU"). What a base of some size begins with is
kept in the run's folder: resumed, extended or on another machine, the run computes as it began.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from pydantic import BaseModel as PydanticModel
from pydantic import ConfigDict

from lora_engine.base_models import BaseModel, read_config, stored_types, weight_numbers
from lora_engine.devices import CPU
from lora_engine.files import read_bounded, write_atomically
from lora_engine.language import tr, translatable
from lora_engine.operating_system import has_fast_bfloat16
from lora_engine.run_folder import RunDirectory
from lora_engine.spec import RunSpec
from lora_engine.training.compatibility import allows_float16

log = logging.getLogger("lora_engine.training.worker")
FILE = "precision.json"  # in a run's folder
MAX_BYTES = 1_000
# What was measured: models of these types, from so many numbers on. The starter gains nothing.
MEASURED_MODELS = ("llama", "mistral", "qwen2", "qwen3")
LEAST_NUMBERS = 20_000_000
WHY = {
    "pays": translatable(
        "The base is computed in bfloat16: its weights are stored in it, and the processor on "
        "which the run began has instructions for it."
    ),
    "run": translatable(
        "The base is computed in float32: on a processor bfloat16 was measured for LoRA with the "
        "objective sft alone, on an unquantized base in memory."
    ),
    "model": translatable(
        "The base is computed in float32: on a processor bfloat16 was not measured for models of "
        "this type."
    ),
    "stored": translatable(
        "The base is computed in float32: not all of its weights are stored in bfloat16."
    ),
    "processor": translatable(
        "The base is computed in float32: the processor on which the run began has no instructions "
        "for bfloat16."
    ),
}


class KeptPrecision(PydanticModel):
    """What a run on a processor began with, and why: one of WHY."""

    model_config = ConfigDict(frozen=True)

    precision: Literal["float32", "bfloat16"]
    why: Literal["pays", "run", "model", "stored", "processor"]

    @property
    def words(self) -> str:
        return tr(WHY[self.why])


def precision_of(spec: RunSpec, device: str, base: BaseModel) -> str:
    """The spec's precision, or what its auto means for a new run: a name of torch's dtypes.

    Cards older than Ampere, such as the T4, have float16 and only emulate bfloat16. Raises
    EngineError where the base's files are not sound.
    """
    if spec.optimization.precision != "auto":
        return spec.optimization.precision
    if device == CPU:
        chosen = _choice_on_cpu(spec, base)
        return "float32" if chosen is None else chosen.precision
    if device != "cuda":
        return "float32"
    import torch

    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float16" if allows_float16(spec) else "float32"


def precision_of_run(
    directory: RunDirectory, extended: Path | None, spec: RunSpec, device: str, base: BaseModel
) -> str:
    """The precision that the run in this folder computes in; what it begins with is kept there.

    extended: the folder of the run that it extends. Raises as `precision_of` does.
    """
    if spec.optimization.precision != "auto" or device != CPU:
        return precision_of(spec, device, base)
    before = next((one for one in (directory, _run_in(extended)) if one and _has_begun(one)), None)
    chosen = _choice_on_cpu(spec, base) if before is None else read_precision(before)
    if chosen is None:
        return "float32"
    log.info("%s", chosen.words)
    if before != directory:
        write_atomically(directory.path / FILE, chosen.model_dump_json().encode())
    return chosen.precision


def precision_of_begun_run(
    directory: RunDirectory, spec: RunSpec, device: str, base: BaseModel
) -> str:
    """As `precision_of_run`, once that has been asked for the run."""
    if spec.optimization.precision != "auto" or device != CPU:
        return precision_of(spec, device, base)
    kept = read_precision(directory)
    return "float32" if kept is None else kept.precision


def read_precision(directory: RunDirectory) -> KeptPrecision | None:
    """What is kept; None where nothing is, as for runs on a small base or on a card."""
    try:
        return KeptPrecision.model_validate_json(read_bounded(directory.path / FILE, MAX_BYTES))
    except (OSError, ValueError):
        return None


def _run_in(folder: Path | None) -> RunDirectory | None:
    return None if folder is None else RunDirectory(folder)


def _has_begun(directory: RunDirectory) -> bool:
    """Whether the run has a choice, or a checkpoint from before there was one: float32 then."""
    return read_precision(directory) is not None or any(directory.checkpoints_path.glob("step-*"))


def _choice_on_cpu(spec: RunSpec, base: BaseModel) -> KeptPrecision | None:
    """None for float32 without a word: a small base, or one whose files are not here yet."""
    if base.path is None or weight_numbers(base) < LEAST_NUMBERS:
        return None
    if not _is_measured(spec):
        return KeptPrecision(precision="float32", why="run")
    if read_config(base.path).get("model_type") not in MEASURED_MODELS:
        return KeptPrecision(precision="float32", why="model")
    if stored_types(base) != {"BF16"}:
        return KeptPrecision(precision="float32", why="stored")
    if not has_fast_bfloat16():
        return KeptPrecision(precision="float32", why="processor")
    return KeptPrecision(precision="bfloat16", why="pays")


def _is_measured(spec: RunSpec) -> bool:
    method = spec.method
    return (
        spec.task == "causal_lm"
        and spec.objective.kind == "sft"
        and method.is_lora
        and not method.use_dora
        and not method.modules_to_save
        and method.bias == "none"
        and method.init not in ("pissa", "olora")  # what they leave of the base is no bfloat16
        and spec.quantization is None
        and not spec.optimization.stream_base
    )
