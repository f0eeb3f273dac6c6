"""A stop signal: who sets it, whom it stops."""

import pytest

from lora_engine.cancellation import NEVER_STOPPED, Stopped, StopSignal


def test_work_goes_on_until_its_signal_is_set():
    signal = StopSignal()
    signal.raise_if_set("counting")
    signal.set()
    with pytest.raises(Stopped, match="counting"):
        signal.raise_if_set("counting")


def test_a_parent_stops_its_child_and_not_the_other_way_round():
    parent = StopSignal()
    first, second = StopSignal(parent), StopSignal(parent)
    first.set()
    assert (first.is_set(), second.is_set(), parent.is_set()) == (True, False, False)
    parent.set()
    assert second.is_set()


def test_nobody_can_stop_all_work_that_was_given_no_signal():
    with pytest.raises(RuntimeError):
        NEVER_STOPPED.set()
    assert not NEVER_STOPPED.is_set()
