"""The template read from a model's folder is the one its tokenizer has, in every form of folder."""

import json

import pytest
from transformers import AutoTokenizer

from lora_engine.chat_template import (
    UnreadableTemplate,
    template_hash,
    templates_in,
    templates_of,
)
from lora_engine.data.template_check import template_in
from lora_engine.data.templates import DEFAULT_TEMPLATE_NAME, chat_template_of
from lora_engine.errors import EngineError
from lora_engine.starter import MODEL_DIR
from tests.tiny import save_tiny_tokenizer

ONE = "{% for m in messages %}\n{{ m['content'] }} é{% endfor %}"
OTHER = "{{ messages[0]['content'] }}"
SEVERAL = [{"name": "default", "template": ONE}, {"name": "tool_use", "template": OTHER}]
FORMS = {
    "none": (None, {}),
    "empty": ("", {}),
    "configuration": (ONE, {}),
    "file": (None, {"chat_template.jinja": ONE}),
    "empty file": (None, {"chat_template.jinja": ""}),
    "file with carriage returns": (None, {"chat_template.jinja": ONE.replace("\n", "\r\n")}),
    "file over configuration": (OTHER, {"chat_template.jinja": ONE}),
    "several in the configuration": (SEVERAL, {}),
    "several files": (
        OTHER,
        {"chat_template.jinja": ONE, "additional_chat_templates/tool_use.jinja": OTHER},
    ),
    "default among additional files": (
        None,
        {
            "additional_chat_templates/default.jinja": ONE,
            "additional_chat_templates/tool_use.jinja": OTHER,
        },
    ),
    "a processor's file": (None, {"chat_template.json": json.dumps({"chat_template": ONE})}),
}


@pytest.fixture
def save(tmp_path):
    def saved(configured, files):
        tokenizer = save_tiny_tokenizer(tmp_path)
        tokenizer.chat_template = None
        (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
        tokenizer.save_pretrained(tmp_path)
        path = tmp_path / "tokenizer_config.json"
        config = json.loads(path.read_text("utf-8"))
        config.pop("chat_template", None)
        if configured is not None:
            config["chat_template"] = configured
        path.write_text(json.dumps(config))
        for name, content in files.items():
            file = tmp_path / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content.encode())
        return tmp_path

    return saved


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_is_read_as_its_tokenizer_reads_it(form, save):
    folder = save(*FORMS[form])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert templates_in(folder) == templates_of(tokenizer)
    assert template_hash(templates_in(folder)) == template_hash(templates_of(tokenizer))
    read, loaded = template_in(folder), chat_template_of(tokenizer)
    assert (read.name, read.source) == (loaded.name, loaded.source)
    assert loaded.variables.items() <= read.variables.items()
    has_none = form in ("none", "empty", "empty file", "a processor's file")
    assert (read.name == DEFAULT_TEMPLATE_NAME) is has_none
    assert has_none or read.source == ONE


def test_the_starters_template_is_read_too():
    assert templates_in(MODEL_DIR) == templates_of(AutoTokenizer.from_pretrained(MODEL_DIR))


def test_several_templates_without_a_default_are_refused_by_both_readers(save):
    folder = save(
        None,
        {"additional_chat_templates/a.jinja": ONE, "additional_chat_templates/b.jinja": OTHER},
    )
    with pytest.raises(EngineError, match="a, b"):
        template_in(folder)
    with pytest.raises(EngineError, match="a, b"):
        chat_template_of(AutoTokenizer.from_pretrained(folder))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer_config.json", b"{torn"),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer_config.json", b'{"chat_template": 7}'),
        ("tokenizer_config.json", b'{"chat_template": [{"name": "default"}]}'),
        ("chat_template.jinja", b"\xff\xfe"),
    ],
)
def test_what_no_tokenizer_could_read_is_left_to_the_tokenizer(name, content, save):
    folder = save(None, {})
    (folder / name).write_bytes(content)
    with pytest.raises(UnreadableTemplate):
        templates_in(folder)
    assert template_in(folder) is None
