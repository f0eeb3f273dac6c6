"""Templates that treat a row by what it says: the mask is right, or what is lost is told."""

import json
from dataclasses import replace

import pytest

from lora_engine.data import Message, Row, end_of_turn, stop_tokens, tokenize
from lora_engine.errors import EngineError
from tests.unit.test_data_masks import (
    AGAIN,
    BLUE,
    CHATML,
    LLAMA2,
    PHI3,
    QWEN3,
    RED,
    SYSTEM,
    USER,
    learned,
    make_tokenizer,
    row,
)

THOUGHT = Message("assistant", "<think>\nSky and sea.\n</think>\n\nBlue.")
EMPTY = Message("assistant", "")

# the header of the next answer is written whatever add_generation_prompt says
ALWAYS_PROMPTS = CHATML.replace("{%- if add_generation_prompt %}", "{%- if true %}")
ALWAYS_PROMPTS_PLAIN = """\
{%- for m in messages %}{{- m.role + ': ' + m.content + '\\n' }}{% endfor %}{{- 'assistant: ' }}"""
CUTS_THOUGHTS = CHATML.replace("message.content", "message.content.split('</think>')[-1]")
# the generation prompt, and the last answer, have an empty thought
NO_THINKING = QWEN3.replace(
    "{{- '<|im_start|>assistant\\n' }}{%- endif %}",
    "{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}{%- endif %}",
)
DROPS_EMPTY_TURNS = "{%- for message in messages if message.content %}" + CHATML.split("\n", 1)[1]
IN_PARTS = CHATML.replace("message.content", "message.content | map(attribute='text') | join")
USER_IN_PARTS = CHATML.replace(
    "message.content",
    "(message.content if message.role != 'user' else message.content[0]['text'])",
)
NO_SYSTEM = CHATML.replace("in messages %}", "in messages if message.role != 'system' %}")
# an answer has a mark of its own before the token that ends every turn
MARKED_ANSWERS = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content }}
{{- '<|eot_id|>' if message.role == 'assistant' }}{{- '<|im_end|>' }}
{%- endfor %}{{- '<|im_start|>assistant\\n' }}"""
# turns end with the header of the next one alone
NO_END = """\
{%- for message in messages %}{{- '<|' + message.role + '|>\\n' + message.content }}{% endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{% endif %}"""
# another token ends the last answer than ends the others
TWO_ENDS = """\
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content }}
{{- '<|im_end|>' if not loop.last or message.role == 'user' else '<|eot_id|>' }}
{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

# the token that ends an answer stands behind the last one alone
ENDS_LAST = TWO_ENDS.replace(
    "'<|im_end|>' if not loop.last or message.role == 'user' else '<|eot_id|>'",
    "'<|eot_id|>' if loop.last and message.role == 'assistant'",
)


@pytest.mark.parametrize(
    ("template", "turns", "answers"),
    [
        (ALWAYS_PROMPTS, [USER, RED], ["Red.<|im_end|>"]),
        (ALWAYS_PROMPTS, [USER, RED, AGAIN, BLUE], ["Red.<|im_end|>", f"{BLUE.content}<|im_end|>"]),
        (ALWAYS_PROMPTS_PLAIN, [USER, RED], ["Red.</s>"]),
        (MARKED_ANSWERS, [USER, RED, AGAIN, RED], ["Red.<|eot_id|><|im_end|>"] * 2),
        (NO_END, [USER, RED, AGAIN, RED], ["Red.", "Red.</s>"]),
        (TWO_ENDS, [USER, RED, AGAIN, RED], ["Red.<|im_end|>", "Red.<|eot_id|>"]),
        (NO_THINKING, [USER, THOUGHT], ["Sky and sea.\n</think>\n\nBlue.<|im_end|>"]),
        (NO_THINKING, [USER, RED], ["Red.<|im_end|>"]),
        (
            NO_THINKING,
            [USER, THOUGHT, AGAIN, THOUGHT],
            ["Blue.<|im_end|>", "Sky and sea.\n</think>\n\nBlue.<|im_end|>"],
        ),
        (CUTS_THOUGHTS, [USER, THOUGHT], ["\n\nBlue.<|im_end|>"]),
        (NO_THINKING, [USER, EMPTY, AGAIN, RED], ["<|im_end|>", "Red.<|im_end|>"]),
        (DROPS_EMPTY_TURNS, [USER, EMPTY, AGAIN, RED], ["Red.<|im_end|>"]),
        (DROPS_EMPTY_TURNS, [USER, RED, Message("user", ""), RED], ["Red.<|im_end|>"] * 2),
        (IN_PARTS, [SYSTEM, USER, RED, AGAIN, RED], ["Red.<|im_end|>"] * 2),
        (USER_IN_PARTS, [SYSTEM, USER, RED, AGAIN, RED], ["Red.<|im_end|>"] * 2),
    ],
)
def test_the_mask_of_a_template_that_is_unlike_others(template, turns, answers):
    assert learned(template, *turns) == answers


def test_texts_in_parts_are_all_there():
    tokenizer = make_tokenizer(IN_PARTS)
    (made,) = tokenize([row(SYSTEM, USER, BLUE)], tokenizer, 512).rows
    assert tokenizer.decode(made.input_ids) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nName a colour.<|im_end|>\n"
        "<|im_start|>assistant\nBlue, like the sea.<|im_end|>\n"
    )


@pytest.mark.parametrize(
    ("template", "turns", "named"),
    [
        (CUTS_THOUGHTS, [USER, THOUGHT], ["answer", "<think> Sky and sea."]),
        (QWEN3, [USER, THOUGHT, AGAIN, RED], ["answer", "<think> Sky and sea."]),
        (NO_SYSTEM, [SYSTEM, USER, RED], ["system turn", "Be brief."]),
        (
            CUTS_THOUGHTS,
            [Message("user", "a secret</think>Hello"), RED],
            ["user turn", "a secret"],
        ),
        (
            CHATML,
            [USER, Message("assistant", "Red.", reasoning="Fire is red.")],
            ["reasoning_content", "Fire is red."],
        ),
    ],
)
def test_what_a_template_leaves_out_is_told_with_its_beginning(template, turns, named):
    rows = [row(USER, RED), row(*turns, number=7), row(*turns, number=9)]
    (warning,) = tokenize(rows, make_tokenizer(template), 512).warnings
    assert all(name in warning for name in [*named, "2 rows (7, 9)"])


@pytest.mark.parametrize("template", [ENDS_LAST, PHI3, CHATML, NO_END])
def test_answers_that_no_token_ends_are_told_where_the_last_has_one(template):
    rows = [row(USER, RED), row(USER, RED, AGAIN, BLUE, number=4)]
    tokenizer = make_tokenizer(template)
    told = [line for line in tokenize(rows, tokenizer, 512).warnings if "only the last" in line]
    assert ["1 row (4)" in line for line in told] == [True] * (template is ENDS_LAST)
    unlearned = [row(USER, replace(RED, is_learned=False), AGAIN, BLUE)]
    assert tokenize(unlearned, make_tokenizer(ENDS_LAST), 512).warnings == ()


def test_nothing_is_told_of_thoughts_that_are_only_laid_out_anew():
    tight = Message("assistant", "<think>Sea</think>Blue.")
    renamed = QWEN3.replace("</think>\\n\\n'", "[/THINK]'").replace("<think>\\n'", "[THINK]'")
    for template in (QWEN3, NO_THINKING, renamed):
        assert tokenize([row(USER, tight)], make_tokenizer(template), 512).warnings == ()


def test_a_turn_that_is_not_learned_stands_in_the_text_alone():
    unlearned = Message("assistant", "Blue, like the sea.", is_learned=False)
    assert learned(CHATML, USER, unlearned, AGAIN, RED) == ["Red.<|im_end|>"]
    assert learned(CHATML, USER, RED, AGAIN, unlearned) == ["Red.<|im_end|>"]
    tokenizer = make_tokenizer(CHATML)
    (made,) = tokenize([row(USER, unlearned, AGAIN, RED)], tokenizer, 512).rows
    assert "Blue, like the sea." in tokenizer.decode(made.input_ids)


# the shape of Hermes' tool templates, thoughts in a field of their own
TOOLS = """\
{%- if tools %}{{- '<|im_start|>system\\n' }}
{%- for tool in tools %}{{- tool | tojson + '\\n' }}{% endfor %}{{- '<|im_end|>\\n' }}{% endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.reasoning_content %}{{- '<think>' + message.reasoning_content + '</think>' }}
{%- endif %}{{- message.content }}
{%- for call in message.tool_calls or [] %}{% set call = call.function %}
{{- '<tool_call>{"name": "' + call.name + '", "arguments": ' + ARGUMENTS + '}</tool_call>' }}
{%- endfor %}{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
CALL = {"id": "call00001", "type": "function", "function": {"name": "warmth"}}
TOOL = {"type": "function", "function": {"name": "warmth", "parameters": {}}}


@pytest.mark.parametrize("written", ["call.arguments | tojson", "call.arguments"])
@pytest.mark.parametrize("arguments", [{"city": "Oslo é"}, '{"city": "Oslo é"}'])
def test_thoughts_and_calls_are_part_of_what_is_learned(written, arguments):
    call = CALL | {"function": CALL["function"] | {"arguments": arguments}}
    asks = Message("assistant", "", reasoning="Look it up.", tool_calls=json.dumps([call]))
    answer = Message("tool", "4 degrees", extra=json.dumps({"tool_call_id": "call00001"}))
    turns = (USER, asks, answer, Message("assistant", "Cold."))
    tokenizer = make_tokenizer(TOOLS.replace("ARGUMENTS", written))
    done = tokenize([Row(1, turns, None, tools=json.dumps([TOOL]))], tokenizer, 2048)
    assert done.warnings == ()
    labels = [label for label in done.rows[0].labels if label != -100]
    assert tokenizer.decode(labels) == (
        '<think>Look it up.</think><tool_call>{"name": "warmth", "arguments": '
        '{"city": "Oslo é"}}</tool_call><|im_end|>Cold.<|im_end|>'
    )
    assert json.dumps(TOOL) in tokenizer.decode(done.rows[0].input_ids)


HEAD = "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}"
TAIL = "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
WRITES_CALLS = """\
{%- for call in m.tool_calls or [] %}{{- '<tool_call>' + call.function.name }}
{{- call.function.arguments | tojson + '</tool_call>' }}{% endfor %}"""
# a result is refused without the call that it belongs to, and the text beside a call is not written
STRICT_CALLS = f"""\
{HEAD}
{{%- if m.role == 'tool' and not messages[loop.index0 - 1].tool_calls %}}
{{{{- raise_exception('a result without a call') }}}}{{% endif %}}
{{%- if m.tool_calls %}}{WRITES_CALLS}{{% else %}}{{{{- m.content }}}}{{% endif %}}
{{{{- '<|im_end|>' }}}}{TAIL}"""
# the result stands in the answer's own turn, which goes on behind it
NESTED_RESULTS = f"""\
{{%- for m in messages %}}{{%- if m.role != 'tool' %}}
{{%- if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}}
{{{{- '<|im_start|>' + m.role + '\\n' }}}}{{% endif %}}{{{{- m.content }}}}{WRITES_CALLS}
{{%- if m.tool_calls %}}{{{{- '<|eot_id|>result: ' + messages[loop.index0 + 1].content }}}}
{{{{- '\\n' }}}}{{% else %}}{{{{- '<|im_end|>' }}}}{{% endif %}}{{% endif %}}{TAIL}"""
# another token ends a turn that calls
OWN_END_OF_CALLS = f"""\
{HEAD}{{{{- m.content }}}}{WRITES_CALLS}
{{{{- '<|eot_id|>' if m.tool_calls else '<|im_end|>' }}}}{TAIL}"""

# the prompt has an empty thought, and no line break follows a turn that ends in a call (Gemma 4)
CALLS_FIRST = f"""\
{HEAD}{WRITES_CALLS}{{{{- m.content + '<|im_end|>' }}}}
{{%- if not (loop.last and m.tool_calls) %}}{{{{- '\\n' }}}}{{% endif %}}
{TAIL.replace("assistant", "assistant<think></think>")}"""


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (STRICT_CALLS, "<|im_end|>"),
        (NESTED_RESULTS, "<|eot_id|>"),
        (OWN_END_OF_CALLS, "<|eot_id|>"),
    ],
    ids=["strict", "nested", "own end"],
)
@pytest.mark.parametrize("arguments", [{"city": "Oslo"}, {"days": 4}, {}])
def test_a_call_is_learned_with_its_end_and_its_result_is_not(template, end, arguments):
    call = CALL | {"function": CALL["function"] | {"arguments": arguments}}
    asks = Message("assistant", "", tool_calls=json.dumps([call]))
    turns = (USER, asks, Message("tool", "4 degrees"), Message("assistant", "Cold."), AGAIN, RED)
    asked = f"<tool_call>warmth{json.dumps(arguments)}</tool_call>{end}"
    assert learned(template, *turns) == [asked, "Cold.<|im_end|>", "Red.<|im_end|>"]
    assert tokenize([row(*turns)], make_tokenizer(template), 512).warnings == ()


def test_a_call_that_is_the_last_turn_is_learned_from_its_beginning():
    call = CALL | {"function": CALL["function"] | {"arguments": {"city": "Oslo"}}}
    asks = Message("assistant", "", tool_calls=json.dumps([call]))
    asked = '<tool_call>warmth{"city": "Oslo"}</tool_call><|im_end|>'
    assert learned(CALLS_FIRST, USER, asks) == [asked]
    assert learned(CALLS_FIRST, USER, RED, AGAIN, asks) == ["Red.<|im_end|>", asked]


def test_calls_and_tools_that_a_template_does_not_write_are_told():
    call = CALL | {"function": CALL["function"] | {"arguments": {}}}
    asks = Message("assistant", "Let me look.", tool_calls=json.dumps([call]))
    rows = [Row(4, (USER, asks), None, tools=json.dumps([TOOL]))]
    warnings = " ".join(tokenize(rows, make_tokenizer(CHATML), 512).warnings)
    assert "tool_calls ('warmth')" in warnings
    assert "tools ('warmth')" in warnings


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (CHATML, "<|im_end|>"),
        (ALWAYS_PROMPTS, "<|im_end|>"),
        (NO_THINKING, "<|im_end|>"),
        (MARKED_ANSWERS, "<|im_end|>"),
        (PHI3, "<|end|>"),
        (LLAMA2, "</s>"),
        (TWO_ENDS, "<|eot_id|>"),
        (NO_END, ""),
        # a mark between thoughts and text is no end, although it ends turns too
        (TOOLS.replace("</think>", "<|im_end|>").replace("ARGUMENTS", "''"), ""),
        (TOOLS.replace("'<tool_call>", "'<|im_end|><tool_call>").replace("ARGUMENTS", "''"), ""),
        ("{{ raise_exception('nobody') }}", ""),
        (None, "</s>"),
    ],
)
def test_what_ends_the_turn_ends_generation(template, end):
    tokenizer = make_tokenizer(template)
    assert end_of_turn(tokenizer) == end
    ids = tokenizer.convert_tokens_to_ids([end] if end else [])
    assert stop_tokens(tokenizer) == {tokenizer.eos_token_id, *ids}


def test_generation_stops_at_all_that_end_an_answer():
    class Configuration:
        eos_token_id = [7, 8]

    tokenizer = make_tokenizer(CHATML)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert stop_tokens(tokenizer, Configuration()) == {7, 8, end, tokenizer.eos_token_id}
    Configuration.eos_token_id = None
    tokenizer.eos_token = None
    assert stop_tokens(tokenizer, Configuration()) == {end}


@pytest.mark.parametrize("name", ["eos_token", "bos_token"])
def test_a_token_that_the_tokenizer_lacks_is_named_with_its_place(name):
    tokenizer = make_tokenizer("{{ messages[0].content + NAME }}".replace("NAME", name))
    setattr(tokenizer, name, None)
    with pytest.raises(EngineError, match=f"no {name}") as caught:
        tokenize([row(USER, RED)], tokenizer, 512)
    assert "tokenizer_config.json" in caught.value.remedy


@pytest.mark.parametrize(
    "template",
    [
        "{% if %}",
        "{{ messages.__class__.__mro__ }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% set x = 'a' * 10**9 %}",
    ],
)
def test_a_template_with_an_error_of_its_own_is_not_the_rows_fault(template):
    with pytest.raises(EngineError) as caught:
        tokenize([row(USER, RED)], make_tokenizer(template), 512)
    assert "chat_template.jinja" in caught.value.remedy
