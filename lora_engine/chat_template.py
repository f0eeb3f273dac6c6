"""The chat template of a model: the one its tokenizer has, or the one its folder gives a tokenizer.

Reads a folder as transformers' AutoTokenizer does (version 5), without loading a tokenizer:
`chat_template.jinja` and `additional_chat_templates/*.jinja` win over `tokenizer_config.json`. A
`chat_template.json` belongs to a processor of pictures or sound; a tokenizer ignores it.
This module knows nothing of rendering.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_engine.errors import EngineError
from lora_engine.files import read_bounded, read_json_object
from lora_engine.language import tr

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATE_FILE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"
CONFIG_FILE = "tokenizer_config.json"
DEFAULT = "default"
MAX_BYTES = 20_000_000

Templates = str | dict[str, str] | None
"""One template, or several by name, or none: what a tokenizer's `chat_template` holds."""


class UnreadableTemplate(ValueError):
    """A folder's files cannot be read as a tokenizer would read them."""


def templates_of(tokenizer: PreTrainedTokenizerBase) -> Templates:
    """The templates that a loaded tokenizer has."""
    return tokenizer.chat_template or None


def templates_in(folder: Path) -> Templates:
    """The templates that a tokenizer loaded from this folder would have.

    Raises UnreadableTemplate.
    """
    found = {}
    if (folder / TEMPLATE_FILE).is_file():
        found[DEFAULT] = _read(folder / TEMPLATE_FILE)
    for path in (folder / MORE_TEMPLATES).glob("*.jinja"):  # in glob's order, as transformers does
        found[path.stem] = _read(path)
    if found:
        return found if list(found) != [DEFAULT] else found[DEFAULT] or None
    return _templates_from(tokenizer_config(folder).get("chat_template"))


def select_template(templates: Templates) -> str | None:
    """The template that rows are rendered with: the only one, or the one called default.

    Raises EngineError where there are several and none is called default.
    """
    if not isinstance(templates, dict):
        return templates
    if DEFAULT not in templates:
        raise EngineError(
            tr(
                "The base model has several chat templates ({templates}) and none is called "
                "default.",
                templates=", ".join(sorted(templates)),
            ),
            tr("Name one of them default in the model's tokenizer files."),
        )
    return templates[DEFAULT]


def template_hash(templates: Templates) -> str:
    """16 hexadecimal digits that tell templates apart; no template has a hash too."""
    return hashlib.sha256(str(templates or "").encode()).hexdigest()[:16]


def tokenizer_config(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, empty where there is none. Raises UnreadableTemplate."""
    path = folder / CONFIG_FILE
    try:
        return read_json_object(path, MAX_BYTES) if path.is_file() else {}
    except (ValueError, OSError) as error:
        raise UnreadableTemplate(f"{path} cannot be read: {error}") from None


def _templates_from(value: Any) -> Templates:
    """The entry of tokenizer_config.json: a text, or a list of {name, template}."""
    if isinstance(value, list):
        try:
            value = {entry["name"]: entry["template"] for entry in value}
        except (TypeError, KeyError) as error:
            raise UnreadableTemplate(f"a chat template without {error}") from None
    texts = value.values() if isinstance(value, dict) else [value or ""]
    if not all(isinstance(text, str) for text in texts):
        raise UnreadableTemplate("a chat template that is no text")
    return value or None


def _read(path: Path) -> str:
    try:
        text = read_bounded(path, MAX_BYTES).decode("utf-8")
    except (ValueError, OSError) as error:
        raise UnreadableTemplate(f"{path} cannot be read: {error}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")  # as Python's text files do
