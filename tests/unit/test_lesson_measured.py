"""What Learn shows as measured: the file is whole, and what can be computed anew still agrees."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lora_engine.lesson import RANKS, bits_a_weight, product_norms, read_measured, scalings
from lora_engine.lesson.left_out import PARTS, trials, write_without
from lora_engine.lesson.memory_notes import NOTES, computed_memory
from lora_engine.spec import WAYS

MODULES = {f"{layer}.{part}" for layer in range(4) for part in PARTS}


def test_every_module_was_measured():
    where = read_measured().where
    assert set(where.norms) == MODULES
    assert set(where.left_out) == set(trials(4))
    assert where.loss < where.base_loss
    # Without any update of a layer more is lost than without its least useful one.
    for layer in range(4):
        least = min(where.left_out[f"{layer}.{part}"] for part in PARTS)
        assert where.left_out[f"{layer}.*"] > least


def test_the_numbers_of_values_for_90_percent_are_read_off_their_curves():
    found = read_measured()
    assert {one.trained for one in found.energy} == {"full", "lora r64"}
    for update in found.energy:
        assert set(update.curves) == set(update.values_for_90) == MODULES
        for place, needed in update.values_for_90.items():
            curve = np.array(update.curves[place])
            assert (np.diff(curve) >= 0).all()
            if needed <= curve.size:
                assert curve[needed - 1] >= 0.9
                assert needed == 1 or curve[needed - 2] < 0.9
            else:
                assert curve[-1] < 0.9


def test_every_method_has_a_row():
    rows = {one.way: one for one in read_measured().methods}
    assert set(rows) <= set(WAYS)
    assert {"lora", "qlora", "dora", "full"} <= set(rows)
    assert rows["lora"].trained_parameters == 163_840


@pytest.mark.slow
def test_the_memory_is_what_the_calculator_counts_today():
    committed = [one.model_dump() for one in read_measured().memory]
    assert committed == computed_memory()


def test_the_notes_numbers_stand_beside_the_counted_ones():
    found = [(one.model, one.method, one.noted_gb) for one in read_measured().memory]
    assert found == [(one.model, one.method, one.noted_gb) for one in NOTES]
    for one in read_measured().memory:
        assert sum(one.parts_gb.values()) == pytest.approx(one.total_gb, abs=0.05)


def test_bits_of_a_weight():
    bits = bits_a_weight()
    assert (bits.constants, round(bits.constants_double, 3)) == (0.5, 0.127)


def test_by_alpha_over_r_the_update_shrinks_and_by_the_root_it_keeps_its_size():
    norms = dict(zip(RANKS, product_norms(), strict=True))
    sizes = {rank: [one * norms[rank] for one in scalings(16, rank)] for rank in (4, 64)}
    assert scalings(16, 4) == (4.0, 8.0)
    assert sizes[64][0] < 0.4 * sizes[4][0]
    assert 0.8 < sizes[64][1] / sizes[4][1] < 1.5


def test_a_module_is_left_out_by_zeros_in_its_b(tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for name in ("adapter_config.json", "provenance.json"):
        (adapter / name).write_text("{}")
    names = [
        f"base_model.model.model.layers.{i}.mlp.up_proj.lora_{x}.weight"
        for i in (0, 1)
        for x in "AB"
    ]
    save_file(
        {name: np.ones((2, 2), np.float32) for name in names}, adapter / "adapter_model.safetensors"
    )
    written = load_file(
        write_without(adapter, tmp_path / "out", trials(2)["1.up_proj"])
        / "adapter_model.safetensors"
    )
    assert {name: float(values.max()) for name, values in written.items()} == {
        name: 0.0 if ".1." in name and "_B" in name else 1.0 for name in names
    }
