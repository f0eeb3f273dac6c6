"""The storage of a Ray job on a disk that is really full: what was whole stays, nothing is lost."""

from __future__ import annotations

import pytest

from tests.faults.full_disk_storage import CHECKPOINT_BYTES

pytestmark = pytest.mark.slow


def test_a_storage_that_fills_keeps_what_was_whole_and_takes_the_rest_later(
    on_a_small_disk, tmp_path
):
    first, *full, after = on_a_small_disk("full_disk_storage", home=str(tmp_path))
    old = {"step-2": CHECKPOINT_BYTES}
    assert first == {"said": None, "steps": old, "has_result": False}
    for stage in full:
        assert "No space left on device" in stage["said"]
        assert (stage["steps"], stage["has_result"]) == (old, False)
    assert after == {"said": None, "steps": {**old, "step-4": CHECKPOINT_BYTES}, "has_result": True}
