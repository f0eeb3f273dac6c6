"""Named columns over one shared base model: answers for all columns from one batch, streamed.

A column is the base or an adapter, at some strength. Generation runs in slices of about 60 ms and
holds no lock between them: other callers get their turn, an answer that nobody reads any more costs
nothing, and the caller sees all columns grow together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.adapters.kinds import KIND_NAMES
from lora_engine.adapters.other_check import OtherCheck
from lora_engine.base_models import BaseModel
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.compare.generate.adapter_settings import (
    AS_TRAINED,
    MAX_STRENGTH,
    AdapterSettings,
    AdapterVariant,
    format_layers,
)
from lora_engine.compare.generate.answer_progress import (
    AnswerProgress,
    ProgressReporter,
)
from lora_engine.compare.generate.asked_prompts import AskedPrompts
from lora_engine.compare.generate.decode_passes import decode_passes
from lora_engine.compare.generate.other_methods import layer_number
from lora_engine.compare.generate.shared_base import AnyCheck, SharedBase
from lora_engine.compare.prompts.prompt_form import AskAs, PromptForm
from lora_engine.errors import EngineError, NotFound
from lora_engine.generation.decode import DecodeRow
from lora_engine.generation.sampling import Sampling
from lora_engine.language import tr
from lora_engine.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lora_engine.data import Message

BASE_COLUMN = "base"
SLICE_S = 0.06  # long enough to cost little, short enough to look smooth


@dataclass(frozen=True)
class AnswerRequest:
    """One answer to generate. `name` is what its progress is reported under."""

    name: str
    column: str
    messages: Sequence[Message]
    settings: AdapterSettings = AS_TRAINED


class ComparisonModel:
    """The base and some adapters as named columns. Safe to use from several threads.

    columns: column name to adapter folder; None is the base. `base` is always there. ask_as: a
    person's choice of how all columns are asked.
    """

    def __init__(
        self, shared: SharedBase, adapters: Mapping[str, Path], ask_as: AskAs = "auto"
    ) -> None:
        self.shared = shared
        self.ask_as = ask_as
        self.columns: dict[str, Path | None] = {BASE_COLUMN: None, **adapters}
        self._asked: tuple[tuple[tuple[str, Path | None], ...], AskedPrompts] | None = None

    @classmethod
    def load(
        cls,
        base: BaseModel,
        adapters: Mapping[str, Path],
        settings: Settings,
        ask_as: AskAs = "auto",
    ) -> ComparisonModel:
        """Load a base model and check and inject its adapters.

        Raises EngineError (or a kind of it) for a base or an adapter that cannot be used.
        """
        model = cls(SharedBase.load(base, settings), {}, ask_as)
        for column, folder in adapters.items():
            model.add_adapter(column, folder)
        return model

    def with_adapters(self, columns: Sequence[str]) -> ComparisonModel:
        """The base and these columns alone, asked in the same form as all of them are."""
        folders = {name: folder for name in columns if (folder := self.columns[name]) is not None}
        fewer = ComparisonModel(self.shared, folders, self.ask_as)
        fewer._asked = tuple(fewer.columns.items()), self.asked
        return fewer

    def add_adapter(self, column: str, folder: Path) -> AnyCheck:
        """Check and inject an adapter under a column's name. The base is not loaded again."""
        check = self.shared.check_of(self.shared.add_adapter(folder))
        self.columns[column] = folder
        return check

    def warnings(self) -> list[str]:
        """Sentences for the person: what could not be checked, and mismatched chat templates."""
        mismatches = (f"{name} {what}" for name, what in self.template_mismatches().items())
        return [*self.notes(), *mismatches]

    def notes(self) -> list[str]:
        """What could not be checked about the adapters."""
        return [note for column in self.columns for note in self._notes_of(column)]

    @property
    def asked(self) -> AskedPrompts:
        """How all columns are asked. Raises EngineError for a broken provenance.json."""
        columns = tuple(self.columns.items())
        if self._asked is None or self._asked[0] != columns:
            self._asked = columns, AskedPrompts.of(self.shared, self.columns, self.ask_as)
        return self._asked[1]

    @property
    def form(self) -> PromptForm:
        """How all columns are asked, and why. Raises as `asked`."""
        return self.asked.form

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base's tokenizer with the chat template in which all columns are asked, or none."""
        return self.asked.tokenizer

    def template_mismatches(self) -> dict[str, str]:
        """By column, a sentence about an adapter that was trained otherwise than it is asked.

        The sentence follows the column's name.
        """
        return dict(self.form.otherwise)

    def _notes_of(self, column: str) -> tuple[str, ...]:
        check = self._check_of(column)
        return () if check is None else check.warnings

    def _check_of(self, column: str) -> AnyCheck | None:
        key = self._adapter_key(column)
        return None if key is None else self.shared.check_of(key)

    def tokens_of(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """Token ids of each conversation, up to where the answer begins.

        Raises EngineError for one that cannot be answered.
        """
        return self.asked.tokens_of(conversations)

    def answer(
        self,
        conversations: Mapping[str, Sequence[Message]],
        sampling: Sampling,
        stop: StopSignal = NEVER_STOPPED,
    ) -> Iterator[AnswerProgress]:
        """Answer one conversation a column; progress about every 60 ms, the last one complete.

        Raises at once NotFound for an unknown column and EngineError for a conversation that
        cannot be answered. `stop` is asked before every token.
        """
        requests = [AnswerRequest(column, column, turns) for column, turns in conversations.items()]
        return self.answer_all(requests, sampling, stop)

    def answer_all(
        self,
        requests: Sequence[AnswerRequest],
        sampling: Sampling,
        stop: StopSignal = NEVER_STOPPED,
    ) -> Iterator[AnswerProgress]:
        """As `answer`, for any number of requests, all in one batch (or one a DoRA adapter)."""
        for request in requests:
            self.check_column(request.column, request.settings)
        prompts = self.tokens_of([request.messages for request in requests])
        ends = self.asked.end_tokens
        rows = {
            request.name: self._row(prompt, sampling, ends, request.column)
            for request, prompt in zip(requests, prompts, strict=True)
        }
        return self._stream(requests, rows, stop)

    def variants(
        self, keys: Mapping[str, str | None], adapter_settings: Mapping[str, AdapterSettings]
    ) -> list[AdapterVariant]:
        """The variant of each column in `keys`, as `keep_loaded` gave them.

        A column without settings is as trained. Raises as `check_column`.
        """
        for column, settings in adapter_settings.items():
            self.check_column(column, settings)
        return [
            AdapterVariant(key, adapter_settings.get(column, AS_TRAINED))
            for column, key in keys.items()
        ]

    def adapter_layers(self, column: str) -> list[int]:
        """The numbers of the layers that the column's adapter acts on, in order.

        Raises EngineError for a column without an adapter.
        """
        if self.columns.get(column) is None:
            raise EngineError(
                tr(
                    "{column} is no adapter's column, so it has no strength and no layers.",
                    column=f"{column!r}",
                ),
                tr("Name the column of an adapter."),
            )
        check = self._check_of(column)
        assert check is not None  # the column has an adapter
        modules = check.adapter.modules if isinstance(check, OtherCheck) else check.modules
        numbers = {layer_number(name) for name in modules}
        return sorted(number for number in numbers if number is not None)

    def check_column(self, column: str, settings: AdapterSettings) -> None:
        """Raises NotFound for an unknown column, EngineError for settings it cannot have."""
        if column not in self.columns:
            raise NotFound(
                tr(
                    "There is no column {column}; there are {columns}.",
                    column=f"{column!r}",
                    columns=", ".join(self.columns),
                ),
                tr("Add the adapter first, or name one of these columns."),
            )
        if settings == AS_TRAINED:
            return
        if not 0.0 <= settings.strength <= MAX_STRENGTH:
            raise EngineError(
                tr(
                    "The strength of {column} is {strength}; 0 to {max_strength} works.",
                    column=f"{column!r}",
                    strength=settings.strength,
                    max_strength=f"{MAX_STRENGTH:g}",
                ),
                tr("0 is the base, 1 the adapter as it was trained."),
            )
        unknown = settings.layers_off.difference(self.check_adjustable(column))
        if unknown:
            raise EngineError(
                tr(
                    "{column} does not act on layer {format_layers}.",
                    column=f"{column!r}",
                    format_layers=format_layers(unknown)[:100],
                ),
                tr(
                    "It acts on {format_layers}.",
                    format_layers=format_layers(self.adapter_layers(column)) or "no numbered layer",
                ),
            )

    def check_adjustable(self, column: str) -> list[int]:
        """The layers of an adapter whose strength and layers can be changed.

        Raises EngineError for the base and for an adapter to which neither means anything.
        """
        layers = self.adapter_layers(column)
        key = self._adapter_key(column)
        if self.shared.virtual_tokens(key):
            check = self._check_of(column)
            assert isinstance(check, OtherCheck)  # no adapter of LoRA has virtual tokens
            raise EngineError(
                tr(
                    "{column} is an adapter of {kind_names}: its trained tokens stand before "
                    "every answer or they do not, so there is no strength to change and no "
                    "layer to leave out.",
                    column=f"{column!r}",
                    kind_names=tr(KIND_NAMES[check.config.kind]),
                ),
                tr("Compare it with the base, or choose an adapter that changes layers."),
            )
        if not self.shared.switch.is_adjustable(key):
            raise EngineError(
                tr(
                    "{column} uses DoRA, an embedding, experts, biases or modules trained "
                    "whole; its strength and layers cannot be changed.",
                    column=f"{column!r}",
                ),
                tr("Choose a plain LoRA adapter for this."),
            )
        return layers

    def _adapter_key(self, column: str) -> str | None:
        """The key of the column's adapter, loaded again if it was dropped; None for the base."""
        folder = self.columns[column]
        return None if folder is None else self.shared.add_adapter(folder)

    def _row(
        self, prompt: list[int], sampling: Sampling, ends: frozenset[int], column: str
    ) -> DecodeRow:
        limit = self.shared.context_length
        virtual = self.shared.virtual_tokens(self._adapter_key(column))
        room = sampling.max_new_tokens if limit is None else limit - virtual - len(prompt)
        if room <= 0 and virtual:
            raise EngineError(
                tr(
                    "This prompt has {count} tokens, and {column} puts {virtual} before it; "
                    "the model reads {limit}.",
                    count=f"{len(prompt):,}",
                    column=f"{column!r}",
                    virtual=f"{virtual:,}",
                    limit=f"{limit:,}",
                ),
                tr("Shorten the conversation, or take this column out."),
            )
        if room < sampling.max_new_tokens:
            return DecodeRow(prompt, room, "context full", sampling, ends)
        return DecodeRow(prompt, sampling.max_new_tokens, "token limit", sampling, ends)

    def _stream(
        self,
        requests: Sequence[AnswerRequest],
        rows: Mapping[str, DecodeRow],
        stop: StopSignal,
    ) -> Iterator[AnswerProgress]:
        continues = self.form.mode == "completion"
        reporter = ProgressReporter(rows, self.shared.tokenizer, continues)
        folders = {request.column: self.columns[request.column] for request in requests}
        with self.shared.keep_loaded(folders) as keys:
            variants = [AdapterVariant(keys[one.column], one.settings) for one in requests]
            in_order = [rows[request.name] for request in requests]
            passes = decode_passes(self.shared, list(zip(variants, in_order, strict=True)))
            while passes:
                with self.shared.exclusive():
                    for one in passes:
                        one.run_for(SLICE_S / len(passes), stop)
                passes = [one for one in passes if not one.batch.done]
                yield reporter.progress()
