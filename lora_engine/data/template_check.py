"""Would the model's chat template take these rows? Asked before a run, without a tokenizer.

Reads the template and its special tokens from the model's folder and renders one row of each order
of roles, in the bounded child. A folder whose files say it otherwise is left to the worker.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from lora_engine.data.rows import Dataset
from lora_engine.data.templates import (
    DEFAULT_TEMPLATE_NAME,
    OWN_TEMPLATE_NAME,
    ChatTemplate,
    Conversation,
    default_chat_template,
    render,
)
from lora_engine.files import read_json_object

MAX_ORDERS = 200
MAX_CONFIG_BYTES = 10_000_000


def refuse_role_orders(dataset: Dataset, folder: Path) -> None:
    """Raises EngineError naming the first row whose order of roles the template refuses."""
    firsts: dict[tuple[str, ...], Conversation] = {}
    for row in dataset.rows:
        roles = tuple(message.role for message in row.messages)
        if "assistant" in roles:
            end = len(roles) - roles[::-1].index("assistant")
            firsts.setdefault(roles[:end], Conversation(row.number, row.messages[:end]))
    template = template_in(folder) if firsts else None
    if template is not None:
        render(template, list(islice(firsts.values(), MAX_ORDERS)))


def template_in(folder: Path) -> ChatTemplate | None:
    """The template of a model's folder, or the default where it has none.

    None where the folder's configuration cannot be read, or names several templates.
    """
    config = _configuration(folder / "tokenizer_config.json")
    if config is None:
        return None
    tokens = {name: _token(value) for name, value in config.items() if name.endswith("_token")}
    variables = {name: token for name, token in tokens.items() if token is not None}
    file = folder / "chat_template.jinja"
    source = file.read_text("utf-8") if file.is_file() else config.get("chat_template")
    if not source:
        return ChatTemplate(DEFAULT_TEMPLATE_NAME, default_chat_template(), variables)
    if not isinstance(source, str):
        return None
    return ChatTemplate(OWN_TEMPLATE_NAME, source, variables)


def _configuration(path: Path) -> dict[str, Any] | None:
    try:
        return read_json_object(path, MAX_CONFIG_BYTES)
    except (OSError, ValueError):
        return None


def _token(value: Any) -> str | None:
    """A special token, written as a text or as an object with its content."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None
