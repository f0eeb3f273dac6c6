"""Good files of every format that Rankscope reads, as bytes: what the fuzzer mutates. Some are
hostile already; they would touch the file `canary` where what they carry were run."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np

ROW_KINDS: list[list[dict[str, Any]]] = [
    [{"messages": [{"role": "user", "content": f"Is {n} odd?"},
                   {"role": "assistant", "content": "Yes." if n % 2 else "No."}]}
     for n in range(6)],
    [{"prompt": f"Say {n}", "completion": f"{n}!"} for n in range(6)],
    [{"instruction": "Add", "input": f"{n} and 1", "output": str(n + 1)} for n in range(6)],
    [{"text": f"The {n}th line.", "label": ["good", "bad"][n % 2]} for n in range(6)],
    [{"prompt": f"Q{n}", "chosen": "Yes, sir.", "rejected": "No."} for n in range(6)],
    [{"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Aye"}]}] * 4,
    [{"tokens": ["Ana", "sings"], "ner_tags": ["B-PER", "O"]} for _ in range(6)],
    [{"text": f"Only text, {n}."} for n in range(6)],
]  # fmt: skip
TABLES = [
    b'prompt,completion\n1,one\n2,two\n3,"three, or so"\n',
    b"text,label\ngood sky,1\nbad grass,0\nfine day,1\nwet day,0\n",
    b"instruction,input,output,score\nadd,1 2,3,1.5\nadd,2 2,4,1e3\n",
]


def json_lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def rows(ending: str) -> list[bytes]:
    """Datasets by the end of a file's name."""
    if ending.endswith(".gz"):
        return [gzip.compress(content) for content in rows(ending.removesuffix(".gz"))]
    if ending == ".json":
        return [json.dumps(found).encode() for found in ROW_KINDS]
    if ending == ".jsonl":
        return [json_lines(found) for found in ROW_KINDS]
    if ending == ".csv":
        return TABLES
    if ending == ".tsv":
        return [content.replace(b",", b"\t") for content in TABLES]
    if ending == ".parquet":
        return _parquet()
    return [b"A line.\nAnother line.\n\nA passage after a gap.\n" * 20, b"\n".join([b"word"] * 99)]


def _parquet() -> list[bytes]:
    import pyarrow
    from pyarrow import parquet

    tables = [pyarrow.Table.from_pylist(found) for found in ROW_KINDS]
    odd = {
        "text": ["a", "b"], "when": pyarrow.array([1, 2**62], pyarrow.timestamp("us")),
        "bytes": pyarrow.array([b"\xff", None], pyarrow.binary()), "big": [2**62, -1],
        "halves": pyarrow.array(np.array([1, np.nan], np.float16)), "label": ["x", "y"],
        "map": pyarrow.array([[("k", 1)], []], pyarrow.map_(pyarrow.string(), pyarrow.int8())),
    }  # fmt: skip
    tables.append(pyarrow.table(odd))
    tables.append(pyarrow.table({"text": pyarrow.array(["a"] * 99).dictionary_encode()}))
    return [
        _written(lambda file, t=table, c=packing: parquet.write_table(t, file, compression=c))
        for table in tables
        for packing in ("none", "snappy", "zstd")
    ]


def _written(write: Any) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


class _Touch:
    """Unpickled by whoever calls what a pickle asks for, it touches the canary."""

    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return (open, (self.canary, "w"))


def weights(ending: str, canary: str) -> list[bytes]:
    """Matrices by the end of a file's name."""
    if ending == ".safetensors":
        return _safetensors()
    if ending == ".npy":
        objects = np.array([_Touch(canary)], dtype=object)
        arrays = [np.eye(4, dtype=np.float32), np.arange(24).reshape(2, 3, 4), objects]
        arrays += [np.eye(3, dtype=np.complex64), np.asfortranarray(np.ones((3, 5), np.float16))]
        return [_written(lambda file, a=array: np.save(file, a)) for array in arrays]
    if ending == ".npz":
        one, objects = np.eye(9), np.array([_Touch(canary)], dtype=object)
        return [
            _written(lambda file: np.savez_compressed(file, w=one, v=one[:3])),
            _written(lambda file: np.savez(file, w=one)),
            _written(lambda file: np.savez(file, w=objects)),
        ]
    if ending == ".csv":
        return [b"1,2.5,3\n4,5,6\n", b"a;b\n1,5;2\n-3;4e2\n", b"x\ty\n1\t2\n", b"[[1, 2], [3, 4]]"]
    if ending == ".pt":
        return _pickles(canary)
    return _pictures({".png": "PNG", ".jpg": "JPEG"}[ending])


def _safetensors() -> list[bytes]:
    import torch
    from safetensors.torch import save

    kinds = [torch.bfloat16, torch.float16, torch.int8, torch.float8_e4m3fn, torch.bool]
    found = {str(kind): torch.ones(2, 3).to(kind) for kind in kinds}
    return [
        save({"w": torch.eye(3), "v": torch.ones(4, 2)}),
        save({"w": torch.ones(2, 2, 2)}),
        save(found),
    ]


def _pickles(canary: str) -> list[bytes]:
    import torch

    good = {"w": torch.eye(4), "v": [torch.ones(2, 2)]}
    held = [good, {"w": torch.eye(2), "evil": _Touch(canary)}, torch.eye(3).to_sparse()]
    held += [{"w": torch.zeros(1).expand(10**6, 10**6)}]
    found = [_written(lambda file, h=one: torch.save(h, file)) for one in held]
    found.append(
        _written(lambda file: torch.save(good, file, _use_new_zipfile_serialization=False))
    )
    return [*found, pickle.dumps(_Touch(canary)), pickle.dumps({"w": [1.0]}, 0)]


def _pictures(kind: str) -> list[bytes]:
    from PIL import Image

    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    modes = ["L", "RGB", "1", "CMYK"] if kind == "JPEG" else ["L", "RGB", "RGBA", "P", "1", "I;16"]
    pictures = [grey.convert("I").convert(m) if m == "I;16" else grey.convert(m) for m in modes]
    return [_written(lambda file, p=picture: p.save(file, kind)) for picture in pictures]


def base_model(folder: Path) -> Path:
    """A tiny model with its tokenizer, and code that an `auto_map` may name."""
    from tests.tiny import save_tiny_model

    save_tiny_model(folder, hidden_size=16, intermediate_size=16, num_hidden_layers=1)
    return folder


def plant_code(folder: Path, canary: str) -> None:
    """A module that touches the canary when it is imported, under every name that is asked for."""
    for name in ("evil.py", "modeling_evil.py", "custom_generate/generate.py"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"open({canary!r}, 'w')\n\nclass Evil:\n    pass\n")


def adapter(folder: Path, base: Path) -> Path:
    """A LoRA adapter of the base, as PEFT saves it, with where it comes from."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base), "r": 2,
        "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": ["q_proj"], "bias": "none",
        "fan_in_fan_out": False, "use_rslora": False, "use_dora": False, "rank_pattern": {},
        "alpha_pattern": {}, "modules_to_save": None, "init_lora_weights": True,
        "inference_mode": True, "layers_to_transform": None, "lora_bias": False,
    }  # fmt: skip
    tensors = {
        f"{prefix}.lora_A.weight": torch.randn(2, 16),
        f"{prefix}.lora_B.weight": torch.randn(16, 2),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors")
    said = {
        "base_model": str(base),
        "run_id": "r",
        "eval_loss": 1.5,
        "spec": json.loads(spec(base)),
    }
    (folder / "provenance.json").write_text(json.dumps(said))
    return folder


def spec(base: Path, rows_file: Path | None = None) -> bytes:
    """A run's spec with every section in it."""
    from lora_engine.spec import spec_from

    source = "starter:pirate" if rows_file is None else str(rows_file)
    document = {"base_model": str(base), "dataset": {"source": source}}
    return spec_from(document).model_dump_json().encode()


def sweep(base: Path, rows_file: Path) -> bytes:
    document = {
        "run": json.loads(spec(base, rows_file)),
        "axes": [{"path": "method.rank", "values": [2, 4]}],
    }
    return json.dumps(document).encode()


def copied(folder: Path, to: Path, changed: str, content: bytes) -> Path:
    """The folder again, with one file of other content."""
    shutil.copytree(folder, to)
    (to / changed).parent.mkdir(exist_ok=True)
    (to / changed).write_bytes(content)
    return to
