"""The guard: whatever a guarded function does, the caller gets its answer or one named error."""

import threading

import pytest

from lora_engine.errors import EngineError
from lora_engine.guard import OutOfBounds, run_guarded, stream_guarded
from lora_engine.language import speaking
from tests.faults import guarded

BOUNDS = {"seconds": 0.3, "memory_bytes": 64 << 20}


def test_an_answer_comes_back_and_large_arguments_arrive():
    assert run_guarded(guarded.double, [[1, "ö"]], **BOUNDS) == [1, "ö", 1, "ö"]
    text = "x" * 400_000
    assert run_guarded(guarded.double, [text], **BOUNDS) == text * 2


@pytest.mark.parametrize(
    ("function", "arguments", "kind"),
    [
        (guarded.spin, [], "time"),
        (guarded.fill, [], "memory"),
        (guarded.crash, [], "memory"),
        (guarded.talk, [2 << 20], "output"),
    ],
)
def test_what_goes_too_far_is_ended(function, arguments, kind):
    with pytest.raises(OutOfBounds) as caught:
        run_guarded(function, arguments, **BOUNDS)
    assert caught.value.kind == kind
    assert run_guarded(guarded.double, [2], **BOUNDS) == 4


def test_waiting_forever_ends_too():
    with pytest.raises(OutOfBounds) as caught:
        run_guarded(guarded.wait, [], seconds=0.02, memory_bytes=64 << 20)
    assert caught.value.kind == "time"


def test_a_refusal_arrives_in_the_language_of_the_caller():
    with speaking("zh"), pytest.raises(EngineError, match="zh") as caught:
        run_guarded(guarded.refuse, [], **BOUNDS)
    assert caught.value.remedy == "Mend it."


def test_a_bug_is_not_swallowed():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run_guarded(guarded.divide, [], **BOUNDS)


def test_the_child_has_no_secret_of_the_environment(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert "HF_TOKEN" not in run_guarded(guarded.environment, [], **BOUNDS)


def test_a_stream_comes_piece_by_piece_and_may_be_left():
    pieces = stream_guarded(guarded.pieces, [200], **BOUNDS)
    assert next(pieces) == b"\0" * 1_000
    pieces.close()
    assert len([*stream_guarded(guarded.pieces, [200], **BOUNDS)]) == 200


def test_many_threads_ask_at_once():
    found = []
    threads = [
        threading.Thread(
            target=lambda n=n: found.append(run_guarded(guarded.double, [n], **BOUNDS))
        )
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [2 * n for n in range(12)]
