"""Base models: find one by its name, say what it is, fingerprint it, load it.

A base model is `starter`, a folder, the name of a folder in `LORA_MODELS_DIR`, or a hub id
(`org/name`, the only name that may reach the network). No code of a model is ever run, and only
safetensors weights are read. This module knows nothing of adapters or training.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.errors import EngineError, NotFound
from lora_engine.host_memory import give_back_freed_memory
from lora_engine.library_imports import import_transformers
from lora_engine.settings import Settings
from lora_engine.starter import MODEL_DIR
from lora_engine.stored_quantization import refuse_stored_quantization

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from lora_engine.spec import QuantizationSpec

STARTER = "starter"
HUB_ID = re.compile(r"^[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}$")
FINGERPRINT_SAMPLE_BYTES = 1 << 20


@dataclass(frozen=True)
class BaseModel:
    """A base model by name; `path` is its folder, or None for a hub id not looked at yet."""

    name: str
    path: Path | None

    @property
    def source(self) -> str:
        """What transformers' `from_pretrained` is given."""
        return str(self.path) if self.path is not None else self.name

    @property
    def is_local(self) -> bool:
        return self.path is not None


@dataclass(frozen=True)
class ModelSummary:
    """What the model lists show, read from config.json alone."""

    name: str
    path: str
    architecture: str
    weights_bytes: int


def resolve_base_model(name: str, settings: Settings) -> BaseModel:
    """The base model that a person's `name` means.

    Raises NotFound, listing the known models; EngineError where the folder is no model.
    """
    if name == STARTER:
        return BaseModel(STARTER, MODEL_DIR)
    for folder in (settings.models_dir / name, Path(name).expanduser()):
        if folder.is_dir():
            _refuse_incomplete(folder)
            return BaseModel(name, folder.resolve())
    if HUB_ID.match(name) and not name.startswith((".", "/")):
        return BaseModel(name, None)
    known = ", ".join(summary.name for summary in list_base_models(settings))
    raise NotFound(
        f"There is no base model {name!r}: no such folder, and not a hub id (org/name).",
        f"Known here: {known}. Put a model folder into {settings.models_dir}, or give a path.",
    )


def list_base_models(settings: Settings) -> list[ModelSummary]:
    """The starter, every model folder in `settings.models_dir` by name, and whole models that
    runs trained, by their path."""
    found = [_summary(STARTER, MODEL_DIR)]
    if settings.models_dir.is_dir():
        folders = sorted(path.parent for path in settings.models_dir.glob("*/config.json"))
        folders += sorted(path.parent for path in settings.models_dir.glob("*/*/config.json"))
        found += [
            _summary(str(folder.relative_to(settings.models_dir)), folder) for folder in folders
        ]
    trained = sorted(path.parent for path in settings.runs_dir.glob("*/model/config.json"))
    return found + [_summary(str(folder), folder) for folder in trained]


def fingerprint(model: BaseModel) -> str:
    """A short hash that tells base models apart: sha256 over the configuration and the weights.

    Each weight file enters with its size and its first, middle and last megabyte (the first
    holds the safetensors header), so a 7B model costs no more than a small one. A fine-tune
    changes all of these; a single altered weight in between would not be seen.
    Raises NotFound for a hub id whose files are not in the local cache.
    """
    folder = model.path or _cached_snapshot(model.name)
    digest = hashlib.sha256()
    config = json.loads((folder / "config.json").read_text("utf-8"))
    for volatile in ("_name_or_path", "transformers_version"):
        config.pop(volatile, None)
    digest.update(json.dumps(config, sort_keys=True).encode())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            for offset in (0, size // 2, max(0, size - FINGERPRINT_SAMPLE_BYTES)):
                file.seek(offset)
                digest.update(file.read(FINGERPRINT_SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def load_tokenizer(model: BaseModel) -> PreTrainedTokenizerBase:
    """The model's own tokenizer, with a padding token.

    Raises EngineError where the folder holds none.
    """
    import_transformers()
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model.source, trust_remote_code=False, local_files_only=model.is_local
        )
    except (OSError, ValueError) as error:
        raise EngineError(
            f"The tokenizer of {model.name!r} cannot be loaded: {_first_line(error)}",
            "Check that tokenizer.json and tokenizer_config.json lie beside config.json.",
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base_model(
    model: BaseModel,
    device: str,
    dtype: torch.dtype,
    quantization: QuantizationSpec | None = None,
) -> PreTrainedModel:
    """The causal language model with its weights in `dtype` (or quantized) on `device`.

    Raises EngineError where the model's kind is not a causal language model, its stored weights
    are quantized already, or files lack.
    """
    refuse_stored_quantization(model.name, model.path)
    import_transformers()
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    quantized = {}
    if quantization is not None:
        config = _bitsandbytes_config(quantization, dtype)
        quantized = {"device_map": {"": device}, "quantization_config": config}
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            model.source,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=model.is_local,
            **quantized,
        )
    except (OSError, ValueError) as error:
        raise EngineError(
            f"The base model {model.name!r} cannot be loaded: {_first_line(error)}",
            "Give a causal language model with config.json and safetensors weights.",
        ) from error
    if quantization is None:
        return loaded.to(device)
    _keep_order_of_4_bit_weights(loaded)
    _leave_the_file(loaded)
    return loaded


def _keep_order_of_4_bit_weights(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking 4-bit weights in place when a layer runs in eval mode.

    It does so on CPUs with AVX512-BF16. Whoever unpacks the bytes afterwards (fused layers, DoRA)
    reads the new order as the old one and gets other weights, and the repacked layer's own
    product has no gradient.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def _leave_the_file(model: PreTrainedModel) -> None:
    """Copy what still lies in the mapped checkpoint, and give freed memory back to the system.

    One embedding that is a view into the map keeps all of the file's pages resident, the
    quantized layers' original weights too: 346 MiB for a model that needs 129.
    """
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and not hasattr(parameter, "quant_state"):
            parameter.data = parameter.data.clone()
    give_back_freed_memory()


def weight_module_names(model: BaseModel) -> list[str]:
    """Names of the modules that hold a two-dimensional weight, from the safetensors headers.

    Reads no weight. Empty for a hub id, whose files are not here yet.
    """
    return list(_two_dimensional(model))


def weight_shapes(model: BaseModel) -> dict[str, tuple[int, int]]:
    """Module to the shape of its two-dimensional weight; packed weights of few bits left out."""
    return {
        name: shape
        for name, (shape, dtype) in _two_dimensional(model).items()
        if dtype in ("F64", "F32", "F16", "BF16")
    }


def _two_dimensional(model: BaseModel) -> dict[str, tuple[tuple[int, int], str]]:
    """Module to the shape and the type of its two-dimensional weight, in the files' order."""
    from safetensors import safe_open

    if model.path is None:
        return {}
    found = {}
    for path in sorted(model.path.glob("*.safetensors")):
        with safe_open(path, framework="np") as file:
            for key in file.keys():  # noqa: SIM118 (a safetensors handle is no mapping)
                part = file.get_slice(key)
                if key.endswith(".weight") and len(part.get_shape()) == 2:
                    shape = tuple(part.get_shape())
                    found[key.removesuffix(".weight")] = (shape, part.get_dtype())
    return found


def target_suffixes(module_names: Sequence[str]) -> list[str]:
    """The short names a person would type (`q_proj`), in order of first appearance."""
    return list(dict.fromkeys(name.rsplit(".", 1)[-1] for name in module_names))


def _bitsandbytes_config(quantization: QuantizationSpec, dtype: torch.dtype):
    from transformers import BitsAndBytesConfig

    if quantization.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.type,
        bnb_4bit_use_double_quant=quantization.double,
        bnb_4bit_compute_dtype=dtype,
    )


def _refuse_incomplete(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise EngineError(
            f"{folder} is not a model folder: it has no config.json.",
            "Give the folder that holds config.json, the tokenizer and the safetensors files.",
        )
    if not any(folder.glob("*.safetensors")):
        raise EngineError(
            f"{folder} has no safetensors weights.",
            "Save the model with save_pretrained(..., safe_serialization=True).",
        )


def _summary(name: str, folder: Path) -> ModelSummary:
    config_path = folder / "config.json"
    try:
        config = json.loads(config_path.read_text("utf-8"))
        architecture = str((config.get("architectures") or [config.get("model_type")])[0])
    except (ValueError, AttributeError, OSError):
        architecture = "unreadable config.json"
    weights_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return ModelSummary(name, str(folder), architecture, weights_bytes)


def _cached_snapshot(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise NotFound(
            f"{hub_id} is not in the local model cache.", "Load the model once while online."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__


class BaseModels:
    """What the engine offers about base models."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def names(self) -> list[str]:
        """The names of the base models known here, the starter first."""
        return [model.name for model in list_base_models(self._settings)]

    def list(self) -> list[ModelSummary]:
        """The base models known here, the starter first."""
        return list_base_models(self._settings)
