"""An adapter of a base that is stored in few bits, merged into its codes' numbers and the original.

Each written weight is compared with the codes multiplied out by hand, or the 16-bit weight, plus
PEFT's own update.
"""

import json
import shutil

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from lora_engine.adapter_operations import MergeOptions
from lora_engine.adapter_operations.merge import merge
from lora_engine.base_models import BaseModel, fingerprint, stored_quantization
from lora_engine.data import Message, Row
from lora_engine.errors import EngineError
from tests.adapter_forms import make, peft_updates
from tests.tiny import save_tiny_model
from tests.training_runs import tiny_spec, train_here

pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = [
    Row(n, (Message("user", f"What colour is thing {n}?"), Message("assistant", "Blue.")), None)
    for n in range(1, 4)
]
LORA = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
BLOCK = 32
BITS = {
    "nf4": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    "int8": BitsAndBytesConfig(load_in_8bit=True),
}
# The proof compares with the stored base as it answers: LLM.int8() rounds each layer's inputs too.
CLOSE = {"nf4": 1e-3, "int8": 0.1, "fp8": 1e-3}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return BaseModel("whole", save_tiny_model(tmp_path_factory.mktemp("models") / "whole"))


@pytest.fixture(scope="module")
def stored(whole, tmp_path_factory):
    """By kind: the tiny model stored so, and the weights that its codes stand for."""
    folder = tmp_path_factory.mktemp("stored")
    return {
        **{kind: of_bitsandbytes(whole, folder / kind, bits) for kind, bits in BITS.items()},
        "fp8": of_fp8_blocks(whole, folder / "fp8"),
    }


def of_bitsandbytes(whole, folder, bits):
    shutil.copytree(whole.path, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    model = AutoModelForCausalLM.from_pretrained(
        whole.path, dtype=torch.float32, device_map={"": "cpu"}, quantization_config=bits
    )
    numbers = {}
    for name, layer in model.named_modules():
        weight = getattr(layer, "weight", None)
        if hasattr(weight, "quant_state"):
            numbers[f"{name}.weight"] = dequantize_4bit(weight.data, weight.quant_state)
        elif hasattr(weight, "SCB"):
            numbers[f"{name}.weight"] = int8_vectorwise_dequant(weight.data, weight.SCB)
    model.save_pretrained(folder)
    return BaseModel(folder.name, folder), numbers


def of_fp8_blocks(whole, folder):
    shutil.copytree(whole.path, folder)
    tensors, numbers = {}, {}
    for name, weight in load_file(folder / "model.safetensors").items():
        tensors[name] = weight
        if not name.endswith("_proj.weight"):
            continue
        blocks = weight.unflatten(0, (-1, BLOCK)).unflatten(2, (-1, BLOCK))
        scale = blocks.abs().amax((1, 3)) / 448
        codes = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn)
        tensors[name] = codes.reshape(weight.shape)
        tensors[f"{name}_scale_inv"] = scale
        numbers[name] = (codes.float() * scale[:, None, :, None]).reshape(weight.shape)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]}
    (folder / "config.json").write_text(json.dumps(config))
    return BaseModel("fp8", folder), numbers


@pytest.fixture
def adapter_of(whole, tmp_path):
    """A random adapter that says it was trained on this base; its folder and PEFT's updates."""

    def saved(base):
        updates = peft_updates(make(whole, tmp_path / "a", LORA))
        provenance = {"base_model": base.name, "base_fingerprint": fingerprint(base)}
        (tmp_path / "a/provenance.json").write_text(json.dumps(provenance))
        return tmp_path / "a", {f"{name}.weight": update for name, (_, update) in updates.items()}

    return saved


def merged_weights(folder):
    assert stored_quantization(BaseModel("merged", folder)) is None
    return load_file(folder / "model.safetensors")


def assert_holds(found, before, updates):
    """Every weight is that of the base it went into, with the update where there is one."""
    for name, weight in before.items():
        expected = weight.double() + torch.as_tensor(updates.get(name, 0.0))
        torch.testing.assert_close(found[name].double(), expected, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("kept", ["dequantized", "original"])
@pytest.mark.parametrize("kind", ["nf4", "int8", "fp8"])
def test_both_bases_are_measured_and_the_one_asked_for_is_kept(
    whole, stored, adapter_of, settings, tmp_path, kind, kept
):
    base, numbers = stored[kind]
    adapter, updates = adapter_of(base)
    options = MergeOptions(rows=ROWS, original=whole, weights=kept)
    report = merge(adapter, base, tmp_path / "m", settings, options)
    original = load_file(whole.path / "model.safetensors")
    before = {**original, **numbers} if kept == "dequantized" else original
    assert_holds(merged_weights(tmp_path / "m"), before, updates)
    assert report.weights == kept
    assert {one.weights: one.kept for one in report.variants} == {
        weights: weights == kept for weights in ("dequantized", "original")
    }
    apart = {one.weights: one.proof.max_logit_difference for one in report.variants}
    assert apart["dequantized"] < CLOSE[kind]
    assert apart["dequantized"] < apart["original"]
    losses = {one.weights: one.proof.loss for one in report.variants}
    assert losses["dequantized"] != losses["original"]
    assert report.merged_loss == losses[kept]
    assert list(tmp_path.glob(".*")) == []


def test_an_adapter_that_was_trained_on_4_bits_goes_into_what_it_was_trained_on(
    whole, stored, settings, rows_file, tmp_path
):
    base, numbers = stored["nf4"]
    spec = tiny_spec(base.path, rows_file, optimization={"learning_rate": 0.01, "max_steps": 3})
    directory, _ = train_here(spec, tmp_path / "run", settings)
    options = MergeOptions(original=whole)
    report = merge(directory.adapter_path, base, tmp_path / "m", settings, options)
    peft = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(whole.path), directory.adapter_path
    )
    updates = {f"{name}.weight": update for name, (_, update) in peft_updates(peft).items()}
    assert_holds(merged_weights(tmp_path / "m"), numbers, updates)
    assert (report.weights, report.rows_from) == ("dequantized", "held-out")
    assert len(report.variants) == 2
    assert report.merged_loss == pytest.approx(report.unmerged_loss, abs=1e-3)


def test_the_codes_are_merged_into_where_no_original_is_given(
    stored, adapter_of, settings, tmp_path
):
    base, numbers = stored["fp8"]
    adapter, updates = adapter_of(base)
    report = merge(adapter, base, tmp_path / "m", settings, MergeOptions(prove=False))
    assert_holds(merged_weights(tmp_path / "m"), numbers, updates)
    assert (report.weights, report.variants) == ("dequantized", ())


def test_an_original_that_is_none_is_refused(whole, stored, adapter_of, settings, tmp_path):
    base, _ = stored["nf4"]
    adapter, _ = adapter_of(base)
    for options, said in (
        (MergeOptions(weights="original"), "'original' are not there"),
        (MergeOptions(original=stored["fp8"][0]), "'fp8' is no 16- or 32-bit model"),
    ):
        with pytest.raises(EngineError, match=said):
            merge(adapter, base, tmp_path / "m", settings, options)
    with pytest.raises(EngineError, match="not stored quantized"):
        merge(adapter, whole, tmp_path / "m", settings, MergeOptions(original=whole))
    assert not (tmp_path / "m").exists()
