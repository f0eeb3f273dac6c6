"""Commands that count before a byte is downloaded: params, memory."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from lora_engine.calculator import (
    PRESETS,
    SHARE_REACHED,
    LoraChoice,
    MemoryQuestion,
    ModelSource,
    count_matrix,
    count_model,
    device_here,
    estimate_memory,
    estimate_work,
    matmul_flops_per_second,
    path_source,
    preset_source,
    read_profile,
    seconds_here,
    verdicts,
)
from lora_engine.calculator.optimizer_state import OPTIMIZERS
from lora_engine.cli.output import JsonFlag, note, print_json, print_table
from lora_engine.errors import EngineError


def register(app: typer.Typer) -> None:
    for command in (params, memory):
        app.command()(command)


def params(
    d: Annotated[int | None, typer.Option(help="Rows of the weight, out_features.")] = None,
    k: Annotated[int | None, typer.Option(help="Columns of the weight, in_features.")] = None,
    rank: Annotated[int, typer.Option(help="Inner size r of B·A.")] = 8,
    config: Annotated[Path | None, typer.Option(help="A model folder or a config.json.")] = None,
    preset: Annotated[str | None, typer.Option(help=f"One of {', '.join(PRESETS)}.")] = None,
    target_modules: Annotated[
        str, typer.Option(help="Names with commas, or all-linear, attention, mlp, embeddings.")
    ] = "all-linear",
    rank_pattern: Annotated[
        str, typer.Option(help='JSON: another rank for some modules, {"q_proj": 16}.')
    ] = "{}",
    modules_to_save: Annotated[str, typer.Option(help="Modules trained whole.")] = "",
    use_dora: Annotated[bool, typer.Option("--use-dora", help="Count DoRA's magnitudes.")] = False,
    lora_bias: Annotated[bool, typer.Option("--lora-bias", help="Count a bias on B.")] = False,
    json: JsonFlag = False,
) -> None:
    """Parameters of one matrix (--d --k), or of a whole model (--config or --preset)."""
    if d is not None or k is not None:
        _matrix(d, k, rank, json)
        return
    choice = LoraChoice(
        rank=rank,
        target_modules=target_modules,
        rank_pattern=_pattern(rank_pattern),
        use_dora=use_dora,
        lora_bias=lora_bias,
        modules_to_save=modules_to_save,
    )
    counted = count_model(source_of(config, preset), choice)
    for warning in counted.warnings:
        note(warning)
    if json:
        print_json(counted.to_json())
        return
    print_table(
        ("module", "in", "out", "rank", "layers", "parameters"),
        (
            (kind.kind, kind.in_features, kind.out_features, kind.rank, kind.layers,
             f"{kind.parameters:,}")
            for kind in counted.kinds()
        ),
    )  # fmt: skip
    typer.echo(
        f"{counted.trainable_parameters:,} of {counted.base_parameters:,} parameters train "
        f"({100 * counted.trainable_fraction:.3g} %)"
    )


def memory(
    config: Annotated[Path | None, typer.Option(help="A model folder or a config.json.")] = None,
    preset: Annotated[str | None, typer.Option(help=f"One of {', '.join(PRESETS)}.")] = None,
    method: Annotated[str, typer.Option(help="lora, qlora, full or freeze.")] = "lora",
    rank: Annotated[int, typer.Option(help="Inner size r of B·A.")] = 8,
    target_modules: Annotated[
        str, typer.Option(help="Names with commas, or all-linear, attention, mlp, embeddings.")
    ] = "all-linear",
    batch_size: Annotated[int, typer.Option(help="Rows in one forward pass.")] = 1,
    seq_length: Annotated[int, typer.Option(help="Tokens of a row.")] = 2048,
    optimizer: Annotated[str, typer.Option(help=f"One of {', '.join(OPTIMIZERS)}.")] = "adamw",
    dtype: Annotated[str, typer.Option(help="Of the frozen weights: bf16, fp16 or fp32.")] = "bf16",
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Keep one tensor a layer, recompute.")
    ] = False,
    trainer: Annotated[
        str, typer.Option(help="rankscope (packed rows, loss in chunks) or plain.")
    ] = "rankscope",
    rows: Annotated[int, typer.Option(help="Training rows, for the time.")] = 1000,
    epochs: Annotated[int, typer.Option(help="Passes over the rows, for the time.")] = 3,
    json: JsonFlag = False,
) -> None:
    """Peak memory of training, item by item, and which cards it fits."""
    question = MemoryQuestion(
        source=source_of(config, preset),
        choice=LoraChoice(rank=rank, target_modules=target_modules),
        method=method,
        batch_size=batch_size,
        seq_length=seq_length,
        optimizer=optimizer,
        dtype=dtype,
        gradient_checkpointing=gradient_checkpointing,
        trainer=trainer,
    )
    profile = read_profile(question.source, question.choice)
    work = estimate_work(profile, question, rows, epochs)
    device = device_here()
    seconds = seconds_here(work.flops, device)
    estimate = estimate_memory(question)
    for warning in estimate.warnings:
        note(warning)
    if json:
        time = {
            "device": device,
            "matmul_flops_per_s": matmul_flops_per_second(device),
            "share_reached": SHARE_REACHED,
            "seconds": seconds,
        }
        print_json(estimate.to_json() | {"work": work.to_json(), "time": time})
        return
    print_table(
        ("item", "GiB", "formula"),
        ((item.name, f"{item.gib:.3f}", item.formula) for item in estimate.items),
    )
    fitting = [verdict.card for verdict in verdicts(estimate) if verdict.fits]
    typer.echo(f"{estimate.total_gib:.2f} GiB; fits on: {', '.join(fitting) or 'no card known'}")
    typer.echo(
        f"{work.steps:,} steps, {work.tokens:,} tokens, {work.flops:.2e} operations: "
        f"about {seconds / 3600:.3g} h on this machine's {device}"
    )


def source_of(config: Path | None, preset: str | None) -> ModelSource:
    """The model that --config or --preset names; exactly one of them."""
    if (config is None) == (preset is None):
        raise EngineError(
            "One model is needed: a matrix (--d and --k), --config or --preset.",
            f"Presets: {', '.join(PRESETS)}.",
        )
    return path_source(config) if config is not None else preset_source(preset)


def _matrix(d: int | None, k: int | None, rank: int, as_json: bool) -> None:
    if d is None or k is None:
        raise EngineError("A matrix needs both --d and --k.", "Give both, or --preset.")
    counted = count_matrix(d, k, rank)
    for warning in counted.warnings:
        note(warning)
    if as_json:
        print_json(counted.to_json())
        return
    typer.echo(
        f"{counted.full_parameters:,} parameters in full, {counted.lora_parameters:,} at rank "
        f"{rank}: {100 * counted.ratio:.3g} %, {counted.reduction:.4g} times fewer"
    )


def _pattern(text: str) -> object:
    try:
        return json_module.loads(text)
    except ValueError as error:
        raise EngineError(
            f"--rank-pattern is not JSON ({error}).", 'Give an object such as {"q_proj": 16}.'
        ) from None
