"""Are the numbers of a checkpoint numbers? Each is looked at once, block by block, in its file.

A NaN or an infinity in a float's bits is an exponent of ones, whatever the rest says (IEEE 754; an
8-bit e4m3 float has no infinity and its NaN is all ones). The file is looked at, not the loaded
model: quantization on loading would make codes of what is no number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lora_engine.base_models.load_report import COMPUTED
from lora_engine.base_models.weight_files import listed
from lora_engine.errors import EngineError
from lora_engine.language import tr, tr_count
from lora_engine.weights.packed_tensors import STATE
from lora_engine.weights.safetensors_file import SafetensorsFile, TensorEntry
from lora_engine.weights.stored_matrix import read_exactly

BLOCK_BYTES = 4 << 20
# The bits that are all ones in what is no number, by the safetensors type.
NOT_A_NUMBER = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E5M2": ("u1", 0x7C),
    "F8_E4M3": ("u1", 0x7F),
    "F8_E8M0": ("u1", 0xFF),
}


def refuse_non_finite(name: str, files: Sequence[SafetensorsFile]) -> None:
    """Raises EngineError naming the tensors that hold NaN or infinite numbers, and how many."""
    names = {tensor for file in files for tensor in file.tensors}
    found = []
    for file in files:
        for tensor, entry in file.tensors.items():
            # bitsandbytes may keep its 4-bit codes in a tensor of any type, bfloat16 too.
            is_code = not names.isdisjoint((f"{tensor}{STATE}nf4", f"{tensor}{STATE}fp4"))
            if entry.dtype in NOT_A_NUMBER and not is_code and not COMPUTED.search(tensor):
                count = count_non_finite(file, entry)
                if count:
                    numbers = {"count": f"{count:,}", "all": f"{_numbers(entry):,}"}
                    found.append(tr("{tensor} ({count} of {all})", tensor=tensor, **numbers))
    if found:
        raise EngineError(
            tr_count(
                "The base model {name} holds numbers that are NaN or infinite, in {count} tensor: "
                "{listed}.",
                "The base model {name} holds numbers that are NaN or infinite, in {count} tensors: "
                "{listed}.",
                len(found),
                name=f"{name!r}",
                listed=listed(found),
            ),
            tr(
                "Get the model from its source again, or convert it anew; float16 overflows "
                "where bfloat16 does not."
            ),
        )


def count_non_finite(file: SafetensorsFile, entry: TensorEntry) -> int:
    """How many numbers of a tensor are NaN or infinite; its type is one of NOT_A_NUMBER."""
    kind, mask = NOT_A_NUMBER[entry.dtype]
    bits = np.dtype(kind).type(mask)
    count = 0
    for start in range(entry.start, entry.end, BLOCK_BYTES):
        data = read_exactly(file.path, start, min(BLOCK_BYTES, entry.end - start))
        count += int(np.count_nonzero((np.frombuffer(data, kind) & bits) == bits))
    return count


def _numbers(entry: TensorEntry) -> int:
    return (entry.end - entry.start) // np.dtype(NOT_A_NUMBER[entry.dtype][0]).itemsize
