"""The command that writes an adapter into the weights of its base: merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lora_engine.cli.output import JsonFlag, note, print_json


def register(app: typer.Typer) -> None:
    app.command()(merge)


def merge(
    adapter: Annotated[str, typer.Argument(help="A run's id, a listed name or a folder.")],
    base: Annotated[str, typer.Option(help="The base model it was trained on.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model folder to write.")],
    dtype: Annotated[
        Literal["bfloat16", "float16", "float32"] | None,
        typer.Option(help="Of all weights; left out, as the base stores them."),
    ] = None,
    weights: Annotated[
        Literal["original", "dequantized"] | None,
        typer.Option(help="Of a quantized base; left out, those it was trained on."),
    ] = None,
    original: Annotated[
        str | None, typer.Option(help="The 16-bit model that a 4-bit base was made from.")
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="A dataset to compare on; left out, its held-out rows.")
    ] = None,
    prove: Annotated[
        bool, typer.Option(help="Load the merged model and measure what merging changed.")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model folder that is there.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Write an adapter into the weights of its base, and say how far the two are apart."""
    from lora_engine.adapter_operations.merge import merge as merge_adapter
    from lora_engine.adapter_operations.merge_report import MergeOptions
    from lora_engine.adapters.library import resolve_adapter
    from lora_engine.base_models import resolve_base_model
    from lora_engine.data import load_dataset
    from lora_engine.settings import load_settings
    from lora_engine.spec import DatasetSpec

    settings = load_settings()
    options = MergeOptions(
        dtype=dtype,
        weights=weights,
        original=None if original is None else resolve_base_model(original, settings),
        rows=None if rows is None else load_dataset(DatasetSpec(source=rows), settings).rows,
        overwrite=overwrite,
        prove=prove,
    )
    folder, model = resolve_adapter(adapter, settings), resolve_base_model(base, settings)
    report = merge_adapter(folder, model, output, settings, options)
    for words in report.notes:
        note(words)
    if json:
        print_json(report.to_json())
        return
    typer.echo(f"{report.path}: {report.bytes:,} bytes in {report.dtype}, {report.weights} weights")
    if report.max_logit_difference is None:
        return
    typer.echo(
        f"largest logit difference {report.max_logit_difference:.3g}, KL {report.kl:.3g} nats a "
        f"token over {report.positions:,} positions of {report.rows} {report.rows_from} rows"
    )
    typer.echo(
        f"loss: base {report.base_loss:.4f}, base + adapter {report.unmerged_loss:.4f}, merged "
        f"{report.merged_loss:.4f}"
    )
    for one in report.variants:
        typer.echo(f"merged into the {one.weights} weights: loss {one.proof.loss:.4f}")
