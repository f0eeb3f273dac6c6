"""Laws of a mixture, for any sets, weights and twins."""

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_engine.data.mixture import epoch_places, evaluated_places, shares_of
from lora_engine.data.rows import SetPart

SETS = st.lists(st.tuples(st.integers(1, 30), st.floats(0.01, 100)), min_size=1, max_size=5)


def parts_of(sets: list[tuple[int, float]]) -> list[SetPart]:
    ends = [*accumulate(count for count, _ in sets)]
    return [
        SetPart(f"set {n}", end - count, end, weight, end - count)
        for n, ((count, weight), end) in enumerate(zip(sets, ends, strict=True))
    ]


@settings(max_examples=150, deadline=None)
@given(sets=SETS, fraction=st.floats(0, 0.5), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_no_row_and_no_twin_is_on_both_sides_and_an_epoch_is_as_long_as_all_sets(
    sets, fraction, seed, data
):
    parts = parts_of(sets)
    count = parts[-1].end
    drawn = data.draw(st.lists(st.integers(0, count), min_size=count, max_size=count))
    group_of = np.unique(drawn, return_inverse=True)[1]
    evaluated = evaluated_places(parts, group_of, fraction, seed)
    epoch = epoch_places(parts, evaluated, seed)
    assert not {*group_of[evaluated]} & {*group_of[epoch]}
    assert len(epoch) == count - len(evaluated)
    assert len({*evaluated.tolist()}) == len(evaluated)
    for part in parts:
        own = [place for place in evaluated if part.start <= place < part.end]
        assert len(own) <= part.rows - 1
        assert fraction > 0 or not own
    shares = shares_of([part.rows for part in parts], [part.weight for part in parts])
    assert sum(shares) == count
    whole = sum(part.weight for part in parts)
    for part, share in zip(parts, shares, strict=True):
        assert share == pytest.approx(count * part.weight / whole, abs=1)
    assert epoch.tolist() == epoch_places(parts, evaluated, seed).tolist()
    times = np.bincount(epoch, minlength=count)
    for part in parts:
        left = [place for place in range(part.start, part.end) if place not in {*evaluated}]
        assert np.ptp(times[left]) <= 1
