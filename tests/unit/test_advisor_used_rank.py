"""What a run used, what runs share, and where the directions go at an equal budget."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lora_engine.adapter_operations import ToRank, ToThreshold, ToVarianceShare, resize
from lora_engine.advisor.after_run import advise_after
from lora_engine.advisor.curve_signs import CurveSigns
from lora_engine.advisor.rank_proposal import (
    ModuleDirections,
    proposal_for,
    propose_ranks,
    targets_within,
)
from lora_engine.advisor.used_rank import (
    ModuleUse,
    claim_on_checkpoints,
    claim_test,
    module_use,
    used_rank,
)
from lora_engine.errors import EngineError
from lora_engine.spec import MethodSpec
from lora_engine.spectrum import describe_adapter
from tests.judged_runs import child
from tests.operated_adapters import save_adapter


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Adapters with random factors of falling size: ranks 6 and 12, and 6 from another seed."""
    root = tmp_path_factory.mktemp("used")
    return {
        "r6": save_adapter(root / "r6", r=6, lora_alpha=12),
        "r12": save_adapter(root / "r12", r=12, lora_alpha=24),
        "again": save_adapter(root / "again", r=6, lora_alpha=12, seed=2),
    }


def runs(folders: dict[str, Path]) -> list:
    made = [child("r6", 6), child("r12", 12), child("again", 6, seed=1)]
    return [replace(one, adapter=folders[one.id]) for one in made]


def test_each_run_says_what_it_used_and_pairs_what_they_share(folders: dict[str, Path]) -> None:
    found = used_rank(runs(folders))
    assert [one.run for one in found.runs] == ["r6", "r12", "again"]
    first = found.runs[0]
    spectrum = describe_adapter(folders["r6"]).modules
    assert [one.name for one in first.modules] == [one.name for one in spectrum]
    assert {one.layer for one in first.modules} == {0, 1}
    assert {one.part for one in first.modules} == {"q_proj", "v_proj", "down_proj"}
    for one, module in zip(first.modules, spectrum, strict=True):
        assert one.k95 == module.directions(0.95)
        assert 1 <= one.effective_rank <= 6
        assert one.energy_of_10 == pytest.approx(1.0)
    assert [(one.first, one.second, one.differ_in) for one in found.pairs] == [
        ("r6", "again", "seed"),
        ("r6", "r12", "rank"),
    ]
    phi, level = found.pairs[0].mean_phi(1) or (0.0, 0.0)
    assert 0 <= phi < 0.5  # random factors share hardly anything
    assert 0 < level < 0.1
    assert found.pairs[0].mean_phi(13) is None
    assert found.claim.testable == 0
    assert "cannot fail" in found.claim.sentence()
    json.dumps(found.to_json())


def test_a_run_shares_every_direction_with_itself(folders: dict[str, Path]) -> None:
    same = [replace(one, adapter=folders["r6"]) for one in (child("a", 6), child("b", 6, seed=1))]
    phi, _ = used_rank(same).pairs[0].mean_phi(6) or (0.0, 0.0)
    assert phi == pytest.approx(1.0, abs=1e-6)


def use(rank: int, of_10: float, of_20: float) -> ModuleUse:
    return ModuleUse("m", 0, "m", rank, 1.0, 1, 1, 1, of_10, of_20)


def test_the_claim_is_tested_only_where_it_can_fail() -> None:
    found = claim_test([use(32, 0.95, 0.99), use(32, 0.5, 0.91), use(64, 0.3, 0.6), use(8, 1, 1)])
    assert (found.testable, found.untestable) == (3, 1)
    assert (found.holding_10, found.holding_20) == (1, 2)
    assert "2 of 3" in found.sentence()


def test_the_claim_is_tested_on_full_fine_tuning(tmp_path: Path, tiny_llama: Path) -> None:
    import shutil

    from safetensors.numpy import load_file, save_file

    tuned = shutil.copytree(tiny_llama, tmp_path / "tuned")
    tensors = load_file(tuned / "model.safetensors")
    random = np.random.default_rng(0)
    low, full = "layers.0.mlp.up_proj.weight", "layers.1.mlp.up_proj.weight"
    for name, weight in tensors.items():
        rows, columns = weight.shape if weight.ndim == 2 else (0, 0)
        if name.endswith(low):
            change = random.normal(size=(rows, 5)) @ random.normal(size=(5, columns))
            tensors[name] = (weight + change).astype(weight.dtype)
        if name.endswith(full):
            tensors[name] = (weight + random.normal(size=weight.shape)).astype(weight.dtype)
    save_file(tensors, tuned / "model.safetensors", {"format": "pt"})
    found = claim_on_checkpoints(tiny_llama, tuned)
    assert (found.testable, found.holding_10, found.holding_20) == (2, 1, 1)


def test_proposals_keep_the_budget(
    folders: dict[str, Path],
) -> None:
    found = propose_ranks(folders["r12"], 3, MethodSpec(rank=12, alpha=24.0))
    uniform, threshold, variance = found.proposals
    assert uniform.parameters == found.budget
    assert set(uniform.ranks.values()) == {3}
    for one in (threshold, variance):
        assert found.budget * 0.9 < one.parameters <= found.budget
        assert min(one.ranks.values()) >= 1
    assert len(set(threshold.ranks.values())) > 1
    assert max(variance.ranks.values()) <= 6
    assert isinstance(threshold.target, ToThreshold)
    assert isinstance(variance.target, ToVarianceShare)


def test_a_proposal_is_what_resize_writes_and_what_a_run_takes(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    found = propose_ranks(folders["r12"], 3, MethodSpec(rank=12, alpha=24.0))
    for number, one in enumerate(found.proposals):
        report = resize(folders["r12"], tmp_path / str(number), one.target)
        assert {module.name: module.new_rank for module in report.modules} == one.ranks
        assert report.energy == pytest.approx(one.energy, abs=1e-9)
        method = found.method(one)
        assert (method.rank, method.alpha) == (3, 6.0)
        alphas = method.consistent_alpha_pattern()
        for name, rank in one.ranks.items():
            assert method.rank_pattern.get(name, 3) == rank
            assert alphas.get(name, 6.0) / rank == pytest.approx(2.0)
    assert not found.method(found.proposals[0]).rank_pattern
    stable = MethodSpec(rank=12, alpha=12.0, use_rslora=True)
    method = found.method(found.proposals[1], stable)
    assert method.alpha / 3**0.5 == pytest.approx(12 / 12**0.5)
    json.dumps(found.to_json())


def test_a_threshold_goes_where_the_values_are() -> None:
    modules = [
        ModuleDirections("large", (np.array([9.0, 8.0, 7.0, 6.0]),), 10),
        ModuleDirections("small", (np.array([2.0, 1.0, 0.5, 0.1]),), 10),
    ]
    assert proposal_for("threshold", ToThreshold(6.5), modules).ranks == {"large": 3, "small": 1}
    shares = proposal_for("explained variance", ToVarianceShare(0.2, 2), modules)
    assert shares.ranks == {"large": 2, "small": 1}  # .35 .28 .21 .16 and .76 .19 ...


def test_at_equal_costs_a_threshold_keeps_more_energy_than_a_uniform_rank() -> None:
    random = np.random.default_rng(0)
    modules = [
        ModuleDirections(str(n), (np.sort(random.lognormal(n / 4, 1, 16))[::-1],), 64)
        for n in range(12)
    ]
    uniform = proposal_for("uniform", ToRank(4), modules)
    kinds = dict(targets_within(modules, 4, uniform.parameters))
    found = {kind: proposal_for(kind, target, modules) for kind, target in kinds.items()}
    assert found["threshold"].parameters == uniform.parameters
    assert found["threshold"].energy > uniform.energy
    assert found["explained variance"].parameters == uniform.parameters
    assert max(found["explained variance"].ranks.values()) <= 8


def test_explained_variance_gives_a_flat_module_no_more_than_twice_the_rank() -> None:
    steep = np.array([10.0, 5.0, *[0.1] * 14])
    modules = [
        ModuleDirections(name, (values,), 64)
        for name, values in (("flat", np.ones(16)), ("steep", steep), ("as steep", steep))
    ]
    target = dict(targets_within(modules, 4, 3 * 4 * 64))["explained variance"]
    ranks = proposal_for("explained variance", target, modules).ranks
    assert ranks == {"flat": 8, "steep": 2, "as steep": 2}


def test_there_must_be_something_to_choose(folders: dict[str, Path]) -> None:
    for rank in (0, 6, 7):
        with pytest.raises(EngineError):
            propose_ranks(folders["r6"], rank)
    unknown = propose_ranks(folders["r6"], 2)
    with pytest.raises(EngineError):
        unknown.method(unknown.proposals[0])


@pytest.mark.parametrize(
    ("signs", "rank", "dropout"),
    [
        (CurveSigns(False, False, ()), 4, 0.0),
        (CurveSigns(True, False, ("It stalled.",)), 24, 0.0),
        (CurveSigns(False, True, ("It turned up.",)), 6, 0.05),
    ],
)
def test_after_a_run_its_curves_and_its_spectrum_speak(
    folders: dict[str, Path], signs: CurveSigns, rank: int, dropout: float
) -> None:
    run = replace(child("r12", 12), adapter=folders["r12"], signs=signs)
    uses = [module_use(one) for one in describe_adapter(folders["r12"]).modules]
    assert max(one.k95 for one in uses) in (3, 4)  # factors that fall by half each
    found = advise_after(run)
    assert found.advice.suggested_rank == rank
    assert found.advice.alpha == 2 * rank
    assert found.advice.dropout == dropout
    assert found.used.k95_most <= 4
    assert any(rule.source.name == "run r12" for rule in found.advice.rules)
    assert set(signs.words) <= set(found.advice.remarks)
    json.dumps(found.to_json())
