"""The doctor: what this machine has and what works here, each as one check with a detail.

Looks and tries, leaves nothing changed. Knows nothing of how the checks are shown.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass

import psutil

from lora_engine.errors import EngineError
from lora_engine.library_imports import import_bitsandbytes
from lora_engine.runs.launchers.ray.client import RayClient
from lora_engine.runs.launchers.ray.storage import open_storage
from lora_engine.runs.launchers.slurm.client import SlurmClient
from lora_engine.settings import Settings, environment_names
from lora_engine.usage import Usage, quotas_used

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "datasets",
    "gradio",
    "plotly",
    "pandas",
    "safetensors",
)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at or tried. detail: a version, a size, or what is wrong."""

    name: str
    ok: bool
    detail: str


def run_checks(settings: Settings) -> list[Check]:
    """Every check, in the order they are shown."""
    return [
        Check("python", True, platform.python_version()),
        *(_package(name) for name in PACKAGES),
        Check("processor", True, f"{os.cpu_count()} cores, {_gib(psutil.virtual_memory().total)}"),
        _cuda(),
        _bitsandbytes(),
        _ray(settings),
        *_ray_storage(settings),
        _slurm(settings),
        *_settings(settings),
        _hub_token(),
        *(_quota(one) for one in quotas_used(settings)),
        _writable(settings),
    ]


def versions() -> list[tuple[str, str | None]]:
    """Python's and each package's version; None where it is not installed."""
    return [("python", platform.python_version()), *((one, _version(one)) for one in PACKAGES)]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package(name: str) -> Check:
    found = _version(name)
    return Check(name, found is not None, found or "not installed; `make run` installs it")


def _quota(one: Usage) -> Check:
    detail = one.problem or f"{one.used} of {one.most} used ({one.variable})"
    return Check(one.title, not one.problem and not one.is_full, detail)


def _cuda() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("gpu", False, "none that torch can use; runs train on the processor")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Check("gpu", True, ", ".join(names))


def _bitsandbytes() -> Check:
    """Quantizes one small matrix to NF4 and back, on the device that would train."""
    try:
        import_bitsandbytes()
        import bitsandbytes.functional as quantization
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        matrix = torch.linspace(-1, 1, 4096, device=device).reshape(64, 64)
        packed, state = quantization.quantize_4bit(matrix, quant_type="nf4")
        largest = (quantization.dequantize_4bit(packed, state) - matrix).abs().max().item()
    except (ImportError, RuntimeError, AttributeError, NotImplementedError) as error:
        return Check("4-bit (bitsandbytes)", False, f"{type(error).__name__}: {error}")
    return Check(
        "4-bit (bitsandbytes)", largest < 0.2, f"NF4 on {device}, largest error {largest:.3f}"
    )


def _ray(settings: Settings) -> Check:
    """Asks the cluster for its version, where a setting names one."""
    if settings.ray_address is None:
        return Check("ray", False, "LORA_RAY_ADDRESS is not set; runs stay on this machine")
    try:
        return Check(
            "ray", True, f"{RayClient(settings.ray_address).version()} at {settings.ray_address}"
        )
    except EngineError as error:
        return Check("ray", False, f"{error.problem} {error.remedy}")


def _ray_storage(settings: Settings) -> list[Check]:
    """Writes a small file into the storage, reads and removes it, where a setting names one."""
    if settings.ray_storage is None:
        return []
    try:
        open_storage(settings.ray_storage).try_out()
    except EngineError as error:
        return [Check("ray storage", False, f"{error.problem} {error.remedy}")]
    return [Check("ray storage", True, f"{settings.ray_storage} writable and readable from here")]


def _slurm(settings: Settings) -> Check:
    """Asks the cluster for its version and partitions, where a setting names one."""
    if settings.slurm_host is None:
        return Check("slurm", False, "LORA_SLURM_HOST is not set; runs stay on this machine")
    client = SlurmClient(settings)
    try:
        partitions = client.partitions()
        said = f"{client.version()} at {settings.slurm_host}: {'; '.join(partitions) or 'none'}"
    except EngineError as error:
        return Check("slurm", False, f"{error.problem} {error.remedy}")
    wanted = settings.slurm_partition
    if wanted is None or wanted in {one.split()[0].rstrip("*") for one in partitions}:
        return Check("slurm", True, said)
    return Check("slurm", False, f"LORA_SLURM_PARTITION is {wanted}, which is not among {said}")


def _settings(settings: Settings) -> list[Check]:
    fields = Settings.model_fields
    return [
        Check(variable, True, f"{getattr(settings, name)} ({fields[name].description})")
        for name, variable in environment_names().items()
    ]


def _hub_token() -> Check:
    """Whether there is one; never what it is. Workers get it where their run names the hub."""
    found = "set" if os.environ.get("HF_TOKEN") else "not set"
    return Check(
        "HF_TOKEN", True, f"{found} (Token of the model hub, for private models and sets.)"
    )


def _writable(settings: Settings) -> Check:
    folder = settings.data_dir
    while not folder.exists():
        folder = folder.parent
    ok = os.access(folder, os.W_OK)
    free = psutil.disk_usage(str(folder)).free
    word = "writable" if ok else "not writable"
    return Check("data folder", ok, f"{settings.data_dir} {word}, {_gib(free)} free")


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
