"""A base that is stored quantized computes what its unpacked weights do, in chat and in a run."""

from __future__ import annotations

import json
import shutil

import bitsandbytes
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant
from peft import PeftModel, get_peft_model, prepare_model_for_kbit_training
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from lora_engine.base_models import (
    BaseModel,
    load_base_model,
    stored_quantization,
    weight_shapes,
)
from lora_engine.compare.generate.comparison_model import AnswerRequest, ComparisonModel
from lora_engine.compare.prompts.prompt_tokens import encode_prompts
from lora_engine.data import Message
from lora_engine.generation.sampling import Sampling
from lora_engine.spec import QuantizationSpec
from lora_engine.training.forward.padded import PaddedPath
from lora_engine.training.memory.prediction import FILE, Prediction
from lora_engine.training.models import adapter_model
from lora_engine.training.preparation import prepare, write_memory_prediction
from tests.compare_models import byte_tokenizer, save_adapter, save_base
from tests.plain_training import plain_losses
from tests.tiny import save_tiny_model
from tests.training_runs import losses, tiny_spec, train_here

STORED = {
    "nf4 double": {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "nf4 of bfloat16": {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16"},
    "fp4": {"bnb_4bit_quant_type": "fp4"},
    "packed as bfloat16": {"bnb_4bit_quant_type": "nf4", "bnb_4bit_quant_storage": "bfloat16"},
    "int8": None,
}
CONSTANT = {"learning_rate": 0.003, "schedule": "constant", "warmup_ratio": 0.0}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "whole")


@pytest.fixture(scope="module")
def stored_as(whole, tmp_path_factory):
    """The folder of the tiny llama, stored quantized by transformers itself; made once a kind."""
    made = {}

    def make(kind: str):
        if kind not in made:
            folder = tmp_path_factory.mktemp("stored") / kind.replace(" ", "_")
            shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("*.safetensors"))
            dtype = torch.bfloat16 if kind == "nf4 of bfloat16" else torch.float32
            plain_transformers(whole, config_of(kind), dtype).save_pretrained(folder)
            made[kind] = folder
        return made[kind]

    return make


@pytest.fixture
def repacking_cpu(monkeypatch):
    """bitsandbytes takes this CPU for one with AVX512-BF16, on which it repacks 4-bit weights."""
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: True)


def config_of(kind):
    changes = STORED[kind]
    if changes is None:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, **changes)


def plain_transformers(folder, quantization=None, dtype=torch.float32):
    options = {} if quantization is None else {"quantization_config": quantization}
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, device_map={"": "cpu"}, **options
    )


def unpacked_model(whole, folder):
    """The model of numbers with the weights that the stored codes stand for."""
    model, stored = AutoModelForCausalLM.from_pretrained(whole), plain_transformers(folder)
    with torch.no_grad():
        for name, layer in stored.named_modules():
            if isinstance(layer, bitsandbytes.nn.Linear4bit):
                weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            elif isinstance(layer, bitsandbytes.nn.Linear8bitLt):
                weight = int8_vectorwise_dequant(layer.weight.data, layer.weight.SCB)
            else:
                continue
            model.get_submodule(name).weight.copy_(weight)
        for name, parameter in stored.named_parameters():
            if parameter.dtype == torch.bfloat16 and not hasattr(parameter, "quant_state"):
                model.get_parameter(name).copy_(parameter)
    return model.eval()


IDS = torch.randint(6, 300, (2, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", STORED)
def test_it_computes_what_the_codes_stand_for(kind, whole, stored_as, repacking_cpu):
    folder = stored_as(kind)
    model = load_base_model(BaseModel("stored", folder), "cpu", torch.float32).eval()
    with torch.no_grad():
        expected = unpacked_model(whole, folder)(IDS).logits
        first, again = model(IDS).logits, model(IDS).logits
    # LLM.int8() also rounds the inputs of a layer to 8 bits; codes of bfloat16 weights are
    # multiplied out in bfloat16 or not; the others are exact.
    close = {"int8": 0.05, "nf4 of bfloat16": 0.005}.get(kind, 1e-4)
    torch.testing.assert_close(first, expected, rtol=close, atol=close)
    assert torch.equal(first, again)
    assert first.dtype == torch.float32


@pytest.mark.parametrize("kind", STORED)
def test_the_shapes_of_packed_weights_are_their_true_ones(kind, whole, stored_as):
    assert weight_shapes(BaseModel("stored", stored_as(kind))) == (
        weight_shapes(BaseModel("whole", whole))
    )


@pytest.mark.parametrize("kind", STORED)
def test_nothing_of_the_file_stays_mapped_and_no_code_is_held_twice(kind, stored_as):
    folder = stored_as(kind)
    model = load_base_model(BaseModel("stored", folder), "cpu", torch.float32)
    with open("/proc/self/maps") as maps:
        assert str(folder) not in maps.read()
    for parameter in model.parameters():
        if parameter.dtype == torch.int8:
            assert parameter.CB.data_ptr() == parameter.data_ptr()


def test_weights_quantized_on_loading_are_held_once_too(whole):
    model = load_base_model(
        BaseModel("whole", whole), "cpu", torch.float32, QuantizationSpec(bits=8)
    )
    codes = [parameter for parameter in model.parameters() if parameter.dtype == torch.int8]
    assert codes
    assert all(code.CB.data_ptr() == code.data_ptr() for code in codes)


@pytest.mark.parametrize("kind", ["nf4 double", "int8"])
def test_a_run_without_quantization_has_pefts_losses_on_the_codes(
    kind, stored_as, rows_file, settings, tmp_path, repacking_cpu
):
    """From the spec to the log; the model is in eval mode before step 1 and before step 3."""
    spec = tiny_spec(
        stored_as(kind),
        rows_file,
        method={"rank": 4},
        optimization=CONSTANT | {"max_steps": 3, "batch_size": 2, "eval_every": 2},
    )
    directory, _ = train_here(spec, tmp_path / "run", settings)
    job = prepare(directory, settings)
    assert job.spec.quantization == stored_quantization(job.base).spec
    close = 1e-2 if kind == "int8" else 1e-4  # packed rows are rounded to 8 bits in other groups
    assert list(losses(directory).values()) == pytest.approx(pefts_losses(job, 3), rel=close)


def pefts_losses(job, steps):
    """The losses of PEFT's own layers on transformers' own base, which is never in eval mode."""
    base = prepare_model_for_kbit_training(
        plain_transformers(job.base.path), use_gradient_checkpointing=False
    )
    torch.manual_seed(job.spec.seed)
    model = get_peft_model(base, adapter_model.lora_config(job.spec.method)).train()
    path = PaddedPath(model, job.tokenizer.pad_token_id, "cpu")
    return plain_losses(model, job, path, steps)


def test_its_memory_is_predicted_in_its_own_bits(whole, stored_as, rows_file, settings, tmp_path):
    staying = {}
    for name, folder in (("whole", whole), ("stored", stored_as("nf4 double"))):
        spec = tiny_spec(folder, rows_file, method={"rank": 4})
        directory, _ = train_here(spec, tmp_path / name, settings)
        write_memory_prediction(prepare(directory, settings))
        found = Prediction.model_validate_json((directory.path / FILE).read_bytes())
        staying[name] = found.staying_bytes
    packed = 2 * (64 * 64 * 2 + 32 * 64 * 2 + 64 * 128 * 3)  # weights of two layers
    saved = staying["whole"] - staying["stored"]
    assert saved == pytest.approx(packed * (4 - 0.5 - (1 + 4 / 256) / 64), rel=0.01)


def test_columns_of_a_stored_base_are_pefts(settings, tmp_path, repacking_cpu):
    base = save_base(tmp_path / "base")
    adapter = save_adapter(tmp_path / "adapter", base)
    quantized = plain_transformers(base.path, config_of("nf4 double"))
    (base.path / "model.safetensors").unlink()
    quantized.save_pretrained(base.path)
    messages = [Message("user", "Hello!")]
    requests = [AnswerRequest(name, name, messages) for name in ("base", "adapter")]

    compared = ComparisonModel.load(base, {"adapter": adapter}, settings, "chat")
    *_, last = compared.answer_all(requests, Sampling(max_new_tokens=12))

    model = plain_transformers(base.path)
    expected = {"base": generated(model, messages)}
    expected["adapter"] = generated(PeftModel.from_pretrained(model, adapter), messages)
    assert {name: column.text for name, column in last.columns.items()} == expected
    assert expected["base"] != expected["adapter"]


def generated(model, messages) -> str:
    tokenizer = byte_tokenizer()
    (prompt,) = encode_prompts([messages], tokenizer, None, template_is_ours=True)
    output = model.train().generate(  # in eval mode bitsandbytes would repack its weights
        input_ids=torch.tensor([prompt]), do_sample=False, max_new_tokens=12
    )
    return tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True)


BLOCK = 16


@pytest.fixture(scope="module")
def fp8(tmp_path_factory):
    """A llama of FP8 blocks, and the weights that they stand for, multiplied out by hand."""
    folder = save_tiny_model(tmp_path_factory.mktemp("models") / "fp8")
    file, config = folder / "model.safetensors", folder / "config.json"
    stored, by_hand = {}, {}
    generator = torch.Generator().manual_seed(3)
    for name, weight in load_file(file).items():
        stored[name] = by_hand[name] = weight
        if not name.endswith("_proj.weight"):
            continue
        rows, columns = weight.shape
        scale = torch.rand(rows // BLOCK, columns // BLOCK, generator=generator) * 0.02 + 0.001
        stored[name] = (weight * 20).to(torch.float8_e4m3fn)
        stored[f"{name}_scale_inv"] = scale
        by_hand[name] = torch.empty(rows, columns)
        for i in range(rows):
            for j in range(columns):
                code = float(stored[name][i, j])
                by_hand[name][i, j] = code * float(scale[i // BLOCK, j // BLOCK])
    save_file(stored, file, metadata={"format": "pt"})
    said = {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]}
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": said}))
    return folder, by_hand


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_fp8_is_its_codes_times_the_scale_of_their_block(dtype, fp8):
    folder, by_hand = fp8
    loaded = load_base_model(BaseModel("fp8", folder), "cpu", dtype).state_dict()
    assert loaded.keys() >= by_hand.keys()
    for name, weight in by_hand.items():
        torch.testing.assert_close(loaded[name], weight.to(dtype), rtol=1e-6, atol=0, msg=name)


def test_a_whole_model_trained_from_fp8_is_saved_in_numbers(fp8, rows_file, settings, tmp_path):
    folder, by_hand = fp8
    spec = tiny_spec(
        folder,
        rows_file,
        method={"finetuning_type": "full"},
        optimization={"learning_rate": 1e-12, "max_steps": 1},
    )
    directory, _ = train_here(spec, tmp_path / "run", settings)
    saved = BaseModel("saved", directory.path / "model")
    assert stored_quantization(saved) is None
    tensors = load_file(saved.path / "model.safetensors")
    for name, weight in by_hand.items():
        torch.testing.assert_close(tensors[name], weight, rtol=1e-5, atol=1e-7, msg=name)
