"""Batched columns equal separate greedy generations of transformers, token for token."""

import threading

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM

from lora_engine.compare.generate.comparison_model import AnswerRequest, ComparisonModel
from lora_engine.compare.prompts.prompt_tokens import encode_prompts
from lora_engine.data import Message
from lora_engine.generation import decode
from lora_engine.generation.sampling import Sampling
from tests.compare_models import ARCHITECTURES, byte_tokenizer, save_adapter, save_base

SHORT = [Message("user", "Hello!")]
LONG = [
    Message("system", "You answer in a few words."),
    Message("user", "Tell me a story of a fox, and then count: 1, 2, 3, 4."),
]


def generated(base, adapter, messages, new_tokens, **choices) -> list[int]:
    """What plain transformers and PEFT generate for one conversation, alone."""
    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32).eval()
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter).eval()
    (prompt,) = encode_prompts([messages], byte_tokenizer(), None, template_is_ours=True)
    output = model.generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
        do_sample=False,
        max_new_tokens=new_tokens,
        **choices,
    )[0, len(prompt) :].tolist()
    return output[: output.index(258)] if 258 in output else output


def answered(model, requests, sampling) -> dict[str, str]:
    *_, last = model.answer_all(requests, sampling)
    return {name: column.text for name, column in last.columns.items()}


def as_text(tokens: list[int]) -> str:
    return byte_tokenizer().decode(tokens, skip_special_tokens=True)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_columns_of_one_batch_equal_separate_generations(
    tmp_path, settings, monkeypatch, architecture
):
    monkeypatch.setattr(decode, "PREFILL_CHUNK", 16)
    base = save_base(tmp_path / "base", architecture)
    first = save_adapter(tmp_path / "first", base, seed=1)
    second = save_adapter(tmp_path / "second", base, seed=2, r=2, use_rslora=True)
    model = ComparisonModel.load(base, {"first": first, "second": second}, settings, "chat")
    adapters = {"base": None, "first": first, "second": second}
    requests = [
        AnswerRequest(f"{column} {number}", column, messages)
        for number, messages in enumerate((SHORT, LONG))
        for column in ("first", "base", "second")
    ]
    answers = answered(model, requests, Sampling(max_new_tokens=24))
    expected = {
        request.name: as_text(generated(base, adapters[request.column], request.messages, 24))
        for request in requests
    }
    assert answers == expected
    assert answers["base 1"] != answers["first 1"]


@pytest.mark.parametrize(
    "choices",
    [
        {"use_dora": True},
        {"modules_to_save": ["lm_head"], "target_modules": ["q_proj", "v_proj"]},
        {"lora_bias": True},
        {"target_modules": ["embed_tokens", "q_proj"]},
    ],
    ids=["dora", "modules_to_save", "lora_bias", "embedding"],
)
def test_adapters_that_need_a_pass_of_their_own_are_right_too(tmp_path, settings, choices):
    base = save_base(tmp_path / "base")
    plain = save_adapter(tmp_path / "plain", base, seed=1)
    special = save_adapter(tmp_path / "special", base, seed=2, **choices)
    model = ComparisonModel.load(base, {"plain": plain, "special": special}, settings, "chat")
    adapters = {"base": None, "plain": plain, "special": special}
    requests = [AnswerRequest(column, column, LONG) for column in adapters]
    answers = answered(model, requests, Sampling(max_new_tokens=24))
    assert answers == {
        column: as_text(generated(base, adapter, LONG, 24)) for column, adapter in adapters.items()
    }


def test_the_repetition_penalty_is_that_of_generate(tmp_path, settings):
    base = save_base(tmp_path / "base")
    adapter = save_adapter(tmp_path / "adapter", base)
    model = ComparisonModel.load(base, {"adapter": adapter}, settings, "chat")
    sampling = Sampling(max_new_tokens=40, repetition_penalty=1.3)
    requests = [AnswerRequest("base", "base", SHORT), AnswerRequest("adapter", "adapter", LONG)]
    assert answered(model, requests, sampling) == {
        "base": as_text(generated(base, None, SHORT, 40, repetition_penalty=1.3)),
        "adapter": as_text(generated(base, adapter, LONG, 40, repetition_penalty=1.3)),
    }


def test_what_another_thread_makes_while_an_adapter_is_put_on_has_its_weights(
    tmp_path, settings, monkeypatch
):
    base = save_base(tmp_path / "base")
    model = ComparisonModel.load(base, {}, settings, "chat")
    made, devices = LoraLayer.update_layer, set()

    def meanwhile(self, *given, **named):
        def make():
            devices.add(torch.nn.Linear(2, 2).weight.device.type)

        other = threading.Thread(target=make)
        other.start()
        other.join()
        return made(self, *given, **named)

    monkeypatch.setattr(LoraLayer, "update_layer", meanwhile)
    for seed in (1, 2):  # the first adapter wraps the model, the second is added to it
        model.add_adapter(f"a{seed}", save_adapter(tmp_path / f"a{seed}", base, seed=seed))
    assert devices == {"cpu"}
