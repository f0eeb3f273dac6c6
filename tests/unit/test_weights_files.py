"""Every kind of file gives back the matrix that was put in."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lora_engine.errors import EngineError
from lora_engine.weights import Flatten, list_tensors, open_checkpoint, open_matrix, parse_matrix
from lora_engine.weights.matrix import to_array
from lora_engine.weights.safetensors_file import read_tensor, scan

VALUES = np.random.default_rng(0).standard_normal((7, 5))


def read(path, **how):
    return to_array(open_matrix(path, **how))


def test_npy_in_both_orders_and_byte_orders(tmp_path):
    for order, dtype in [("C", "<f8"), ("F", "<f8"), ("C", ">f4"), ("F", "<f2")]:
        array = np.asarray(VALUES, dtype=dtype, order=order)
        np.save(tmp_path / "m.npy", array)
        source = open_matrix(tmp_path / "m.npy")
        assert source.shape == (7, 5)
        np.testing.assert_array_equal(source.rows(2, 4), array[2:4])
        np.testing.assert_array_equal(source.columns(1, 4), array[:, 1:4])
        np.testing.assert_array_equal(to_array(source), array)


def test_npz_names_its_arrays(tmp_path):
    np.savez_compressed(tmp_path / "m.npz", first=VALUES, second=VALUES.T.copy())
    assert [info.name for info in list_tensors(tmp_path / "m.npz")] == ["first", "second"]
    np.testing.assert_array_equal(read(tmp_path / "m.npz", tensor="second"), VALUES.T)
    with pytest.raises(EngineError, match="2 matrices"):
        open_matrix(tmp_path / "m.npz")


@pytest.mark.parametrize(
    "text",
    [
        "1,2.5\n3,-4e0\n",
        "1;2,5\n3;-4,0",
        "1\t2,5\r\n3\t-4\r\n\r\n",
        "1 2.5\n 3   -4\n",
        "\ufeff1,2.5\n3,-4",
        '"a","b"\n"1","2.5"\n3,-4',
        "# from numpy.savetxt\n1 2.5\n3 -4",
    ],
)
def test_csv_in_the_forms_people_have(tmp_path, text):
    (tmp_path / "m.csv").write_bytes(text.encode())
    np.testing.assert_array_equal(read(tmp_path / "m.csv"), [[1, 2.5], [3, -4]])


def test_typed_text():
    np.testing.assert_array_equal(parse_matrix("1 0\n0 1").values, np.eye(2))


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
     torch.float8_e5m2],
)  # fmt: skip
def test_safetensors_dtypes_widen_as_torch_does(tmp_path, dtype):
    tensor = torch.tensor(VALUES).to(dtype)
    save_file({"w": tensor, "b": torch.zeros(3)}, tmp_path / "m.safetensors")
    expected = tensor.double().numpy()
    source = open_matrix(tmp_path / "m.safetensors")
    assert source.dtype in str(dtype)
    np.testing.assert_array_equal(to_array(source), expected)
    np.testing.assert_array_equal(source.rows(3, 6), expected[3:6])
    np.testing.assert_array_equal(source.columns(2, 5), expected[:, 2:5])
    np.testing.assert_array_equal(read_tensor(scan(tmp_path / "m.safetensors"), "w"), expected)


def test_every_float8_code_is_torch_s():
    from lora_engine.weights.stored_matrix import FLOAT8_E4M3, FLOAT8_E5M2

    codes = torch.arange(256, dtype=torch.uint8)
    np.testing.assert_array_equal(FLOAT8_E4M3, codes.view(torch.float8_e4m3fn).float().numpy())
    np.testing.assert_array_equal(FLOAT8_E5M2, codes.view(torch.float8_e5m2).float().numpy())


def test_pt_nested_and_bfloat16(tmp_path):
    torch.save(
        {"state": {"w": torch.tensor(VALUES, dtype=torch.bfloat16), "b": torch.zeros(3)}},
        tmp_path / "m.pt",
    )
    names = {info.name: info.dtype for info in list_tensors(tmp_path / "m.pt")}
    assert names == {"state.w": "bfloat16", "state.b": "float32"}
    expected = torch.tensor(VALUES, dtype=torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(read(tmp_path / "m.pt", tensor="state.w"), expected)


@pytest.mark.parametrize("name", ["m.png", "m.jpg"])
def test_pictures_by_channel(tmp_path, name):
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[..., 0] = 200
    Image.fromarray(pixels).save(tmp_path / name)
    assert read(tmp_path / name, tensor="red").shape == (8, 16)
    assert abs(read(tmp_path / name, tensor="red").mean() - 200) < 3
    assert read(tmp_path / name, tensor="blue").mean() < 3
    assert 50 < read(tmp_path / name).mean() < 70


def test_sixteen_bit_grey_keeps_its_values(tmp_path):
    Image.fromarray(np.array([[0, 40_000], [65_535, 7]], dtype=np.uint16)).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read(tmp_path / "m.png"), [[0, 40_000], [65_535, 7]])


def test_integers_are_converted_and_it_says_so(tmp_path):
    np.save(tmp_path / "m.npy", np.arange(6).reshape(2, 3))
    source = open_matrix(tmp_path / "m.npy")
    np.testing.assert_array_equal(to_array(source), np.arange(6).reshape(2, 3))
    assert "int64" in source.notes[0]


def test_more_dimensions_are_flattened_as_asked(tmp_path):
    tensor = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    save_file({"conv": torch.tensor(tensor)}, tmp_path / "m.safetensors")
    np.save(tmp_path / "m.npy", tensor)
    np.save(tmp_path / "f.npy", np.asfortranarray(tensor))
    for name in ["m.safetensors", "m.npy", "f.npy"]:
        path = tmp_path / name
        np.testing.assert_array_equal(read(path, flatten=Flatten("first")), tensor.reshape(2, 60))
        np.testing.assert_array_equal(read(path, flatten=Flatten("last")), tensor.reshape(24, 5))
        np.testing.assert_array_equal(read(path, flatten=Flatten.parse("1,2")), tensor[1, 2])
        with pytest.raises(EngineError, match="first .2 x 60.; last .24 x 5."):
            open_matrix(path)
        with pytest.raises(EngineError, match="does not lie"):
            open_matrix(path, flatten=Flatten("slice", (1, 3)))


def test_a_sharded_model_folder_is_one_checkpoint(tmp_path):
    save_file({"a": torch.eye(3)}, tmp_path / "model-1.safetensors")
    save_file({"b": torch.ones(2, 2)}, tmp_path / "model-2.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert {info.name for info in list_tensors(tmp_path)} == {"a", "b"}
    np.testing.assert_array_equal(read(tmp_path, tensor="b"), np.ones((2, 2)))


def test_a_hub_cache_snapshot_with_links_is_read(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    save_file({"a": torch.eye(3)}, blobs / "1234")
    (snapshot / "model.safetensors").symlink_to("../../blobs/1234")
    np.testing.assert_array_equal(read(snapshot), np.eye(3))


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bit_weights_widen_as_bitsandbytes_does(tmp_path, kind, double):
    import bitsandbytes.functional as bnb

    weight = torch.randn(48, 100, generator=torch.Generator().manual_seed(0))
    packed, state = bnb.quantize_4bit(weight, quant_type=kind, compress_statistics=double)
    parts = {f"w.{key}": value for key, value in state.as_dict(packed=True).items()}
    save_file({"w": packed, "bias": torch.zeros(4), **parts}, tmp_path / "m.safetensors")
    infos = {info.name: info for info in open_checkpoint(tmp_path / "m.safetensors").listing()}
    assert set(infos) == {"w", "bias"}
    assert (infos["w"].shape, infos["w"].dtype) == ((48, 100), kind)
    source = open_matrix(tmp_path / "m.safetensors")
    expected = bnb.dequantize_4bit(packed, state).float().numpy()
    np.testing.assert_allclose(to_array(source), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(source.columns(33, 80), expected[:, 33:80], rtol=1e-6, atol=1e-7)
    error = float(np.sqrt(np.mean((weight.numpy() - expected) ** 2)))
    assert source.noise_std() == pytest.approx(error, rel=0.2)
