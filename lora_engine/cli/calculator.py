"""Commands that count before a byte is downloaded: params, memory."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from lora_engine.calculator import (
    PRESETS,
    SHARE_REACHED,
    SHORTCUTS,
    MemoryEstimate,
    MemoryOptions,
    ModelCount,
    ModelSource,
    Workload,
    count_matrix,
    count_model,
    device_here,
    estimate_json,
    estimate_memory,
    estimate_work,
    matmul_flops_per_second,
    path_source,
    preset_source,
    read_method,
    read_profile,
    seconds_here,
    verdicts,
)
from lora_engine.calculator.memory_options import DTYPES, METHODS, OPTIMIZERS
from lora_engine.calculator.training_work import Work
from lora_engine.cli.options import add_commands, field_help, json_flag, one_of
from lora_engine.cli.output import note, print_json, print_table
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import MethodSpec, OptimizationSpec, QuantizationSpec

PATTERN_EXAMPLE = '{"q_proj": 16}'


def register(app: typer.Typer) -> None:
    add_commands(app, params, memory)


def config_option() -> Any:
    return typer.Option(help=tr("A model folder or a config.json."))


def preset_option() -> Any:
    return typer.Option(help=one_of(PRESETS))


def rank_option() -> Any:
    return typer.Option(help=field_help(MethodSpec, "rank"))


def targets_option() -> Any:
    names = ", ".join(SHORTCUTS)
    return typer.Option(help=tr("Names with commas, or shortcuts: {names}.", names=names))


def _pattern_help() -> str:
    described = field_help(MethodSpec, "rank_pattern")
    return tr("{text} JSON: {example}.", text=described, example=PATTERN_EXAMPLE)


def _bits_help() -> str:
    return tr("{text} 0: not quantized.", text=field_help(QuantizationSpec, "bits"))


def params(
    d: Annotated[int | None, typer.Option(help=tr("Rows of the weight, out_features."))] = None,
    k: Annotated[int | None, typer.Option(help=tr("Columns of the weight, in_features."))] = None,
    rank: Annotated[int, rank_option()] = 8,
    config: Annotated[Path | None, config_option()] = None,
    preset: Annotated[str | None, preset_option()] = None,
    target_modules: Annotated[str, targets_option()] = "all-linear",
    rank_pattern: Annotated[str, typer.Option(help=_pattern_help())] = "{}",
    modules_to_save: Annotated[
        str, typer.Option(help=field_help(MethodSpec, "modules_to_save"))
    ] = "",
    use_dora: Annotated[
        bool, typer.Option("--use-dora", help=field_help(MethodSpec, "use_dora"))
    ] = False,
    lora_bias: Annotated[
        bool, typer.Option("--lora-bias", help=field_help(MethodSpec, "lora_bias"))
    ] = False,
    bias: Annotated[str, typer.Option(help=field_help(MethodSpec, "bias"))] = "none",
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Parameters of one matrix (--d --k), or of a whole model (--config or --preset)."""
    if d is not None or k is not None:
        _matrix(d, k, rank, json)
        return
    method = read_method(
        rank=rank,
        target_modules=target_modules,
        rank_pattern=_pattern(rank_pattern),
        use_dora=use_dora,
        lora_bias=lora_bias,
        bias=bias,
        modules_to_save=modules_to_save,
    )
    counted = count_model(source_of(config, preset), method)
    for warning in counted.warnings:
        note(warning)
    if json:
        print_json(counted.to_json())
    else:
        _print_count(counted)


def memory(
    config: Annotated[Path | None, config_option()] = None,
    preset: Annotated[str | None, preset_option()] = None,
    method: Annotated[str, typer.Option(help=one_of(METHODS))] = "lora",
    rank: Annotated[int, rank_option()] = 8,
    target_modules: Annotated[str, targets_option()] = "all-linear",
    bits: Annotated[int, typer.Option(help=_bits_help())] = 0,
    batch_size: Annotated[int, typer.Option(help=field_help(Workload, "batch_size"))] = 1,
    seq_length: Annotated[int, typer.Option(help=field_help(Workload, "seq_length"))] = 2048,
    optimizer: Annotated[str, typer.Option(help=one_of(OPTIMIZERS))] = "adamw",
    dtype: Annotated[
        str,
        typer.Option(help=tr("Arithmetic of the frozen base: {names}.", names=", ".join(DTYPES))),
    ] = "bf16",
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing", help=field_help(OptimizationSpec, "gradient_checkpointing")
        ),
    ] = False,
    offload_activations: Annotated[
        bool,
        typer.Option(
            "--offload-activations", help=field_help(OptimizationSpec, "offload_activations")
        ),
    ] = False,
    stream_base: Annotated[
        bool,
        typer.Option("--stream-base", help=field_help(OptimizationSpec, "stream_base")),
    ] = False,
    trainer: Annotated[str, typer.Option(help=field_help(Workload, "trainer"))] = "rankscope",
    rows: Annotated[int, typer.Option(help=tr("Training rows, for the time."))] = 1000,
    epochs: Annotated[int, typer.Option(help=tr("Passes over the rows, for the time."))] = 3,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Peak memory of training, item by item, and which cards it fits."""
    options = MemoryOptions(
        method=method,
        rank=rank,
        target_modules=target_modules,
        bits=bits,
        batch_size=batch_size,
        seq_length=seq_length,
        optimizer=optimizer,
        dtype=dtype,
        gradient_checkpointing=gradient_checkpointing,
        trainer=trainer,
        offload_activations=offload_activations,
        stream_base=stream_base,
    )
    request = options.request(source_of(config, preset))
    profile = read_profile(request.source, request.method)
    work = estimate_work(profile, request, rows, epochs)
    estimate = estimate_memory(request)
    for warning in estimate.warnings:
        note(warning)
    if json:
        print_json(estimate_json(estimate) | {"work": work.to_json(), "time": _time(work)})
    else:
        _print_memory(estimate, work)


def _print_count(counted: ModelCount) -> None:
    print_table(
        ("module", "in", "out", "rank", "layers", "parameters"),
        (
            (m.kind, m.in_features, m.out_features, m.rank, m.layers, f"{m.parameters:,}")
            for m in counted.kinds()
        ),
    )
    typer.echo(
        tr(
            "{trained} of {all} parameters train ({share} %)",
            trained=f"{counted.trainable_parameters:,}",
            all=f"{counted.base_parameters:,}",
            share=f"{100 * counted.trainable_fraction:.3g}",
        )
    )


def _print_memory(estimate: MemoryEstimate, work: Work) -> None:
    print_table(
        ("item", "GiB", "formula"),
        ((item.name, f"{item.gib:.3f}", item.formula) for item in estimate.items),
    )
    fitting = [verdict.card for verdict in verdicts(estimate) if verdict.fits]
    typer.echo(
        tr(
            "{size} GiB; fits on: {cards}",
            size=f"{estimate.total_gib:.2f}",
            cards=", ".join(fitting) or tr("no card known"),
        )
    )
    time = _time(work)
    typer.echo(
        tr(
            "{steps} steps, {tokens} tokens, {operations} operations: about {hours} h on this "
            "machine's {device}",
            steps=f"{work.steps:,}",
            tokens=f"{work.tokens:,}",
            operations=f"{work.flops:.2e}",
            hours=f"{time['seconds'] / 3600:.3g}",
            device=time["device"],
        )
    )


def _time(work: Work) -> dict[str, Any]:
    """How long the work takes here, and the measured rate that this follows from."""
    device = device_here()
    return {
        "device": device,
        "matmul_flops_per_s": matmul_flops_per_second(device),
        "share_reached": SHARE_REACHED,
        "seconds": seconds_here(work.flops, device),
    }


def source_of(config: Path | None, preset: str | None) -> ModelSource:
    """The model that --config or --preset names; exactly one of them."""
    if config is not None and preset is None:
        return path_source(config)
    if preset is not None and config is None:
        return preset_source(preset)
    raise EngineError(
        tr("One model is needed: a matrix (--d and --k), --config or --preset."),
        tr("Presets: {presets}.", presets=", ".join(PRESETS)),
    )


def _matrix(d: int | None, k: int | None, rank: int, as_json: bool) -> None:
    if d is None or k is None:
        raise EngineError(tr("A matrix needs both --d and --k."), tr("Give both, or --preset."))
    counted = count_matrix(d, k, rank)
    for warning in counted.warnings:
        note(warning)
    if as_json:
        print_json(counted.to_json())
        return
    typer.echo(
        f"{counted.full_parameters:,} parameters in full, {counted.lora_parameters:,} at rank "
        f"{rank}: {100 * counted.ratio:.3g} %, {_times(counted.ratio)}"
    )


def _times(ratio: float) -> str:
    """A count beside another: 1/256 -> '256 times fewer', 3.3 -> '3.3 times as many'."""
    return f"{1 / ratio:.4g} times fewer" if ratio < 1 else f"{ratio:.4g} times as many"


def _pattern(text: str) -> object:
    try:
        return json_module.loads(text)
    except ValueError as error:
        raise EngineError(
            tr("--rank-pattern is not JSON ({error}).", error=error),
            tr('Give an object such as {"q_proj": 16}.'),
        ) from None
