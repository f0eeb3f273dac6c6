"""All tensors of a safetensors file, read into memory and never mapped.

A mapped file that shrinks while it is open ends the process (SIGBUS), and a server has more to
lose than one adapter. Whoever calls has looked at the header and its sizes. Knows nothing of what
the tensors mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def tensors_in_memory(path: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """The tensors by their keys. Raises OSError, and SafetensorError for a file cut short."""
    from safetensors.torch import load

    return {key: tensor.to(device) for key, tensor in load(path.read_bytes()).items()}
