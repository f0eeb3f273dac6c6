"""The mask of supervised tokens, on templates of the shape well-known models have."""

from dataclasses import replace

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lora_engine.data import Message, Row, default_chat_template, tokenize, tokenize_rows
from lora_engine.errors import EngineError

CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

LLAMA3 = """\
{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
{{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

LLAMA2 = """\
{%- if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}
{%- set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}
{%- for message in turns %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{%- if message['role'] == 'user' %}
{%- if loop.index0 == 0 and system %}
{%- set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}
{%- else %}{% set content = message['content'] %}{% endif %}
{{- bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
{%- else %}{{- ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}
{%- endfor %}"""

# the system text goes into the last user turn, and history ends without a space
MISTRAL = """\
{%- if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}
{%- set turns = messages[1:] %}{% else %}{% set turns = messages %}{% endif %}
{{- bos_token }}
{%- for message in turns %}
{%- if message['role'] == 'user' %}
{%- if loop.last or loop.index == turns | length - 1 %}
{%- if system is defined %}{{- '[INST] ' + system + '\\n\\n' + message['content'] + '[/INST]' }}
{%- else %}{{- '[INST] ' + message['content'] + '[/INST]' }}{% endif %}
{%- else %}{{- '[INST] ' + message['content'] + '[/INST]' }}{% endif %}
{%- else %}{{- ' ' + message['content'] + eos_token }}{% endif %}
{%- endfor %}"""

GEMMA = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
{{- raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{- '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{%- endif %}"""

# Qwen3: the last answer gets a thought, an empty one if need be; earlier answers lose theirs
QWEN3 = """\
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{%- set content = message.content %}{% set thought = '' %}
{%- if '</think>' in content %}
{%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}
{%- if loop.last %}
{{- '<|im_start|>assistant\\n<think>\\n' + thought + '\\n</think>\\n\\n' + content }}
{%- else %}{{- '<|im_start|>assistant\\n' + content }}{% endif %}
{{- '<|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

# Phi-3: every turn ends with <|end|>, the whole conversation with the end token
PHI3 = """\
{%- for message in messages %}
{{- '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{% else %}{{- eos_token }}{% endif %}"""

PLAIN = """\
{%- for message in messages %}{{- message.role + ': ' + message.content + '\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{- 'assistant: ' }}{% endif %}"""

SPECIALS = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
]

SYSTEM = Message("system", "Be brief.")
USER = Message("user", "Name a colour.")
BLUE = Message("assistant", "Blue, like the sea.")
AGAIN = Message("user", "Another one, please.")
RED = Message("assistant", "Red.")


def make_tokenizer(template: str | None, eos: str = "</s>") -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Blue, like the sea. Name a colour. Another one."] * 9, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token=eos)
    made.chat_template = template
    return made


def row(*messages: Message, number: int = 1) -> Row:
    return Row(number, messages, None)


def learned(template: str | None, *messages: Message) -> list[str]:
    """The runs of supervised tokens, decoded."""
    tokenizer = make_tokenizer(template)
    (made,) = tokenize_rows([row(*messages)], tokenizer, 512)
    runs, run = [], []
    for token, label in zip(made.input_ids, made.labels, strict=True):
        assert label in (-100, token)
        if label == -100 and run:
            runs.append(tokenizer.decode(run))
            run = []
        elif label != -100:
            run.append(token)
    return [*runs, tokenizer.decode(run)] if run else runs


@pytest.mark.parametrize(
    ("template", "answers"),
    [
        (CHATML, ["Blue, like the sea.<|im_end|>", "Red.<|im_end|>"]),
        (LLAMA3, ["Blue, like the sea.<|eot_id|>", "Red.<|eot_id|>"]),
        (LLAMA2, [" Blue, like the sea. </s>", " Red. </s>"]),
        (MISTRAL, [" Blue, like the sea.</s>", " Red.</s>"]),
        (GEMMA, ["Blue, like the sea.<end_of_turn>", "Red.<end_of_turn>"]),
        (QWEN3, ["Blue, like the sea.<|im_end|>", "<think>\n\n</think>\n\nRed.<|im_end|>"]),
        (PHI3, ["Blue, like the sea.<|end|>", "Red.<|end|>\n</s>"]),
        (PLAIN, ["Blue, like the sea.", "Red.</s>"]),
        (None, ["Blue, like the sea.</s>", "Red.</s>"]),
    ],
    ids=["chatml", "llama3", "llama2", "mistral", "gemma", "qwen3", "phi3", "plain", "default"],
)
def test_loss_is_on_every_answer_and_the_token_that_ends_it(template, answers):
    assert learned(template, USER, BLUE, AGAIN, RED) == answers


@pytest.mark.parametrize("template", [CHATML, LLAMA3, LLAMA2, MISTRAL, QWEN3, PHI3, None])
def test_a_system_text_is_never_learned_wherever_the_template_puts_it(template):
    runs = learned(template, SYSTEM, USER, BLUE, AGAIN, RED)
    assert len(runs) == 2
    assert "brief" not in "".join(runs)


def test_an_answer_without_a_question_is_learned_without_its_header():
    assert learned(CHATML, BLUE) == ["Blue, like the sea.<|im_end|>"]
    assert learned(CHATML, BLUE, USER, RED) == ["Blue, like the sea.<|im_end|>", "Red.<|im_end|>"]


def test_the_first_token_of_a_row_is_never_learned():
    bare = "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}"
    tokenizer = make_tokenizer(bare)
    first, second = tokenize_rows([row(RED), row(BLUE, number=2)], tokenizer, 512)
    assert first.labels[0] == second.labels[0] == -100
    assert first.labels[1:] == first.input_ids[1:]
    with pytest.raises(EngineError, match="None of the 1 rows"):
        tokenize_rows([row(Message("assistant", ""))], tokenizer, 512)


def test_tokenizers_of_the_sentencepiece_kind():
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence(steps)
    trainer = trainers.BpeTrainer(
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    made.train_from_iterator(["Name a colour. [INST] Blue, like the sea. Red. [/INST]"], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = LLAMA2
    rows = [row(USER, BLUE), row(USER, Message("assistant", "é🦜"), number=2)]
    plain, in_bytes = [
        tokenizer.convert_ids_to_tokens([label for label in done.labels if label != -100])
        for done in tokenize_rows(rows, tokenizer, 512)
    ]
    assert "".join(plain) == "▁Blue,▁like▁the▁sea.▁</s>"
    assert in_bytes[1:-2] == [f"<0x{byte:02X}>" for byte in "é🦜".encode()]


def test_a_thought_that_the_template_moves_is_learned_where_it_is_kept():
    first = Message("assistant", "<think>\nsea\n</think>\n\nBlue.")
    last = Message("assistant", "<think>\nfire\n</think>\n\nRed.")
    assert learned(QWEN3, USER, first, AGAIN, last) == [
        "Blue.<|im_end|>",
        "<think>\nfire\n</think>\n\nRed.<|im_end|>",
    ]


@pytest.mark.parametrize(
    "text", ["", " ", "<|im_end|>", "\n\nuser", "user\nName a colour.", "\ue0f00\ue0f1"]
)
def test_odd_answers_keep_their_place(text):
    assert learned(CHATML, USER, Message("assistant", text), AGAIN, RED) == [
        f"{text}<|im_end|>",
        "Red.<|im_end|>",
    ]


def test_trimmed_texts_are_followed():
    runs = learned(LLAMA3, Message("user", "  Hi \n"), Message("assistant", "\n Blue. "))
    assert runs == ["Blue.<|eot_id|>"]


def test_a_base_without_template_is_told_which_one_is_used():
    done = tokenize([row(USER, BLUE)], make_tokenizer(None), 512)
    assert done.template == "rankscope-default"
    assert "has no chat template; rankscope-default is used" in done.warnings[0]
    assert tokenize([row(USER, BLUE)], make_tokenizer(CHATML), 512).template == "the model's own"


def test_a_role_order_the_template_refuses_names_the_row():
    rows = [row(USER, BLUE), row(USER, AGAIN, BLUE, number=7)]
    with pytest.raises(EngineError, match=r"row 7 .*user, user, assistant.*must alternate"):
        tokenize_rows(rows, make_tokenizer(LLAMA2), 512)
    with pytest.raises(EngineError, match=r"row 1 .*System role not supported"):
        tokenize_rows([row(SYSTEM, USER, BLUE)], make_tokenizer(GEMMA), 512)


def test_a_template_that_rewrites_the_question_names_the_row_and_the_turn():
    shouting = CHATML.replace("message.content", "(message.content | replace('a', 'A'))")
    with pytest.raises(EngineError, match=r"rewrites row 1 .*turn 1 \(user\)"):
        tokenize_rows([row(USER, BLUE)], make_tokenizer(shouting), 512)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ 'a' * 10**8 }}", "characters|memory"),
        ("{{ 'a' * 10**6 }}b", "more than 1,000,000 characters"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "2 s"),
        ("{% set x = 'a' * 10**9 %}", "memory"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
        ("{% if %}", "not a template"),
    ],
)
def test_a_hostile_template_is_stopped(template, why):
    with pytest.raises(EngineError, match=why):
        tokenize_rows([row(USER, BLUE)], make_tokenizer(template), 512)


def test_truncation_keeps_the_beginning_and_is_reported():
    tokenizer = make_tokenizer(CHATML)
    long = Message("assistant", "Blue. " * 40)
    rows = [
        row(USER, BLUE),
        row(USER, long, number=2),
        row(Message("user", "x " * 90), RED, number=3),
    ]
    done = tokenize(rows, tokenizer, 64)
    assert [made.number for made in done.rows] == [1, 2]
    assert [made.truncated for made in done.rows] == [False, True]
    assert len(done.rows[1].input_ids) == len(done.rows[1].labels) == 64
    whole = tokenize_rows(rows[1:2], tokenizer, 512)[0]
    assert whole.input_ids[:64] == done.rows[1].input_ids
    assert (done.lost_answer, done.cut) == ((3,), (2,))
    assert "67 % of rows lose a part to truncation at 64 tokens" in done.warnings[0]
    assert "lose their whole answer" in done.warnings[1]
    assert "left out: 1 row (3)." in done.warnings[1]


def test_no_supervised_token_at_all_is_an_error():
    rows = [row(USER), row(Message("user", "x " * 90), RED, number=2)]
    with pytest.raises(EngineError, match="1 .*no assistant turn, 1 .*whole answer"):
        tokenize_rows(rows, make_tokenizer(CHATML), 32)


def test_turns_after_the_last_answer_change_nothing():
    tokenizer = make_tokenizer(CHATML)
    with_more = tokenize_rows([row(USER, BLUE, AGAIN)], tokenizer, 512)
    assert with_more == tokenize_rows([row(USER, BLUE)], tokenizer, 512)


def test_plain_text_is_learned_whole_and_loses_nothing_to_the_limit():
    tokenizer = make_tokenizer(None)
    text = "Blue, like the sea. " * 30
    done = tokenize([Row(1, (), text)], tokenizer, 32)
    ids = [token for piece in done.rows for token in piece.input_ids]
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids[1:-1]) == text
    assert all(len(piece.input_ids) <= 32 and not piece.truncated for piece in done.rows)
    assert all(piece.labels == (-100, *piece.input_ids[1:]) for piece in done.rows)
    lengths = [len(piece.input_ids) for piece in done.rows]
    assert max(lengths) - min(lengths) <= 1
    passage = tokenize_rows([Row(1, (), "Blue", continues=True)], tokenizer, 32)[0]
    assert passage.input_ids[-1] != tokenizer.eos_token_id


def test_default_template_marks_its_answers():
    assert "{% generation %}" in default_chat_template()


REASONS = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.reasoning_content %}
{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}{% endif %}
{{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


@pytest.mark.parametrize(
    ("template", "turn"),
    [
        (REASONS, Message("assistant", "Blue.", reasoning="The sea.", is_reasoning_learned=False)),
        (
            CHATML,
            Message(
                "assistant", "<think>\nThe sea.\n</think>\n\nBlue.", is_reasoning_learned=False
            ),
        ),
        (
            CHATML,
            Message("assistant", "[THINK]The sea.[/THINK] Blue.", is_reasoning_learned=False),
        ),
    ],
)
def test_thoughts_that_are_kept_stand_in_the_text_and_are_not_learned(template, turn):
    tokenizer = make_tokenizer(template)
    (kept,) = tokenize_rows([Row(1, (USER, turn), None)], tokenizer, 500)
    learned = [label for label in kept.labels if label != -100]
    assert tokenizer.decode(learned).replace(" ", "") == "Blue.<|im_end|>"
    assert "The sea." in tokenizer.decode(kept.input_ids)
    whole = replace(turn, is_reasoning_learned=True)
    (all_learned,) = tokenize_rows([Row(1, (USER, whole), None)], tokenizer, 500)
    assert all_learned.input_ids == kept.input_ids
    assert "The sea." in tokenizer.decode([x for x in all_learned.labels if x != -100])


def test_a_row_whose_answers_are_all_unlearned_is_left_out_for_that_reason():
    tokenizer = make_tokenizer(CHATML)
    unlearned = Row(1, (USER, replace(BLUE, is_learned=False)), None)
    made = tokenize([unlearned, Row(2, (USER, BLUE), None)], tokenizer, 500)
    assert made.without_answer == (1,)
    assert [row.number for row in made.rows] == [2]
    assert any("weight 0" in warning and "1 row (1)" in warning for warning in made.warnings)
    assert not any("no turn is the assistant's" in warning for warning in made.warnings)
