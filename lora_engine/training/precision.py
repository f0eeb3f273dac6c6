"""The arithmetic of a run's frozen base on its device, where the spec leaves the choice to it."""

from __future__ import annotations

from lora_engine.spec import RunSpec
from lora_engine.training.compatibility import allows_float16


def precision_of(spec: RunSpec, device: str) -> str:
    """The spec's precision, or what its auto means on the device: a name of torch's dtypes.

    Cards older than Ampere, such as the T4, have float16 and only emulate bfloat16.
    """
    if spec.optimization.precision != "auto":
        return spec.optimization.precision
    if device != "cuda":
        return "float32"
    import torch

    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float16" if allows_float16(spec) else "float32"
