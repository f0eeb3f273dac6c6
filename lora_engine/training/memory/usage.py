"""How much memory the worker uses on the device that trains: now, and at its peak."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


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


def peak_resident_bytes() -> int:
    """The peak of this process's resident memory since its program began.

    Linux counts getrusage's maximum on from the process that started this one (a server may hold
    more than a worker ever does); VmHWM belongs to the program alone.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others KiB
