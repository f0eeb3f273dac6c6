"""Rows T3 and T4 of the safety plan: .npy and .npz files that lie about what they hold."""

import io
import struct
import zipfile

import numpy as np
import pytest

from lora_engine.weights import list_tensors
from tests.faults.weights_files import refused


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


def test_one_array_of_objects_leaves_the_others_in_the_list(tmp_path):
    np.savez(tmp_path / "m.npz", w=np.eye(2), names=np.array([{"a": 1}], dtype=object))
    assert [info.name for info in list_tensors(tmp_path / "m.npz")] == ["w"]
    refused(tmp_path / "m.npz", "never loaded", tensor="names")


def test_arrays_that_are_no_dense_numbers_are_named(tmp_path):
    np.save(tmp_path / "m.npy", np.array([["a", "b"], ["c", "d"]]))
    refused(tmp_path / "m.npy", "holds text")
    parts = {"indices": np.arange(2), "indptr": np.arange(3), "data": np.ones(2)}
    np.savez(tmp_path / "m.npz", shape=np.array([2, 2]), format=np.array(b"csr"), **parts)
    refused(tmp_path / "m.npz", r"sparse matrix.*toarray")
    # the diagonals of scipy's dia_matrix are a matrix of their own
    parts = {"offsets": np.arange(2), "data": np.ones((2, 2))}
    np.savez(tmp_path / "m.npz", shape=np.array([2, 2]), format=np.array(b"dia"), **parts)
    refused(tmp_path / "m.npz", r"sparse matrix.*toarray")
