"""A pickled torch file, read in a guarded process: `weights_only`, and nothing but plain tensors.

The answer is a JSON object. A refusal is {"error": kind, "detail": words or names}; the kinds are
`refused`, `objects` (classes and functions that the file asks for, none of them called), `memory`
and `damaged`.
"""

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable
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


def listed(file: str) -> dict[str, Any]:
    """{"tensors": name, shape and dtype of each}, or a refusal."""
    return _answer(file, lambda: {"tensors": _rows(_loaded(file))})


def written(file: str, name: str, out: str, most_elements: int) -> dict[str, Any]:
    """Write one tensor to `out` as .npy: {}, or a refusal."""
    return _answer(file, lambda: _write(_loaded(file), name, out, most_elements))


def _answer(file: str, step: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return step()
    except (*EXPECTED, Refusal) as error:
        return refusal_of(error, file)


def _loaded(file: str) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {}
    collect(torch.load(file, map_location="cpu", weights_only=True), "", found)
    return found


def _rows(found: dict[str, Any]) -> list[list[Any]]:
    """Raises Refusal where no tensor is plain."""
    complaints = {name: complaint(tensor) for name, tensor in found.items()}
    bad = [f"{name} {why}" for name, why in complaints.items() if why]
    if bad and len(bad) == len(found):
        raise Refusal(bad[0])
    return [
        [name, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
        for name, tensor in found.items()
        if not complaints[name]
    ]


def _write(found: dict[str, Any], name: str, out: str, most_elements: int) -> dict[str, Any]:
    import numpy
    import torch

    if name not in found:
        raise Refusal(f"it has no tensor {name!r}; it has {', '.join(list(found)[:8])}")
    tensor = found[name].detach()
    if why := complaint(tensor):
        raise Refusal(f"{name} {why}")
    if tensor.numel() > most_elements:
        raise Refusal(f"{name} holds {tensor.numel():,} numbers, allowed are {most_elements:,}")
    if tensor.dtype.is_floating_point and tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.to(torch.float32)
    numpy.save(out, tensor.contiguous().numpy(), allow_pickle=False)
    return {}


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
        try:
            yield from _globals_of_one_pickle(stream)
        except (ValueError, EOFError, LookupError, TypeError, AttributeError):
            return


def _globals_of_one_pickle(stream: io.BytesIO):
    """The names up to this pickle's end, which leaves the stream at the next one. STACK_GLOBAL
    takes its module and name from the texts before it, which may come from the pickle's memo."""
    texts: list = []
    memo: dict = {}
    argument: Any
    for code, argument, _ in pickletools.genops(stream):
        match code.name:
            case "GLOBAL" | "INST":
                yield argument.replace(" ", ".", 1)
            case "STACK_GLOBAL" if len(texts) >= 2:
                yield ".".join(map(str, texts[-2:]))
            case "MEMOIZE":
                memo[len(memo)] = texts[-1] if texts else ""
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                memo[int(argument)] = texts[-1] if texts else ""
            case "BINGET" | "LONG_BINGET" | "GET" if int(argument) in memo:
                texts.append(memo[int(argument)])
            case name if "UNICODE" in name or name.endswith("STRING"):
                texts.append(argument)


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
