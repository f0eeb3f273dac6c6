"""What the calculator counts of methods that are not LoRA is what a run trains."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from lora_engine.calculator import estimate_memory, read_request
from lora_engine.calculator.count_other import count_other
from lora_engine.calculator.model_source import path_source
from lora_engine.errors import InvalidInput
from lora_engine.spec import spec_from
from lora_engine.training.models.other_model import add_other
from lora_engine.training.models.trained_model import trained_tensors
from tests.tiny import save_tiny_model

FIELDS = {
    "prefix": {"virtual_tokens": 5, "prefix_projection": True, "encoder_size": 24},
    "prompt": {"virtual_tokens": 5},
    "p_tuning": {"virtual_tokens": 5},
    "ia3": {},
    "bottleneck": {"bottleneck_size": 8},
    "vera": {"rank": 6},
    "loha": {"rank": 3, "target_modules": ["q_proj", "mlp"]},
}


@pytest.mark.parametrize("kind", FIELDS)
def test_the_count_is_what_trains(tiny_llama, tmp_path, kind):
    method = spec_from({"method": {"finetuning_type": kind, **FIELDS[kind]}}).method
    counted = count_other(path_source(tiny_llama), method)
    base = AutoModelForCausalLM.from_pretrained(tiny_llama)
    made = add_other(base, method, False, AutoTokenizer.from_pretrained(tiny_llama))
    shapes = sorted(tuple(t.shape) for t in trained_tensors(made.model).values())
    assert sorted(shape for one in counted.saved_modules for shape in one.shapes) == shapes
    assert counted.trainable_parameters == sum(t.numel() for t in made.tensors().values())
    made.save(tmp_path / "adapter", b"{}")
    size = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size
    assert counted.adapter_bytes == pytest.approx(size, rel=0.2, abs=400)


def test_virtual_tokens_cost_memory_in_every_row(tiny_llama):
    def tokens(kind: str, **workload) -> int:
        document = {"method": {"finetuning_type": kind}, "workload": workload}
        return read_request(path_source(tiny_llama), document).tokens

    row = {"batch_size": 3, "seq_length": 50}
    assert tokens("prompt", **row) == tokens("ia3", **row) + 3 * 20
    assert tokens("prompt", **row, purpose="chat") == 3 * 50
    found = read_request(path_source(tiny_llama), {"method": {"finetuning_type": "vera"}})
    assert any("vera" in words for words in estimate_memory(found).warnings)


def test_a_target_without_a_place_is_named(tmp_path):
    folder = save_tiny_model(tmp_path / "llama")
    for kind, target in (("vera", "embed_tokens"), ("ia3", "nowhere"), ("loha", "embeddings")):
        method = {"finetuning_type": kind, "target_modules": [target]}
        with pytest.raises(InvalidInput) as caught:
            count_other(path_source(folder), spec_from({"method": method}).method)
        assert [problem.path for problem in caught.value.problems] == ["method.target_modules"]
