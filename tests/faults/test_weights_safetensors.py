"""Row T5 of the safety plan: safetensors headers that lie, and numbers that are none."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from lora_engine.errors import EngineError
from lora_engine.weights import open_matrix
from tests.faults.weights_files import entry, refused, safetensors_bytes

TWICE = (
    b'{"w":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},'
    b'"w":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]}}'
)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (safetensors_bytes(TWICE, bytes(8)), "stands there twice"),
        (safetensors_bytes({"w": entry([2, 2], 0, 16)}, bytes(12)), "end at byte"),
        (safetensors_bytes({"w": entry([2, 2], 0, 12)}, bytes(12)), "needs 16 bytes"),
        (safetensors_bytes({"w": entry([2, 2], 4, 20)}, bytes(20)), "gap"),
        (
            safetensors_bytes({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
            "overlaps",
        ),
        (safetensors_bytes({"w": entry([2, -2], 0, 16)}, bytes(16)), "shape"),
        (safetensors_bytes({"w": entry([2, True], 0, 8)}, bytes(8)), "shape"),
        (safetensors_bytes({"w": entry([2.0, 2], 0, 16)}, bytes(16)), "shape"),
        (safetensors_bytes({"w": entry([2**40, 2**40], 0, 16)}, bytes(16)), "needs"),
        (safetensors_bytes({"w": entry([2, 2], 0, 16, "X9")}, bytes(16)), "unknown dtype"),
        (safetensors_bytes({"w": {"dtype": "F32"}}), "exactly dtype"),
        (safetensors_bytes({"__metadata__": {"a": 1}}), "metadata"),
        (safetensors_bytes(b"{" + b"[" * 100_000), "no sound JSON"),
        (safetensors_bytes(b'{"a":' + b"9" * 5000 + b"}"), "no sound JSON"),
        (safetensors_bytes({"w": entry([1, 2], 0, 8, "C64")}, bytes(16))[:-8], "needs 16 bytes"),
        (safetensors_bytes({"w": entry([1, 1], 0, 8, "C64")}, bytes(8)), "complex"),
        (safetensors_bytes({"w": entry([2, 2], 0, 4, "BOOL")}, bytes(4)), "booleans"),
        (safetensors_bytes({"w": entry([2, 2], 0, 2, "F4")}, bytes(2)), "stored as F4"),
        (safetensors_bytes({}, length=2**63), "announce a header"),
        (safetensors_bytes(b"{" + b" " * (11 * 2**20)), "header has"),
    ],
)
def test_safetensors_headers(tmp_path, content, match):
    (tmp_path / "m.safetensors").write_bytes(content)
    refused(tmp_path / "m.safetensors", match, tensor="w")


def test_a_million_tensors(tmp_path):
    header = b"{" + b",".join(
        b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(100_000)
    ) + b"}"  # fmt: skip
    (tmp_path / "m.safetensors").write_bytes(safetensors_bytes(header))
    refused(tmp_path / "m.safetensors", "100,000 tensors", tensor="1")


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_values_that_are_not_finite(tmp_path, value):
    tensor = torch.zeros(6, 5, dtype=torch.bfloat16)
    tensor[4, 2] = value
    save_file({"w": tensor}, tmp_path / "m.safetensors")
    refused(tmp_path / "m.safetensors", "at row 5, column 3")
    with pytest.raises(EngineError, match="row 5, column 3"):
        open_matrix(tmp_path / "m.safetensors").columns(2, 4)


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    save_file({"w": torch.zeros(64, 64)}, tmp_path / "m.safetensors")
    source = open_matrix(tmp_path / "m.safetensors")
    os.truncate(tmp_path / "m.safetensors", 4096)
    for read in (source.rows, source.columns):
        with pytest.raises(EngineError, match="became shorter"):
            read(0, 60)


def test_quantised_weights_are_not_taken_for_their_codes(tmp_path):
    save_file(
        {"a.weight": torch.zeros(4, 4, dtype=torch.int8), "a.SCB": torch.ones(4)},
        tmp_path / "m.safetensors",
    )
    refused(tmp_path / "m.safetensors", "quantized", tensor="a.weight")


def test_a_four_bit_weight_whose_parts_do_not_fit(tmp_path):
    state = json.dumps({"quant_type": "nf4", "blocksize": 64, "shape": [10**6, 10**5]}).encode()
    tensors = {
        "w": torch.zeros(32, 1, dtype=torch.uint8),
        "w.absmax": torch.ones(1),
        "w.quant_map": torch.zeros(16),
        "w.quant_state.bitsandbytes__nf4": torch.frombuffer(bytearray(state), dtype=torch.uint8),
    }
    save_file(tensors, tmp_path / "m.safetensors")
    refused(tmp_path / "m.safetensors", "at most", tensor="w")
    small = json.dumps({"quant_type": "nf4", "blocksize": 0, "shape": [8, 8]}).encode()
    tensors["w.quant_state.bitsandbytes__nf4"] = torch.frombuffer(
        bytearray(small), dtype=torch.uint8
    )
    save_file(tensors, tmp_path / "m.safetensors")
    refused(tmp_path / "m.safetensors", "blocksize", tensor="w")
