"""Predicted interference against dense arithmetic and known answers."""

from __future__ import annotations

import numpy as np
import pytest

from lora_engine.adapter_operations import WeightedAdapter, interference, predicted_interference
from lora_engine.adapter_operations.interference import sign_conflict
from lora_engine.spectrum import Factors
from tests.operated_adapters import save_adapter, save_form, updates

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    save_adapter(folder / "a")
    save_adapter(folder / "b", seed=2, r=3, target_modules=["q_proj", "o_proj"])
    return folder


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, -2.0)])
def test_it_is_what_dense_updates_say(folders, weights):
    sources = [WeightedAdapter(folders / n, w) for n, w in zip("ab", weights, strict=True)]
    found = predicted_interference(sources)
    of_a, of_b = (updates(folders / name) for name in "ab")
    assert {one.name for one in found.modules} == set(of_a) & set(of_b)
    assert found.alone == len(set(of_a) ^ set(of_b))
    for one in found.modules:
        x, y = weights[0] * of_a[one.name], weights[1] * of_b[one.name]
        assert one.sign_conflict == pytest.approx(np.mean(np.sign(x) != np.sign(y)), abs=1e-3)
        cancelled = 1 - np.abs(x + y).sum() / (np.abs(x).sum() + np.abs(y).sum())
        assert one.cancelled == pytest.approx(cancelled, rel=1e-6)
        cosine = np.sum(x * y) / np.linalg.norm(x) / np.linalg.norm(y)
        assert one.cosine == pytest.approx(cosine, abs=1e-8)
        u, _, vt = np.linalg.svd(y)
        shared = np.linalg.norm(u[:, :3].T @ x @ vt[:3].T) ** 2 / np.linalg.norm(x) ** 2
        assert one.overlap_first == pytest.approx(shared, abs=1e-8)
    overlaps = [max(one.overlap_first, one.overlap_second) for one in found.modules]
    assert overlaps == sorted(overlaps, reverse=True)


@pytest.mark.parametrize(
    ("weight", "verdict", "cancelled"), [(1.0, "reinforce", 0.0), (-1.0, "oppose", 1.0)]
)
def test_an_adapter_meets_itself(folders, weight, verdict, cancelled):
    sources = [WeightedAdapter(folders / "a"), WeightedAdapter(folders / "a", weight)]
    found = predicted_interference(sources)
    assert {one.verdict for one in found.modules} == {verdict}
    assert found.overlap == pytest.approx(1.0)
    assert found.cancelled == pytest.approx(cancelled, abs=1e-9)
    assert found.sign_conflict == pytest.approx(cancelled, abs=1e-9)


def test_each_adapter_is_seen_beside_all_others(folders):
    sources = [WeightedAdapter(folders / "a"), WeightedAdapter(folders / "b")]
    found = predicted_interference([*sources, WeightedAdapter(folders / "a", -1.0)])
    first, middle, last = found.sources
    assert [one.name for one in found.sources] == ["a", "b", "a"]
    of_b = [one for one in found.modules if "b" in (one.first, one.second)]
    b_inside = [one.overlap_second if one.second == "b" else one.overlap_first for one in of_b]
    weights = [one.weight for one in of_b]
    assert middle.overlap == pytest.approx(np.average(b_inside, weights=weights))
    conflicts = [one.sign_conflict for one in of_b]
    assert middle.sign_conflict == pytest.approx(np.average(conflicts, weights=weights))
    assert first.overlap == pytest.approx(last.overlap)
    assert first.overlap > middle.overlap  # it meets itself
    alone = predicted_interference(sources[:1])
    assert (alone.sources[0].overlap, alone.sources[0].cancelled) == (None, None)


def test_experts_are_compared_one_by_one(tmp_path):
    sources = []
    for seed in (1, 2):
        save_form("fused experts", tmp_path / str(seed), seed=seed)
        sources.append(WeightedAdapter(tmp_path / str(seed)))
    names = {one.name for one in predicted_interference(sources).modules}
    assert {f"model.layers.0.mlp.experts.down_proj[{n}]" for n in range(3)} < names


def test_rows_are_sampled_of_a_large_weight(monkeypatch):
    random = np.random.default_rng(0)
    parts = [Factors(random.normal(size=(400, 2)), random.normal(size=(2, 300))) for _ in range(2)]
    whole = sign_conflict(*parts)
    monkeypatch.setattr(interference, "SAMPLED_ENTRIES", 40_000)
    sampled = sign_conflict(*parts)
    assert sampled != whole
    assert sampled == pytest.approx(whole, abs=0.05)
