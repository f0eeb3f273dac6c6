"""Prediction beside measurement: the heaviest batch, reading runs back, and refitted margins."""

import random

import pytest

from lora_engine.calculator.memory_request import GIB, Margins
from lora_engine.run_folder import RunDirectory, RunResult
from lora_engine.spec import spec_from
from lora_engine.starter import MODEL_DIR
from lora_engine.training.memory import prediction
from lora_engine.training.memory.prediction import (
    MemoryRecord,
    Prediction,
    heaviest_batch,
    read_records,
    refit_margins,
)


def record(moving, measured, staying=10, device="cpu"):
    made = Prediction(
        device=device,
        baseline_bytes=5,
        staying_bytes=round(staying * GIB),
        moving_bytes=round(moving * GIB),
        margin_bytes=0,
        batch_tokens=1,
    )
    return MemoryRecord("run", made, round(measured * GIB))


def test_refitted_margins_are_those_that_made_the_runs():
    runs = [record(moving, 10 + 0.25 + 1.2 * moving) for moving in (1, 2, 4)]
    fitted = refit_margins(runs, "cpu")
    assert fitted.cpu_fragmentation == pytest.approx(0.2)
    assert fitted.cpu_overhead_gib == pytest.approx(0.25)
    assert fitted.fragmentation == Margins().fragmentation
    on_card = [record(moving, 10 + 1.05 * moving, device="cuda") for moving in (1, 2, 4)]
    assert refit_margins(on_card, "cuda").fragmentation == pytest.approx(0.05)


def test_few_or_other_runs_leave_the_stated_margins():
    runs = [record(moving, 20) for moving in (1, 2, 4)]
    assert refit_margins(runs[:2], "cpu") == Margins()
    assert refit_margins(runs, "cuda") == Margins()
    below = [record(moving, 9) for moving in (1, 2, 4)]
    fitted = refit_margins(below, "cpu")
    assert (fitted.cpu_fragmentation, fitted.cpu_overhead_gib) == (0, 0)


def test_runs_of_another_kind_bend_no_margin():
    alike = [record(moving, 10 + 0.25 + 1.2 * moving) for moving in (1, 2, 4)]
    odd = [record(3, 60), record(3, 1), record(8, 200)]
    assert refit_margins([*alike, *odd], "cpu") == refit_margins(alike, "cpu")
    assert refit_margins(odd, "cpu") == Margins()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_refitted_margin_is_bounded(device):
    steep = [record(moving, 1 + 7.3 * moving, staying=30, device=device) for moving in (4, 5, 9)]
    small = [record(moving, 8.5 + moving * 2, staying=8, device=device) for moving in (0.1, 1, 5)]
    for runs in (steep, small):
        fitted = refit_margins(runs, device)
        assert max(fitted.fragmentation, fitted.cpu_fragmentation) <= 1
        assert fitted.cpu_overhead_gib <= 2


def test_the_heaviest_batch_is_near_the_largest_drawn():
    draw = random.Random(0)
    lengths = [draw.randint(20, 200) for _ in range(2000)]
    largest = max(sum(draw.sample(lengths, 8)) for _ in range(300))
    assert heaviest_batch(lengths, 8, 300) == pytest.approx(largest, rel=0.1)
    assert heaviest_batch([64] * 10, 4, 100) == 256
    assert heaviest_batch([64, 32], 8, 100) == 96
    assert heaviest_batch([1], 1, 1) == 1


def test_a_spec_is_asked_about_as_it_will_run():
    spec = spec_from({"method": {"rank": 4, "target_modules": ["q_proj"]}})
    request = prediction.request_of(spec, MODEL_DIR, "cpu", "float32", 300, 0.5)
    assert (request.method, request.optimization) == (spec.method, spec.optimization)
    assert (request.workload.dtype, request.tokens) == ("float32", 300)
    made = prediction.predict(request, 7)
    config = request.source.config
    tied = config["vocab_size"] * config["hidden_size"]
    assert made.staying_bytes > 4 * tied
    assert made.total_bytes == made.staying_bytes + made.moving_bytes + made.margin_bytes
    fitted = prediction.predict(request, 7, Margins(cpu_overhead_gib=1.0))
    assert fitted.margin_bytes > GIB > made.margin_bytes
    for tokens, filled in ((300, 320), (513, 768)):
        sixteen = prediction.request_of(spec, MODEL_DIR, "cpu", "bfloat16", tokens, 0.5)
        assert sixteen.tokens == filled


def test_an_8_bit_run_is_predicted_in_8_bits():
    document = {"method": {"bias": "all", "alpha_pattern": {"q_proj": 3.0}}}
    spec = spec_from(document | {"quantization": {"bits": 8}})
    request = prediction.request_of(spec, MODEL_DIR, "cpu", "float32", 300, 0.5)
    assert request.quantization == spec.quantization
    assert request.method == spec.method
    names = {item.name for item in prediction.estimate_memory(request).items}
    assert "weights in int8" in names
    assert not any("4" in name for name in names)
    four = spec_from({"quantization": {"bits": 4, "type": "fp4", "double": False}})
    packed = prediction.request_of(four, MODEL_DIR, "cpu", "float32", 300, 0.5)
    items = {item.name: item.formula for item in prediction.estimate_memory(packed).items}
    assert "(float32)" in items["FP4 constants"]  # not quantized again


def test_only_runs_with_both_figures_are_read(tmp_path):
    made = record(1, 2).prediction
    for name, peak in (("a", 3 * GIB), ("b", 4 * GIB), ("c", None), ("d", 1)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / prediction.FILE).write_text(made.model_dump_json())
        if peak is not None:
            result = RunResult(
                state="finished", steps=1, train_loss=1, eval_loss=None, tokens=1,
                tokens_per_s=1, peak_memory_bytes=peak, elapsed_s=1,
            )  # fmt: skip
            RunDirectory(folder).write_result(result)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / prediction.FILE).write_text("{")
    found = read_records(tmp_path)
    assert [item.run for item in found] == ["b", "a"]
    assert read_records(tmp_path, 3) == []  # the newest three have no figures
    assert found[0].measured_bytes == 4 * GIB - 5
    assert found[0].error == pytest.approx(11 / 4 - 1)
