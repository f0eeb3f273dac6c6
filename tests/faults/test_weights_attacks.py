"""Bad input beside its control: rows T1-T7 and T11 of the safety plan, and plain mistakes.

Every refusal says what was found; none may take memory in proportion to what a file claims.
"""

import gzip
import io
import json
import os
import pickle
import resource
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lora_engine.errors import EngineError
from lora_engine.weights import limits, list_tensors, open_checkpoint, open_matrix
from lora_engine.weights.matrix import to_array


def refused(path, match, **how):
    """Opening and reading the file raises an EngineError that matches; memory stays."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(EngineError, match=match) as caught:
        to_array(open_matrix(path, **how))
    assert caught.value.remedy
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 200 * 1024


class Canary:
    """Unpickling this writes a file: if the file exists, code from the pickle ran."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


# T1, T2: pickles


def test_a_pickle_with_code_does_not_run_it(tmp_path):
    canary = tmp_path / "ran"
    torch.save({"w": torch.eye(2), "x": Canary(str(canary))}, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "Weights only load failed", tensor="w")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Canary(str(canary)), protocol=2))
    refused(tmp_path / "plain.pt", "cannot be opened", tensor="w")
    assert not canary.exists()


def test_training_args_are_never_opened(tmp_path):
    torch.save({"w": torch.eye(2)}, tmp_path / "training_args.bin")
    refused(tmp_path / "training_args.bin", "never opened", tensor="w")


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (torch.zeros(1).expand(1_000_000, 1_000_000), "claims 1,000,000,000,000 numbers"),
        (torch.eye(4).to_sparse(), "sparse"),
        (torch.zeros(3, 3, device="meta"), "device meta"),
        (torch.eye(3, dtype=torch.complex64), "complex"),
        (torch.tensor([[1.0, float("nan")]]), "nan at row 1, column 2"),
    ],
)
def test_tensors_that_are_not_plain_numbers(tmp_path, tensor, match):
    torch.save(tensor, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", match, tensor="tensor")


def test_a_compressed_torch_file_is_refused_before_it_is_opened(tmp_path):
    torch.save(torch.zeros(4000, 1000), tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as source,
        zipfile.ZipFile(tmp_path / "m.pt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    refused(tmp_path / "m.pt", "compressed inside", tensor="tensor")


def test_a_pickle_that_eats_memory_or_time_is_stopped(tmp_path, monkeypatch):
    torch.save(torch.zeros(4000, 4000), tmp_path / "m.pt")
    monkeypatch.setattr(limits, "PICKLE_MEMORY_BYTES", 2**20)
    refused(tmp_path / "m.pt", "cannot be opened", tensor="tensor")
    monkeypatch.setattr(limits, "PICKLE_TIMEOUT_S", 0.01)
    refused(tmp_path / "m.pt", "took over", tensor="tensor")


# T3, T4: NumPy


def npy_header(shape, dtype="<f8", version=b"\x01\x00"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (npy_header("(200000, 200000)") + bytes(64), "asks for 200,000 x 200,000"),
        (npy_header("(2, 2)") + bytes(40), "32 bytes, and it has 40"),
        (npy_header("(-2, -2)") + bytes(32), "shape"),
        (npy_header("(2, 2)", "|O") + bytes(32), "never loaded"),
        (npy_header("(2, 2)", version=b"\x09\x00") + bytes(32), "version"),
        (b"\x93NUMPY\x01\x00\xff\xff{'descr", "not a sound NumPy file"),
        (npy_header("(2, 2)", "<c16") + bytes(64), "complex"),
        (npy_header("(2, 2)", "|b1") + bytes(4), "booleans"),
        (npy_header("(0, 0)"), "empty"),
        (npy_header("(3,)") + bytes(24), "vector of 3"),
        (npy_header("()") + bytes(8), "single number"),
        (npy_header("(1, 1000000)", "|i1") + bytes(1_000_000), "1 x 1,000,000; at most"),
        (npy_header("(1, 1)", "<i8") + struct.pack("<q", 2**60), "2\\^53"),
        (npy_header("(1, 2)") + struct.pack("<dd", 1, float("inf")), "inf at row 1, column 2"),
    ],
)
def test_npy_files(tmp_path, content, match):
    (tmp_path / "m.npy").write_bytes(content)
    refused(tmp_path / "m.npy", match)


def npz(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)


def test_an_npz_bomb_is_refused_by_what_it_declares(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("w.npy", "w", force_zip64=True) as file:
            file.write(npy_header("(20000, 20000)", "|i1"))
            for _ in range(400):
                file.write(bytes(1_000_000))
    refused(tmp_path / "m.npz", "times its size", tensor="w")


def test_npz_archives_with_something_else_inside(tmp_path):
    array = io.BytesIO()
    np.save(array, np.eye(2))
    npz(tmp_path / "other.npz", [("w.npy", array.getvalue()), ("run.sh", b"echo")])
    refused(tmp_path / "other.npz", "not an .npy array", tensor="w")
    npz(tmp_path / "many.npz", [(f"{i}.npy", b"") for i in range(1001)])
    refused(tmp_path / "many.npz", "1,001 entries", tensor="w")
    npz(tmp_path / "short.npz", [("w.npy", array.getvalue()[:-1])])
    refused(tmp_path / "short.npz", "32 bytes, and it has 31", tensor="w")


def test_an_npz_that_lies_about_its_sizes(tmp_path):
    array = io.BytesIO()
    np.save(array, np.zeros((300, 300)))
    npz(tmp_path / "m.npz", [("w.npy", array.getvalue())])
    data = bytearray((tmp_path / "m.npz").read_bytes())
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 200)
    (tmp_path / "m.npz").write_bytes(data)
    refused(tmp_path / "m.npz", "not a sound NumPy file", tensor="w")


# T5: safetensors


def safetensors_bytes(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


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
        (safetensors_bytes({}, length=2**63), "header says"),
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
    refused(tmp_path / "m.safetensors", "quantised", tensor="a.weight")


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


# T6: pictures


def png(width, height, data=b""):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_picture_bomb(tmp_path, side):
    (tmp_path / "m.png").write_bytes(png(side, side, zlib.compress(bytes(1_000_000))))
    refused(tmp_path / "m.png", "pixels; at most")
    with pytest.raises(EngineError, match="pixels; at most"):
        list_tensors(tmp_path / "m.png")


def test_a_picture_that_breaks_off(tmp_path):
    (tmp_path / "m.png").write_bytes(png(64, 64, zlib.compress(bytes(100))))
    refused(tmp_path / "m.png", "cannot be decoded")


# T7: text


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"1,2\n3,1e999\n", "line 2, column 2 holds '1e999'"),
        (b"1,2\n3,nan\n", "line 2, column 2"),
        (b"1,2\n3\n", "line 2: 1 columns, where the lines before have 2"),
        (b"1,2\n3,\n", "line 2, column 2 is empty"),
        (b"1,2\n3,x\n", "line 2, column 2 holds 'x'"),
        (b"1,2\n3,1_0\n", "line 2, column 2 holds '1_0'"),
        (b"1,5 2,5\n3,5 4,5\n", "line 1, column 2 holds '5 2'"),
        (b"1;2\n3,4;1,000,000\n", "line 2, column 2"),
        (b"1,1+2j\n2,3\n", "line 1, column 2"),
        (b"=1+1,2\n3,4\n", "line 1, column 1"),
        (b"1,2\n3,\xff\n", "line 2: the byte 0xff"),
        ("1,2\n3,4".encode("utf-16"), "UTF-16"),
        (b"1,2,3\n", "vector of 3"),
        (b"1\n2\n3\n", "vector of 3"),
        (b"# nothing\n\n", "holds no numbers"),
        (b"1," * 30_000 + b"1\n", "30,001 columns"),
        (b"1" * (2**20 + 1) + b"\n", "line 1: 1,048,577 characters"),
        (b"", "empty"),
    ],
)
def test_text_says_line_and_column(tmp_path, content, match):
    (tmp_path / "m.csv").write_bytes(content)
    refused(tmp_path / "m.csv", match)


def test_too_many_rows_and_bytes(tmp_path, monkeypatch):
    (tmp_path / "m.csv").write_bytes(b"1,2\n" * 100_002)
    refused(tmp_path / "m.csv", "100,000 rows")
    monkeypatch.setattr(limits, "MAX_CSV_BYTES", 1000)
    refused(tmp_path / "m.csv", "text may have 1,000")


# A file that lies about its name


def test_names_that_lie(tmp_path):
    array = io.BytesIO()
    np.save(array, np.eye(2))
    tensors = safetensors_bytes({"w": entry([1, 1], 0, 4)}, bytes(4))
    saved = io.BytesIO()
    torch.save(torch.eye(2), saved)
    lies = [
        ("m.csv", array.getvalue(), "named as text .* it is a NumPy array"),
        ("m.npy", tensors, "it is a safetensors file"),
        ("m.safetensors", saved.getvalue(), "it is a pickled torch file"),
        ("m.safetensors", pickle.dumps([1], protocol=4), "it is a pickled torch file"),
        ("m.png", b"1,2\n3,4", "it is text"),
        ("m.pt", array.getvalue(), "it is a NumPy array"),
        ("m.csv", gzip.compress(b"1,2\n3,4"), "gzip"),
        ("m.npy", b"GGUF" + bytes(100), "GGUF"),
        ("m.npz", b"PK\x03\x04" + bytes(100), "zip"),
        ("m.dat", bytes(range(256)), "unknown kind"),
    ]
    for name, content, match in lies:
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, match)
    refused(tmp_path / "nothing.npy", "There is no file")


# T11: a sharded model's index


@pytest.mark.parametrize(
    "shard",
    [
        "../outside/w.safetensors",
        "/etc/passwd",
        "sub/w.safetensors",
        "..",
        "w.bin",
        ".hidden.safetensors",
        "a\\b.safetensors",
        "w\u0000.safetensors",
        7,
        None,
    ],
)
def test_an_index_that_leads_outside(tmp_path, shard):
    outside = tmp_path / "outside"
    model = tmp_path / "model"
    outside.mkdir()
    model.mkdir()
    save_file({"w": torch.eye(2)}, outside / "w.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": shard}}))
    refused(model, "only safetensors files in the same folder", tensor="w")


@pytest.mark.parametrize(
    ("index", "match"),
    [
        ('{"weight_map": {"w": "m.safetensors", "w": "m.safetensors"}}', "twice"),
        ('{"weight_map": {"x": "m.safetensors"}}', "should be in"),
        ('{"weight_map": {"w": "n.safetensors"}}', "lacks the file"),
        ('{"weight_map": {}}', "no weight_map"),
        ("[]", "no weight_map"),
        ("{", "no sound JSON"),
    ],
)
def test_an_index_that_does_not_fit(tmp_path, index, match):
    save_file({"w": torch.eye(2)}, tmp_path / "m.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    refused(tmp_path, match, tensor="w")


def test_a_link_out_of_the_folder(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    save_file({"w": torch.eye(2)}, tmp_path / "secret.safetensors")
    (model / "model.safetensors").symlink_to(tmp_path / "secret.safetensors")
    refused(model, "leads out", tensor="w")


def test_folders_without_readable_weights(tmp_path):
    refused(tmp_path, "no safetensors file")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(EngineError, match="pickled files such as pytorch_model.bin"):
        open_checkpoint(tmp_path)
    refused(tmp_path / "gone", "There is no file")
