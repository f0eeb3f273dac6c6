"""Commands that make an adapter of others, or of two models: resize, combine, extract."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lora_engine.adapter_operations import Method
from lora_engine.cli.options import add_commands, json_flag
from lora_engine.cli.output import note, print_json, print_table
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError
from lora_engine.language import tr


def output_folder() -> Any:
    return typer.Option("-o", "--output", help=tr("The adapter folder to write."))


def overwrite_flag() -> Any:
    return typer.Option("--overwrite", help=tr("Replace an adapter folder that is there."))


def rank_option() -> Any:
    return typer.Option(help=tr("Every module to this rank."))


def energy_option() -> Any:
    return typer.Option(help=tr("Every module to the share of Σσ² it keeps, as 0.99."))


def threshold_option() -> Any:
    return typer.Option(help=tr("Every direction whose σ is at least this."))


def register(app: typer.Typer) -> None:
    add_commands(app, resize, combine, extract)


def resize(
    adapter: Annotated[str, typer.Argument(help=tr("A run's id, a listed name or a folder."))],
    output: Annotated[Path, output_folder()],
    rank: Annotated[int | None, rank_option()] = None,
    energy: Annotated[float | None, energy_option()] = None,
    threshold: Annotated[float | None, threshold_option()] = None,
    overwrite: Annotated[bool, overwrite_flag()] = False,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Write an adapter at a smaller rank, the nearest one there is, and say what is lost."""
    from lora_engine.adapter_operations import one_target
    from lora_engine.adapter_operations import resize as resize_adapter
    from lora_engine.adapters import resolve_adapter

    folder = resolve_adapter(adapter, load_settings())
    target = one_target(rank, energy, threshold)
    report = resize_adapter(folder, output, target, overwrite=overwrite)
    if json:
        print_json(report.to_json())
        return
    print_table(
        ("module", "rank", "energy", "error"),
        (
            (one.name, f"{one.old_rank} -> {one.new_rank}", f"{one.energy:.6f}", f"{one.error:.3g}")
            for one in report.modules
        ),
    )
    typer.echo(
        f"{report.path}: {report.old_bytes:,} -> {report.new_bytes:,} bytes, energy "
        f"{report.energy:.6f}, error {report.error:.3g}"
    )


def combine(
    adapters: Annotated[
        list[str],
        typer.Argument(help=tr("ADAPTER:WEIGHT each, as pirate:0.7; 1 without a weight.")),
    ],
    output: Annotated[Path, output_folder()],
    rank: Annotated[
        int | None,
        typer.Option(help=tr("Of every module at most; left out, the sum of the ranks.")),
    ] = None,
    method: Annotated[
        Method,
        typer.Option(help=tr("exact is the weighted sum; the others merge as PEFT does.")),
    ] = "exact",
    density: Annotated[
        float | None, typer.Option(help=tr("Of ties and dare: the share of numbers they keep."))
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help=tr("Of dare's choice."))] = 0,
    interference: Annotated[
        bool, typer.Option("--interference", help=tr("Also predict where the adapters collide."))
    ] = False,
    overwrite: Annotated[bool, overwrite_flag()] = False,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Write the weighted sum of adapters of one base, and say its error."""
    from lora_engine.adapter_operations import WeightedAdapter, predicted_interference
    from lora_engine.adapter_operations import combine as combine_adapters
    from lora_engine.adapters import resolve_adapter

    settings = load_settings()
    sources = [
        WeightedAdapter(resolve_adapter(name, settings), weight)
        for name, weight in map(named_weight, adapters)
    ]
    report = combine_adapters(
        sources,
        output,
        rank=rank,
        method=method,
        density=density,
        seed=seed,
        overwrite=overwrite,
    )
    document = report.to_json()
    if interference:
        document["interference"] = predicted_interference(sources).to_json()
    for words in report.notes:
        note(words)
    if json:
        print_json(document)
        return
    print_table(
        ("module", "rank", "energy", "error"),
        ((one.name, one.rank, f"{one.energy:.6f}", f"{one.error:.3g}") for one in report.modules),
    )
    _print_summary(document)


def _print_summary(document: dict[str, Any]) -> None:
    typer.echo(
        f"{document['path']}: {document['bytes']:,} bytes, rank {document['rank']}, energy "
        f"{document['energy']:.6f}, error {document['error']:.3g}, from the weighted sum "
        f"{document['distance_from_sum']:.3g}"
    )
    if (met := document.get("interference")) is not None:
        typer.echo(
            f"predicted: overlap {met['overlap']:.3f}, opposite signs {met['sign_conflict']:.3f} "
            f"of the entries, {met['cancelled']:.3f} cancels"
        )


def named_weight(text: str) -> tuple[str, float]:
    """`pirate:0.7` as name and weight; 1 where what follows the last colon is no number.

    Raises EngineError where nothing stands before the weight.
    """
    name, colon, number = text.rpartition(":")
    try:
        weight = float(number) if colon else None
    except ValueError:
        weight = None
    if weight is None:
        return text, 1.0
    if not name:
        raise EngineError(
            tr("{text} has a weight and no adapter.", text=f"{text!r}"), tr("Write ADAPTER:WEIGHT.")
        )
    return name, weight


def extract(
    base: Annotated[str, typer.Option(help=tr("The base model that was fine-tuned."))],
    tuned: Annotated[
        str, typer.Option(help=tr("The fine-tuned model: a name, a folder or safetensors."))
    ],
    output: Annotated[Path, output_folder()],
    rank: Annotated[int | None, rank_option()] = None,
    energy: Annotated[float | None, energy_option()] = None,
    threshold: Annotated[float | None, threshold_option()] = None,
    rows: Annotated[
        str,
        typer.Option(help=tr("A dataset on which base, tuned and base with adapter are measured.")),
    ] = "",
    overwrite: Annotated[bool, overwrite_flag()] = False,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Write what a full fine-tuning changed as an adapter, and say what low rank leaves out."""
    from lora_engine.adapter_operations import one_target
    from lora_engine.engine import Engine

    report = Engine(load_settings()).adapter_operations.extract(
        base, tuned, output, one_target(rank, energy, threshold),
        rows=rows or None, overwrite=overwrite,
    )  # fmt: skip
    for words in report.notes:
        note(words)
    if json:
        print_json(report.to_json())
        return
    print_table(
        ("module", "rank", "energy", "error"),
        ((one.name, one.rank, f"{one.energy:.6f}", f"{one.error:.3g}") for one in report.modules),
    )
    if (losses := report.losses) is not None:
        typer.echo(
            f"loss on {losses.rows} rows: base {losses.base:.4f}, tuned {losses.tuned:.4f}, "
            f"base with adapter {losses.extracted:.4f}"
        )
    if report.whole:
        note(f"Saved whole: {', '.join(report.whole)}")
    typer.echo(
        f"{report.path}: {report.bytes:,} bytes, energy {report.energy:.6f}, error "
        f"{report.error:.3g}"
    )
