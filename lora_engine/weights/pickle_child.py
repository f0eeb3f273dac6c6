"""Runs in a process of its own: reads a pickled torch file under limits, and nothing else.

    python -I pickle_child.py MEMORY_BYTES MAX_ELEMENTS FILE           list as JSON
    python -I pickle_child.py MEMORY_BYTES MAX_ELEMENTS FILE NAME OUT  write one tensor as .npy

A refusal is a JSON object {"error": ...} with exit status 3. It imports nothing of Rankscope,
so that it can run isolated from the working folder and the environment.
"""

import json
import pickle
import resource
import sys

EXPECTED = (
    ValueError,
    RuntimeError,
    OSError,
    MemoryError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    pickle.UnpicklingError,
)
MAX_TENSORS = 20_000
MAX_DEPTH = 8


def limit_memory(extra_bytes: int) -> None:
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + extra_bytes, mapped + extra_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def collect(value: object, name: str, found: dict, depth: int = 0) -> None:
    """Gather tensors from nested dicts and lists under dotted names."""
    import torch

    if depth > MAX_DEPTH or len(found) > MAX_TENSORS:
        raise ValueError(f"it nests deeper than {MAX_DEPTH} or holds over {MAX_TENSORS} tensors")
    if isinstance(value, torch.Tensor):
        found[name or "tensor"] = value
    elif isinstance(value, dict):
        for key, item in value.items():
            collect(item, f"{name}.{key}" if name else str(key), found, depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            collect(item, f"{name}.{index}" if name else str(index), found, depth + 1)


def complaint(tensor) -> str | None:
    """Why a tensor is not plain numbers lying in memory, or None."""
    import torch

    if tensor.layout != torch.strided:
        return f"is sparse ({tensor.layout})"
    if tensor.device.type != "cpu":
        return f"has no numbers (device {tensor.device.type})"
    if tensor.is_quantized:
        return "is quantized"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return (
            f"claims {tensor.numel():,} numbers and stores "
            f"{tensor.untyped_storage().nbytes() // tensor.element_size():,} (stride 0)"
        )
    return None


def main(arguments: list[str]) -> None:
    import torch

    memory, max_elements, file = int(arguments[0]), int(arguments[1]), arguments[2]
    torch.set_num_threads(1)
    limit_memory(memory)
    loaded = torch.load(file, map_location="cpu", weights_only=True)
    found: dict = {}
    collect(loaded, "", found)
    complaints = {name: complaint(tensor) for name, tensor in found.items()}
    if len(arguments) == 3:
        bad = [f"{name} {why}" for name, why in complaints.items() if why]
        if bad:
            raise ValueError(bad[0])
        rows = [
            [name, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
            for name, tensor in found.items()
        ]
        json.dump({"tensors": rows}, sys.stdout)
        return
    name, out = arguments[3:]
    if name not in found:
        raise ValueError(f"it has no tensor {name!r}; it has {', '.join(list(found)[:8])}")
    if complaints[name]:
        raise ValueError(f"{name} {complaints[name]}")
    tensor = found[name].detach()
    if tensor.numel() > max_elements:
        raise ValueError(f"{name} holds {tensor.numel():,} numbers, allowed are {max_elements:,}")
    if tensor.dtype.is_floating_point and tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.to(torch.float32)
    import numpy

    numpy.save(out, tensor.contiguous().numpy(), allow_pickle=False)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except EXPECTED as error:  # the parent process turns this into words for the person
        text = str(error).split("\n")[0][:300] or type(error).__name__
        json.dump({"error": text, "kind": type(error).__name__}, sys.stdout)
        sys.exit(3)
