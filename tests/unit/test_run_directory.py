"""A run's directory: torn lines, resumed steps, and a lock that tells the living from the dead."""

import json
import multiprocessing
import os

import pytest

from lora_engine.errors import EngineError, InvalidInput, Unreadable
from lora_engine.language import remembering, speaking, tr
from lora_engine.run_folder import (
    CURVES,
    METRICS,
    MetricsRow,
    MetricsWriter,
    RunDirectory,
    RunProblem,
    RunResult,
    is_alive,
    try_lock,
)
from lora_engine.spec import RunSpec
from tests.metrics_rows import metrics_row


def row(step, loss=1.0, **more):
    return metrics_row(step, seq=0, loss=loss, tokens=10, **more)


def write(directory, *rows):
    writer = MetricsWriter(directory.metrics_path)
    for item in rows:
        writer.write(item)
    writer.close()


def test_rows_are_numbered_and_read_back(tmp_path):
    directory = RunDirectory(tmp_path)
    write(directory, row(1), row(2, eval_loss=0.5))
    assert [(r.seq, r.step, r.eval_loss) for r in directory.metrics()] == [
        (1, 1, None),
        (2, 2, 0.5),
    ]
    assert [r.step for r in directory.metrics(after_seq=1)] == [2]
    assert directory.last_metrics().step == 2


def test_a_torn_last_line_is_skipped_and_survived(tmp_path):
    directory = RunDirectory(tmp_path)
    write(directory, row(1), row(2))
    whole = directory.metrics_path.read_bytes()
    directory.metrics_path.write_bytes(whole[:-20])
    assert [r.step for r in directory.metrics()] == [1]
    assert directory.last_metrics().step == 1
    write(directory, row(2, loss=3.0))
    assert [(r.step, r.loss) for r in directory.metrics()] == [(1, 1.0), (2, 3.0)]


def test_a_resumed_step_replaces_the_earlier_row(tmp_path):
    directory = RunDirectory(tmp_path)
    write(directory, row(1), row(2, loss=5.0), row(3))
    write(directory, row(2, loss=6.0))
    assert [(r.step, r.loss) for r in directory.metrics()] == [(1, 1.0), (3, 1.0), (2, 6.0)]


def test_an_empty_directory_has_no_metrics_and_no_result(tmp_path):
    directory = RunDirectory(tmp_path)
    assert directory.metrics() == []
    assert directory.last_metrics() is None
    assert directory.result() is None
    assert directory.log_tail() == ""


def test_the_spec_is_written_and_read(tmp_path):
    directory = RunDirectory(tmp_path / "new" / "run")
    directory.create(RunSpec(name="here"))
    assert directory.spec().name == "here"
    assert [path.name for path in directory.path.iterdir()] == ["spec.json"]


def _hold(path, ready, release):
    lock = try_lock(RunDirectory(path))
    ready.set()
    release.wait(20)
    lock.close()


def test_a_lock_lives_as_long_as_its_process(tmp_path):
    directory = RunDirectory(tmp_path)
    assert not is_alive(directory)
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready, release))
    process.start()
    assert ready.wait(20)
    assert is_alive(directory)
    assert try_lock(directory) is None
    os.kill(process.pid, 9)
    process.join()
    assert not is_alive(directory)
    lock = try_lock(directory)
    assert lock is not None
    lock.close()


def test_two_askers_do_not_take_each_other_for_a_worker(tmp_path):
    directory = RunDirectory(tmp_path)
    try_lock(directory).close()
    assert [is_alive(directory) for _ in range(50)] == [False] * 50


RESULT = {
    "state": "finished",
    "steps": 1,
    "train_loss": 1.0,
    "eval_loss": None,
    "tokens": 1,
    "tokens_per_s": 1.0,
    "peak_memory_bytes": 1,
    "elapsed_s": 1.0,
}


def test_what_a_newer_program_adds_is_read_past(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.result_path.write_text(json.dumps({**RESULT, "a_new_figure": 3}))
    write(directory, row(1))
    lines = directory.metrics_path.read_text().strip()[:-1] + ', "a_new_metric": [1]}\n'
    directory.metrics_path.write_text(lines)
    assert directory.result().state == "finished"
    assert [found.step for found in directory.metrics()] == [1]
    assert directory.last_metrics().step == 1


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (json.dumps({**RESULT, "state": "moved"}), "state"),
        (json.dumps({"outcome": "finished"}), "state"),
        ("[]", "object"),
        ("{", "JSON"),
        (" " * 1_000_001, "1,000,000"),
    ],
)
def test_a_result_of_another_form_is_named_and_left_as_it_is(tmp_path, content, named):
    directory = RunDirectory(tmp_path)
    directory.result_path.write_text(content)
    with pytest.raises(Unreadable) as caught:
        directory.result()
    assert "result.json" in caught.value.problem
    assert named in caught.value.problem
    assert "newer" in caught.value.remedy
    assert directory.result_path.read_text() == content


def test_a_result_that_is_a_folder_is_named(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.result_path.mkdir()
    with pytest.raises(Unreadable, match=r"result\.json"):
        directory.result()


def test_a_spec_with_an_unknown_key_names_the_run_and_the_key(tmp_path):
    directory = RunDirectory(tmp_path / "run-7")
    directory.create(RunSpec())
    document = json.loads(directory.spec_path.read_text())
    document["method"]["new_knob"] = 1
    directory.spec_path.write_text(json.dumps(document))
    with pytest.raises(InvalidInput) as caught:
        directory.spec()
    assert "run-7" in caught.value.problem
    assert [problem.path for problem in caught.value.problems] == ["method.new_knob"]
    assert "newer" in caught.value.remedy
    directory.spec_path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="run-7"):
        directory.spec()


def test_every_number_of_a_row_has_a_label_and_a_kind():
    assert list(METRICS) == list(MetricsRow.model_fields)
    assert all(metric.label for metric in METRICS.values())
    evaluated = {metric.name for metric in CURVES if metric.is_evaluated}
    assert {"eval_loss", "eval_accuracy", "eval_f1", "eval_reward_margin"} <= evaluated
    assert not {"loss", "kl", "reward_margin", "memory_bytes"} & evaluated
    assert METRICS["memory_bytes"].of(row(1)) == 1
    rare = {metric.name for metric in CURVES if metric.is_of_some_runs}
    assert rare >= {"reward", "kl", "eval_f1", "reward_margin"}
    assert not rare & {"loss", "eval_loss", "grad_norm", "memory_bytes"}


def test_a_request_to_stop_is_there_until_it_is_cleared(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.create(RunSpec())
    assert not directory.stop_requested()
    directory.request_stop()
    directory.request_stop()
    assert directory.stop_requested()
    directory.clear_stop_request()
    directory.clear_stop_request()
    assert not directory.stop_requested()


def failed(problem, remedy):
    return RunResult.failed(RunProblem(problem=problem, remedy=remedy))


def test_an_error_is_read_in_the_language_of_the_reader(tmp_path):
    """The worker writes in English; a number, a path or a library's own words stay as they were."""
    directory = RunDirectory(tmp_path)
    with remembering():
        problem = tr("The disk is full, or a quota is used up: {error}.", error="No space")
        remedy = tr("Free some space, then resume the run from its newest checkpoint.")
        directory.write_result(failed(problem, remedy))

    assert directory.result().error.problem == problem
    with speaking("zh"):
        error = directory.result().error
    assert error.problem == "磁盘已满，或配额已用完：No space。"
    assert error.remedy.startswith("请腾出空间")


def test_what_a_changed_result_says_is_no_format(tmp_path):
    directory = RunDirectory(tmp_path)
    with remembering():
        problem = tr("The disk is full, or a quota is used up: {error}.", error="x")
        directory.write_result(failed(problem, "Wait."))
    document = json.loads(directory.result_path.read_text())
    document["said"][problem]["message"] = "{error:>99999999}"
    directory.result_path.write_text(json.dumps(document))

    with speaking("zh"):
        assert directory.result().error.problem == problem


def test_a_token_in_a_message_is_not_written_down(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "a" * 30)
    directory = RunDirectory(tmp_path)
    with remembering():
        error = EngineError(
            tr("Something went wrong: {error}", error="hf_" + "a" * 30),
            tr("The whole log is in {path}.", path=tmp_path),
        )
        directory.write_result(failed(error.problem, error.remedy))
    assert "aaa" not in directory.result_path.read_text()
