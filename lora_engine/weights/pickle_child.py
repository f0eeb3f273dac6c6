"""Runs in a process of its own: reads a pickled torch file under limits, and nothing else.

    python -I pickle_child.py MEMORY_BYTES MAX_ELEMENTS FILE           list as JSON
    python -I pickle_child.py MEMORY_BYTES MAX_ELEMENTS FILE NAME OUT  write one tensor as .npy

A refusal is a JSON object {"error": kind, "detail": words or names} with exit status 3; the kinds
are `Refusal`'s, `objects` (classes and functions that the file asks for, none of them called),
`memory` and `damaged`. It imports nothing of Rankscope, so that it can run isolated from the
working folder and the environment.
"""

import io
import json
import pickle
import pickletools
import re
import resource
import sys
import zipfile
from typing import Any

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
MAX_PICKLE_TEXT = 2**26
LEGACY_PICKLES = 5


class Refusal(Exception):
    """What the file holds cannot be read, in words for the person."""


def limit_memory(extra_bytes: int) -> None:
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + extra_bytes, mapped + extra_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def collect(value: object, name: str, found: dict, depth: int = 0) -> None:
    """Gather tensors from nested dicts and lists under dotted names."""
    import torch

    if depth > MAX_DEPTH or len(found) > MAX_TENSORS:
        raise Refusal(f"it nests deeper than {MAX_DEPTH} or holds over {MAX_TENSORS} tensors")
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
        if bad and len(bad) == len(found):
            raise Refusal(bad[0])
        rows = [
            [name, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
            for name, tensor in found.items()
            if not complaints[name]
        ]
        json.dump({"tensors": rows}, sys.stdout)
        return
    name, out = arguments[3:]
    if name not in found:
        raise Refusal(f"it has no tensor {name!r}; it has {', '.join(list(found)[:8])}")
    if complaints[name]:
        raise Refusal(f"{name} {complaints[name]}")
    tensor = found[name].detach()
    if tensor.numel() > max_elements:
        raise Refusal(f"{name} holds {tensor.numel():,} numbers, allowed are {max_elements:,}")
    if tensor.dtype.is_floating_point and tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.to(torch.float32)
    import numpy

    numpy.save(out, tensor.contiguous().numpy(), allow_pickle=False)


def asked_for(file: str) -> list:
    """Classes and functions that a pickle names and torch does not take for safe, in its order.

    The pickle's instructions are read as data; nothing is imported or called.
    """
    try:
        from torch._weights_only_unpickler import _get_allowed_globals

        safe = set(_get_allowed_globals())
    except ImportError:
        safe = set()
    found: dict = {}
    for name in globals_named(pickle_text(file)):
        if name not in safe and not name.startswith(("torch.storage.", "__builtin__.")):
            found[re.sub(r"[^\w.]", "?", name)[:120]] = True
    return list(found)[:8]


def pickle_text(file: str) -> bytes:
    """The instructions of a torch file: data.pkl of the archive, else the file's own beginning."""
    if not zipfile.is_zipfile(file):
        with open(file, "rb") as opened:
            return opened.read(MAX_PICKLE_TEXT)
    with zipfile.ZipFile(file) as archive:
        names = [n for n in archive.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
        with archive.open(names[0]) as opened:
            return opened.read(MAX_PICKLE_TEXT)


def globals_named(data: bytes):
    """Dotted names of the GLOBAL, INST and STACK_GLOBAL instructions, through the first pickles
    of the file (torch's old format has several)."""
    stream = io.BytesIO(data)
    for _ in range(LEGACY_PICKLES):
        texts: list = []
        memo: dict = {}
        try:
            argument: Any
            for code, argument, _ in pickletools.genops(stream):
                if code.name in ("GLOBAL", "INST"):
                    yield argument.replace(" ", ".", 1)
                elif code.name == "STACK_GLOBAL" and len(texts) >= 2:
                    yield ".".join(map(str, texts[-2:]))
                elif "UNICODE" in code.name or code.name.endswith("STRING"):
                    texts.append(argument)
                elif code.name == "MEMOIZE":
                    memo[len(memo)] = texts[-1] if texts else ""
                elif code.name in ("BINPUT", "LONG_BINPUT", "PUT"):
                    memo[int(argument)] = texts[-1] if texts else ""
                elif code.name in ("BINGET", "LONG_BINGET", "GET") and int(argument) in memo:
                    texts.append(memo[int(argument)])
        except (ValueError, EOFError, LookupError, TypeError, AttributeError):
            return


def refusal_of(error: Exception, file: str) -> dict:
    """What went wrong, without any of the library's own words."""
    if isinstance(error, Refusal):
        return {"error": "refused", "detail": str(error)[:400]}
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return {"error": "memory", "detail": ""}
    try:
        names = asked_for(file)
    except (*EXPECTED, zipfile.BadZipFile, ImportError):
        names = []
    return {"error": "objects", "detail": names} if names else {"error": "damaged", "detail": ""}


def run(arguments: list[str]) -> int:
    """Answer on standard output; the exit status. The parent turns a refusal into words."""
    try:
        main(arguments)
    except (*EXPECTED, Refusal) as error:
        json.dump(refusal_of(error, arguments[2]), sys.stdout)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
