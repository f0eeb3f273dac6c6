"""A million metric rows and a log without end: read by the few bytes that are shown."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from lora_engine.run_folder import MetricsRow, RunDirectory, directory, metrics
from lora_engine.runs.curve import POINTS, read_curve
from lora_engine.spec import RunSpec

ROWS = 1_000_000
ROW = {
    "epoch": 0.0,
    "loss": 1.5,
    "learning_rate": 1e-4,
    "grad_norm": 1.0,
    "tokens": 10,
    "tokens_per_s": 1.0,
    "elapsed_s": 1.0,
    "memory_bytes": 1,
    "total_steps": ROWS,
}


@pytest.fixture(scope="module")
def million(tmp_path_factory) -> RunDirectory:
    """A million steps, every 50,000th evaluated, killed at 900,000 and resumed from 800,000."""
    directory = RunDirectory(tmp_path_factory.mktemp("huge"))
    directory.create(RunSpec())
    rest = json.dumps(ROW)[1:]
    steps = [*range(1, 900_001), *range(800_001, ROWS + 1)]
    with directory.metrics_path.open("w") as file:
        for seq, step in enumerate(steps, 1):
            evaluation = '"eval_loss": 0.5, ' if step % 50_000 == 0 else ""
            file.write(f'{{"seq": {seq}, "step": {step}, {evaluation}{rest}\n')
        file.write('{"seq": 9999999, "step": 1000001, "ep')
    return directory


def test_a_million_rows_are_sampled_with_every_evaluation_and_the_last(million, monkeypatch):
    parsed = 0
    validate = MetricsRow.model_validate_json

    def counted(line):
        nonlocal parsed
        parsed += 1
        return validate(line)

    monkeypatch.setattr(MetricsRow, "model_validate_json", counted)
    rows = read_curve(million)
    assert parsed < 4 * POINTS
    assert POINTS / 2 < len(rows) <= 2 * POINTS + 1
    steps = [row.step for row in rows]
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (1, ROWS)
    assert [row.step for row in rows if row.eval_loss is not None] == [
        *range(50_000, ROWS + 1, 50_000)
    ]
    assert all(later - earlier < 5 * ROWS / POINTS for earlier, later in pairwise(steps))


def test_the_newest_row_and_the_end_of_the_log_are_read_from_the_end(million, monkeypatch):
    with million.log_path.open("wb") as log:
        log.truncate(10 * 2**30)  # sparse: ten gibibytes that take no room
        log.seek(0, 2)
        log.write(b"the last line\n" + b"x" * 200_000 + b"\nend\n")
    read = []
    for module in (directory, metrics):
        tail = module.read_tail
        monkeypatch.setattr(
            module, "read_tail", lambda *given, tail=tail: read.append(tail(*given)) or read[-1]
        )
    assert million.last_metrics().step == ROWS
    assert million.log_tail().endswith("end")
    assert sum(map(len, read)) < 100_000


def test_a_short_file_is_read_whole_and_a_resumed_step_counts_once(tmp_path):
    directory = RunDirectory(tmp_path)
    steps = enumerate((1, 2, 3, 2), 1)
    lines = [json.dumps({"seq": seq, "step": step, **ROW}) for seq, step in steps]
    directory.metrics_path.write_text("\n".join(lines) + "\n")
    assert [(row.step, row.seq) for row in read_curve(directory)] == [(1, 1), (2, 4), (3, 3)]
    assert read_curve(RunDirectory(tmp_path / "nothing")) == []
