"""Adapters and checkpoints made by hand: what is read, what is said, what is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lora_engine.cancellation import StopSignal
from lora_engine.cli.spectrum import similarity as print_similarity
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.spectrum import (
    Stopped,
    compare_checkpoints,
    describe_adapter,
    intruder_dimensions,
    read_adapter,
    similarity,
)
from lora_engine.weights.matrix import ArrayMatrix

NAME = "model.layers.0.self_attn.q_proj"
CONFIG = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj"],
    "base_model_name_or_path": "/etc/passwd",
    "auto_mapping": {"base_model_class": "os.system", "parent_library": "os"},
    "rank_pattern": {},
    "alpha_pattern": {},
}


def factors(B=None, A=None, name=NAME):
    random = torch.Generator().manual_seed(0)
    B = torch.randn(12, 4, generator=random) if B is None else torch.as_tensor(B).float()
    A = torch.randn(4, 10, generator=random) if A is None else torch.as_tensor(A).float()
    prefix = f"base_model.model.{name}"
    return {
        f"{prefix}.lora_A.weight": A.contiguous(),
        f"{prefix}.lora_B.weight": B.contiguous(),
    }


def adapter(folder, tensors=None, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
    save_file(factors() if tensors is None else tensors, folder / "adapter_model.safetensors")
    return folder


def test_the_known_answer_through_a_folder_and_the_contract_s_keys(tmp_path):
    B, A = np.eye(32)[:, :4], np.diag([4.0, 3, 2, 1]) @ np.eye(4, 32)
    answer = describe_adapter(adapter(tmp_path / "a", factors(B, A))).to_json()
    (module,) = answer["modules"]
    assert {
        "name", "rank", "scaling", "singular_values", "frobenius_norm", "effective_rank",
        "stable_rank", "k90", "k95", "k99",
    } <= set(module)  # fmt: skip
    assert module["singular_values"] == pytest.approx([8, 6, 4, 2], abs=1e-6)
    assert module["stable_rank"] == pytest.approx(1.875, abs=1e-6)
    assert (module["k90"], module["k95"], module["k99"]) == (3, 3, 4)
    assert (module["rank"], module["scaling"], module["name"]) == (4, 2.0, NAME)
    assert answer["sentence"].startswith(
        "Rank 4 was trained; 3 directions carry 95 % of the update"
    )
    json.dumps(answer, allow_nan=False)


def test_a_fresh_adapter_has_a_zero_update(tmp_path):
    fresh = adapter(tmp_path / "a", factors(B=np.zeros((12, 4))))
    (module,) = describe_adapter(fresh).modules
    assert module.sentence() == "Rank 4 was trained; the update is zero."
    assert module.to_json()["effective_rank"] == 0
    found = similarity(fresh, adapter(tmp_path / "b")).modules[0]
    assert found.phi.size == 0
    assert (found.cosine, found.interference) == (None, None)
    assert found.distance == pytest.approx(found.norm_b)


def test_what_changes_the_meaning_is_noted(tmp_path):
    notes = read_adapter(adapter(tmp_path / "a", init_lora_weights="pissa_niter_4")).notes
    assert any("pissa" in note and "base weight" in note for note in notes)
    notes = read_adapter(adapter(tmp_path / "o", init_lora_weights="orthogonal")).notes
    assert any("orthogonal" in note and "base weight" not in note for note in notes)
    notes = read_adapter(adapter(tmp_path / "t", alora_invocation_tokens=[1])).notes
    assert any("invocation tokens" in note for note in notes)
    whole = factors() | {"base_model.model.lm_head.weight": torch.zeros(3, 3)}
    notes = read_adapter(adapter(tmp_path / "b", whole, modules_to_save=["lm_head"])).notes
    assert any("lm_head.weight" in note for note in notes)
    notes = read_adapter(adapter(tmp_path / "c", target_modules=["q_proj", "v_proj"])).notes
    assert any("v_proj" in note for note in notes)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"r": 10**9}, "r: Input should be less than or equal to 65536, got 1000000000"),
        ({"r": 0}, "r: "),
        ({"r": True}, "r: "),
        ({"r": "8"}, "r: "),
        ({"lora_alpha": float("nan")}, "lora_alpha: "),
        ({"lora_alpha": -1}, "lora_alpha: "),
        ({"peft_type": "LOHA"}, "peft_type: Input should be 'LORA'"),
        ({"target_modules": "(a+)+$"}, "target_modules"),
        ({"target_modules": ["q_proj", "(a+)+$"]}, "target_modules"),
        ({"rank_pattern": {"(a+)+$": 4}}, "rank_pattern"),
        ({"rank_pattern": {"q_proj": 10**9}}, "rank_pattern.q_proj"),
        ({"alpha_pattern": {"q_proj": 0}}, "alpha_pattern.q_proj"),
        ({"use_dora": "yes"}, "use_dora"),
        ({"bias": "some"}, "bias"),
        ({"r": 0, "use_rslora": 3, "peft_type": "X"}, "has 3 problems"),
    ],
)
def test_configs_that_are_refused_name_every_field(tmp_path, changes, match):
    with pytest.raises(InvalidInput, match=match):
        read_adapter(adapter(tmp_path / "a", **changes))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"target_parameters": ["experts.w"]}, "target_parameters"),
        ({"use_qalora": True}, "use_qalora"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"r": 8}, "the config says rank 8"),
        ({"rank_pattern": {"q_proj": 2}}, "the config says rank 2"),
        ({"use_dora": True}, "lacks magnitude"),
        ({"lora_bias": True}, "lacks bias"),
    ],
)
def test_forms_and_ranks_that_do_not_fit(tmp_path, changes, match):
    with pytest.raises(EngineError, match=match):
        read_adapter(adapter(tmp_path / "a", **changes))


def test_weights_that_do_not_fit(tmp_path):
    whole = factors()
    key_a, key_b = whole
    magnitude = f"base_model.model.{NAME}.lora_magnitude_vector"
    bad = whole[key_a].clone()
    bad[0, 3] = float("inf")
    cases = [
        ({key_a: whole[key_a]}, {}, "lacks B"),
        ({key_b: whole[key_b]}, {}, "lacks A"),
        (whole | {key_a: bad}, {}, "inf at row 1, column 4"),
        (whole | {key_a: whole[key_a].to(torch.complex64)}, {}, "complex"),
        (whole | {key_a: torch.zeros(4)}, {}, "needed are"),
        (whole | {key_b: torch.zeros(12, 0)}, {}, "factors are 4 x 10 and 12 x 0"),
        (whole | {"base_model.model.other.weight": torch.zeros(2)}, {}, "belongs to no LoRA"),
        (whole | {magnitude: torch.ones(12)}, {}, "has magnitude"),
        (whole | {magnitude: torch.ones(7)}, {"use_dora": True}, "7 numbers; the module has 12"),
        ({"base_model.model.lm_head.weight": torch.zeros(2, 2)}, {}, "no LoRA factors"),
    ]
    for number, (tensors, changes, match) in enumerate(cases):
        with pytest.raises(EngineError, match=match):
            read_adapter(adapter(tmp_path / str(number), tensors, **changes))


def test_folders_that_are_no_adapter(tmp_path):
    with pytest.raises(EngineError, match="no adapter folder"):
        read_adapter(tmp_path / "gone")
    with pytest.raises(EngineError, match="no adapter_config.json"):
        read_adapter(tmp_path)
    folder = adapter(tmp_path / "a")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(EngineError, match="adapter_model.bin is not opened"):
        read_adapter(folder)
    for text, match in [
        ('{"r": 4, "r": 5}', "twice"),
        ("[1]", "no JSON object"),
        ("{", "no sound JSON"),
        ("[" * 10**5, "no sound JSON"),
        (" " * (2**20 + 1), "are allowed"),
    ]:
        (folder / "adapter_config.json").write_text(text)
        with pytest.raises(EngineError, match=match):
            read_adapter(folder)


def test_another_base_is_refused(tmp_path):
    folder = adapter(tmp_path / "a")
    save_file({f"{NAME}.weight": torch.zeros(9, 9)}, tmp_path / "base.safetensors")
    with pytest.raises(EngineError, match="9 x 9; the adapter's module is 12 x 10"):
        describe_adapter(folder, tmp_path / "base.safetensors")
    save_file({"other.weight": torch.zeros(9, 9)}, tmp_path / "other.safetensors")
    shown = describe_adapter(folder, tmp_path / "other.safetensors")
    assert any("no weight of its own" in note for note in shown.notes)


def test_a_base_saved_without_its_head_is_found_by_the_rest_of_the_name(tmp_path):
    folder = adapter(tmp_path / "a")
    weight = torch.randn(12, 10, generator=torch.Generator().manual_seed(1))
    save_file({NAME.removeprefix("model.") + ".weight": weight}, tmp_path / "m.safetensors")
    (module,) = describe_adapter(folder, tmp_path / "m.safetensors").modules
    assert module.base.base_norm == pytest.approx(float(weight.norm()), rel=1e-6)


def similar(tmp_path, second, **changes):
    return similarity(adapter(tmp_path / "a"), adapter(tmp_path / "b", second), **changes)


def test_an_adapter_is_like_itself_and_like_its_gauge_on_delta_only(tmp_path):
    whole = factors()
    key_a, key_b = whole
    R = torch.tensor([[2.0, 1, 0, 0], [0, 1, 0, 3], [1, 0, 1, 0], [0, 0, 2, 1]])
    moved = {key_a: R @ whole[key_a], key_b: whole[key_b] @ torch.linalg.inv(R)}
    found = similar(tmp_path, moved).modules[0]
    np.testing.assert_allclose(np.diag(found.phi), 1, atol=1e-4)
    assert found.cosine == pytest.approx(1, abs=1e-6)
    assert found.distance < 1e-4 * found.norm_a
    assert found.interference.verdict == "reinforce"
    assert found.interference.overlap_a == pytest.approx(1, abs=1e-5)
    on_a = similar(tmp_path, moved, on="A").modules[0]
    assert on_a.phi[0, 0] < 0.99
    assert on_a.phi[3, 3] == pytest.approx(1, abs=1e-5)


def test_interference_in_words(tmp_path):
    whole = factors()
    key_a, key_b = whole
    assert similar(tmp_path, whole | {key_b: -whole[key_b]}).modules[0].interference.verdict == (
        "oppose"
    )
    B, A = torch.eye(12)[:, 4:8], torch.eye(10)[4:8]
    apart = similarity(
        adapter(tmp_path / "c", factors(torch.eye(12)[:, :4], torch.eye(10)[:4])),
        adapter(tmp_path / "d", factors(B, A)),
    ).modules[0]
    assert apart.interference.verdict == "apart"
    assert apart.phi.max() == 0
    assert apart.random_level[1, 3] == pytest.approx(4 / 12)


def test_adapters_that_cannot_be_compared(tmp_path):
    with pytest.raises(EngineError, match="no module in common"):
        similar(tmp_path, factors(name="model.layers.9.self_attn.q_proj"))
    with pytest.raises(EngineError, match="12 x 10 in the first adapter and 8 x 10"):
        similar(tmp_path, factors(B=torch.ones(8, 4)))
    with pytest.raises(EngineError, match="allowed are delta or A"):
        similar(tmp_path, factors(), on="B")


@pytest.mark.parametrize("at", ["reading model.layers.2", "comparing model.layers.1"])
def test_a_comparison_is_told_and_stops_between_modules(tmp_path, at):
    many = {}
    for number in range(4):
        many |= factors(name=f"model.layers.{number}.self_attn.q_proj")
    pair = [adapter(tmp_path / name, many) for name in "ab"]
    told, asked = [], StopSignal()

    def progress(share, doing):
        told.append((share, doing))
        if doing.startswith(at):
            asked.set()

    with pytest.raises(Stopped):
        similarity(*pair, progress=progress, stop=asked)
    assert told[-1][1].startswith(at)

    told.clear()
    assert len(similarity(*pair, progress=lambda *step: told.append(step)).modules) == 4
    shares = [share for share, _ in told]
    assert len(shares) == 12  # four read from each, four compared
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] < 1


def test_the_command_says_which_updates_are_zero(tmp_path, capsys):
    fresh = adapter(tmp_path / "fresh", factors(B=np.zeros((12, 4))))
    print_similarity(str(fresh), str(adapter(tmp_path / "trained")))
    assert capsys.readouterr().out.splitlines()[-1].split() == [NAME, "zero", "zero"]


def test_two_checkpoints_streamed(tmp_path):
    random = torch.Generator().manual_seed(0)
    base = {
        "wide.weight": torch.randn(30, 50, generator=random),
        "same.weight": torch.randn(20, 20, generator=random),
        "norm.weight": torch.ones(50),
        "mask": torch.ones(1, 1, 4, 4, dtype=torch.bool),
        "gone.weight": torch.ones(2, 2),
    }
    update = torch.outer(torch.randn(30, generator=random), torch.randn(50, generator=random))
    tuned = {name: tensor.clone() for name, tensor in base.items() if name != "gone.weight"}
    tuned |= {"wide.weight": base["wide.weight"] + update, "new.bias": torch.zeros(2)}
    tuned["norm.weight"][3] = 2
    save_file(base, tmp_path / "base.safetensors")
    save_file(tuned, tmp_path / "tuned.safetensors")
    paths = tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"
    found = compare_checkpoints(*paths, intruders=True)
    modules = {module.name: module for module in found.modules}
    assert [m.name for m in found.modules if m.changed] == ["wide.weight"]
    assert found.changed_vectors == ("norm.weight",)
    assert (found.only_in_base, found.only_in_tuned) == (("gone.weight",), ("new.bias",))
    wide = modules["wide.weight"]
    values = wide.decomposition.singular_values
    assert values[0] == pytest.approx(float(update.norm()), rel=1e-5)
    assert values[1] < 1e-5 * values[0]
    assert wide.relative_change == pytest.approx(
        float(update.norm() / base["wide.weight"].norm()), rel=1e-5
    )
    answer = found.to_json()
    assert answer["changed"] == ["wide.weight"]
    changed = next(m for m in answer["modules"] if m["changed"])
    assert (changed["rank"], changed["k99"], changed["scaling"]) == (1, 1, 1.0)
    json.dumps(answer, allow_nan=False)
    assert modules["same.weight"].decomposition is None


@pytest.mark.parametrize(
    ("base_dtype", "tuned_dtype"),
    [
        (torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.float16),
        (torch.float16, torch.bfloat16),
    ],
)
def test_the_rounding_of_two_checkpoints_is_not_counted_as_rank(tmp_path, base_dtype, tuned_dtype):
    random = np.random.default_rng(4)
    weight = torch.tensor(random.standard_normal((96, 128)) * 0.02)
    left, right = (np.linalg.qr(random.standard_normal((side, 4)))[0] for side in (96, 128))
    change = torch.tensor((left * [0.6, 0.55, 0.5, 0.45]) @ right.T)
    save_file({"w": weight.to(base_dtype)}, tmp_path / "base.safetensors")
    save_file({"w": (weight + change).to(tuned_dtype)}, tmp_path / "tuned.safetensors")
    found = compare_checkpoints(tmp_path / "base.safetensors", tmp_path / "tuned.safetensors")
    module = found.to_json()["modules"][0]
    assert module["rank"] == 4
    assert module["stored_rank"] > 80
    assert module["effective_rank"] == pytest.approx(3.97, abs=0.02)
    assert module["singular_values"][4] < module["noise"]["edge"] < module["singular_values"][3]
    assert module["noise"]["above_edge"] == 4


@pytest.mark.parametrize("shape", [(40, 60), (60, 40)])
def test_an_intruder_is_found_as_the_dense_definition_has_it(shape):
    random = np.random.default_rng(0)
    strong = np.linalg.qr(random.standard_normal((shape[0], shape[0])))[0][:, : min(shape)]
    right = np.linalg.qr(random.standard_normal((shape[1], shape[1])))[0][:, : min(shape)]
    base = (strong * np.linspace(20, 1, min(shape))) @ right.T
    stranger = random.standard_normal(shape[0])
    tuned = base + 90 * np.outer(stranger / np.linalg.norm(stranger), right[:, 5])
    found = intruder_dimensions(ArrayMatrix(base), ArrayMatrix(tuned))
    u_base = np.linalg.svd(base, full_matrices=False)[0]
    u_tuned, values, _ = np.linalg.svd(tuned, full_matrices=False)
    cosines = np.abs(u_tuned[:, :10].T @ u_base).max(axis=1)
    expected = [i for i in range(10) if cosines[i] < 0.5]
    assert 0 in expected
    assert [intruder.place - 1 for intruder in found] == expected
    for intruder in found:
        assert intruder.cosine == pytest.approx(cosines[intruder.place - 1], abs=1e-6)
        assert intruder.singular_value == pytest.approx(values[intruder.place - 1])


def test_checkpoints_that_cannot_be_compared(tmp_path):
    save_file({"a": torch.eye(2)}, tmp_path / "a.safetensors")
    save_file({"b": torch.eye(2)}, tmp_path / "b.safetensors")
    save_file({"a": torch.eye(3)}, tmp_path / "c.safetensors")
    with pytest.raises(EngineError, match="no tensor name in common"):
        compare_checkpoints(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    with pytest.raises(EngineError, match="2 x 2 in the base and 3 x 3"):
        compare_checkpoints(tmp_path / "a.safetensors", tmp_path / "c.safetensors")
