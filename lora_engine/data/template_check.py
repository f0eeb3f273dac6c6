"""Would the model's chat template take these rows? Checked before a run, without a tokenizer.

Renders one row of each order of roles with the template in the model's folder, in the bounded child
process. Where the folder's files do not tell the template, the worker finds out later.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_engine.chat_template import UnreadableTemplate, templates_in, tokenizer_config
from lora_engine.data.bundled_templates import AUTO, NO_TEMPLATE_NAME, bundled_templates
from lora_engine.data.masking import up_to_last_answer
from lora_engine.data.rows import Dataset
from lora_engine.data.templates import ChatTemplate, Conversation, named_template, render

if TYPE_CHECKING:
    from lora_engine.spec import TemplateChoice

MAX_ORDERS = 200


def refuse_role_orders(dataset: Dataset, folder: Path, choice: TemplateChoice = AUTO) -> None:
    """Raises EngineError naming the first row whose order of roles the template refuses.

    choice: the template that takes the place of the folder's own.
    """
    if choice == NO_TEMPLATE_NAME:
        return
    firsts: dict[tuple[str, ...], Conversation] = {}
    for row in dataset.rows:
        turns = up_to_last_answer(row.messages)
        roles = tuple(message.role for message in turns)
        if turns and roles not in firsts:
            firsts[roles] = Conversation(row.number, turns, tools=row.tools)
        if len(firsts) == MAX_ORDERS:
            break
    template = template_in(folder, choice) if firsts else None
    if template is not None:
        render(template, list(firsts.values()))


def template_in(folder: Path, choice: TemplateChoice = AUTO) -> ChatTemplate | None:
    """The chosen template; else that of a model's folder, or the default where it has none.

    None where the folder's files cannot be read, or name no special tokens (no
    tokenizer_config.json): only the tokenizer can tell then. Raises EngineError for several
    templates without a default one.
    """
    try:
        config = tokenizer_config(folder)
        chosen = None if choice == AUTO else bundled_templates()[choice].source
        templates = chosen or templates_in(folder)
    except UnreadableTemplate:
        return None
    if not config:
        return None
    tokens = {name: _token(value) for name, value in config.items() if name.endswith("_token")}
    variables = {name: token for name, token in tokens.items() if token is not None}
    return named_template(templates, variables)


def _token(value: Any) -> str | None:
    """A special token, written as a text or as an object with its content."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None
