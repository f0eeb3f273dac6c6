"""Quantized weights told by their tensors: the names and number types that each method leaves.

The codes of a quantized weight lie beside scales, zero points or code books. Read as numbers they
are another weight. Reads no file: it looks at names, shapes and types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lora_engine.weights.safetensors_file import TensorEntry

FLOATS = ("F64", "F32", "F16", "BF16")
FLOAT8 = ("F8_E4M3", "F8_E5M2")
FEW_BITS = ("F4", "F6_E2M3", "F6_E3M2")
STATE = ".quant_state.bitsandbytes__"  # followed by nf4 or fp4, after the name of the weight
UNKNOWN = "an unknown quantization"


class Method(NamedTuple):
    """A method as people call it, and the package that reads it; empty for none known."""

    name: str
    package: str


METHODS = {
    "aqlm": Method("AQLM", "aqlm"),
    "auto-round": Method("AutoRound", "auto-round"),
    "awq": Method("AWQ", "gptqmodel"),
    "bitnet": Method("BitNet", "transformers"),
    "bitsandbytes": Method("bitsandbytes", "bitsandbytes"),
    "compressed-tensors": Method("compressed-tensors", "compressed-tensors"),
    "eetq": Method("EETQ", "kernels"),
    "exl2": Method("EXL2", "exllamav2"),
    "exl3": Method("EXL3", "exllamav3"),
    "fbgemm_fp8": Method("FBGEMM FP8", "fbgemm-gpu"),
    "fp8": Method("FP8", "transformers"),
    "fp_quant": Method("FP-Quant", "fp_quant"),
    "gptq": Method("GPTQ", "gptqmodel"),
    "higgs": Method("HIGGS", "flute-kernel"),
    "hqq": Method("HQQ", "hqq"),
    "mlx": Method("MLX", "mlx-lm"),
    "modelopt": Method("NVIDIA ModelOpt", "nvidia-modelopt"),
    "mxfp4": Method("MXFP4", "transformers"),
    "nvfp4": Method("NVFP4", "nvidia-modelopt"),
    "quanto": Method("Quanto", "optimum-quanto"),
    "quark": Method("Quark", "amd-quark"),
    "spqr": Method("SpQR", "spqr_quant"),
    "torchao": Method("torchao", "torchao"),
    "vptq": Method("VPTQ", "vptq"),
}

# The last part of the name of the codes, what must stand beside them, and the method.
_BY_NAME = (
    ("weight_packed", "weight_scale", "compressed-tensors"),
    ("W_q", "scale", "hqq"),
    ("W_q", "meta", "hqq"),
    ("codes", "codebooks", "aqlm"),
    ("q_weight", "q_scale", "exl2"),
    ("trellis", "suh", "exl3"),
    ("indices", "centroids.weight", "vptq"),
)
# The types of a tensor called weight, what must stand beside it, and the method.
_BY_TYPE = (
    (("I8",), "SCB", "bitsandbytes"),
    (FLOAT8, "weight_scale_inv", "fp8"),
    (FLOAT8, "weight_scale", "fp8"),
    (("U8", *FEW_BITS), "weight_scale_2", "modelopt"),
    (("I8",), "weight_scale", "compressed-tensors"),
    (("U32",), "scales", "mlx"),
)


def method_name(method: str) -> str:
    """A method as people call it."""
    return METHODS[method].name if method in METHODS else method


def packing_method(tensors: Mapping[str, TensorEntry], name: str) -> str | None:
    """The method whose codes the tensor `name` holds; None for numbers that are what they say.

    UNKNOWN for a weight that is no float of 16 bits and more, with nothing beside it that says how
    it becomes one.
    """
    entry = tensors[name]
    stem, _, leaf = name.rpartition(".")
    beside = f"{stem}." if stem else ""
    if f"{name}{STATE}nf4" in tensors or f"{name}{STATE}fp4" in tensors:
        return "bitsandbytes"
    if name.endswith(".weight._data"):
        return "quanto"
    if leaf in ("qweight", "qzeros") and tensors.keys() >= {f"{beside}qweight", f"{beside}scales"}:
        return _gptq_or_awq(tensors[f"{beside}qweight"], tensors[f"{beside}scales"])
    for codes, other, method in _BY_NAME:
        if leaf == codes and beside + other in tensors:
            return method
    if leaf.endswith("_blocks") and f"{name.removesuffix('_blocks')}_scales" in tensors:
        return "mxfp4"
    return _by_type(tensors, name, entry)


def _gptq_or_awq(codes: TensorEntry, scales: TensorEntry) -> str:
    """AWQ packs the outputs of a weight, GPTQ its inputs; a scale has all outputs in either."""
    return "awq" if codes.shape[-1:] != scales.shape[-1:] else "gptq"


def _by_type(tensors: Mapping[str, TensorEntry], name: str, entry: TensorEntry) -> str | None:
    if entry.dtype in FLOATS or len(entry.shape) < 2:
        return None
    beside = name.removesuffix("weight") if name.endswith(".weight") or name == "weight" else None
    if beside is not None:
        for types, other, method in _BY_TYPE:
            if entry.dtype in types and beside + other in tensors:
                return method
    elif entry.dtype in FLOAT8 and not tensors.keys().isdisjoint(
        (f"{name}_scale_inv", f"{name}_scale")
    ):
        return "fp8"  # fused experts, whose tensors are not called weight
    if name.rpartition(".")[2].endswith(("scale", "scales", "scale_inv")):
        return None
    is_code = entry.dtype in (*FLOAT8, *FEW_BITS)
    return UNKNOWN if is_code or beside is not None else None
