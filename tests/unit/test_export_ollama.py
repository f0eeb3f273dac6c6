"""The Modelfile's template writes what the tokenizer's own writes, or is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lora_engine.data import ChatTemplate, default_chat_template
from lora_engine.data.bundled_templates import bundled_templates
from lora_engine.errors import EngineError
from lora_engine.export.go_template import SAMPLES, derive
from lora_engine.export.ollama import modelfile
from lora_engine.starter import MODEL_DIR

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# a default system turn where none is given, as Qwen 2.5 writes
WITH_DEFAULT = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nDefault.<|im_end|>\n{% endif %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + "
    "'<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('no system') }}{% endif %}{% set role = 'model' if m.role == 'assistant' "
    "else 'user' %}{{ '<start_of_turn>' + role + '\n' + m.content + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + m.content + ' [/INST]' }}{% elif m.role == 'assistant' %}"
    "{{ m.content + eos_token }}{% else %}{{ raise_exception('no system') }}{% endif %}{% endfor %}"
)
FAMILIES = {
    "chatml": CHATML,
    "a default system turn": WITH_DEFAULT + CHATML,
    "llama 3": LLAMA_3,
    "gemma": GEMMA,
    "mistral": MISTRAL,
    "starter": (MODEL_DIR / "chat_template.jinja").read_text("utf-8"),
    "rankscope-default": default_chat_template(),
    **{
        f"bundled {name}": bundled_templates()[name].source
        for name in ("none", "alpaca", "llama-3", "phi-3", "vicuna", "zephyr")
    },
}
OTHER_KINDS = {
    "the system in the first question": (
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {% if loop.index0 == 1 and "
        "messages[0].role == 'system' %}<<SYS>>{{ messages[0].content }}<</SYS>>{% endif %}"
        "{{ m.content }} [/INST]{% elif m.role == 'assistant' %}{{ m.content }}{% endif %}"
        "{% endfor %}"
    ),
    "a number on every turn": (
        "{% for m in messages %}{{ loop.index ~ m.role ~ ': ' ~ m.content ~ '\n' }}{% endfor %}"
    ),
    "only the last question": "{{ messages[-1].content }}>",
    "code of Go": "{% for m in messages %}{{ '{' ~ '{' ~ m.role ~ '>' ~ m.content }}{% endfor %}",
}


def written_by_go(source: str, turns) -> str:
    """What Go's text/template writes for the few actions that are used."""
    system = "\n\n".join(content for role, content in turns if role == "system")
    pattern = r"^(.*?)\{\{ range \.Messages \}\}(.*)\{\{ end \}\}\{\{ end \}\}(.*)$"
    opening, branches, last = re.match(pattern, source, re.DOTALL).groups()
    head = re.fullmatch(r"(.*?)(?:\{\{ if not \.System \}\}(.*)\{\{ end \}\})?", opening, re.DOTALL)
    text = head[1] + ("" if system else head[2] or "")
    parts = re.split(r'\{\{ (?:else )?if eq \.Role "(\w+)" \}\}', branches)
    by_role = dict(zip(parts[1::2], parts[2::2], strict=True))
    for role, content in turns:
        text += by_role.get(role, "").replace("{{ .Content }}", content)
    return text + last


@pytest.mark.parametrize("family", list(FAMILIES))
def test_go_writes_what_jinja_writes(family):
    import jinja2

    found = derive(ChatTemplate("it", FAMILIES[family], TOKENS))
    # transformers' own tag, in which plain Jinja sees a block that is always written
    source = re.sub(r"endgeneration( *-?%)", r"endif\1", FAMILIES[family])
    source = re.sub(r"(%-? *)generation", r"\1if true", source)
    jinja = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(source)
    for turns in SAMPLES:
        if found.system is None and turns[0][0] == "system":
            continue
        messages = [{"role": role, "content": content} for role, content in turns]
        expected = jinja.render(messages=messages, add_generation_prompt=True, **TOKENS)
        assert written_by_go(found.to_go(), turns) == expected


def test_what_is_special_is_seen():
    pieces = {name: derive(ChatTemplate("it", source, TOKENS)) for name, source in FAMILIES.items()}
    assert [name for name, one in pieces.items() if one.system is None] == ["gemma", "mistral"]
    assert [name for name, one in pieces.items() if one.trims] == ["llama 3"]
    assert pieces["a default system turn"].head.startswith("<|im_start|>system\nDefault.")
    assert pieces["starter"].start == "<s>"


@pytest.mark.parametrize("kind", list(OTHER_KINDS))
def test_a_template_of_another_kind_is_refused(kind):
    with pytest.raises(EngineError, match="faithfully"):
        derive(ChatTemplate("it", OTHER_KINDS[kind], TOKENS)).to_go()


def texts_read_by_ollama(source: str) -> dict[str, str]:
    """Command to text, by the rule of Ollama's reader: a text that three quotes open goes on to the
    first end of a line before which three quotes stand. Only the last of a command's is kept."""
    found: dict[str, str] = {}
    command, taken = "", ""
    for letter in source:
        if letter not in "\r\n":
            taken += letter
            continue
        if not command:
            command, _, taken = taken.partition(" ")
        value = taken.strip()
        if value.startswith('"""') and not (len(value) >= 6 and value.endswith('"""')):
            taken += letter
            continue
        found[command] = value[3:-3] if value.startswith('"""') else value
        command = taken = ""
    assert not command, f"{command} never ends"
    return found


@pytest.mark.parametrize(
    "system",
    [
        "You are brief.",
        'Say "yes".',
        '"Quoted" from end to "end"',
        'Write Python with """docstrings""" in it.\nAnd lines.',
        '"""',
        'two"\n"" lines',
        '""\nends early, if three quotes were all it took',
        "\n  spaces and lines stay  \n",
        "windows\r\nlines",
        "PARAMETER stop x\nTEMPLATE y",
        "Fünf 六 {{ .System }} \\ $HOME",
    ],
)
def test_a_system_text_comes_back_as_it_was(system):
    found = derive(ChatTemplate("it", CHATML, TOKENS))
    read = texts_read_by_ollama(modelfile(Path("/base"), found, ["<|im_end|>"], system))
    assert read["SYSTEM"] == system
    assert read["TEMPLATE"] == found.to_go()
    assert read["FROM"] == "/base"
    assert set(read) == {"FROM", "ADAPTER", "TEMPLATE", "PARAMETER", "SYSTEM"}


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ('def f():\n    """Docs."""\n    pass', '"""Docs."""'),
        ('three quotes and a space""" \nmore', "space"),
        ('"""\nmore', '"""'),
        ("a zero\u200bwidth space", "u200b"),
        ("a bell\x07", "x07"),
    ],
)
def test_a_system_text_that_would_not_come_back_is_refused(system, said):
    found = derive(ChatTemplate("it", CHATML, TOKENS))
    with pytest.raises(EngineError) as caught:
        modelfile(Path("/base"), found, [], system)
    assert said in caught.value.problem
