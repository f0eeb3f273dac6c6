"""The command that asks the base and its adapters the same questions: compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lora_engine.base_models import STARTER
from lora_engine.cli.output import JsonFlag, print_json
from lora_engine.compare.prompt_file import read_prompts
from lora_engine.compare.sampling import Sampling
from lora_engine.engine import Engine
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command()(compare)


def compare(
    base: Annotated[str, typer.Option(help="A base model's name or folder.")] = STARTER,
    adapter: Annotated[list[str], typer.Option(help="A run's id, a name or a folder.")] = (),
    prompt: Annotated[list[str], typer.Option(help="A question; may be given again.")] = (),
    prompts: Annotated[
        Path | None, typer.Option(help="A file of questions (JSONL or text).")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="The longest answer.")] = 64,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same answers.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Ask the base model and its adapters the same questions, all in one batch."""
    questions = [*prompt, *(read_prompts(prompts) if prompts is not None else [])]
    sampling = _sampling(max_new_tokens, temperature, seed)
    result = Engine(load_settings()).compare(base, list(adapter), questions, sampling)
    if json:
        print_json(result.as_json())
        return
    for asked in result.prompts:
        typer.echo(f"\n{asked.prompt}")
        for answer in asked.answers:
            typer.echo(f"  {answer.name}: {answer.text}")


def _sampling(max_new_tokens: int, temperature: float, seed: int) -> Sampling:
    try:
        return Sampling(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    except ValueError as error:
        problems = [
            FieldProblem(f"--{str(item['loc'][0]).replace('_', '-')}", item["msg"])
            for item in error.errors()
        ]
        raise InvalidInput("The command", problems, "Correct these options.") from None
