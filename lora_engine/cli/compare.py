"""The command that asks the base and its adapters the same questions: compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from lora_engine.base_models import STARTER
from lora_engine.cli.comparison import Asked, Comparison
from lora_engine.cli.options import add_commands, json_flag
from lora_engine.cli.output import print_json
from lora_engine.compare.generate.adapter_settings import AS_TRAINED, AdapterSettings, parse_layers
from lora_engine.compare.prompts.prompt_file import PromptCase, read_cases
from lora_engine.compare.prompts.prompt_form import AskAs
from lora_engine.compare.scoring.answer_checks import Check
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.generation.sampling import Sampling
from lora_engine.language import tr

FIELDS = Sampling.model_fields


def register(app: typer.Typer) -> None:
    add_commands(app, compare)


def _help(name: str) -> Any:
    return typer.Option(help=tr(FIELDS[name].description or ""))


def _completion_flag() -> Any:
    return typer.Option(
        "--completion/--chat",
        help=tr(
            "Continue each text as it stands, or ask in the chat template. Without either: "
            "as the adapters were trained."
        ),
    )


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
    completion: Annotated[bool | None, _completion_flag()] = None,
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
    cases = [*map(PromptCase, prompt or []), *(read_cases(prompts) if prompts is not None else [])]
    sampling = _sampling(max_new_tokens, temperature, top_p, repetition_penalty, seed)
    adapters = adapter or []
    settings = _adapter_settings(adapters, strength or [], layers_off or [])
    asked = Asked(settings, system.strip(), conversation, _ask_as(completion))
    comparison = Comparison.open(base, adapters, asked)
    document = comparison.answers(cases, sampling, check, expect)
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
