"""The command that asks the base and its adapters the same questions: compare."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from lora_engine.base_models import STARTER
from lora_engine.cli.options import add_commands, json_flag
from lora_engine.cli.output import print_json
from lora_engine.compare.generate.adapter_settings import AS_TRAINED, AdapterSettings, parse_layers
from lora_engine.compare.generate.comparison_model import BASE_COLUMN, ComparisonModel
from lora_engine.compare.generate.prompt_set import (
    PromptAnswers,
    answer_conversation,
    answer_prompts,
)
from lora_engine.compare.prompts.prompt_file import PromptCase, read_cases
from lora_engine.compare.prompts.prompt_form import AskAs
from lora_engine.compare.scoring.answer_checks import Check
from lora_engine.engine import Engine
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.generation.sampling import Sampling
from lora_engine.language import tr
from lora_engine.settings import load_settings

MAX_HELD_OUT = 200
FIELDS = Sampling.model_fields


def register(app: typer.Typer) -> None:
    add_commands(app, compare)


def _help(name: str) -> Any:
    return typer.Option(help=tr(FIELDS[name].description or ""))


def compare(
    base: Annotated[str, typer.Option(help=tr("A base model's name or folder."))] = STARTER,
    adapter: Annotated[
        list[str] | None, typer.Option(help=tr("A run's id, a name or a folder."))
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help=tr("A question; may be given again."))
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help=tr("A file of questions (JSONL, CSV or text)."))
    ] = None,
    system: Annotated[str, typer.Option(help=tr("A system prompt before every question."))] = "",
    conversation: Annotated[
        bool, typer.Option(help=tr("The questions are turns of one conversation."))
    ] = False,
    token_by_token: Annotated[
        bool, typer.Option(help=tr("Each answer's tokens under the base and every adapter."))
    ] = False,
    check: Annotated[
        Check | None, typer.Option(help=tr("Check each answer against what is expected."))
    ] = None,
    expect: Annotated[
        str, typer.Option(help=tr("What is expected where the file says nothing."))
    ] = "",
    completion: Annotated[
        bool | None,
        typer.Option(
            "--completion/--chat",
            help=tr(
                "Continue each text as it stands, or ask in the chat template. Without either: "
                "as the adapters were trained."
            ),
        ),
    ] = None,
    held_out: Annotated[
        bool, typer.Option(help=tr("Also the loss on the first adapter's held-out rows."))
    ] = False,
    strength: Annotated[
        list[float] | None,
        typer.Option(help=tr("An adapter's strength, one an adapter in their order.")),
    ] = None,
    layers_off: Annotated[
        list[str] | None,
        typer.Option(help=tr('Layers without the adapter, such as "0-3, 7"; one an adapter.')),
    ] = None,
    max_new_tokens: Annotated[int, _help("max_new_tokens")] = FIELDS["max_new_tokens"].default,
    temperature: Annotated[float, _help("temperature")] = FIELDS["temperature"].default,
    top_p: Annotated[float, _help("top_p")] = FIELDS["top_p"].default,
    repetition_penalty: Annotated[float, _help("repetition_penalty")] = FIELDS[
        "repetition_penalty"
    ].default,
    seed: Annotated[int, _help("seed")] = FIELDS["seed"].default,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Ask the base model and its adapters the same questions, all in one batch."""
    typed = [PromptCase(text) for text in prompt or []]
    cases = [*typed, *(read_cases(prompts) if prompts is not None else [])]
    sampling = _sampling(max_new_tokens, temperature, top_p, repetition_penalty, seed)
    adapters = adapter or []
    settings = _adapter_settings(adapters, strength or [], layers_off or [])
    asked = _Asked(settings, system.strip(), conversation, _ask_as(completion))
    comparison = _Comparison.open(base, adapters, asked)
    document, answered = comparison.answers(cases, sampling)
    if check is not None:
        _add_checks(document, cases, answered, check, expect)
    if token_by_token:
        comparison.add_tokens(document)
    if held_out:
        document["held_out"] = comparison.held_out()
    if json:
        print_json(document)
    else:
        _print(document, settings)


def _ask_as(completion: bool | None) -> AskAs:
    if completion is None:
        return "auto"
    return "completion" if completion else "chat"


def _sampling(
    max_new_tokens: int, temperature: float, top_p: float, repetition_penalty: float, seed: int
) -> Sampling:
    """Raises InvalidInput naming every option that is out of bounds."""
    try:
        return Sampling(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
        )
    except ValidationError as error:
        problems = [
            FieldProblem(f"--{str(item['loc'][0]).replace('_', '-')}", item["msg"])
            for item in error.errors()
        ]
        raise InvalidInput(tr("The command"), problems, tr("Correct these options.")) from None


def _adapter_settings(
    adapters: Sequence[str], strengths: Sequence[float], layers: Sequence[str]
) -> dict[str, AdapterSettings]:
    """How each adapter is used; as trained where nothing is given."""
    if max(len(strengths), len(layers)) > len(adapters):
        raise EngineError(
            tr(
                "--strength is given {count} times and --layers-off {count_2} times, for "
                "{count_3} adapters.",
                count=len(strengths),
                count_2=len(layers),
                count_3=len(adapters),
            ),
            tr("Give each at most once for an adapter, in the order of the adapters."),
        )
    given = zip_longest(strengths, layers)
    settings = [
        AdapterSettings(1.0 if s is None else s, parse_layers(text or "")) for s, text in given
    ]
    return dict(zip(adapters, settings, strict=False))


@dataclass(frozen=True)
class _Asked:
    """How the columns are asked. settings: how each adapter is used."""

    settings: Mapping[str, AdapterSettings]
    system: str
    conversation: bool
    ask_as: AskAs


@dataclass(frozen=True)
class _Comparison:
    """The base with its adapters, and how they are asked."""

    engine: Engine
    model: ComparisonModel
    adapters: Sequence[str]
    asked: _Asked

    @classmethod
    def open(cls, base: str, adapters: Sequence[str], asked: _Asked) -> _Comparison:
        """Load the base and its adapters; what a person should know of them goes to stderr."""
        engine = Engine(load_settings())
        model = engine.compare.model(base, adapters, asked.ask_as)
        if model.form.mode == "completion":
            typer.secho(model.form.reason(), err=True)
        for warning in model.warnings():
            typer.secho(f"warning: {warning}", fg="red", err=True)
        return cls(engine, model, adapters, asked)

    def answers(
        self, cases: Sequence[PromptCase], sampling: Sampling
    ) -> tuple[dict[str, Any], list[PromptAnswers]]:
        """Every case answered: the document to print, and the answers to check."""
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
        return document, answered

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


def _print(document: Mapping[str, Any], settings: Mapping[str, AdapterSettings]) -> None:
    for item in document["prompts"]:
        typer.echo(f"\n{item['prompt']}")
        for answer in item["answers"]:
            verdict = {True: " [passes]", False: " [fails]"}.get(answer.get("passes"), "")
            heading = settings.get(answer["name"], AS_TRAINED).label(answer["name"])
            typer.echo(f"  {heading}: {answer['text']}{verdict}")
            for token in (answer.get("detail") or {}).get("tokens", ()):
                shown = "  ".join(
                    f"{name} {value:.3f}" for name, value in token["log_probability"].items()
                )
                typer.echo(f"    {token['text']!r:16} ln p: {shown}")
    for pair in document.get("held_out", ()):
        typer.echo(
            f"\n{pair['column']}: {pair['verdict']} on {pair['rows']} held-out rows, "
            f"{pair['difference']:+.4f} nats a token "
            f"(95 % between {pair['low']:+.4f} and {pair['high']:+.4f})"
        )
        if pair["warning"]:
            typer.echo(pair["warning"])
