"""One adapter opened: its modules, its checks, and the code that loads it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, MixtralConfig

from lora_engine.adapters.config import WEIGHTS_FILE
from lora_engine.base_models import BaseModel, fingerprint
from lora_engine.spectrum import describe_adapter as describe_spectrum
from tests.adapter_forms import make
from tests.compare_models import TINY, save_adapter


def test_details_give_every_module_as_peft_has_it(library, adapter, base):
    found = library.details(str(adapter))
    model = AutoModelForCausalLM.from_pretrained(base.path)
    model = PeftModel.from_pretrained(model, adapter).double()
    layers = {name: part for name, part in model.named_modules() if hasattr(part, "lora_A")}
    assert len(found.modules) == len(layers) == 4
    for module in found.modules:
        layer = layers[f"base_model.model.{module.name}"]
        assert module.scaling == pytest.approx(layer.scaling["default"], rel=1e-12)
        assert module.a_shape == tuple(layer.lora_A["default"].weight.shape)
        assert module.b_shape == tuple(layer.lora_B["default"].weight.shape)
        assert module.a_norm == pytest.approx(float(layer.lora_A["default"].weight.norm()))
        assert module.norm == pytest.approx(float(layer.get_delta_weight("default").norm()))
    assert found.parameters == sum(
        value.numel() for name, value in model.named_parameters() if "lora_" in name
    )
    ranks = {module.name.rpartition(".")[2]: module.rank for module in found.modules}
    assert ranks == {"q_proj": 4, "v_proj": 2}
    assert len(found.scalings) == 3


def test_details_say_where_it_comes_from_and_that_it_is_sound(library, adapter, base):
    found = library.details(str(adapter))
    weights = sum(path.stat().st_size for path in base.path.glob("*.safetensors"))
    assert found.base_bytes == weights
    assert found.summary.bytes == (adapter / WEIGHTS_FILE).stat().st_size
    assert (found.data_hash, found.template_hash) == ("d" * 8, "t" * 8)
    assert found.dtypes == ("F32",)
    assert [(check.name, check.ok) for check in found.checks] == [
        ("whole", True),
        ("finite", True),
        ("right base", True),
    ]
    assert fingerprint(base) in found.checks[2].words


@pytest.mark.parametrize(
    ("change", "name", "ok", "words"),
    [
        ("nan", "finite", False, "lora_A.weight holds 1 values"),
        ("half", "whole", False, "lacks B"),
        ("other base", "right base", False, "with fingerprint"),
        ("no base", "right base", None, "not on this machine"),
        ("no provenance", "right base", None, "does not say which base model"),
    ],
)
def test_what_is_wrong_with_an_adapter_is_said_at_its_check(
    library, adapter, tmp_path, change, name, ok, words
):
    folder = tmp_path / "broken"
    folder.mkdir()
    for file in adapter.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / WEIGHTS_FILE)
    key = next(key for key in sorted(tensors) if "lora_A" in key)
    provenance = json.loads((folder / "provenance.json").read_text())
    if change == "nan":
        tensors[key][0, 0] = float("nan")
    elif change == "half":
        del tensors[key.replace("lora_A", "lora_B")]
    elif change == "other base":
        provenance["base_fingerprint"] = "0" * 16
    elif change == "no base":
        provenance["base_model"] = "/nowhere/model"
    save_file(tensors, folder / WEIGHTS_FILE)
    (folder / "provenance.json").write_text(json.dumps(provenance))
    if change == "no provenance":
        (folder / "provenance.json").unlink()
    found = library.details(str(folder))
    check = next(check for check in found.checks if check.name == name)
    assert check.ok is ok
    assert words in check.words
    if change == "nan":
        module = next(one for one in found.modules if one.name in key)
        assert (module.a_norm, module.norm) == (None, None)


@pytest.mark.parametrize("changes", [{"use_dora": True}, {"target_modules": ["embed_tokens"]}])
def test_norms_are_those_of_the_spectrum(library, base, tmp_path, changes):
    found = library.details(str(save_adapter(tmp_path / "a", base, **changes)))
    expected = {one.name: one for one in describe_spectrum(found.summary.path).modules}
    for module in found.modules:
        assert module.norm == pytest.approx(expected[module.name].frobenius_norm, rel=1e-6)


def test_the_norm_of_fused_experts_is_that_over_all_of_them(library, tmp_path):
    config = MixtralConfig(**TINY, num_local_experts=4, num_experts_per_tok=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    base = BaseModel("mixtral", tmp_path / "base")
    targets = ["experts.gate_up_proj", "experts.down_proj"]
    make(
        base, tmp_path / "a", LoraConfig(r=4, target_modules=["q_proj"], target_parameters=targets)
    )
    found = library.details(str(tmp_path / "a"))
    spectrum = describe_spectrum(tmp_path / "a").modules
    squares: dict[str, float] = {}
    for one in spectrum:
        holder, _, last = one.name.rpartition(".")
        name = f"{holder.rpartition('.')[0]}.{last}" if holder[-1].isdigit() else one.name
        squares[name] = squares.get(name, 0.0) + one.frobenius_norm**2
    assert len(found.modules) == len(squares) == 6
    for module in found.modules:
        assert module.norm == pytest.approx(squares[module.name] ** 0.5, rel=1e-6)


def test_the_code_that_loads_it_runs_and_answers(library, adapter, base, capsys):
    code = library.loading_code(str(adapter))
    names: dict = {}
    exec(compile(code, "loading_code", "exec"), names)
    assert isinstance(names["model"], PeftModel)
    assert str(adapter) in code
    ids = names["inputs"]["input_ids"]
    plain = AutoModelForCausalLM.from_pretrained(base.path)
    expected = PeftModel.from_pretrained(plain, adapter).eval()(ids).logits
    np.testing.assert_allclose(
        names["model"](ids).logits.detach(), expected.detach(), rtol=1e-5, atol=1e-5
    )
    capsys.readouterr()
