"""The command that writes an adapter into the weights of its base: merge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_engine.adapter_operations.merge_report import DType, Weights
from lora_engine.cli.options import add_commands, json_flag
from lora_engine.cli.output import note, print_json
from lora_engine.environment import load_settings
from lora_engine.language import tr

if TYPE_CHECKING:
    from lora_engine.adapter_operations import MergeReport


def register(app: typer.Typer) -> None:
    add_commands(app, merge)


def merge(
    adapter: Annotated[str, typer.Argument(help=tr("A run's id, a listed name or a folder."))],
    output: Annotated[Path, typer.Option("-o", "--output", help=tr("The model folder to write."))],
    base: Annotated[
        str, typer.Option(help=tr("The base to merge into; else the one it was trained on."))
    ] = "",
    dtype: Annotated[
        DType | None,
        typer.Option(help=tr("Of all weights; left out, as the base stores them.")),
    ] = None,
    weights: Annotated[
        Weights | None,
        typer.Option(help=tr("Of a quantized base; left out, those it was trained on.")),
    ] = None,
    original: Annotated[
        str,
        typer.Option(help=tr("The 16-bit model that a base stored in 4 or 8 bits was made from.")),
    ] = "",
    rows: Annotated[
        str, typer.Option(help=tr("A dataset to compare on; left out, its held-out rows."))
    ] = "",
    prove: Annotated[
        bool, typer.Option(help=tr("Load the merged model and measure what merging changed."))
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help=tr("Replace a model folder that is there."))
    ] = False,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Write an adapter into the weights of its base, and say how far the two are apart."""
    from lora_engine.engine import Engine

    report = Engine(load_settings()).adapter_operations.merge(
        adapter,
        output,
        base=base or None,
        original=original or None,
        rows=rows or None,
        dtype=dtype,
        weights=weights,
        prove=prove,
        overwrite=overwrite,
    )
    for words in report.notes:
        note(words)
    if json:
        print_json(report.to_json())
        return
    typer.echo(
        tr(
            "{path}: {count} bytes in {dtype}, {weights} weights",
            path=report.path,
            count=f"{report.bytes:,}",
            dtype=report.dtype,
            weights=report.weights,
        )
    )
    if report.max_logit_difference is not None:
        _print_proof(report)


def _print_proof(report: MergeReport) -> None:
    typer.echo(
        tr(
            "largest logit difference {difference}, KL {kl} nats a token over {positions} "
            "positions of {rows} {rows_from} rows",
            difference=f"{report.max_logit_difference:.3g}",
            kl=f"{report.kl:.3g}",
            positions=f"{report.positions:,}",
            rows=report.rows,
            rows_from=report.rows_from,
        )
    )
    typer.echo(
        tr(
            "loss: base {base}, base + adapter {unmerged}, merged {merged}",
            base=f"{report.base_loss:.4f}",
            unmerged=f"{report.unmerged_loss:.4f}",
            merged=f"{report.merged_loss:.4f}",
        )
    )
    for one in report.variants:
        loss = f"{one.proof.loss:.4f}"
        typer.echo(
            tr("merged into the {weights} weights: loss {loss}", weights=one.weights, loss=loss)
        )
