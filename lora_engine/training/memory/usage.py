"""How much memory the worker uses on the device that trains: now, and at its peak."""

from __future__ import annotations

import sys

from lora_engine.operating_system import peak_resident_bytes


def memory_bytes(device: str) -> int:
    """On CUDA the peak of tensors so far; on the CPU the process's resident memory now."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    import psutil

    return psutil.Process().memory_info().rss


def peak_memory_bytes() -> int:
    """The peak of tensors on the GPU where one trained, else of the process's resident memory."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return peak_resident_bytes()
