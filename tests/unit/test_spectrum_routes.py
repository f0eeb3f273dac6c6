"""Routes for large matrices, stop and progress, pooled views: small stand-ins for each."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lora_engine.cancellation import StopSignal
from lora_engine.errors import EngineError
from lora_engine.spectrum import (
    SAMPLES,
    Stopped,
    decompose,
    decompose_file,
    dense,
    describe_method,
    pool,
    sample,
    tile_rms,
    window,
    write_factors,
    write_rank_k,
    write_table,
)
from lora_engine.spectrum.decomposition import choose_method
from lora_engine.spectrum.orthonormal import orthonormal, triangle
from lora_engine.spectrum.progress import SILENT
from lora_engine.spectrum.randomized import _residual_bound
from lora_engine.spectrum.storage_noise import rounding_noise
from lora_engine.weights import open_matrix
from lora_engine.weights.matrix import ArrayMatrix


def spiked(rows, columns, spikes=5, seed=0):
    random = np.random.default_rng(seed)
    left = np.linalg.qr(random.standard_normal((rows, spikes)))[0]
    right = np.linalg.qr(random.standard_normal((columns, spikes)))[0]
    strong = (left * np.linspace(90, 50, spikes)) @ right.T
    return strong + 0.5 * random.standard_normal((rows, columns))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(dense, "BLOCK_ELEMENTS", 1000)


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (64, 64)])
def test_gram_route_over_blocks_equals_plain_svd(shape, small_blocks):
    matrix = spiked(*shape)
    plain, gram = decompose(matrix, "svd"), decompose(matrix, "gram")
    assert gram.singular_values == pytest.approx(plain.singular_values, rel=1e-8)
    assert gram.frobenius_norm == pytest.approx(np.linalg.norm(matrix))
    for start, stop in [(0, 7), (20, shape[0])]:
        assert gram.rank_k_rows(9, start, stop) == pytest.approx(
            plain.rank_k_rows(9, start, stop), abs=1e-6
        )


def test_gram_route_streams_a_bfloat16_file(tmp_path, small_blocks):
    tensor = torch.tensor(spiked(60, 130)).bfloat16()
    save_file({"w": tensor}, tmp_path / "m.safetensors")
    for path_method in ("gram", "randomized"):
        found = decompose_file(tmp_path / "m.safetensors", k=4, method=path_method)
        expected = np.linalg.svd(tensor.double().numpy(), compute_uv=False)
        assert found.decomposition.singular_values[:4] == pytest.approx(expected[:4], rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("matrix", [spiked(120, 80), np.random.default_rng(5).random((70, 150))])
def test_randomised_certificate_holds_the_truth(matrix, seed, small_blocks):
    true = np.linalg.svd(matrix, compute_uv=False)
    found = decompose(matrix, "randomized", vectors=12, seed=seed)
    assert found.method == "randomized"
    low, high = found.energy_band()
    energy = np.cumsum(true**2) / np.sum(true**2)
    assert (low <= energy[:12] + 1e-12).all()
    assert (energy[:12] <= high + 1e-12).all()
    assert (found.singular_values <= true[:12] * (1 + 1e-12)).all()
    cut = found.truncate(10)
    error = np.sqrt(np.sum(true[10:] ** 2))
    assert cut.certificate.error_low <= error <= cut.certificate.error_high
    assert cut.certificate.kind == "interval"
    assert true[10] <= cut.spectral_error
    residual = found.residual_spectral_squared
    assert (true[:12] <= np.sqrt(found.singular_values**2 + residual) * (1 + 1e-12)).all()


def test_a_sketch_does_not_count_what_it_has_not_seen():
    noise = decompose(np.random.default_rng(5).random((70, 150)), "randomized", vectors=12)
    summary = noise.summary()
    assert (summary.rank, summary.complete, summary.effective_rank) == (12, False, None)
    low = np.random.default_rng(5).random((70, 3)) @ np.random.default_rng(6).random((3, 150))
    summary = decompose(low, "randomized", vectors=12).summary()
    assert (summary.rank, summary.complete) == (3, True)
    assert summary.effective_rank == pytest.approx(decompose(low).summary().effective_rank)


def product_of(singular_values, rows, columns, seed=0):
    random = np.random.default_rng(seed)
    size = len(singular_values)
    left = np.linalg.qr(random.standard_normal((rows, size)))[0]
    right = np.linalg.qr(random.standard_normal((columns, size)))[0]
    return (left * singular_values) @ right.T


@pytest.mark.parametrize("k", [30, 31, 32, 40, 44, 45])
def test_a_sketchs_spectral_error_at_its_last_vector_is_not_zero(k):
    values = np.linspace(2, 1, 45)
    matrix = product_of(values, 120, 150, seed=1)
    found = decompose(matrix, "randomized", vectors=k).truncate(k)
    true = values[k] if k < 45 else 0.0
    assert found.spectral_error == pytest.approx(true, abs=1e-6)
    flat = decompose(np.eye(90), "randomized", vectors=k).truncate(k)
    assert flat.spectral_error >= 1.0  # all 90 values are 1, and the sketch saw k + 16 of them


@pytest.mark.parametrize("k", [20, 100, 129, 150, 200, 249])
def test_the_gram_routes_certificate_holds_the_truth_below_its_floor(k):
    values = np.logspace(0, -9, 250)
    found = decompose(product_of(values, 300, 320, seed=3), "gram")
    cut = found.truncate(k)
    sure = cut.certificate
    true = float(np.sqrt(np.square(values[k:]).sum()))
    assert sure.kind == "interval"
    assert sure.error_low <= true <= sure.error_high == cut.frobenius_error
    assert values[k] <= cut.spectral_error * (1 + 1e-3)
    if values[k] > 100 * found.value_floor:
        assert sure.error_low == pytest.approx(true, rel=1e-3)
        assert sure.error_high == pytest.approx(true, rel=1e-3)
    summary = found.summary()
    assert not summary.complete
    assert 160 < summary.rank < 250  # a lower bound: the true rank is 250


def test_a_flat_matrix_of_half_rank_has_no_exact_error_on_the_gram_route():
    found = decompose(product_of(np.ones(100), 200, 210), "gram")
    assert found.truncate(100).certificate.error_low == 0.0
    assert found.truncate(100).certificate.kind == "interval"
    assert (found.summary().rank, found.summary().complete) == (100, False)
    assert found.summary().effective_rank == pytest.approx(100, rel=0.01)
    full = decompose(np.random.default_rng(0).standard_normal((90, 100)), "gram")
    assert full.truncate(10).certificate.kind == "exact"
    assert (full.summary().rank, full.summary().complete) == (90, True)


@pytest.mark.parametrize("spread", [0, 3, 7, 9, 16, 300])
@pytest.mark.parametrize("shape", [(200, 30), (20, 30)])
def test_orthonormal_columns_however_ill_conditioned(spread, shape):
    random = np.random.default_rng(0)
    values = random.standard_normal(shape) * np.logspace(0, -spread, shape[1])
    q, r = orthonormal(values)
    assert q.T @ q == pytest.approx(np.eye(q.shape[1]), abs=1e-11)
    assert q @ r == pytest.approx(values, abs=1e-12)
    assert np.linalg.svd(triangle(values), compute_uv=False) == pytest.approx(
        np.linalg.svd(values, compute_uv=False), rel=1e-9, abs=1e-13
    )


@pytest.mark.parametrize("seed", range(10))
def test_the_bound_on_what_a_sketch_left_over_holds_and_is_close(seed):
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((80, 60)) * np.linspace(5, 1, 60)
    basis = np.linalg.qr(random.standard_normal((80, 12)))[0]
    true = np.linalg.norm(matrix - basis @ (basis.T @ matrix), 2)
    bound = _residual_bound(ArrayMatrix(matrix), basis, random, [SILENT] * 3)
    assert true <= bound <= 4 * true


@pytest.mark.parametrize("shape", [(601, 700), (700, 601)])
def test_a_gram_matrix_added_up_in_strips_and_blocks_is_whole(shape, monkeypatch):
    monkeypatch.setattr(dense, "BLOCK_ELEMENTS", 601 * 300)  # three blocks, and 601 = 7 * 76 + 69
    matrix = np.random.default_rng(0).standard_normal(shape)
    found = decompose(matrix, "gram", vectors=40)
    assert found.singular_values == pytest.approx(np.linalg.svd(matrix)[1], rel=1e-9)
    assert found.left.T @ matrix @ found.right == pytest.approx(
        np.diag(found.singular_values[:40]), abs=1e-9
    )


def test_the_method_follows_the_smaller_side():
    assert choose_method((1024, 10**5)) == "svd"
    assert choose_method((14_336, 4096)) == "gram"
    assert choose_method((9000, 9000)) == "randomized"
    assert "Gram" in describe_method((4096, 14_336))


def test_stop_and_progress(small_blocks):
    told = []

    for method in ("gram", "randomized"):
        signal = StopSignal()

        def progress(share, words, signal=signal):
            told.append(share)
            if share > 0.1:
                signal.set()

        with pytest.raises(Stopped):
            decompose(spiked(64, 200), method, progress=progress, stop=signal)
    decompose(spiked(64, 200), "gram", progress=lambda share, _: told.append(share))
    assert told[-1] == 1.0
    assert all(0 <= share <= 1 for share in told)


@pytest.mark.parametrize("k", [0, 6, -1, 2.0, True])
def test_k_out_of_range(k, tmp_path):
    np.save(tmp_path / "m.npy", np.eye(5))
    with pytest.raises(EngineError, match="1 to 5 is allowed"):
        decompose_file(tmp_path / "m.npy", k=k)


@pytest.mark.parametrize("scale", [1e200, 1e-200])
@pytest.mark.parametrize("method", ["svd", "gram", "randomized"])
def test_numbers_whose_squares_leave_the_range(method, scale):
    with pytest.raises(EngineError, match="because the numbers are squared"):
        decompose(scale * spiked(10, 12), method)


def test_an_exact_route_is_refused_where_it_would_take_hours():
    wide = ArrayMatrix(np.broadcast_to(np.float32(0), (9000, 9000)))
    for method in ("svd", "gram"):
        with pytest.raises(EngineError, match="allowed up to a smaller side of"):
            decompose(wide, method)


def test_output_is_never_overwritten(tmp_path):
    np.save(tmp_path / "m.npy", np.eye(5))
    for name, match in [("m.npy", "exists"), ("o.txt", "written as .npy"), ("x/o.npy", "folder")]:
        with pytest.raises(EngineError, match=match):
            decompose_file(tmp_path / "m.npy", k=2, output=tmp_path / name)
    with pytest.raises(EngineError, match="method"):
        decompose(np.eye(3), "magic")


def test_rank_k_written_block_by_block(tmp_path, small_blocks):
    matrix = spiked(50, 60)
    found = decompose(matrix)
    write_rank_k(found, 7, tmp_path / "o.npy")
    assert open_matrix(tmp_path / "o.npy").rows(0, 50) == pytest.approx(
        found.rank_k_rows(7, 0, 50), rel=1e-12
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "o.npy"]


def test_factors_and_table_to_take_home(tmp_path):
    matrix = spiked(20, 30)
    found = decompose(matrix)
    write_factors(found, 6, tmp_path / "f.npz")
    kept = np.load(tmp_path / "f.npz")
    assert (kept["U"] * kept["singular_values"]) @ kept["V"].T == pytest.approx(
        found.rank_k_rows(6, 0, 20)
    )
    write_table(found, tmp_path / "t.csv")
    table = open_matrix(tmp_path / "t.csv")
    assert table.shape == (20, 6)
    assert table.values[:, 1] == pytest.approx(found.singular_values, rel=1e-15)
    assert table.values[5, 3] == pytest.approx(found.truncate(6).frobenius_error)
    assert (table.values[:, 4] < table.values[:, 1]).all()
    assert (table.values[:, 1] < table.values[:, 5]).all()
    with pytest.raises(EngineError, match="exists"):
        write_table(found, tmp_path / "t.csv")
    with pytest.raises(EngineError, match="1 to 20"):
        write_factors(found, 21, tmp_path / "g.npz")


def test_a_four_bit_weight_shows_directions_below_its_rounding_error_as_noise(tmp_path):
    import bitsandbytes.functional as bnb

    weight = torch.tensor(spiked(128, 192), dtype=torch.float32)
    packed, state = bnb.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    parts = {f"w.{key}": value for key, value in state.as_dict(packed=True).items()}
    save_file({"w": packed, **parts}, tmp_path / "m.safetensors")
    answer = decompose_file(tmp_path / "m.safetensors", k=5)
    noise = answer.to_json()["noise"]
    assert noise["source"] == "known rounding error"
    error = float((bnb.dequantize_4bit(packed, state) - weight).square().mean().sqrt())
    assert noise["noise_std"] == pytest.approx(error, rel=0.25)
    assert noise["above_edge"] >= 5
    assert "4-bit (nf4" in answer.notes[0]


def test_pooled_factors_are_the_pooled_picture(small_blocks):
    matrix = spiked(90, 130)
    source = ArrayMatrix(matrix)
    found = decompose(source)
    pooled = pool(source, found, height=30, width=26)
    blocks = matrix.reshape(30, 3, 26, 5).mean(axis=(1, 3))
    assert pooled.picture == pytest.approx(blocks, abs=1e-5)
    assert pooled.rank_k(90) == pytest.approx(blocks, abs=1e-4)
    near = found.rank_k_rows(4, 0, 90).reshape(30, 3, 26, 5).mean(axis=(1, 3))
    assert pooled.rank_k(4) == pytest.approx(near, abs=1e-4)
    sent = pooled.to_json()
    assert (sent["height"], sent["width"], sent["ranks"]) == (30, 26, 90)
    assert len(sent["left"]) == (30 * 90 * 4 + 2) // 3 * 4


def test_pooling_a_matrix_smaller_than_the_screen_keeps_it():
    matrix = spiked(20, 30)
    pooled = pool(ArrayMatrix(matrix), decompose(matrix))
    assert pooled.picture == pytest.approx(matrix, abs=1e-5)


def test_window_and_tiles_show_what_pooling_hides(small_blocks):
    checker = np.where(np.indices((64, 64)).sum(axis=0) % 2, 1.0, -1.0)
    source = ArrayMatrix(checker)
    found = decompose(source)
    assert np.abs(pool(source, found, 16, 16).picture).max() < 1e-6
    tiles = tile_rms(source, found, 1, 16, 16)
    assert tiles.original == pytest.approx(np.ones((16, 16)))
    assert tiles.rank_k == pytest.approx(np.ones((16, 16)))
    assert tiles.difference == pytest.approx(np.zeros((16, 16)), abs=1e-6)
    part = window(source, found, 1, row=60, column=3, size=8)
    assert part.original.shape == (4, 8)
    assert part.rank_k == pytest.approx(checker[60:64, 3:11])
    assert part.difference == pytest.approx(np.zeros((4, 8)), abs=1e-9)
    with pytest.raises(EngineError, match="does not fit"):
        window(source, found, 1, row=64, column=0)
    with pytest.raises(EngineError, match="were asked|was asked"):
        pool(source, found, height=10_000)


def test_every_sample_can_be_taken_apart():
    for start in SAMPLES:
        matrix = start.matrix()
        assert decompose(matrix).truncate(3).energy > 0.3
    with pytest.raises(EngineError, match="no sample"):
        sample("nothing")


def test_the_picture_is_recognised_at_a_tenth_of_its_rank():
    found = decompose(sample("picture").matrix())
    assert found.truncate(38).relative_error < 0.05
    assert found.truncate(3).relative_error > 0.05


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_rounding_of_half_precision_stays_below_its_edge(stored, tmp_path):
    random = np.random.default_rng(2)
    rows = random.lognormal(sigma=1.0, size=(128, 1))  # rows of very different size
    exact = torch.tensor(rows * product_of(np.ones(3), 128, 160))
    save_file({"w": exact.to(stored)}, tmp_path / "m.safetensors")
    answer = decompose_file(tmp_path / "m.safetensors", k=3)
    rounding = np.linalg.norm((exact.to(stored).double() - exact).numpy(), 2)
    noise = rounding_noise([open_matrix(tmp_path / "m.safetensors")])
    assert rounding < noise.edge < 4 * rounding
    assert answer.summary.rank > 3  # as numpy counts it
    assert any("3 of the" in note for note in answer.notes)


def test_float32_has_no_rounding_to_show():
    assert rounding_noise([ArrayMatrix(np.ones((20, 20), np.float32), dtype="float32")]) is None
