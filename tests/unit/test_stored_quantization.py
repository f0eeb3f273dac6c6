"""A base whose files hold quantized weights is refused by its method, on every way in."""

from __future__ import annotations

import json

import pytest
import torch

from lora_engine import __main__ as command_line
from lora_engine.base_models import BaseModel, load_base_model, refuse_stored_quantization
from lora_engine.calculator.model_source import path_source
from lora_engine.errors import EngineError
from lora_engine.spec import QuantizationSpec
from lora_engine.training.models.classifier import load_classifier
from lora_engine.training.preflight import check_run
from tests.tiny import save_tiny_model
from tests.training_runs import tiny_spec

GROUP = {"input_activations": {"num_bits": 8}, "targets": ["Linear"], "weights": {"num_bits": 4}}
STORED = {  # what config.json says, and how the refusal names it
    "bnb-4": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes (4 bit)"),
    "bnb-8": ({"load_in_4bit": False, "load_in_8bit": True}, "bitsandbytes (8 bit)"),
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "GPTQ (4 bit)"),
    "awq": ({"quant_method": "awq", "bits": 4, "version": "gemm"}, "AWQ (4 bit)"),
    "compressed": (
        {"quant_method": "compressed-tensors", "config_groups": {"group_0": GROUP}},
        "compressed-tensors (4 bit)",
    ),
    "fp8": ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "FP8, which"),
    "hqq": ({"quant_method": "hqq", "quant_config": {"weight": {"nbits": 2}}}, "HQQ (2 bit)"),
    "unknown": ({"quant_method": "tomorrow", "bits": "few"}, "tomorrow, which"),
}
MALFORMED = [5, {}, [], "gptq", False, {"bits": 4}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "stored")


@pytest.fixture
def stored(folder):
    """Writes a quantization into the model's config.json; whole again afterwards."""
    config = folder / "config.json"
    before = config.read_text("utf-8")

    def write(quantization: object, key: str = "quantization_config") -> BaseModel:
        config.write_text(json.dumps({**json.loads(before), key: quantization}))
        return BaseModel("stored", folder)

    yield write
    config.write_text(before)


@pytest.fixture
def run_command(settings, monkeypatch, capsys):
    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("LORA_DEVICE", "cpu")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["rankscope", *map(str, arguments)])
        try:
            code = command_line.main()
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def refuse(base: BaseModel) -> None:
    refuse_stored_quantization(base.name, base.path)


@pytest.mark.parametrize("case", STORED)
def test_every_way_in_refuses_it_by_name(case, stored, folder, rows_file, settings):
    quantization, named = STORED[case]
    base = stored(quantization)
    ways = [
        lambda: check_run(tiny_spec(folder, rows_file), settings),
        lambda: load_base_model(base, "cpu", torch.float32),
        lambda: load_base_model(base, "cpu", torch.float32, QuantizationSpec(bits=4)),
        lambda: load_classifier(base, "sequence_classification", "ab", "cpu", torch.float32),
    ]
    for way in ways:
        with pytest.raises(EngineError) as refused:
            way()
        assert f"is stored with {named}" in refused.value.problem
        assert "16-bit model" in refused.value.remedy


@pytest.mark.parametrize("case", STORED)
def test_compare_exits_with_2_and_says_why(case, stored, folder, run_command):
    quantization, named = STORED[case]
    stored(quantization)
    code, out, err = run_command("compare", "--base", folder, "--prompt", "Hello", "--json")
    assert (code, out) == (2, "")
    assert err.startswith("error: The base model")
    assert f"is stored with {named}" in err


def test_the_remedy_names_the_package_or_the_choice(stored):
    def remedy(case: str) -> str:
        with pytest.raises(EngineError) as refused:
            refuse(stored(STORED[case][0]))
        return refused.value.remedy

    assert "choose 4 or 8 bit" in remedy("bnb-4")
    assert "gptqmodel" in remedy("gptq")
    assert "compressed-tensors" in remedy("compressed")


@pytest.mark.parametrize("value", MALFORMED, ids=str)
def test_a_malformed_entry_is_refused(value, stored, folder, rows_file, settings, run_command):
    base = stored(value)
    for way in (
        lambda: check_run(tiny_spec(folder, rows_file), settings),
        lambda: load_base_model(base, "cpu", torch.float32),
    ):
        with pytest.raises(EngineError, match="cannot be understood"):
            way()
    code, _, err = run_command("compare", "--base", folder, "--prompt", "Hello", "--json")
    assert code == 2
    assert err.startswith("error: config.json")


def test_a_part_of_the_model_and_the_older_key_are_looked_at(stored):
    gptq = STORED["gptq"][0]
    for base in (stored({"quantization_config": gptq}, "text_config"),
                 stored(gptq, "compression_config")):  # fmt: skip
        with pytest.raises(EngineError, match="GPTQ"):
            refuse(base)


def test_a_null_entry_is_none_and_the_calculator_counts_all_the_same(stored, folder):
    base = stored(None)
    assert load_base_model(base, "cpu", torch.float32).dtype == torch.float32
    stored(STORED["gptq"][0])
    assert path_source(folder).notes
