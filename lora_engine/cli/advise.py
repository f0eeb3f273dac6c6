"""The command that says which rank to start with: advise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lora_engine.advisor import GOALS, TASKS, Advice, AdviceRequest, AdvisedTask, Goal
from lora_engine.advisor import advise as advise_before
from lora_engine.calculator import ModelSource
from lora_engine.calculator.memory_request import module_names
from lora_engine.cli.calculator import config_option, preset_option, source_of, targets_option
from lora_engine.cli.options import add_commands, json_flag, one_of
from lora_engine.cli.output import note, print_json
from lora_engine.language import tr
from lora_engine.spec import QuantizationSpec, read_spec


def register(app: typer.Typer) -> None:
    add_commands(app, advise)


def advise(
    task: Annotated[str | None, typer.Option(help=one_of(TASKS))] = None,
    rows: Annotated[int | None, typer.Option(help=tr("Training rows."))] = None,
    tokens: Annotated[int | None, typer.Option(help=tr("Supervised tokens in them."))] = None,
    config: Annotated[Path | None, config_option()] = None,
    preset: Annotated[str | None, preset_option()] = None,
    target_modules: Annotated[str, targets_option()] = "all-linear",
    goal: Annotated[str, typer.Option(help=one_of(GOALS))] = "balanced",
    card_gib: Annotated[float | None, typer.Option(help=tr("The card's memory in GiB."))] = None,
    bits: Annotated[
        Literal["0", "4", "8"], typer.Option(help=tr("Bits of the frozen base; 0: not quantized."))
    ] = "0",
    run: Annotated[
        str | None, typer.Option(help=tr("A finished run's id: advice for the next one, alone."))
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option(help=tr("A run's spec: its base, rows and tokens; with --task and --goal.")),
    ] = None,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """A rank to start with, the range to try and the other knobs, each with its reason."""
    if run is not None:
        _after(run, json)
        return
    if spec is not None:
        _for_spec(spec, task, goal, card_gib, json)
        return
    given_task: AdvisedTask | None = task  # type: ignore[assignment]  # advise() refuses others
    given_goal: Goal = goal  # type: ignore[assignment]
    advice = advise_before(
        AdviceRequest(
            task=given_task,
            rows=rows,
            tokens=tokens,
            model=_model(config, preset),
            target_modules=module_names(target_modules),
            quantization=QuantizationSpec(bits=4 if bits == "4" else 8) if bits != "0" else None,
            card_gib=card_gib,
            goal=given_goal,
        )
    )
    if json:
        print_json(advice.to_json())
    else:
        _print(advice)


def _for_spec(
    path: Path, task: str | None, goal: str, card_gib: float | None, as_json: bool
) -> None:
    from lora_engine.engine import Engine
    from lora_engine.environment import load_settings

    advisor = Engine(load_settings()).advisor
    found = advisor.advise_for(read_spec(path), task=task, goal=goal, card_gib=card_gib)
    if as_json:
        print_json(found.to_json())
        return
    typer.echo(
        tr(
            "{rows} training rows with about {tokens} supervised tokens.",
            rows=f"{found.rows:,}",
            tokens=f"{found.tokens:,}",
        )
    )
    if found.guess is not None:
        typer.echo(
            tr(
                "The task was guessed: {task}, because {why}.",
                task=found.guess.task,
                why=found.guess.why,
            )
        )
    _print(found.advice)


def _after(run: str, as_json: bool) -> None:
    from lora_engine.engine import Engine
    from lora_engine.environment import load_settings

    found = Engine(load_settings()).advisor.advise_after(run)
    if as_json:
        print_json(found.to_json())
        return
    used = found.used
    typer.echo(
        tr(
            "Rank {rank} was trained; the median module has effective rank {effective}, and {k90}, "
            "{k95} and {k99} directions hold 90, 95 and 99 % of its update.",
            rank=found.rank,
            effective=f"{used.effective_rank:.1f}",
            k90=f"{used.k90:g}",
            k95=f"{used.k95:g}",
            k99=f"{used.k99:g}",
        )
    )
    _print(found.advice)


def _model(config: Path | None, preset: str | None) -> ModelSource | None:
    return source_of(config, preset) if (config, preset) != (None, None) else None


def _print(advice: Advice) -> None:
    low, high = advice.range
    typer.echo(
        tr(
            "Start with rank {rank}; worth trying: {low} to {high}.",
            rank=advice.suggested_rank,
            low=low,
            high=high,
        )
    )
    rate = ", ".join(f"{one:.2g}" for one in advice.learning_rates)
    targets = advice.target_modules
    named = targets if isinstance(targets, str) else ",".join(targets)
    typer.echo(
        tr(
            "alpha {alpha}, dropout {dropout}, target modules {named}, learning rate {rate} "
            "(try {rates})",
            alpha=f"{advice.alpha:g}",
            dropout=f"{advice.dropout:g}",
            named=named,
            rate=f"{advice.learning_rate:.2g}",
            rates=rate,
        )
    )
    for one in advice.rules:
        value = tr("no number") if one.value is None else one.value
        year = "" if one.source.year is None else f", {one.source.year}"
        typer.echo(f"  {one.field} {value}: {one.rule} ({one.source.name}{year})")
    for remark in advice.remarks:
        note(remark)
