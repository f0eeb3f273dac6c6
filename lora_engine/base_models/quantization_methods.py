"""The methods that quantize a model's weights: their names, who reads them, and how files say them.

Knows what configurations look like, and reads only the small files of quantizing tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_engine.errors import EngineError
from lora_engine.files import read_json_object
from lora_engine.language import tr
from lora_engine.weights.packed_tensors import METHODS, Method, method_name

BITS_KEYS = ("bits", "w_bit", "nbits", "num_bits")
MAX_DEPTH = 6


# The bits of methods that have only one number of them.
BITS = {"mxfp4": 4, "nvfp4": 4, "fbgemm_fp8": 8, "eetq": 8}
ALGORITHM_BITS = {"FP8": 8, "NVFP4": 4, "W4A16": 4, "W4A8": 4, "INT8": 8, "W8A8": 8}


def in_words(method: str, bits: float | None = None, kind: str = "") -> str:
    """A method's name, with its bits and their kind where they are known: `GPTQ (4 bit)`."""
    name = method_name(method)
    bits = bits or BITS.get(method)
    if not bits:
        return name
    with_kind = f" {kind}" if kind else ""
    return tr("{method} ({bits} bit{kind})", method=name, bits=f"{bits:g}", kind=with_kind)


def give_the_original(method: str) -> str:
    """The remedy for a base stored with the method: what to give, and who reads it as it is."""
    name, package = METHODS.get(method, Method(method, ""))
    if package == "transformers":
        return tr(
            "Give the 16-bit model it was made from; {method} is read by transformers on some "
            "GPUs, not here.",
            method=name,
        )
    if package:
        return tr(
            "Give the 16-bit model it was made from; {method} is read by {package}, not here.",
            method=name,
            package=package,
        )
    return tr("Give the 16-bit model it was made from.")


def unreadable(name: str, method: str, bits: float | None, file: str) -> EngineError:
    """The refusal of a base that is stored with a method that is not read here, as `file` says."""
    return EngineError(
        tr(
            "The base model {name} is stored with {in_words}, as {file} says, which "
            "Rankscope does not read.",
            name=f"{name!r}",
            in_words=in_words(method, bits),
            file=file,
        ),
        give_the_original(method),
    )


def method_of(entry: Any) -> str | None:
    """The method that a quantization_config names; None for what is none."""
    if not isinstance(entry, Mapping):
        return None
    if entry.get("load_in_4bit") or entry.get("load_in_8bit"):
        return "bitsandbytes"
    named = entry.get("quant_method")
    if isinstance(named, str) and named:
        named = named.strip().lower()[:60]
        named = {"modelopt_fp4": "modelopt", "modelopt_fp8": "modelopt"}.get(named, named)
        return named.replace("_", "-") if named.replace("_", "-") in METHODS else named
    if entry.keys() >= {"bits", "group_size"} and _is_number(entry["bits"]):
        # Apple's MLX writes no method. GPTQ's own tool always wrote desc_act or damp_percent.
        return "gptq" if entry.keys() & {"desc_act", "damp_percent", "sym"} else "mlx"
    if entry.keys() >= {"w_bit", "q_group_size"}:
        return "awq"
    if isinstance(entry.get("quant_algo"), str):
        return "modelopt"
    return None


def stored_bits(entry: Any, depth: int = 0) -> float | None:
    """The bits of a weight, from the first key that says them, in parts that are of weights."""
    if not isinstance(entry, Mapping) or depth > MAX_DEPTH:
        return None
    if bool(entry.get("load_in_4bit")) != bool(entry.get("load_in_8bit")):
        return 4 if entry.get("load_in_4bit") else 8
    for key in BITS_KEYS:
        if _is_number(entry.get(key)) and 0 < entry[key] <= 16:
            return entry[key]
    algorithm = str(entry.get("quant_algo") or "").upper()
    for name, bits in ALGORITHM_BITS.items():
        if name in algorithm:
            return bits
    parts = (v for k, v in entry.items() if "activation" not in str(k) and "cache" not in str(k))
    return next(filter(None, (stored_bits(part, depth + 1) for part in parts)), None)


def side_file(folder: Path) -> tuple[str, float | None, str] | None:
    """Method, bits and file name where a quantizing tool left its own file beside config.json.

    hf_quant_config.json is NVIDIA ModelOpt's, quantize_config.json AutoGPTQ's, quant_config.json
    AutoAWQ's, quantization_config.json Intel's.
    """
    for name, method in (
        ("hf_quant_config.json", "modelopt"),
        ("quantize_config.json", "gptq"),
        ("quant_config.json", "awq"),
        ("quantization_config.json", "auto-round"),
    ):
        try:
            entry = read_json_object(folder / name)
        except (OSError, ValueError):
            continue
        if method == "modelopt":
            entry = entry.get("quantization") or {}
            if not isinstance(entry, Mapping) or not entry.get("quant_algo"):
                continue  # only the cache of keys and values is quantized
        else:
            method = method_of(entry) or method
        return method, stored_bits(entry), name
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
