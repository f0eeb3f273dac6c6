"""What a streamed run holds at its peak, from loading to its last step, is what is predicted.

What bitsandbytes makes inside while it quantizes is not seen: `test_streamed_base` bounds it.
"""

from __future__ import annotations

import json

import pytest

from lora_engine.calculator.memory_request import GIB
from lora_engine.calculator.streaming import HEAP_GIB
from lora_engine.run_folder import RunDirectory
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.memory.prediction import read_prediction
from lora_engine.training.preparation import prepare
from lora_engine.training.train_run import train_prepared
from tests.held_memory import Held
from tests.tiny import save_tiny_model
from tests.training_runs import tiny_spec

pytestmark = pytest.mark.slow

QLORA = {"quantization": {"bits": 4}}
LORA = {"quantization": None}
SHAPE = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "num_hidden_layers": 3,
}
LONG = "Two and three make five; four and four make eight. " * 4


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("base"), **SHAPE)


def rows_of(tmp_path, answer):
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"Question {number}?", "response": answer} for number in range(16)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize(
    ("quantization", "answer", "optimization"),
    [
        (QLORA, "Five.", {}),
        (QLORA, LONG, {"batch_size": 4, "gradient_accumulation": 2}),
        (LORA, "Five.", {}),
        (LORA, LONG, {"batch_size": 4, "precision": "bfloat16"}),
    ],
)
def test_the_peak_of_a_streamed_run_is_predicted(
    quantization, answer, optimization, base, settings, tmp_path
):
    optimization = {"stream_base": True, "batch_size": 1, "max_steps": 2, **optimization}
    spec = tiny_spec(base, rows_of(tmp_path, answer), optimization=optimization, **quantization)

    directory = RunDirectory(tmp_path / "run")
    directory.create(spec)
    run = prepare(directory, settings)

    with Held() as held:
        train_prepared(run, False, TrainingProgress(), lambda: False)

    prediction = read_prediction(directory)
    predicted = prediction.staying_bytes + prediction.moving_bytes - HEAP_GIB * GIB
    print(f"{predicted / held.peak - 1:+.1%} of {held.peak / 2**20:.0f} MiB")
    assert predicted == pytest.approx(held.peak, rel=0.1)
