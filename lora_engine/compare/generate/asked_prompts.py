"""How the columns of one comparison are asked: the form, its tokenizer, and prompts as tokens.

Every column is asked in the same form. Which form that is, `compare.prompts.prompt_form` decides
from what lies beside the adapters' weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.base_models import STARTER
from lora_engine.chat_template import templates_of
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.compare.prompts.prompt_form import AskAs, PromptForm, choose_form
from lora_engine.compare.prompts.prompt_tokens import encode_prompts, encode_texts, text_of
from lora_engine.data import stop_tokens
from lora_engine.data.bundled_templates import NO_TEMPLATE_NAME, choose_template, with_template
from lora_engine.data.embedding_range import refuse_ids_beyond
from lora_engine.data.trained_template import trained_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lora_engine.data import Message


class AskedPrompts:
    """The prompts of a comparison over one base.

    form: how all columns are asked, and why. tokenizer: the base's, with the chat template that is
    asked in, or none. end_tokens: the ids that end an answer in a template that an adapter brings,
    besides the base's own.
    """

    def __init__(self, shared: SharedBase, form: PromptForm) -> None:
        self._shared = shared
        self.form = form

    @classmethod
    def of(
        cls, shared: SharedBase, columns: Mapping[str, Path | None], ask_as: AskAs
    ) -> AskedPrompts:
        """For these columns. Raises EngineError for a broken provenance.json."""
        folders = {name: folder for name, folder in columns.items() if folder is not None}
        trained = {name: trained_template(folder) for name, folder in folders.items()}
        return cls(shared, choose_form(templates_of(shared.tokenizer), trained, ask_as))

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        own = self._shared.tokenizer
        if self.form.mode == "completion":
            return choose_template(own, NO_TEMPLATE_NAME)
        return own if self.form.source is None else with_template(own, self.form.source)

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        if self.form.source is None:
            return frozenset()
        return stop_tokens(self.tokenizer, self._shared.model.generation_config)

    def tokens_of(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """Token ids of each conversation, up to where the answer begins.

        Raises EngineError for one that cannot be answered.
        """
        base, limit = self._shared.base, self._shared.context_length
        if self.form.mode == "completion":
            texts = [text_of(turns) for turns in conversations]
            prompts = encode_texts(texts, self.tokenizer, limit)
        else:
            is_ours = base.name == STARTER and self.form.source is None
            prompts = encode_prompts(conversations, self.tokenizer, limit, is_ours)
        refuse_ids_beyond(base, prompts, self.tokenizer)
        return prompts
