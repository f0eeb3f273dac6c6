"""A base whose layers are read from the disk gives the losses of one that lies in memory."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from bitsandbytes.functional import quantize_4bit
from transformers import AutoModelForCausalLM

from lora_engine.base_models import BaseModel
from lora_engine.base_models.layer_list import layers_of
from lora_engine.base_models.streamed import load_streamed_model, stored_layers
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from lora_engine.spec import QuantizationSpec, RunSpec
from lora_engine.training.compatibility import Machine, compatibility_problems
from lora_engine.training.preflight import check_run
from lora_engine.training.streaming import four_bit
from lora_engine.training.streaming.four_bit import Codes, QuantizedLayers
from lora_engine.training.streaming.layer_stream import LayerStream
from tests.tiny import save_tiny_model
from tests.training_runs import losses, tiny_spec, train_here, train_together_here

STEPS = {"max_steps": 3, "batch_size": 2, "eval_every": 2}
ON = {"stream_base": True}
QLORA = {"quantization": {"bits": 4}}


def trained(spec, folder, settings):
    directory, progress = train_here(spec, folder, settings)
    return losses(directory), progress.best_eval_loss


def both_ways(base, rows, tmp_path, settings: Settings, optimization=None, **changes):
    """What a run in memory and a streamed one measure."""
    specs = [
        tiny_spec(base, rows, optimization={**STEPS, **(optimization or {}), **way}, **changes)
        for way in ({}, ON)
    ]
    return [
        trained(spec, tmp_path / name, settings)
        for spec, name in zip(specs, ("memory", "streamed"), strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "model", "changes"),
    [
        ("llama", {"num_hidden_layers": 4}, {"method": {"dropout": 0.2}}),
        ("llama", {}, {**QLORA, "optimization": {"gradient_accumulation": 2}}),
        ("qwen3", {"tie_word_embeddings": True}, {"optimization": {"gradient_accumulation": 2}}),
        ("gemma2", {"tie_word_embeddings": True}, {"optimization": {"precision": "bfloat16"}}),
        ("gpt2", {}, QLORA),  # its own names, Conv1D, dropout of its own
    ],
    ids=["llama-dropout", "llama-4-bit", "qwen3-tied", "gemma2-soft-caps", "gpt2-4-bit"],
)
def test_losses_are_those_of_the_base_in_memory(
    architecture, model, changes, rows_file, settings, tmp_path
):
    base = save_tiny_model(tmp_path / "model", architecture, **model)

    in_memory, streamed = both_ways(base, rows_file, tmp_path, settings, **changes)

    assert streamed == in_memory
    assert len(streamed[0]) == 3


@pytest.mark.slow
def test_shards_in_16_bits_under_a_head_that_trains_in_part(rows_file, settings, tmp_path):
    base = save_tiny_model(tmp_path / "model")
    half = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float16)
    (base / "model.safetensors").unlink()
    half.save_pretrained(base, max_shard_size="100KB")
    method = {"target_modules": ["q_proj", "lm_head"]}
    assert len(list(base.glob("*.safetensors"))) > 1

    in_memory, streamed = both_ways(base, rows_file, tmp_path, settings, method=method)

    assert streamed == in_memory


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_been(tiny_llama, rows_file, settings, tmp_path):
    spec = tiny_spec(tiny_llama, rows_file, optimization={**STEPS, **ON}, method={"dropout": 0.1})
    whole = trained(spec, tmp_path / "whole", settings)
    asked = iter([False, True])

    train_here(spec, tmp_path / "run", settings, should_stop=lambda: next(asked))
    directory, progress = train_here(spec, tmp_path / "run", settings, resume=True)

    assert (losses(directory), progress.best_eval_loss) == whole
    assert (directory.path / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, QLORA], ids=["whole", "4-bit"])
def test_runs_of_a_sweep_share_each_reading(changes, rows_file, settings, tmp_path, monkeypatch):
    base = save_tiny_model(tmp_path / "model", num_hidden_layers=3)
    specs = {
        f"rank-{rank}": tiny_spec(
            base,
            rows_file,
            method={"rank": rank, "dropout": 0.1},
            optimization={**STEPS, **ON, "learning_rate": 0.01 * rank},
            **changes,
        )
        for rank in (2, 4)
    }
    alone = {name: trained(spec, tmp_path / name, settings)[0] for name, spec in specs.items()}
    streams = []
    begin = LayerStream.__init__
    monkeypatch.setattr(
        LayerStream, "__init__", lambda self, *given: (streams.append(self), begin(self, *given))[1]
    )

    together = train_together_here(specs, tmp_path / "together", settings)

    assert {name: losses(directory) for name, directory in together.items()} == alone
    assert len(streams) == 1


def test_layers_that_nobody_has_filled_do_not_compute(tiny_llama):
    model = load_streamed_model(BaseModel("tiny", tiny_llama), "cpu", torch.float32)

    assert model(torch.tensor([[1, 2, 3]])).logits.isnan().all()
    in_layers = [p for name, p in model.named_parameters() if ".layers." in name]
    assert all(parameter.untyped_storage().nbytes() == 4 for parameter in in_layers)


@pytest.mark.parametrize("double", [False, True])
def test_of_layers_in_4_bits_only_the_tables_stay_in_memory(double, tmp_path):
    base = BaseModel("wide", save_tiny_model(tmp_path / "model", hidden_size=256))
    quantization = QuantizationSpec(bits=4, double=double)
    model = load_streamed_model(base, "cpu", torch.float32, quantization)
    layers = list(layers_of(model).values())

    source = QuantizedLayers(layers, stored_layers(base, model), torch.float32, tmp_path)

    states = [w.state for one in source._layers for w in one.weights if isinstance(w, Codes)]
    kept = [vars(state) | (vars(state.state2) if double else {}) for state in states]
    tensors = [one for state in kept for one in state.values() if isinstance(one, torch.Tensor)]
    assert len(states) == 7 * len(layers)
    assert max(one.numel() for one in tensors) <= 256


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_codes_made_a_piece_at_a_time_are_those_of_the_whole_weight(kind, double, monkeypatch):
    how = {"blocksize": 64, "compress_statistics": double, "quant_type": kind}
    weight = torch.randn(300, 129, generator=torch.Generator().manual_seed(0))
    codes, state = quantize_4bit(weight, **how)
    monkeypatch.setattr(four_bit, "PIECE_WEIGHTS", 1 << 12)

    made, own = four_bit._quantized(weight, SimpleNamespace(quant_storage=torch.uint8, **how))

    assert torch.equal(made, codes)
    expected, found = state.as_dict(), own.as_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value) if torch.is_tensor(value) else found[name] == value


def test_bitsandbytes_is_given_pieces_of_a_weight(monkeypatch):
    """What it makes of them inside, several times their size, is seen by no hook of torch."""
    given = []

    def quantize(piece, **how):
        given.append(piece.numel())
        return quantize_4bit(piece, **how)

    monkeypatch.setattr("bitsandbytes.functional.quantize_4bit", quantize)
    how = {"blocksize": 64, "compress_statistics": True, "quant_type": "nf4"}

    four_bit._quantized(torch.ones(1024, 1000), SimpleNamespace(quant_storage=torch.uint8, **how))

    assert sum(given) == 1024 * 1000
    assert max(given) <= 1 << 18


def test_fused_experts_are_refused_in_words(tmp_path):
    base = BaseModel("moe", save_tiny_model(tmp_path / "model", "qwen2_moe"))

    with pytest.raises(EngineError, match="experts"):
        load_streamed_model(base, "cpu", torch.float32)


def test_a_base_that_is_stored_quantized_is_refused_before_the_run(rows_file, settings, tmp_path):
    base = save_tiny_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(
        base, quantization_config={"load_in_4bit": True, "quant_method": "bitsandbytes"}
    )
    model.save_pretrained(base)

    with pytest.raises(EngineError, match="bitsandbytes"):
        check_run(tiny_spec(base, rows_file, optimization=ON), settings)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": {"finetuning_type": "full"}},
        {"method": {"use_dora": True}},
        {"method": {"init": "pissa"}},
        {"method": {"modules_to_save": ["lm_head"]}},
        {"objective": {"kind": "dpo"}},
        {"quantization": {"bits": 8}},
    ],
)
def test_what_needs_the_whole_base_excludes_streaming(changes, tmp_path):
    machine = Machine(has_gpu=False, packages=frozenset({"bitsandbytes"}))
    spec: RunSpec = tiny_spec(tmp_path, tmp_path, **{"optimization": ON} | changes)

    assert "optimization.stream_base" in {p.path for p in compatibility_problems(spec, machine)}


class Counting:
    """A LayerSource of layers that are one byte each."""

    layers = 5

    def __init__(self):
        self.reads, self.placed = [], {}

    def size(self, number):
        return 1

    def read(self, number, memory):
        self.reads.append(number)
        memory.fill_(number)
        return 1

    def place(self, number, memory):
        self.placed[number] = int(memory)

    def take_out(self, number):
        del self.placed[number]


def test_layers_come_in_order_and_are_read_once_each_way():
    source = Counting()
    stream = LayerStream(source, "cpu")
    up, down = [0, 1, 2, 3, 4], [4, 3, 2, 1, 0]
    for order in (up, down, up):
        for number in stream.visit(order):
            assert source.placed == {number: number}
    assert source.placed == {}
    # 4 and 3 lie in memory still when the way down begins, 0 and 1 when the next way up does.
    assert source.reads == [0, 1, 2, 3, 4, 2, 1, 0, 2, 3, 4]
    assert all(a != b for a, b in pairwise(source.reads))


def test_a_file_that_was_cut_short_is_an_error_in_words(rows_file, settings, tmp_path, monkeypatch):
    base = save_tiny_model(tmp_path / "model", num_hidden_layers=4)
    weights = base / "model.safetensors"
    whole = LayerStream.visit

    def cut_first(stream, order):
        with weights.open("r+b") as file:
            file.truncate(weights.stat().st_size // 2)
        return whole(stream, order)

    monkeypatch.setattr(LayerStream, "visit", cut_first)
    spec = tiny_spec(base, rows_file, optimization={**STEPS, **ON})

    with pytest.raises(EngineError, match="shorter"):
        train_here(spec, tmp_path / "run", settings)
