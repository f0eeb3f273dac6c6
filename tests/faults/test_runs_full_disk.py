"""A disk that is really full: the run says so, keeps what it had, goes on once there is room."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lora_engine.run_folder import RunDirectory
from lora_engine.spec import RunSpec
from tests.faults.test_runs_killed import adapter, curve
from tests.faults.zygote import Zygote

pytestmark = pytest.mark.slow

BESIDE = 300_000  # bytes of the list, the rows as tokens, the log and the reserve


@pytest.fixture
def run_with(on_a_small_disk, twelve_steps) -> Callable[[int], dict]:
    """Runs the twelve steps with so many bytes free."""
    spec = spec_of(twelve_steps).model_dump(mode="json")

    def run(free_bytes: int) -> dict:
        return on_a_small_disk("full_disk", spec=spec, free_bytes=free_bytes)

    return run


@pytest.fixture
def whole(zygote: Zygote, make_run, twelve_steps) -> RunDirectory:
    """The same run where there is room."""
    directory = make_run("whole", spec_of(twelve_steps))
    assert zygote.run(directory.path) == 0, directory.log_tail()
    return directory


def spec_of(twelve_steps: Callable[..., RunSpec]) -> RunSpec:
    spec = twelve_steps()
    return spec.model_copy(update={"method": spec.method.model_copy(update={"rank": 32})})


def assert_full(full: dict) -> None:
    assert full["state"] == "failed", full["log"]
    assert not full["error"]["is_bug"]
    assert "disk is full" in full["error"]["problem"]
    assert "resume" in full["error"]["remedy"]


def assert_whole(resumed: dict, whole: RunDirectory) -> None:
    assert resumed["state"] == "finished", resumed["log"]
    assert resumed["losses"] == [loss for loss, *_ in curve(whole).values()]
    assert resumed["adapter"] == adapter(whole).hex()


def test_a_disk_with_room_for_one_checkpoint(run_with, whole):
    kept = whole.checkpoints_path / "step-10"
    checkpoint = sum(path.stat().st_size for path in kept.iterdir())
    assert checkpoint > 2 * BESIDE
    found = run_with(checkpoint + BESIDE)
    assert_full(found["full"])
    assert (found["full"]["checkpoints"], found["full"]["valid_step"]) == (["step-5"], 5)
    assert "resumed after step 5" in found["resumed"]["log"]
    assert_whole(found["resumed"], whole)


@pytest.mark.parametrize("free_bytes", [BESIDE, 90_000])
def test_a_disk_with_room_for_no_checkpoint(run_with, whole, free_bytes):
    found = run_with(free_bytes)
    assert_full(found["full"])
    assert (found["full"]["checkpoints"], found["full"]["valid_step"]) == ([], None)
    assert_whole(found["resumed"], whole)


def test_a_disk_with_no_room_at_all_refuses_the_run_and_still_lists_the_others(run_with, whole):
    found = run_with(0)
    assert "No space left on device" in found["full"]["refused"]
    assert "Free some space" in found["full"]["refused"]
    assert found["full"]["left"] == []
    assert_whole(found["resumed"], whole)
