"""Commands that show rank: svd, spectrum, similarity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lora_engine.cli.options import add_commands, json_flag
from lora_engine.cli.output import note, print_json, print_table
from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    from lora_engine.spectrum.adapter_spectrum import AdapterSpectrum
    from lora_engine.spectrum.checkpoints import CheckpointComparison


def register(app: typer.Typer) -> None:
    add_commands(app, svd, spectrum, similarity)


def svd(
    file: Annotated[
        Path, typer.Argument(help=tr("npy, npz, csv, txt, safetensors, pt, png or jpg."))
    ],
    k: Annotated[
        int | None,
        typer.Option(
            help=tr("Directions to keep; 3 where none is given, fewer of a smaller matrix.")
        ),
    ] = None,
    tensor: Annotated[
        str | None, typer.Option(help=tr("Which tensor, where there are several."))
    ] = None,
    output: Annotated[Path | None, typer.Option(help=tr("Write the rank-k matrix (.npy)."))] = None,
    flatten: Annotated[
        str | None,
        typer.Option(
            help=tr("Of a tensor with 3 or more dimensions: first, last, or a slice (3,0).")
        ),
    ] = None,
    method: Annotated[
        Literal["auto", "svd", "gram", "randomized"],
        typer.Option(help=tr("auto goes by the size; randomized says how far it may be off.")),
    ] = "auto",
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Singular values of a matrix, and what is lost when only k directions are kept."""
    from lora_engine.spectrum import decompose_file
    from lora_engine.weights import Flatten

    laid_out = None if flatten is None else Flatten.parse(flatten)
    found = decompose_file(file, tensor, k, laid_out, method, output)
    for words in found.notes:
        note(words)
    if json:
        print_json(found.to_json())
        return
    cut = found.truncation
    typer.echo(
        f"{found.name}: rank {found.summary.rank}, energy of the first {cut.k}: {cut.energy:.6f}, "
        f"relative error {cut.relative_error:.3g} ({found.decomposition.method})"
    )


def spectrum(
    adapter: Annotated[
        str | None, typer.Argument(help=tr("A run's id, a name or a folder."))
    ] = None,
    base: Annotated[Path | None, typer.Option(help=tr("The base checkpoint."))] = None,
    tuned: Annotated[Path | None, typer.Option(help=tr("The tuned checkpoint."))] = None,
    intruders: Annotated[
        bool,
        typer.Option("--intruders", help=tr("Of two checkpoints: look for intruder dimensions.")),
    ] = False,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """The spectrum of an adapter's update, or of tuned minus base, module by module."""
    from lora_engine.adapters.library import resolve_adapter
    from lora_engine.environment import load_settings
    from lora_engine.spectrum import compare_checkpoints, describe_adapter

    found: AdapterSpectrum | CheckpointComparison
    if adapter is not None and tuned is None:
        found = describe_adapter(resolve_adapter(adapter, load_settings()), base)
    elif base is not None and tuned is not None and adapter is None:
        found = compare_checkpoints(base, tuned, intruders=intruders)
    else:
        raise EngineError(
            tr("Either an adapter, or --base and --tuned, is needed."), tr("Give one of the two.")
        )
    if json:
        print_json(found.to_json())
        return
    print_table(
        ("module", "rank", "norm", "effective rank", "k90", "k99"),
        (
            (item["name"], item["rank"], f"{item['frobenius_norm']:.4g}",
             _known(item["effective_rank"]), item["k90"], item["k99"])
            for item in found.to_json()["modules"]
        ),
    )  # fmt: skip


def _known(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3g}"


def similarity(
    adapter_a: Annotated[str, typer.Argument(help=tr("A run's id, a name or a folder."))],
    adapter_b: Annotated[str, typer.Argument(help=tr("Another one."))],
    on: Annotated[
        Literal["delta", "A"], typer.Option(help=tr("delta: of ΔW; A: as the LoRA paper draws it."))
    ] = "delta",
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """How far two adapters' leading directions agree: φ(i, j) of the LoRA paper, equation 4."""
    from lora_engine.adapters.library import resolve_adapter
    from lora_engine.environment import load_settings
    from lora_engine.spectrum import similarity as compare

    settings = load_settings()
    found = compare(
        resolve_adapter(adapter_a, settings), resolve_adapter(adapter_b, settings), on=on
    )
    if json:
        print_json(found.to_json())
        return
    print_table(
        ("module", "φ(1,1)", "φ(r,r)"),
        (
            (item.name, f"{item.phi[0, 0]:.3f}", f"{item.phi[-1, -1]:.3f}")
            if item.phi.size
            else (item.name, "zero", "zero")
            for item in found.modules
        ),
    )
