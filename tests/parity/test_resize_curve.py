"""What the curve says of a size before, against what resizing to it gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_engine.adapter_operations import ToEnergy, ToRank, ToThreshold, resize, resize_curve
from tests.operated_adapters import FORMS, save_form


@pytest.mark.parametrize("form", FORMS)
def test_the_curve_says_what_resizing_gives(tmp_path: Path, form: str) -> None:
    source = save_form(form, tmp_path / "source")
    curve = resize_curve(source)
    sizes = [
        *((point, ToRank(int(point.choice))) for point in curve.ranks[:2]),
        *((point, ToEnergy(point.choice)) for point in curve.energies[40:42]),
        *((point, ToThreshold(point.choice)) for point in curve.thresholds[30:32]),
    ]

    for number, (point, target) in enumerate(sizes):
        done = resize(source, tmp_path / str(number), target)
        assert point.bytes == done.new_bytes
        assert point.energy == pytest.approx(done.energy, abs=1e-12)
        assert point.rank == max(one.new_rank for one in done.modules)


def test_more_keeps_more(tmp_path: Path) -> None:
    curve = resize_curve(save_form("patterns", tmp_path / "source"))

    for points in (curve.ranks, curve.energies, curve.thresholds[::-1]):
        assert [one.energy for one in points] == sorted(one.energy for one in points)
        assert [one.bytes for one in points] == sorted(one.bytes for one in points)
    assert curve.ranks[-1].energy == pytest.approx(1.0)
    assert [one.choice for one in curve.ranks] == [*range(1, len(curve.ranks) + 1)]
