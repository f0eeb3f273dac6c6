"""Model folders that are broken somewhere: every way in answers, or refuses in words."""

import json
import shutil

import pytest

from lora_engine.base_models import (
    fingerprint,
    load_base_model,
    load_tokenizer,
    resolve_base_model,
    tokenizer_files,
)
from lora_engine.calculator import count_model
from lora_engine.calculator.named_model import named_source
from lora_engine.data.preview_rows import preview
from lora_engine.errors import EngineError
from lora_engine.spec import MethodSpec
from lora_engine.training.preflight import check_run
from tests.training_runs import tiny_spec

DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def config(**keys):
    return lambda folder: _change(folder / "config.json", keys)


def tokenizer(**keys):
    return lambda folder: _change(folder / "tokenizer.json", keys)


def tokenizer_config(**keys):
    return lambda folder: _change(folder / "tokenizer_config.json", keys)


def content(name, written):
    data = written if isinstance(written, bytes) else written.encode()
    return lambda folder: (folder / name).write_bytes(data)


def sharded(index):
    def broken(folder):
        (folder / WEIGHTS).rename(folder / "a.safetensors")
        (folder / INDEX).write_text(index)

    return broken


def replaced(name, make):
    def broken(folder):
        (folder / name).unlink()
        make(folder / name)

    return broken


def _change(path, keys):
    document = json.loads(path.read_text()) | keys
    path.write_text(json.dumps({k: v for k, v in document.items() if v is not ...}))


CONFIG, COUNT, CHECK, TOKENIZER, LOAD = (
    {"preview", "check", "count", "load"},
    {"count", "load"},
    {"check", "load"},
    {"preview", "check", "load"},
    {"count", "load", "preview"},
)
# What is broken, and the ways in that must refuse it; the others may answer or refuse.
BROKEN = {
    "config empty": (content("config.json", ""), CONFIG),
    "config no JSON": (content("config.json", "hello"), CONFIG),
    "config a list": (content("config.json", "[1]"), CONFIG),
    "config null": (content("config.json", "null"), CONFIG),
    "config bytes": (content("config.json", b"\xff\xfe\x00"), CONFIG),
    "config deep": (content("config.json", DEEP), CONFIG),
    "config of 2 MB": (content("config.json", json.dumps({"a": "x" * 2_000_000})), CONFIG),
    "config to nowhere": (replaced("config.json", lambda p: p.symlink_to("/nowhere")), CONFIG),
    "config a folder": (replaced("config.json", lambda p: p.mkdir()), CONFIG),
    "a billion layers": (config(num_hidden_layers=10**9), CONFIG),
    "a huge vocabulary": (config(vocab_size=10**12), CONFIG),
    "no width": (config(hidden_size=0), CONFIG),
    "negative width": (config(hidden_size=-64), CONFIG),
    "no heads": (config(num_attention_heads=0), CONFIG),
    "no model_type": (config(model_type=...), CONFIG),
    "model_type a number": (config(model_type=7), CONFIG),
    "unknown model_type": (config(model_type="llamaz"), COUNT),
    "code of its own": (
        config(model_type="mine", auto_map={"AutoModelForCausalLM": "m.M"}), COUNT,
    ),
    "another model_type": (config(model_type="gpt2"), COUNT),
    "numbers as text": (config(vocab_size="384"), LOAD),
    "no vocabulary": (config(vocab_size=None), LOAD),
    "heads that do not divide": (config(num_attention_heads=5), LOAD),
    "heads a list": (config(num_attention_heads=[4]), LOAD),
    "unknown dtype": (config(dtype="float12"), LOAD),
    "unknown rope": (config(rope_scaling={"type": "magic"}), COUNT),
    "unknown activation": (config(hidden_act="none such"), COUNT),
    "another architecture": (config(architectures=["GPT2LMHeadModel"]), {"count"}),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), TOKENIZER),
    "tokenizer empty": (content("tokenizer.json", ""), TOKENIZER),
    "tokenizer {}": (content("tokenizer.json", "{}"), TOKENIZER),
    "tokenizer a list": (content("tokenizer.json", "[]"), TOKENIZER),
    "tokenizer deep": (content("tokenizer.json", DEEP), TOKENIZER),
    "tokenizer a loop": (replaced("tokenizer.json", lambda p: p.symlink_to(p)), TOKENIZER),
    "tokenizer another shape": (
        tokenizer(model={"type": "BPE", "vocab": [1], "merges": 5}), TOKENIZER,
    ),
    "added tokens without ids": (tokenizer(added_tokens=[{"id": "x"}]), TOKENIZER),
    "too many added tokens": (tokenizer(added_tokens=[{}] * 100_001), TOKENIZER),
    "tokenizer_config a list": (content("tokenizer_config.json", "[]"), TOKENIZER),
    "tokenizer_config torn": (content("tokenizer_config.json", "{"), TOKENIZER),
    "a token that is a number": (tokenizer_config(eos_token=7), TOKENIZER),
    "a length that is a list": (tokenizer_config(model_max_length=[256]), TOKENIZER),
    "unknown tokenizer class": (tokenizer_config(tokenizer_class="NoSuch"), set()),
    "special tokens torn": (content("special_tokens_map.json", "[1"), TOKENIZER),
    "generation_config torn": (content("generation_config.json", "[1"), set()),
    "weights no header": (content(WEIGHTS, b"\xff" * 64), CHECK),
    "weights empty": (content(WEIGHTS, b""), CHECK),
    "weights a folder": (replaced(WEIGHTS, lambda p: p.mkdir()), CHECK),
    "index torn": (sharded("["), CHECK),
    "index to outside": (sharded(json.dumps({"weight_map": {"x": "../a.safetensors"}})), CHECK),
}  # fmt: skip


def ways_in(folder, rows, settings):
    """Each way in as a call that answers or raises EngineError."""
    import torch

    def base():
        return resolve_base_model(str(folder), settings)

    def shown():
        spec = tiny_spec(folder, rows).dataset
        return preview(spec, load_tokenizer(base()), 64, 1, settings, base())

    def loaded():
        load_tokenizer(base())
        return load_base_model(base(), "cpu", torch.float32)

    return {
        "preview": shown,
        "check": lambda: check_run(tiny_spec(folder, rows), settings),
        "count": lambda: count_model(named_source(str(folder), settings), MethodSpec(rank=2)),
        "load": loaded,
        "fingerprint": lambda: fingerprint(base()),
    }


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_refused_in_words(case, tiny_llama, tmp_path, rows_file, settings):
    breaks, refusing = BROKEN[case]
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    breaks(folder)
    refused = set()
    for name, way in ways_in(folder, rows_file, settings).items():
        try:
            way()
        except EngineError as error:
            refused |= {name} if error.problem and error.remedy else set()
    assert refusing <= refused


@pytest.mark.parametrize(
    "keys",
    [
        {
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": "(x+x+)+y"},
                "behavior": "Isolated",
                "invert": False,
            }
        },
        {
            "normalizer": {
                "type": "Sequence",
                "normalizers": [
                    {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 32}
                ]
                * 6,
            }
        },
    ],
    ids=["a pattern that never ends", "stacked normalizers"],
)
def test_a_tokenizer_that_hangs_or_bloats_is_ended(keys, tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer_files, "TRIAL_SECONDS", 0.5)
    monkeypatch.setattr(tokenizer_files, "TRIAL_MEMORY_BYTES", 128 << 20)
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    tokenizer(**keys)(folder)
    with pytest.raises(EngineError, match=r"tokenizer\.json"):
        tokenizer_files.check_tokenizer_files(folder)
