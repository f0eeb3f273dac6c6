"""Base models whose files hold quantized weights: told by their config.json and refused by name.

transformers says in `quantization_config` how the codes in the files become weights. Loaded
without it, codes are taken for weights, scales are left aside, and weights that are not found
under their own name are drawn at random. Reads no weight and knows nothing of loading.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lora_engine.errors import EngineError

KEYS = ("quantization_config", "compression_config")  # the second: compressed-tensors' older name
BITS_KEYS = ("bits", "w_bit", "nbits", "num_bits")
MAX_DEPTH = 6
# quant_method to its name, and the package that transformers reads it with.
METHODS = {
    "aqlm": ("AQLM", "aqlm"),
    "auto-round": ("AutoRound", "auto-round"),
    "awq": ("AWQ", "gptqmodel"),
    "bitnet": ("BitNet", "transformers"),
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
    "compressed-tensors": ("compressed-tensors", "compressed-tensors"),
    "eetq": ("EETQ", "kernels"),
    "fbgemm_fp8": ("FBGEMM FP8", "fbgemm-gpu"),
    "fp8": ("FP8", "transformers"),
    "gptq": ("GPTQ", "gptqmodel"),
    "higgs": ("HIGGS", "flute-kernel"),
    "hqq": ("HQQ", "hqq"),
    "mxfp4": ("MXFP4", "transformers"),
    "quanto": ("Quanto", "optimum-quanto"),
    "quark": ("Quark", "amd-quark"),
    "spqr": ("SpQR", "spqr_quant"),
    "torchao": ("torchao", "torchao"),
    "vptq": ("VPTQ", "vptq"),
}


def refuse_stored_quantization(name: str, folder: Path | None) -> None:
    """Raises EngineError where the base model's config.json says that its weights are quantized.

    folder: None for a hub id, whose config.json is fetched where the local cache lacks it. A file
    that cannot be had or read is left for the loader to speak of.
    """
    for found in _quantizations(_config_of(name, folder)):
        if isinstance(found, Mapping) and (found.get("quant_method") or _bitsandbytes(found)):
            raise _refusal(name, found)
        raise EngineError(
            f"config.json of {name!r} has a quantization that cannot be understood: "
            f"{str(found)[:100]!r}; an object with quant_method is allowed.",
            "Give the 16-bit model, or take the entry out where the weights are not quantized.",
        )


def _config_of(name: str, folder: Path | None) -> Any:
    try:
        if folder is not None:
            return json.loads((folder / "config.json").read_text("utf-8"))
        from huggingface_hub import hf_hub_download

        return json.loads(Path(hf_hub_download(name, "config.json")).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}


def _quantizations(config: Any) -> Iterator[Any]:
    """What stands under the keys, in the configuration and in those of its parts (text_config)."""
    if not isinstance(config, Mapping):
        return
    for part in (config, *config.values()):
        if isinstance(part, Mapping):
            yield from (part[key] for key in KEYS if part.get(key) is not None)


def _bitsandbytes(found: Mapping[str, Any]) -> bool:
    return bool(found.get("load_in_4bit") or found.get("load_in_8bit"))


def _refusal(name: str, found: Mapping[str, Any]) -> EngineError:
    method = "bitsandbytes" if _bitsandbytes(found) else str(found["quant_method"])[:60]
    spoken, package = METHODS.get(method, (method, ""))
    bits = _bits(found)
    problem = (
        f"The base model {name!r} is stored with {spoken}{f' ({bits} bit)' if bits else ''}, "
        "which Rankscope does not read yet."
    )
    if method == "bitsandbytes":
        remedy = "Give the original 16-bit model; a run can choose 4 or 8 bit there."
    elif package:
        remedy = f"Give the 16-bit model it was made from; {spoken} is read by {package}, not here."
    else:
        remedy = "Give the 16-bit model it was made from."
    return EngineError(problem, remedy)


def _bits(found: Any, depth: int = 0) -> int | None:
    """The bits of a weight, from the first key that says them, in parts that are of weights."""
    if not isinstance(found, Mapping) or depth > MAX_DEPTH:
        return None
    if _bitsandbytes(found):
        return 4 if found.get("load_in_4bit") else 8
    for key in BITS_KEYS:
        if type(found.get(key)) is int and 0 < found[key] <= 16:
            return found[key]
    parts = (v for k, v in found.items() if "activation" not in str(k) and "cache" not in str(k))
    return next(filter(None, (_bits(part, depth + 1) for part in parts)), None)
