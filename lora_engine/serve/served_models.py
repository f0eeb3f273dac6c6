"""Model names of the API: the base, and the adapters that were trained on it.

A name is looked up in the list of adapters at every request, so a new adapter needs no restart. A
name never leads to a folder that is not in that list.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lora_engine.adapters.library import AdapterLibrary, AdapterSummary
from lora_engine.base_models import BaseModel, fingerprint, resolve_base_model
from lora_engine.chat_template import templates_of
from lora_engine.compare.generate.asked_prompts import AskedPrompts
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.compare.service import Comparisons
from lora_engine.data.embedding_range import refuse_ids_beyond
from lora_engine.data.plain_text import continuation_tokens
from lora_engine.generation.decode import DecodeRow, FinishReason
from lora_engine.serve.api_errors import ApiError, wrong
from lora_engine.serve.api_requests import ChatRequest, CompletionRequest
from lora_engine.serve.generation import Generation
from lora_engine.settings import Settings

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ServedModel:
    """One model name. folder: of the adapter; None is the base. created: seconds since 1970."""

    name: str
    folder: Path | None
    created: int


class ServedModels:
    """The base and its adapters. The base is loaded with the first request, and kept.

    Raises EngineError at once for a base that is not there.
    """

    def __init__(
        self, settings: Settings, comparisons: Comparisons, adapters: AdapterLibrary
    ) -> None:
        self.base: BaseModel = resolve_base_model(settings.api_base, settings)
        self._settings = settings
        self._comparisons = comparisons
        self._adapters = adapters
        self._started = int(time.time())
        self._guard = threading.Lock()
        self._shared: SharedBase | None = None

    def shared(self) -> SharedBase:
        """The base in memory; Compare's own where it holds the same. Raises as loading does."""
        with self._guard:
            if self._shared is None:
                self._shared = self._comparisons.model(self._settings.api_base, []).shared
            return self._shared

    def forget(self) -> None:
        """Keep the base no longer; the next request loads it again where nobody else did."""
        with self._guard:
            self._shared = None

    def listed(self) -> list[ServedModel]:
        """The base, and the adapters whose base it is by its fingerprint."""
        ours = fingerprint(self.base)
        return [
            ServedModel(self.base.name, None, self._started),
            *(
                ServedModel(one.name, one.path, _seconds(one.created_at))
                for one in self._named()
                if one.base_fingerprint == ours
            ),
        ]

    def get(self, name: str) -> ServedModel:
        """The model of this name. Raises ApiError (404) where there is none."""
        if name == self.base.name:
            return ServedModel(name, None, self._started)
        for one in self._named():
            if one.name == name:
                return ServedModel(name, one.path, _seconds(one.created_at))
        raise ApiError(
            404,
            f"There is no model {name[:200]!r}; /v1/models lists those that there are.",
            code="model_not_found",
            param="model",
        )

    def chat(self, request: ChatRequest) -> list[Generation]:
        """The answer to a conversation, ready to be queued. Raises ApiError or EngineError."""
        model = self._loaded(request.model)
        shared = self.shared()
        asked = AskedPrompts.of(shared, {model.name: model.folder}, "chat")
        if not templates_of(shared.tokenizer) and model.name in asked.form.without:
            raise wrong(
                "model",
                f"{model.name!r} was trained on text without a chat template, and its base has "
                "none; /v1/completions continues a text",
            )
        (prompt,) = asked.tokens_of([request.conversation()])
        return [self._generation(model, prompt, request, asked.end_tokens)]

    def completions(self, request: CompletionRequest) -> list[Generation]:
        """The answer to each prompt, ready to be queued. Raises ApiError or EngineError."""
        model = self._loaded(request.model)
        asked = AskedPrompts.of(self.shared(), {model.name: model.folder}, "auto")
        prompts = self._tokens(request, as_trained=model.name in asked.form.without)
        return [self._generation(model, prompt, request, asked.end_tokens) for prompt in prompts]

    def _named(self) -> list[AdapterSummary]:
        """The adapters; one that is called as the base is gets another name."""
        return [
            replace(one, name=f"{one.name} (adapter)") if one.name == self.base.name else one
            for one in self._adapters.list()
        ]

    def _loaded(self, name: str) -> ServedModel:
        """The model, its adapter checked and in memory. One of another base is refused."""
        model = self.get(name)
        if model.folder is not None:
            self.shared().add_adapter(model.folder)
        return model

    def _tokens(self, request: CompletionRequest, as_trained: bool) -> list[list[int]]:
        """The prompts' token ids; a text is tokenized with the marks its tokenizer adds.

        as_trained: with those that training adds to plain text, a start token among them.
        """
        shared = self.shared()

        def encoded(text: str) -> list[int]:
            if as_trained:
                return continuation_tokens([text], shared.tokenizer)[0]
            return list(shared.tokenizer(text)["input_ids"])

        prompts = [encoded(one) if isinstance(one, str) else one for one in request.prompt]
        rows = cast("nn.Embedding", shared.model.get_input_embeddings()).weight.shape[0]
        for prompt in prompts:
            if not prompt:
                raise wrong("prompt", "is empty")
            if max(prompt) >= rows:
                raise wrong("prompt", f"got the token id {max(prompt)}, ids 0 to {rows - 1} exist")
        refuse_ids_beyond(shared.base, prompts, shared.tokenizer)
        return prompts

    def _generation(
        self,
        model: ServedModel,
        prompt: list[int],
        request: ChatRequest | CompletionRequest,
        ends: frozenset[int],
    ) -> Generation:
        limit, reason = self._limit(model, prompt, request.token_limit())
        likeliest = request.likeliest()
        row = DecodeRow(
            prompt,
            limit,
            reason,
            request.sampling(limit),
            end_tokens=ends,
            likeliest=likeliest,
            scores_prompt=getattr(request, "echo", False) and likeliest is not None,
        )
        return Generation(model.folder, row, request.stop, request.stream)

    def _limit(
        self, model: ServedModel, prompt: list[int], asked: int | None
    ) -> tuple[int, FinishReason]:
        """How many tokens may be generated after a prompt, and why it ends there."""
        most, most_prompt = self._settings.api_max_tokens, self._settings.api_max_prompt_tokens
        if asked is not None and asked > most:
            raise wrong("max_tokens", f"got {asked:,}, at most {most:,} are allowed here")
        if len(prompt) > most_prompt:
            raise ApiError(
                400,
                f"The prompt has {len(prompt):,} tokens; at most {most_prompt:,} are allowed here.",
                code="context_length_exceeded",
            )
        wanted = most if asked is None else asked
        shared = self.shared()
        context = shared.context_length
        if context is None:
            return wanted, "token limit"
        key = None if model.folder is None else shared.add_adapter(model.folder)
        virtual = shared.virtual_tokens(key)
        if len(prompt) + virtual > context:
            more = f", and the adapter puts {virtual:,} before it" if virtual else ""
            raise ApiError(
                400,
                f"The prompt has {len(prompt):,} tokens{more}; this model reads at most "
                f"{context:,}.",
                code="context_length_exceeded",
            )
        room = max(1, context - virtual - len(prompt))  # one token may follow a full context unread
        return (room, "context full") if room < wanted else (wanted, "token limit")


def _seconds(created_at: str) -> int:
    return int(datetime.fromisoformat(created_at).timestamp())
