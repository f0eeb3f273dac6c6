"""Our rendering and mask against transformers' own, for templates that mark their answers."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lora_engine.data import Message, Row, default_chat_template, load_dataset, tokenize_rows
from lora_engine.data.templates import Conversation, chat_template_of, render
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec
from lora_engine.starter.tokenizer import train_tokenizer

CHATML = """\
{%- for message in messages %}
{%- if message.role == 'assistant' %}{{- '<|im_start|>assistant\\n' }}
{%- generation %}{{- message.content + '<|im_end|>' }}{% endgeneration %}{{- '\\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

LLAMA = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message['role'] == 'assistant' %}
{%- generation %}{{- message['content'] | trim + ' ' + eos_token }}{% endgeneration %}
{%- else %}{{- '[INST] ' + message['content'] | trim + ' [/INST]' }}{% endif %}
{%- endfor %}"""

# everything a template may use: loop controls, namespaces, tojson, dict, tools, a macro
MANY_MEANS = """\
{%- set ns = namespace(count=0) %}
{%- macro mark(role) %}{{ '<|im_start|>' ~ role ~ '\\n' }}{% endmacro %}
{%- if tools is not none or documents %}{{- raise_exception('no tools were given') }}{% endif %}
{%- for message in messages %}
{%- if not message.content %}{% continue %}{% endif %}
{%- set ns.count = ns.count + 1 %}
{{- mark(message.role) + dict(n=ns.count) | tojson + {'é': '<'} | tojson(indent=1) }}
{%- if message.role == 'assistant' %}
{%- generation %}{{- message.content }}<|im_end|>{% endgeneration %}
{%- else %}{{- message.content }}<|im_end|>{% endif %}
{% endfor %}
{%- if add_generation_prompt %}{{- mark('assistant') }}{% endif %}"""

TURNS = [
    Message("user", "Name a colour, élan! 🦜"),
    Message("assistant", "Blue,\n like the sea.  "),
    Message("user", " Another?"),
    Message("assistant", "\tRed 🦜."),
]
CONVERSATIONS = [TURNS, TURNS[:2], [*TURNS, TURNS[2]], [Message("system", "Short."), *TURNS]]


def make_tokenizer(template: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Name a colour. Blue, like the sea. Another?"] * 9, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    made.chat_template = template
    return made


def as_dicts(messages) -> list[dict]:
    return [{"role": message.role, "content": message.content} for message in messages]


@pytest.mark.parametrize(
    "template",
    [CHATML, LLAMA, default_chat_template()],
    ids=["chatml", "llama", "default"],
)
def test_mask_is_the_one_the_template_marks(template):
    tokenizer = make_tokenizer(template)
    rows = [Row(n, tuple(turns), None) for n, turns in enumerate(CONVERSATIONS, start=1)]
    for row, ours in zip(rows, tokenize_rows(rows, tokenizer, 10_000), strict=True):
        kept = row.messages[:-1] if row.messages[-1].role == "user" else row.messages
        theirs = tokenizer.apply_chat_template(
            as_dicts(kept), return_assistant_tokens_mask=True, return_dict=True
        )
        assert list(ours.input_ids) == theirs["input_ids"]
        mask = [int(label != -100) for label in ours.labels]
        assert mask == theirs["assistant_masks"]
        assert 0 < sum(mask) < len(mask)


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize(
    "template", [CHATML, LLAMA, MANY_MEANS, default_chat_template()], ids=list("clmd")
)
def test_rendering_is_transformers_own(template, prompt):
    tokenizer = make_tokenizer(template)
    asked = [Conversation(1, tuple(turns), prompt) for turns in CONVERSATIONS]
    assert render(chat_template_of(tokenizer), asked) == [
        tokenizer.apply_chat_template(as_dicts(turns), tokenize=False, add_generation_prompt=prompt)
        for turns in CONVERSATIONS
    ]


@pytest.mark.parametrize("name", ["pirate", "json", "facts"])
def test_starter_rows_get_the_mask_the_starter_marks(name, tmp_path):
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path)
    rows = load_dataset(DatasetSpec(source=f"starter:{name}"), settings).rows[:100]
    tokenizer = train_tokenizer(m.content for row in rows for m in row.messages)
    for row, ours in zip(rows, tokenize_rows(rows, tokenizer, 1_024), strict=True):
        theirs = tokenizer.apply_chat_template(
            as_dicts(row.messages), return_assistant_tokens_mask=True, return_dict=True
        )
        assert list(ours.input_ids) == theirs["input_ids"]
        assert [int(label != -100) for label in ours.labels] == theirs["assistant_masks"]
