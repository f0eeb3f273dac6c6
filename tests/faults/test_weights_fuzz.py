"""Damaged files: whatever bytes are cut, flipped or put in, the answer is a matrix or an
EngineError, never another exception."""

import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from lora_engine.errors import EngineError
from lora_engine.spectrum import read_adapter
from lora_engine.weights import list_tensors, open_matrix
from lora_engine.weights.matrix import to_array


def npy_bytes():
    file = io.BytesIO()
    np.save(file, np.eye(4, dtype=np.float32))
    return file.getvalue()


def npz_bytes():
    file = io.BytesIO()
    np.savez_compressed(file, w=np.eye(9))
    return file.getvalue()


def picture_bytes(kind):
    file = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(file, kind)
    return file.getvalue()


SOUND = {
    "m.npy": npy_bytes(),
    "m.npz": npz_bytes(),
    "m.csv": b"1,2.5,3\n4;5\t6\n",
    "m.safetensors": save({"w": torch.eye(3), "v": torch.ones(2).bfloat16()}),
    "m.png": picture_bytes("PNG"),
    "m.jpg": picture_bytes("JPEG"),
}


@st.composite
def damaged(draw, content):
    """The content with a few bytes changed, cut or inserted."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        how = draw(st.sampled_from(["flip", "cut", "insert", "drop"]))
        if how == "flip" and data:
            data[place] = draw(st.integers(0, 255))
        elif how == "cut":
            del data[place:]
        elif how == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=9))
        else:
            del data[place : place + draw(st.integers(1, 9))]
    return bytes(data)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOUND)
def test_damaged_files(name):
    @settings(deadline=None, max_examples=80)
    @given(damaged(SOUND[name]))
    def damage(content):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            try:
                infos = list_tensors(path)
                for info in infos[:3]:
                    values = to_array(open_matrix(path, info.name))
                    assert np.isfinite(values).all()
            except EngineError:
                pass

    damage()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=80)
@given(st.dictionaries(st.sampled_from(["w", "v", "__metadata__"]), json_values), st.binary())
def test_headers_of_any_json(header, data):
    text = json.dumps(header).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text + data)
        with contextlib.suppress(EngineError):
            list_tensors(path)


FIELDS = [
    "peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "lora_bias", "fan_in_fan_out", "bias",
    "init_lora_weights", "rank_pattern", "alpha_pattern", "target_modules", "modules_to_save",
    "target_parameters", "base_model_name_or_path", "something_new",
]  # fmt: skip


@settings(deadline=None, max_examples=80)
@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_adapter_configs_of_any_json(changes):
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4} | changes
    tensors = {
        "base_model.model.q.lora_A.weight": torch.ones(2, 3),
        "base_model.model.q.lora_B.weight": torch.ones(4, 2),
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "adapter_config.json").write_text(json.dumps(config))
        (Path(folder) / "adapter_model.safetensors").write_bytes(save(tensors))
        try:
            (module,) = read_adapter(folder).modules
            assert np.isfinite(module.scaling)
        except EngineError:
            pass
