"""What `compare` answers: base and adapters asked and measured, as one document to print."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import typer

from lora_engine.compare.generate.adapter_settings import AS_TRAINED, AdapterSettings
from lora_engine.compare.generate.comparison_model import BASE_COLUMN, ComparisonModel
from lora_engine.compare.generate.prompt_set import (
    PromptAnswers,
    answer_conversation,
    answer_prompts,
)
from lora_engine.compare.prompts.prompt_file import PromptCase
from lora_engine.compare.prompts.prompt_form import AskAs
from lora_engine.compare.scoring.answer_checks import Check
from lora_engine.engine import Engine
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError
from lora_engine.generation.sampling import Sampling
from lora_engine.language import tr

MAX_HELD_OUT = 200


@dataclass(frozen=True)
class Asked:
    """How the columns are asked. settings: how each adapter is used."""

    settings: Mapping[str, AdapterSettings]
    system: str
    conversation: bool
    ask_as: AskAs


@dataclass(frozen=True)
class Comparison:
    """The base with its adapters, and how they are asked."""

    engine: Engine
    model: ComparisonModel
    adapters: Sequence[str]
    asked: Asked

    @classmethod
    def open(cls, base: str, adapters: Sequence[str], asked: Asked) -> Comparison:
        """Load the base and its adapters; what a person should know of them goes to stderr."""
        engine = Engine(load_settings())
        model = engine.compare.model(base, adapters, asked.ask_as)
        if model.form.mode == "completion":
            typer.secho(model.form.reason(), err=True)
        for warning in model.warnings():
            typer.secho(f"warning: {warning}", fg="red", err=True)
        return cls(engine, model, adapters, asked)

    def answers(
        self, cases: Sequence[PromptCase], sampling: Sampling, check: Check | None, expect: str
    ) -> dict[str, Any]:
        """Every case answered, and checked where `check` says how: the document to print."""
        started = time.perf_counter()
        answer = answer_conversation if self.asked.conversation else answer_prompts
        questions = [case.prompt for case in cases]
        answered = list(
            answer(
                self.model,
                questions,
                sampling,
                system=self.asked.system or None,
                adapter_settings=self.asked.settings,
            )
        )
        form = self.model.form
        document = {
            "columns": [_column(name, self.asked.settings) for name in self.model.columns],
            "warnings": self.model.warnings(),
            "mode": form.mode,
            "reason": form.reason(),
            "prompts": [asdict(item) for item in answered],
            "elapsed_s": time.perf_counter() - started,
        }
        if check is not None:
            _add_checks(document, cases, answered, check, expect)
        return document

    def add_tokens(self, document: dict[str, Any]) -> None:
        """Score each answer token by token under every column, in place; an empty one has none."""
        from lora_engine.compare.scoring.token_comparison import compare_tokens
        from lora_engine.data import Message

        asked = self.asked
        opening = [Message("system", asked.system)] if asked.system else []
        histories = {name: list(opening) for name in self.model.columns}
        for item in document["prompts"]:
            for answer in item["answers"]:
                history = histories[answer["name"]] if asked.conversation else list(opening)
                history.append(Message("user", item["prompt"]))
                text, answer["detail"] = answer["text"], None
                if text:
                    found = compare_tokens(self.model, history, text, asked.settings)
                    answer["detail"] = asdict(found)
                history.append(Message("assistant", text))

    def held_out(self) -> list[Mapping[str, Any]]:
        """Base and adapters on the rows that the first adapter never saw, paired.

        Raises EngineError without an adapter, and as `load_held_out_rows`.
        """
        from lora_engine.compare.prompts.held_out_rows import load_held_out_rows, training_spec_of
        from lora_engine.compare.scoring.held_out_loss import paired_difference, row_losses
        from lora_engine.data import tokenize_rows
        from lora_engine.data.trained_template import tokenizer_as_trained

        if not self.adapters:
            raise EngineError(tr("--held-out needs an adapter."), tr("Name one with --adapter."))
        folder = self.engine.adapters.get(self.adapters[0]).path
        rows = load_held_out_rows(folder, self.engine.settings)[:MAX_HELD_OUT]
        length = training_spec_of(folder).optimization.max_length
        tokenizer = tokenizer_as_trained(self.model.shared.tokenizer, folder)
        tokenized = tokenize_rows(rows, tokenizer, length)
        losses = list(row_losses(self.model, tokenized, adapter_settings=self.asked.settings))
        columns = [name for name in self.model.columns if name != BASE_COLUMN]
        pairs = [paired_difference(losses, name) for name in columns]
        return [
            {**asdict(pair), "verdict": pair.verdict, "warning": pair.warning} for pair in pairs
        ]


def _column(name: str, settings: Mapping[str, AdapterSettings]) -> dict[str, Any]:
    """A column as the document names it."""
    own = settings.get(name, AS_TRAINED)
    return {"name": name, "strength": own.strength, "layers_off": sorted(own.layers_off)}


def _add_checks(
    document: dict[str, Any],
    cases: Sequence[PromptCase],
    answered: Sequence[PromptAnswers],
    check: Check,
    expect: str,
) -> None:
    """Whether each answer passes, and what was expected, in place."""
    from lora_engine.compare.scoring.set_report import check_answers

    rows = check_answers(cases, answered, check, expect)
    for item, row in zip(document["prompts"], rows, strict=True):
        item["expected"] = row.expected
        for answer, verdict in zip(item["answers"], row.answers, strict=True):
            answer["passes"] = verdict.passes
