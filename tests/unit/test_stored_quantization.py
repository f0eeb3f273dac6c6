"""A base whose files hold quantized weights is read or refused by its method, on every way in."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_engine.base_models import (
    BaseModel,
    load_base_model,
    spec_on_base,
    stored_quantization,
)
from lora_engine.base_models.weight_files import local_folder
from lora_engine.calculator.model_source import path_source
from lora_engine.errors import EngineError, NotFound
from lora_engine.spec import QuantizationSpec, spec_from
from lora_engine.spectrum.checkpoints import compare_checkpoints
from lora_engine.training.models.classifier import load_classifier
from lora_engine.training.preflight import check_run
from lora_engine.weights import open_matrix
from tests.tiny import save_tiny_model
from tests.training_runs import tiny_spec

GROUP = {"input_activations": {"num_bits": 8}, "targets": ["Linear"], "weights": {"num_bits": 4}}
STORED = {  # what config.json says, how the refusal names it, and the package of its remedy
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "GPTQ (4 bit)", "gptqmodel"),
    "awq": ({"quant_method": "awq", "bits": 4, "version": "gemm"}, "AWQ (4 bit)", "gptqmodel"),
    "compressed": (
        {"quant_method": "compressed-tensors", "config_groups": {"group_0": GROUP}},
        "compressed-tensors (4 bit)",
        "compressed-tensors",
    ),
    "hqq": (
        {"quant_method": "hqq", "quant_config": {"weight": {"nbits": 2}}}, "HQQ (2 bit)", "hqq"
    ),
    "mxfp4": ({"quant_method": "mxfp4"}, "MXFP4 (4 bit)", "transformers"),
    "exl2": ({"quant_method": "exl2", "bits": 4.65}, "EXL2 (4.65 bit)", "exllamav2"),
    "mlx": ({"group_size": 64, "bits": 4}, "MLX (4 bit)", "mlx-lm"),
    "modelopt": (
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        "NVIDIA ModelOpt (4 bit)",
        "nvidia-modelopt",
    ),
    "auto-round": (
        {"quant_method": "auto_round", "bits": 3}, "AutoRound (3 bit)", "auto-round"
    ),
    "unknown": ({"quant_method": "tomorrow", "bits": "few"}, "tomorrow, as", ""),
}  # fmt: skip
BESIDE = {  # the files that quantizing tools leave beside config.json
    "hf_quant_config.json": (
        {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}},
        "NVIDIA ModelOpt (8 bit)",
    ),
    "quantize_config.json": (
        {"bits": 3, "group_size": 128, "desc_act": True, "damp_percent": 0.01},
        "GPTQ (3 bit)",
    ),
    "quant_config.json": (
        {"zero_point": True, "q_group_size": 128, "w_bit": 4, "version": "GEMM"},
        "AWQ (4 bit)",
    ),
}
F8 = torch.float8_e4m3fn
STATE = ".quant_state.bitsandbytes__nf4"


def codes(dtype, *shape):
    return torch.zeros(shape, dtype=dtype)


TENSORS = {  # what stands in the file for the weight q_proj (32, 32), and the method it tells
    "gptq": ({"qweight": codes(torch.int32, 4, 32), "scales": codes(torch.half, 1, 32)}, "GPTQ"),
    "awq": ({"qweight": codes(torch.int32, 32, 4), "scales": codes(torch.half, 1, 32)}, "AWQ"),
    "compressed": (
        {"weight_packed": codes(torch.int32, 32, 4), "weight_scale": codes(torch.half, 32, 1)},
        "compressed-tensors",
    ),
    "hqq": ({"W_q": codes(torch.uint8, 16, 32), "meta": codes(torch.uint8, 9)}, "HQQ"),
    "mxfp4": (
        {"gate_blocks": codes(torch.uint8, 32, 1, 16), "gate_scales": codes(torch.uint8, 32, 1)},
        "MXFP4",
    ),
    "nvfp4": (
        {"weight": codes(torch.uint8, 32, 16), "weight_scale_2": codes(torch.float32)},
        "NVIDIA ModelOpt",
    ),
    "mlx": ({"weight": codes(torch.uint32, 32, 4), "scales": codes(torch.half, 32, 1)}, "MLX"),
    "bnb-4": (
        {"weight": codes(torch.uint8, 512, 1), f"weight{STATE}": codes(torch.uint8, 9)},
        "bitsandbytes",
    ),
    "bnb-8": ({"weight": codes(torch.int8, 32, 32), "SCB": codes(torch.float32, 32)}, "bitsandby"),
    "fp8": ({"weight": codes(F8, 32, 32), "weight_scale_inv": codes(torch.float32, 1, 1)}, "FP8"),
    "int8 alone": ({"weight": codes(torch.int8, 32, 32)}, "nothing says"),
    "bool alone": ({"weight": codes(torch.bool, 32, 32)}, "nothing says"),
    "fp8 alone": ({"weight": codes(F8, 32, 32)}, "nothing says"),
}
MALFORMED = [5, {}, [], "gptq", False, {"bits": 4}]
PROJECTION = "model.layers.0.self_attn.q_proj"


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
def packed(folder):
    """Puts other tensors in the place of one weight of the model; whole again afterwards."""
    file = folder / "model.safetensors"
    before = load_file(file)

    def write(tensors: dict[str, torch.Tensor]) -> BaseModel:
        rest = {k: v for k, v in before.items() if k != f"{PROJECTION}.weight"}
        new = {f"{PROJECTION}.{name}": tensor for name, tensor in tensors.items()}
        save_file({**rest, **new}, file, metadata={"format": "pt"})
        return BaseModel("packed", folder)

    yield write
    save_file(before, file, metadata={"format": "pt"})


@pytest.mark.parametrize("case", STORED)
def test_every_way_in_refuses_it_by_name(case, stored, folder, rows_file, settings):
    quantization, named, package = STORED[case]
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
        assert package in refused.value.remedy


@pytest.mark.parametrize("case", ["gptq", "exl2"])
def test_compare_exits_with_2_and_says_why(case, stored, folder, run_command):
    stored(STORED[case][0])
    code, out, err = run_command("compare", "--base", folder, "--prompt", "Hello", "--json")
    assert (code, out) == (2, "")
    assert err.startswith("error: The base model")
    assert f"is stored with {STORED[case][1]}" in err


@pytest.mark.parametrize("name", BESIDE)
def test_a_file_of_a_quantizing_tool_is_read_too(name, folder):
    content, named = BESIDE[name]
    (folder / name).write_text(json.dumps(content))
    try:
        with pytest.raises(EngineError) as refused:
            stored_quantization(BaseModel("beside", folder))
    finally:
        (folder / name).unlink()
    assert named in refused.value.problem
    assert name in refused.value.problem


def test_a_quantized_cache_alone_is_no_quantization(folder):
    file = folder / "hf_quant_config.json"
    file.write_text('{"quantization": {"quant_algo": null, "kv_cache_quant_algo": "FP8"}}')
    assert stored_quantization(BaseModel("cache", folder)) is None
    file.unlink()


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_tell_it_where_no_file_says_so(case, packed, rows_file, settings, folder):
    tensors, named = TENSORS[case]
    base = packed(tensors)
    for way in (
        lambda: stored_quantization(base),
        lambda: check_run(tiny_spec(folder, rows_file), settings),
        lambda: load_base_model(base, "cpu", torch.float32),
    ):
        with pytest.raises(EngineError) as refused:
            way()
        assert named in refused.value.problem
        assert f"{PROJECTION}.{next(iter(tensors))}" in refused.value.problem


@pytest.mark.parametrize(
    "case", sorted(set(TENSORS) - {"bnb-4", "int8 alone", "bool alone", "fp8 alone"})
)
def test_a_matrix_of_codes_has_no_spectrum(case, packed):
    tensors, named = TENSORS[case]
    base = packed(tensors)
    with pytest.raises(EngineError) as refused:
        open_matrix(base.path, f"{PROJECTION}.{next(iter(tensors))}")
    assert named in refused.value.problem


def test_a_comparison_with_packed_weights_is_refused(packed, tmp_path):
    plain = save_tiny_model(tmp_path / "plain")
    base = packed(TENSORS["gptq"][0])
    for pair in ((plain, base.path), (base.path, plain)):
        with pytest.raises(EngineError) as refused:
            compare_checkpoints(*pair)
        assert f"{PROJECTION}.qweight" in refused.value.problem
        assert "GPTQ" in refused.value.problem


def test_a_hub_id_that_cannot_be_had_is_named_with_the_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NotFound) as refused:
        stored_quantization(BaseModel("nobody/nothing", None))
    assert "'nobody/nothing'" in refused.value.problem
    assert "hub" in refused.value.problem
    assert "tokenizer" not in str(refused.value)


def test_a_cache_that_holds_the_small_files_alone_is_no_model(folder, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    hub_model = BaseModel("somebody/something", None)
    for held, expected in ((tmp_path, None), (folder, folder)):
        monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, held=held, **__: held)
        assert local_folder(hub_model) == expected


@pytest.mark.parametrize(
    "said",
    [{"quant_method": "bitsandbytes", "load_in_4bit": True}, {"quant_method": "fp8"}],
    ids=["bnb", "fp8"],
)
def test_a_config_that_promises_codes_over_plain_weights_is_refused(said, stored):
    with pytest.raises(EngineError) as refused:
        stored_quantization(stored(said))
    assert "no quantized weight" in refused.value.problem
    assert "quantization_config" in refused.value.remedy


@pytest.mark.parametrize(
    ("weight", "scale", "block"),
    [
        (codes(F8, 32, 32), None, [16, 16]),
        (codes(F8, 24, 32), codes(torch.float32, 2, 2), [16, 16]),  # transformers reads 12 rows
        (codes(F8, 32, 32), codes(torch.float32, 2, 2), [128, 128]),
        (codes(F8, 32, 32), codes(torch.float32, 2, 2), None),
    ],
    ids=["none", "ragged", "another block", "one scale"],
)
def test_fp8_with_scales_that_do_not_fit_is_refused(weight, scale, block, packed, stored):
    tensors = {"weight": weight} | ({} if scale is None else {"weight_scale_inv": scale})
    other = {"weight_scale": codes(torch.float32)} if scale is None else {}
    packed(tensors | other)
    base = stored({"quant_method": "fp8", "weight_block_size": block})
    with pytest.raises(EngineError) as refused:
        stored_quantization(base)
    assert f"{PROJECTION}.weight {list(weight.shape)}" in refused.value.problem


def test_a_run_takes_the_bits_of_its_base(packed, stored):
    packed({"weight": codes(torch.uint8, 512, 1), f"weight{STATE}": codes(torch.uint8, 9),
            "weight.nested_absmax": codes(torch.float32, 1)})  # fmt: skip
    base = stored({"quant_method": "bitsandbytes", "load_in_4bit": True})
    stored_bits = QuantizationSpec(bits=4, type="nf4", double=True)
    asked = [None, {"bits": 4}, {"bits": 4, "double": False}]
    for quantization in asked:
        assert spec_on_base(spec_from({"quantization": quantization}), base).quantization == (
            stored_bits
        )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"quantization": {"bits": 8}}, ["8 bits", "4 bit nf4"]),
        ({"quantization": {"bits": 4, "type": "fp4"}}, ["4 bits (fp4)", "4 bit nf4"]),
        ({"method": {"init": "loftq"}, "quantization": {"bits": 4}}, ["LoftQ", "4 bit nf4"]),
        ({"method": {"finetuning_type": "full"}}, ["full", "4-bit"]),
        ({"method": {"init": "pissa"}}, ["pissa", "4 bits"]),
    ],
    ids=["8 bits", "fp4", "loftq", "full", "pissa"],
)
def test_a_run_that_asks_for_more_is_refused(
    change, named, packed, stored, folder, rows_file, settings
):
    packed({"weight": codes(torch.uint8, 512, 1), f"weight{STATE}": codes(torch.uint8, 9)})
    stored({"quant_method": "bitsandbytes", "load_in_4bit": True})
    with pytest.raises(EngineError) as refused:
        check_run(tiny_spec(folder, rows_file, **change), settings)
    assert all(word in refused.value.problem for word in named)


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
            stored_quantization(base)


def test_a_null_entry_is_none_and_the_calculator_counts_all_the_same(stored, folder):
    base = stored(None)
    assert load_base_model(base, "cpu", torch.float32).dtype == torch.float32
    stored(STORED["gptq"][0])
    assert path_source(folder).notes
