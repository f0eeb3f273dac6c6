"""Commands on the library of adapters: adapters, show-adapter, add, annotate, zip, delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lora_engine.adapters.library import AdapterLibrary
from lora_engine.adapters.search import ORDERS
from lora_engine.adapters.summary import AdapterSummary
from lora_engine.cli import output
from lora_engine.cli.options import adapter_argument, add_commands, json_flag, one_of, yes_flag
from lora_engine.cli.output import print_json, print_table
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError
from lora_engine.files import given_path
from lora_engine.language import tr

if TYPE_CHECKING:
    from lora_engine.adapters.config import AdapterConfig
    from lora_engine.adapters.details import AdapterDetails
    from lora_engine.adapters.kinds import OtherConfig

STATES = {True: "yes", False: "no", None: "?"}


def register(app: typer.Typer) -> None:
    add_commands(
        app, adapters, show_adapter, add_adapter, annotate_adapter, zip_adapter, delete_adapter
    )


def adapters(
    find: Annotated[
        str, typer.Option(help=tr("Words in the name, note, tags, base model, dataset or targets."))
    ] = "",
    tag: Annotated[str, typer.Option(help=tr("Only those with this tag."))] = "",
    sort: Annotated[str, typer.Option(help=one_of(ORDERS))] = "newest",
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """The adapters known here, newest first, then those that cannot be read."""
    library = AdapterLibrary(load_settings())
    found = library.list(find, tag, sort)
    unreadable = library.unreadable() if not (find or tag) else []
    if json:
        documents = [*map(asdict, found), *map(asdict, unreadable)]
        print_json([{**document, "path": str(document["path"])} for document in documents])
        return
    rows: list[tuple[object, ...]] = [
        (one.name, one.size, one.base_model, ", ".join(one.tags), one.path) for one in found
    ]
    rows += [(one.name, "-", "unreadable", "", one.path) for one in unreadable]
    print_table(("name", "size", "base model", "tags", "path"), rows)
    for one in unreadable:
        output.note(f"{one.name}: {one.problem}")


def show_adapter(
    adapter: Annotated[str, adapter_argument()], json: Annotated[bool, json_flag()] = False
) -> None:
    """One adapter: its base, every module with shapes, scaling and norm; is it sound?"""
    found = AdapterLibrary(load_settings()).details(adapter)
    if json:
        print_json(_document(found))
        return
    summary = found.summary
    base = summary.base_model or tr("of a base it does not name")
    size = tr("{count} bytes", count=f"{summary.bytes:,}")
    typer.echo(f"{summary.name}: {summary.size}, {base}, {size}")
    for check in found.checks:
        typer.echo(f"{check.name}: {STATES[check.ok]}. {check.words}")
    if found.parts:
        rows = ((one.name, _tensors(one.tensors), one.parameters, one.norm) for one in found.parts)
        print_table(("module", "tensors", "parameters", "norm"), rows)
        return
    print_table(
        ("module", "A", "B", "scaling", "norm of the update"),
        (
            (one.name, _shape(one.a_shape), _shape(one.b_shape), f"{one.scaling:.6g}", one.norm)
            for one in found.modules
        ),
    )


def add_adapter(
    source: Annotated[
        str, typer.Argument(help=tr("A PEFT adapter's folder or zip, or its hub id (org/name)."))
    ],
    name: Annotated[str, typer.Option(help=tr("What it is called here; else as its source."))] = "",
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Add an adapter made elsewhere, after it is checked: whole, finite, and one we can apply."""
    _print_summary(AdapterLibrary(load_settings()).add(source, name), json)


def annotate_adapter(
    adapter: Annotated[str, adapter_argument()],
    note: Annotated[
        str | None, typer.Option(help=tr("The note; an empty one removes it. Left out, it stays."))
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help=tr("A tag, as often as needed. Left out, they stay."))
    ] = None,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Set the note and the tags of an adapter."""
    library = AdapterLibrary(load_settings())
    before = library.get(adapter)
    kept = library.annotate(
        adapter,
        before.note if note is None else note,
        before.tags if tag is None else tag,
    )
    _print_summary(kept, json)


def zip_adapter(
    adapter: Annotated[str, adapter_argument()],
    output_file: Annotated[Path, typer.Option("--output", "-o", help=tr("The zip file to write."))],
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Write an adapter as one zip, which `add-adapter` takes."""
    output_file = given_path(output_file)
    if output_file.exists():
        raise EngineError(
            tr("{output_file} is there already.", output_file=output_file),
            tr("Give another name, or move it away."),
        )
    written = AdapterLibrary(load_settings()).write_zip_to(adapter, output_file)
    if json:
        print_json({"path": str(written), "bytes": written.stat().st_size})
        return
    typer.echo(f"{written}  {tr('{count} bytes', count=f'{written.stat().st_size:,}')}")


def delete_adapter(
    adapter: Annotated[str, adapter_argument()], yes: Annotated[bool, yes_flag()] = False
) -> None:
    """Delete an adapter that was added here. A run's adapter goes with its run."""
    library = AdapterLibrary(load_settings())
    library.refuse_others(adapter)
    output.confirm_deletion(adapter, yes)
    library.delete(adapter)
    typer.echo(tr("{name}  deleted", name=adapter))


def _print_summary(summary: AdapterSummary, json: bool) -> None:
    if json:
        print_json({**asdict(summary), "path": str(summary.path)})
        return
    typer.echo(f"{summary.name}  {summary.size}  {summary.path}")


def _document(found: AdapterDetails) -> dict[str, Any]:
    summary = found.summary
    return {
        **asdict(summary),
        "path": str(summary.path),
        "base": summary.base_model,
        **_form(found.config),
        "parameters": found.parameters,
        "base_bytes": found.base_bytes,
        "dtypes": found.dtypes,
        "data_hash": found.data_hash,
        "chat_template": found.template,
        "chat_template_hash": found.template_hash,
        "evaluation": dict(found.evaluation),
        "operation": dict(found.operation),
        "whole_tensors": found.whole_tensors,
        "checks": [asdict(check) for check in found.checks],
        "modules": [*map(asdict, found.modules), *map(asdict, found.parts)],
    }


def _form(config: AdapterConfig | OtherConfig) -> dict[str, Any]:
    """What one method's configuration says beside what all have."""
    from lora_engine.adapters.config import AdapterConfig

    if isinstance(config, AdapterConfig):
        return {
            "initialization": config.initialization,
            "use_rslora": config.use_rslora,
            "use_dora": config.use_dora,
        }
    return {"virtual_tokens": config.virtual_tokens, "bottleneck_size": config.bottleneck_size}


def _tensors(tensors: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{part} {_shape(shape)}" for part, shape in tensors.items())


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
