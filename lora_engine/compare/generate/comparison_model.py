"""Named columns over one shared base model: answers for all columns from one batch, streamed.

A column is the base or an adapter, at some strength. Generation goes in slices of about 60 ms;
between slices nothing is held, so other callers are served, a stopped or forgotten answer costs
nothing, and the caller sees all columns move together.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.adapters.check import AdapterCheck
from lora_engine.base_models import STARTER, BaseModel
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.compare.generate.adapter_settings import (
    AS_TRAINED,
    MAX_STRENGTH,
    AdapterUse,
    layers_text,
)
from lora_engine.compare.generate.adapter_switch import RowSlice, Variant, layer_number
from lora_engine.compare.generate.answer_progress import ColumnProgress, Progress, Report
from lora_engine.compare.generate.compatibility import other_template
from lora_engine.compare.generate.decode import DecodeBatch, Row
from lora_engine.compare.generate.sampling import Sampling
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.compare.prompts.prompt_tokens import prompt_tokens
from lora_engine.errors import EngineError, NotFound
from lora_engine.settings import Settings

if TYPE_CHECKING:
    from lora_engine.data import Message

__all__ = ["ColumnProgress", "ComparisonModel", "Progress", "Request"]

BASE_COLUMN = "base"
SLICE_S = 0.06


@dataclass(frozen=True)
class Request:
    """One answer to generate. `name` is what its progress is reported under."""

    name: str
    column: str
    messages: Sequence[Message]
    use: AdapterUse = AS_TRAINED


class ComparisonModel:
    """The base and some adapters as named columns. Safe to use from several threads.

    columns: column name to adapter folder; None is the base. `base` is always there.
    """

    def __init__(self, shared: SharedBase, adapters: Mapping[str, Path]) -> None:
        self.shared = shared
        self.columns: dict[str, Path | None] = {BASE_COLUMN: None, **adapters}

    @classmethod
    def load(
        cls, base: BaseModel, adapters: Mapping[str, Path], settings: Settings
    ) -> ComparisonModel:
        """Load a base model and check and inject its adapters.

        Raises EngineError (or a kind of it) for a base or an adapter that cannot be used.
        """
        model = cls(SharedBase.load(base, settings), {})
        for column, folder in adapters.items():
            model.add_adapter(column, folder)
        return model

    def add_adapter(self, column: str, folder: Path) -> AdapterCheck:
        """Check and inject an adapter under a column's name. The base is not loaded again."""
        check = self.shared.check_of(self.shared.add_adapter(folder))
        self.columns[column] = folder
        return check

    def warnings(self) -> list[str]:
        """What a person should know about these adapters on this base, said aloud."""
        mismatches = (f"{name} {said}" for name, said in self.template_mismatches().items())
        return [*self.notes(), *mismatches]

    def notes(self) -> list[str]:
        """What could not be checked about the adapters."""
        return [note for column in self.columns for note in self._notes_of(column)]

    def template_mismatches(self) -> dict[str, str]:
        """What is wrong, by column, with adapters trained with another chat template.

        A sentence to stand behind the column's name.
        """
        ours = self.shared.template_hash
        trained_with = {column: self.trained_template(column) for column in self.columns}
        return {
            column: other_template(theirs, ours)
            for column, theirs in trained_with.items()
            if theirs not in (None, ours)
        }

    def trained_template(self, column: str) -> str | None:
        """The hash of the chat template that an adapter was trained with, where it is known."""
        check = self._check_of(column)
        return None if check is None else check.template_hash

    def _notes_of(self, column: str) -> tuple[str, ...]:
        check = self._check_of(column)
        return () if check is None else check.warnings

    def _check_of(self, column: str) -> AdapterCheck | None:
        folder = self.columns[column]
        return None if folder is None else self.shared.check_of(self.shared.add_adapter(folder))

    def tokens_of(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """Token ids of each conversation, up to where the answer begins.

        Raises EngineError for one that cannot be answered.
        """
        return prompt_tokens(
            conversations,
            self.shared.tokenizer,
            self.shared.context_length,
            template_is_ours=self.shared.base.name == STARTER,
        )

    def answer(
        self,
        conversations: Mapping[str, Sequence[Message]],
        sampling: Sampling,
        stop: StopSignal = NEVER_STOPPED,
    ) -> Iterator[Progress]:
        """Answer one conversation a column; progress about every 60 ms, the last one complete.

        Raises at once NotFound for an unknown column and EngineError for a conversation that
        cannot be answered. `stop` is asked before every token.
        """
        requests = [Request(column, column, turns) for column, turns in conversations.items()]
        return self.answer_all(requests, sampling, stop)

    def answer_all(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        stop: StopSignal = NEVER_STOPPED,
    ) -> Iterator[Progress]:
        """As `answer`, for any number of requests, all in one batch (or one a DoRA adapter)."""
        for request in requests:
            self.check_column(request.column, request.use)
        prompts = self.tokens_of([request.messages for request in requests])
        rows = {
            request.name: self._row(prompt, sampling)
            for request, prompt in zip(requests, prompts, strict=True)
        }
        return self._stream(requests, rows, sampling, stop)

    def variants(
        self, keys: Mapping[str, str | None], uses: Mapping[str, AdapterUse]
    ) -> list[Variant]:
        """The variant of each column in `keys`, as `borrowed` gave them; without a use as trained.

        Raises as `check_column`.
        """
        for column, use in uses.items():
            self.check_column(column, use)
        return [Variant(key, uses.get(column, AS_TRAINED)) for column, key in keys.items()]

    def adapter_layers(self, column: str) -> list[int]:
        """The numbers of the layers that the column's adapter acts on, in order.

        Raises EngineError for a column without an adapter.
        """
        folder = self.columns.get(column)
        if folder is None:
            raise EngineError(
                f"{column!r} is no adapter's column, so it has no strength and no layers.",
                "Name the column of an adapter.",
            )
        modules = self.shared.check_of(self.shared.add_adapter(folder)).modules
        numbers = {layer_number(name) for name in modules}
        return sorted(number for number in numbers if number is not None)

    def check_column(self, column: str, use: AdapterUse) -> None:
        """Raises NotFound for an unknown column, EngineError for a use it cannot have."""
        if column not in self.columns:
            raise NotFound(
                f"There is no column {column!r}; there are {', '.join(self.columns)}.",
                "Add the adapter first, or name one of these columns.",
            )
        if use == AS_TRAINED:
            return
        if not 0.0 <= use.strength <= MAX_STRENGTH:
            raise EngineError(
                f"The strength of {column!r} is {use.strength}; 0 to {MAX_STRENGTH:g} works.",
                "0 is the base, 1 the adapter as it was trained.",
            )
        unknown = use.layers_off.difference(self.check_adjustable(column))
        if unknown:
            raise EngineError(
                f"{column!r} does not act on layer {layers_text(unknown)[:100]}.",
                f"It acts on {layers_text(self.adapter_layers(column)) or 'no numbered layer'}.",
            )

    def check_adjustable(self, column: str) -> list[int]:
        """The layers of an adapter whose strength and layers can be changed.

        Raises EngineError for the base and for an adapter that is not plain LoRA.
        """
        layers = self.adapter_layers(column)
        if self.shared.switch.needs_own_pass(self.shared.add_adapter(self.columns[column])):
            raise EngineError(
                f"{column!r} uses DoRA, an embedding or modules trained whole; its strength and "
                "layers cannot be changed.",
                "Choose a plain LoRA adapter for this.",
            )
        return layers

    def _row(self, prompt: list[int], sampling: Sampling) -> Row:
        limit = self.shared.context_length
        room = sampling.max_new_tokens if limit is None else limit - len(prompt)
        if room < sampling.max_new_tokens:
            return Row(prompt, room, "context full")
        return Row(prompt, sampling.max_new_tokens, "token limit")

    def _stream(
        self,
        requests: Sequence[Request],
        rows: Mapping[str, Row],
        sampling: Sampling,
        stop: StopSignal,
    ) -> Iterator[Progress]:
        report = Report(rows, self.shared.tokenizer)
        folders = {request.column: self.columns[request.column] for request in requests}
        with self.shared.borrowed(folders) as keys:
            passes = self._passes(requests, rows, keys, sampling)
            while passes:
                with self.shared.running():
                    for one in passes:
                        one.run_for(SLICE_S / len(passes), stop)
                passes = [one for one in passes if not one.batch.done]
                yield report.progress()

    def _passes(
        self,
        requests: Sequence[Request],
        rows: Mapping[str, Row],
        keys: Mapping[str, str | None],
        sampling: Sampling,
    ) -> list[_Pass]:
        """One pass for all plain rows, and one for each variant that PEFT must run alone."""
        switch = self.shared.switch
        together: list[tuple[Variant, Row]] = []
        alone: dict[Variant, list[tuple[Variant, Row]]] = {}
        for request in requests:
            variant = Variant(keys[request.column], request.use)
            group = (
                alone.setdefault(variant, [])
                if switch.needs_own_pass(variant.adapter)
                else (together)
            )
            group.append((variant, rows[request.name]))
        groups = [group for group in (together, *alone.values()) if group]
        return [_Pass(self.shared, group, sampling) for group in groups]


class _Pass:
    """A batch of rows that the model can run together, the rows of one variant side by side."""

    def __init__(
        self, shared: SharedBase, group: Sequence[tuple[Variant, Row]], sampling: Sampling
    ) -> None:
        order = list(dict.fromkeys(variant for variant, _ in group))
        group = sorted(group, key=lambda pair: order.index(pair[0]))
        self._switch = shared.switch
        self._variant_of = {id(row): variant for variant, row in group}
        self.batch = DecodeBatch(
            shared.model, [row for _, row in group], sampling, shared.end_tokens, shared.accepted
        )

    def run_for(self, seconds: float, stop: StopSignal) -> None:
        """Advance until the time is over, all rows have ended or the caller stops.

        At least once, so that a slow model gets on too.
        """
        until = time.perf_counter() + seconds
        while not self.batch.done:
            with self._switch.applied(self._slices()):
                ended = False
                while not ended:
                    if stop.is_set():
                        self.batch.stop()
                        return
                    ended = self.batch.advance()
                    if time.perf_counter() >= until:
                        return

    def _slices(self) -> list[RowSlice]:
        slices: list[RowSlice] = []
        for index, row in enumerate(self.batch.rows):
            variant = self._variant_of[id(row)]
            if slices and slices[-1].variant == variant:
                slices[-1] = RowSlice(variant, slices[-1].start, index + 1)
            else:
                slices.append(RowSlice(variant, index, index + 1))
        return slices
