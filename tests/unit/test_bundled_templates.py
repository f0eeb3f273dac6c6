"""The templates to choose from: each writes what its model's maker published, and is learned."""

import json
from dataclasses import replace
from typing import get_args

import pytest

from lora_engine.data import Message, Row, chat_template_of, preview, stop_tokens, tokenize
from lora_engine.data.bundled_templates import (
    bundled_templates,
    choice_warnings,
    choose_template,
)
from lora_engine.data.chat_rows import with_learned_turns
from lora_engine.data.rows import Dataset
from lora_engine.data.template_check import refuse_role_orders, template_in
from lora_engine.data.templates import ChatTemplate, Conversation, render
from lora_engine.data.thoughts import apply_setting
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec, TemplateChoice
from tests.tiny import save_tiny_tokenizer
from tests.unit.test_data_masks import CHATML, make_tokenizer

SYSTEM = Message("system", "Be brief.")
TALK = (
    Message("user", "Hi!"),
    Message("assistant", "Hello."),
    Message("user", "Sky?"),
)
VARIABLES = {"bos_token": "<s>", "eos_token": "</s>"}
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request."
)
HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n"
# As the makers write a conversation up to where the second answer begins.
PUBLISHED = {
    "chatml": "<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n"
    "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nSky?<|im_end|>\n"
    "<|im_start|>assistant\n",
    "llama-2": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi! [/INST] Hello. </s>"
    "<s>[INST] Sky? [/INST]",
    "llama-3": f"<s>{HEADER.format('system')}Be brief.<|eot_id|>"
    f"{HEADER.format('user')}Hi!<|eot_id|>{HEADER.format('assistant')}Hello.<|eot_id|>{HEADER.format('user')}Sky?<|eot_id|>"
    f"{HEADER.format('assistant')}",
    "mistral": "<s>[INST] Be brief.\n\nHi![/INST] Hello.</s>[INST] Sky?[/INST]",
    "gemma": "<s><start_of_turn>user\nBe brief.\n\nHi!<end_of_turn>\n<start_of_turn>model\n"
    "Hello.<end_of_turn>\n<start_of_turn>user\nSky?<end_of_turn>\n<start_of_turn>model\n",
    "phi-3": "<|system|>\nBe brief.<|end|>\n<|user|>\nHi!<|end|>\n<|assistant|>\nHello.<|end|>\n"
    "<|user|>\nSky?<|end|>\n<|assistant|>\n",
    "vicuna": "<s>Be brief. USER: Hi! ASSISTANT: Hello.</s>USER: Sky? ASSISTANT:",
    "alpaca": "<s>Be brief.\n\n### Instruction:\nHi!\n\n### Response:\nHello.</s>\n\n"
    "### Instruction:\nSky?\n\n### Response:\n",
    "zephyr": "<|system|>\nBe brief.</s>\n<|user|>\nHi!</s>\n<|assistant|>\nHello.</s>\n"
    "<|user|>\nSky?</s>\n<|assistant|>\n",
    "rankscope-default": "<s>### System:\nBe brief.\n\n### User:\nHi!\n\n### Assistant:\n"
    "Hello.</s>\n\n### User:\nSky?\n\n### Assistant:\n",
    "none": "Be brief.Hi!Hello.Sky?",
}
ALL = sorted(bundled_templates())


def written(name, *turns, prompt=True, tools="", variables=VARIABLES):
    template = ChatTemplate(name, bundled_templates()[name].source, variables)
    return render(template, [Conversation(1, turns, prompt, tools)])[0]


def test_the_spec_offers_exactly_the_bundled_ones():
    assert (
        sorted(get_args(TemplateChoice)) == sorted([*ALL, "auto"]) == sorted([*PUBLISHED, "auto"])
    )


@pytest.mark.parametrize("name", ALL)
def test_a_conversation_is_written_as_its_maker_published_it(name):
    assert written(name, SYSTEM, *TALK) == PUBLISHED[name]


def test_without_a_system_text_the_usual_one_stands_where_there_is_one():
    assert written("vicuna", TALK[0]) == f"<s>{VICUNA} USER: Hi! ASSISTANT:"
    asked = f"<s>{ALPACA}\n\n### Instruction:\nHi!\n\n### Response:\n"
    assert written("alpaca", TALK[0]) == asked
    assert written("llama-2", TALK[0]) == "<s>[INST] Hi! [/INST]"
    assert written("mistral", TALK[0]) == "<s>[INST] Hi![/INST]"


def test_a_model_without_a_start_token_has_none_written():
    for name in ("chatml", "gemma", "llama-3", "vicuna", "alpaca"):
        assert "<s>" not in written(name, TALK[0], variables={"eos_token": "</s>"})


@pytest.mark.parametrize("name", ALL)
def test_every_answer_is_learned_and_nothing_else(name):
    tokenizer = choose_template(make_tokenizer(""), name)
    last = Message("assistant", "Blue.")
    (row,) = tokenize([Row(1, (*TALK, last), None)], tokenizer, 512).rows
    learned = tokenizer.decode([label for label in row.labels if label >= 0])
    for text in ("Hello.", "Blue."):
        assert text in learned
    for text in ("Hi!", "Sky?", "USER", "INST", "assistant", "model"):
        assert text not in learned
    ends = stop_tokens(tokenizer)
    assert row.labels[-1] in ends or next(label for label in row.labels[::-1] if label >= 0) in ends


def test_calls_of_tools_results_and_thoughts_are_written_by_chatml_as_qwen_does():
    tool = {"type": "function", "function": {"name": "warmth", "parameters": {}}}
    call = {"type": "function", "function": {"name": "warmth", "arguments": {"city": "Oslo"}}}
    turns = (
        Message("user", "Warm?"),
        Message("assistant", "", reasoning="Look.", tool_calls=json.dumps([call])),
        Message("tool", "7"),
        Message("tool", "8"),
        Message("assistant", "No."),
    )
    text = written("chatml", *turns, prompt=False, tools=json.dumps([tool]))
    called = '<tool_call>\n{"name": "warmth", "arguments": {"city": "Oslo"}}\n</tool_call>'
    results = "\n<tool_response>\n7\n</tool_response>\n<tool_response>\n8\n</tool_response>"
    assert f"<tools>\n{json.dumps(tool)}\n</tools>" in text
    assert f"<|im_start|>assistant\n<think>\nLook.\n</think>\n\n{called}<|im_end|>\n" in text
    assert f"<|im_start|>user{results}<|im_end|>\n" in text
    llama = written("llama-3", *turns, prompt=False)
    assert '{"name": "warmth", "parameters": {"city": "Oslo"}}<|eot_id|>' in llama
    assert f"{HEADER.format('ipython')}7<|eot_id|>" in llama


def test_a_chosen_template_has_its_name_and_leaves_the_given_tokenizer_alone():
    tokenizer = make_tokenizer(CHATML)
    chosen = choose_template(tokenizer, "llama-3")
    assert chat_template_of(chosen).name == "llama-3"
    assert (chat_template_of(tokenizer).name, tokenizer.chat_template) == (
        "the model's own",
        CHATML,
    )
    assert choose_template(tokenizer, "auto") is tokenizer


def test_what_a_choice_means_for_the_base_is_said(tmp_path):
    own, bare = make_tokenizer(CHATML), make_tokenizer("")
    assert (
        "a chat template of its own, and vicuna takes its place"
        in choice_warnings(own, "vicuna")[0]
    )
    assert "no template is used" in choice_warnings(own, "none")[0]
    assert choice_warnings(bare, "vicuna") == choice_warnings(own, "auto") == ()
    assert choice_warnings(bare, "chatml") == ()  # its marks are tokens of this tokenizer
    lacking = choice_warnings(save_tiny_tokenizer(tmp_path), "gemma")
    assert "no token for <start_of_turn>" in lacking[1]


def test_a_role_that_the_chosen_template_lacks_is_refused_before_the_run(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(VARIABLES))
    turns = (TALK[0], Message("tool", "7"), TALK[1])
    dataset = Dataset("rows.jsonl", "messages", (Row(3, turns, None),), "0")
    assert template_in(tmp_path, "gemma").name == "gemma"
    with pytest.raises(EngineError, match="row 3"):
        refuse_role_orders(dataset, tmp_path, "gemma")
    refuse_role_orders(dataset, tmp_path, "none")


NONE = choose_template(make_tokenizer(""), "none")


def learn_joined(*turns, **row):
    done = tokenize([Row(1, turns, None, **row)], NONE, 512)
    (made,) = done.rows
    return made, NONE.decode([label for label in made.labels if label >= 0]), done


def test_without_a_template_prompt_and_answer_stand_one_behind_the_other():
    row, learned, done = learn_joined(Message("user", "1 + 1 ="), Message("assistant", " 2"))
    assert learned == f" 2{NONE.eos_token}"
    assert (
        NONE.decode(row.input_ids).removeprefix(NONE.bos_token or "")
        == f"1 + 1 = 2{NONE.eos_token}"
    )
    assert (done.template, done.warnings) == ("", ())


def test_without_a_template_only_learned_answers_are_learned_and_what_is_lost_is_said():
    first = replace(TALK[1], is_learned=False)
    thinking = Message("assistant", "<think>Hm.</think> Blue.", is_reasoning_learned=False)
    _, learned, _ = learn_joined(TALK[0], first, TALK[2], thinking)
    assert learned == f"Blue.{NONE.eos_token}"
    apart = Message("assistant", "Blue.", reasoning="Look up.")
    _, learned, done = learn_joined(TALK[0], apart, tools='[{"name": "warmth"}]')
    assert learned == f"Blue.{NONE.eos_token}"
    assert ["thoughts" in done.warnings[0], "the tools" in done.warnings[1]] == [True, True]
    assert all("without a chat template" in warning for warning in done.warnings)


def test_a_prompt_that_ends_inside_a_token_is_counted():
    _, _, done = learn_joined(Message("user", "What col"), Message("assistant", "our is it?"))
    assert "meet inside one token" in done.warnings[-1]


def test_the_preview_shows_the_chosen_template_and_its_warnings(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "Hi", "completion": "Ho"}\n')
    tokenizer, settings = make_tokenizer(CHATML), Settings(data_dir=tmp_path)
    shown = preview(DatasetSpec(source=str(path), template="gemma"), tokenizer, 64, 1, settings)
    assert shown.template == "gemma"
    assert any("gemma takes its place" in warning for warning in shown.warnings)
    assert "<start_of_turn>model\nHo<end_of_turn>" in shown.examples[0].text
    plain = preview(DatasetSpec(source=str(path), template="none"), tokenizer, 64, 1, settings)
    assert (plain.template, plain.examples[0].text) == ("", "HiHo")


CALL = {"type": "function", "function": {"name": "warmth", "arguments": {"city": "Oslo"}}}
WITH_TOOL = (
    Message("user", "Warm?"),
    Message("assistant", "", reasoning="Look it up.", tool_calls=json.dumps([CALL])),
    Message("tool", "7 degrees"),
    Message("assistant", "No, cold."),
)


def learned_by(name, row):
    tokenizer = choose_template(make_tokenizer(""), name)
    done = tokenize([row], tokenizer, 1024)
    return tokenizer.decode([label for label in done.rows[0].labels if label >= 0]), done.warnings


def test_calls_and_thoughts_are_learned_as_qwen_and_llama_write_them_and_results_are_not():
    row = Row(1, WITH_TOOL, None, tools='[{"type": "function", "function": {"name": "warmth"}}]')
    arguments = '{"name": "warmth", "arguments": {"city": "Oslo"}}'
    called = f"<tool_call>\n{arguments}\n</tool_call><|im_end|>"
    learned, warnings = learned_by("chatml", row)
    assert learned == f"<think>\nLook it up.\n</think>\n\n{called}No, cold.<|im_end|>"
    assert warnings == ()
    kept, _ = learned_by("chatml", apply_setting(row, "keep"))
    stripped, _ = learned_by("chatml", apply_setting(row, "strip"))
    assert kept == stripped == f"{called}No, cold.<|im_end|>"
    last, _ = learned_by("chatml", with_learned_turns(row, "last"))
    assert last == "No, cold.<|im_end|>"
    learned, warnings = learned_by("llama-3", row)
    called = '{"name": "warmth", "parameters": {"city": "Oslo"}}<|eot_id|>'
    assert learned == f"{called}No, cold.<|eot_id|>"
    assert "thoughts" in warnings[0]  # Llama 3 has no place for them
