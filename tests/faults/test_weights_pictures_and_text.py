"""Rows T6 and T7 of the safety plan: picture bombs, text that is no matrix, names that lie."""

import gzip
import io
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from lora_engine.errors import EngineError
from lora_engine.weights import limits, list_tensors, open_matrix
from tests.faults.weights_files import entry, refused, safetensors_bytes


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


@pytest.mark.parametrize("kept", [8, 20, 40, 60])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_damaged_picture_names_itself_and_nothing_of_the_server(tmp_path, kept, kind):
    sound = io.BytesIO()
    Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(sound, kind)
    path = tmp_path / ("m.png" if kind == "PNG" else "m.jpg")
    path.write_bytes(sound.getvalue()[:kept] + bytes(40))
    with pytest.raises(EngineError, match=r"picture m\.(png|jpg) cannot be decoded") as error:
        open_matrix(path)
    assert str(tmp_path) not in str(error.value)
    assert "0x" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"1,2\n3,1e999\n", "line 2, column 2 holds '1e999'"),
        (b"1,2\n3,nan\n", "line 2, column 2"),
        (b"1,2\n3\n", "line 2: 1 columns, where the others have 2"),
        (b"1,2\n3,\n", "line 2, column 2 is empty"),
        (b"1,2\n3,x\n", "line 2, column 2 holds 'x'"),
        (b"1,2\n3,1_0\n", "line 2, column 2 holds '1_0'"),
        (b"1,5 2,5\n3,5 4;5\n", "line 1, column 2 holds '5 2'"),
        (b"1;2\n3,4;1,000,000\n", "line 2, column 2"),
        (b"1,1+2j\n2,3\n", "line 1, column 2"),
        (b"=1+1,2\n3,4\n", "line 1, column 1"),
        (b"1,2\n3,\xff\n", "byte 0xff at position 6, line 2"),
        ("1,2\n3,4".encode("utf-16")[:-1], "UTF-16 that breaks off"),
        (b"1 000 2 000\n", "'1 000' is one number with a mark of thousands, or several"),
        ("1\u2009234\n2\u2009345,5\n".encode(), "is one number with a mark"),
        (b" 1.00-2.00\n-3.00 4.00\n", "line 1: 1 columns"),
        (b"1.5-2.5,1\n3,4\n", "line 1, column 1 holds '1.5-2.5', numbers that run into"),
        (b"$1,$2\n$3,$4\n", "'\\$3', an amount of money"),
        (b"10%,20%\n30%,41%\n", "'30%', a percentage"),
        (b'"1,23,456",1\n3,4\n', "marks of thousands that do not stand"),
        (b"1/2,1\n3,4\n", "a fraction"),
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


def zip_bytes(name):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, "1,2\n3,4")
    return archive.getvalue()


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
        ("m.csv", b"\xff" * 100, "unknown kind .its first bytes are ff ff ff ff"),
        ("m.csv.gz", gzip.compress(b"1,2"), "gzip.*Unpack it"),
        ("m.npy.gz", gzip.compress(array.getvalue()), "gzip.*Unpack it"),
        ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(9), "an HDF5 file"),
        ("m.mat", b"MATLAB 5.0 MAT-file" + bytes(200), "a MATLAB file"),
        ("m.onnx", b"\x08\x08\x12\x07pytorch" + bytes(9), "an ONNX model"),
        ("m.parquet", b"PAR1" + bytes(9), "a Parquet file"),
        ("m.pdf", b"%PDF-1.4\n", "a PDF"),
        ("m.csv", zip_bytes("xl/workbook.xml"), "an Excel workbook .*CSV UTF-8"),
        ("m.csv", zip_bytes("m.csv"), "a zip archive, with 'm.csv' in it.*Unpack"),
        ("m.pt", zip_bytes("m/data.pkl")[:60], "a damaged zip archive.*again"),
        ("m.tar", bytes(257) + b"ustar" + bytes(250), "a tar archive"),
        ("m.pt", b"<!DOCTYPE html><html>", "a web page"),
        ("m.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("m.csv", b'{"a": [1, 2]}', "m.csv is JSON"),
    ]
    for name, content, match in lies:
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, match)
    refused(tmp_path / "nothing.npy", "There is no file")
