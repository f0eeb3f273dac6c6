"""What the calculator page shows of a count: numbers at every rank, the layers, and two tables."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from lora_engine import calculator
from lora_engine.language import tr, tr_count
from pages.calculator.components import layer_map, layer_map_value
from pages.calculator.form import MOST_RANKS, Selection
from pages.shared import layout, live
from pages.shared.wiring import Update


class CountPart:
    """The numbers, the map of layers, and warnings; the table by kind of module is laid out by
    `details`, among the other tables."""

    kinds: gr.HTML

    def __init__(self) -> None:
        self.tiles = live.rank_tiles("", elem_id="model-tiles")
        self.layers = layer_map(elem_id="layers")
        self.warnings = gr.HTML(js_on_load="")

    def details(self) -> None:
        self.kinds = live.live_table(label=tr("Adapted modules"), file_name="parameters.csv")

    @property
    def outputs(self) -> list[gr.HTML]:
        return [self.tiles, self.layers, self.kinds, self.warnings]

    def update(self, selection: Selection, counted: calculator.ModelCount) -> Update:
        nothing = tr("Nothing is trained.")
        return {
            self.tiles: _tiles_by_rank(selection, counted),
            self.layers: layer_map_value(counted.layer_matrix()),
            self.kinds: live.table_value(_kind_columns(), _rows(counted), empty=nothing),
            self.warnings: layout.notes_html(counted.warnings),
        }


def _tiles_by_rank(selection: Selection, counted: calculator.ModelCount) -> str:
    """The tiles at the rank and at all of the range, which moves without the server."""
    size = layout.short_count(counted.base_parameters)
    base = (tr("base model"), size, tr("parameters, frozen"))
    trained, share, file = tr("trained"), tr("share"), tr("adapter file")
    numbers, of_base, kept_as = tr("parameters"), tr("trained of base"), tr("in float32")
    ranks = [*range(1, MOST_RANKS + 1), selection.method.rank]
    *frames, chosen = [
        (
            base,
            (trained, layout.count(at.trainable_parameters), numbers),
            (share, layout.share(at.trainable_fraction), of_base),
            (file, layout.byte_size(at.adapter_bytes), kept_as),
        )
        for at in calculator.counts_at_ranks(selection.source, selection.method, ranks)
    ]
    return live.rank_tiles_value(chosen, [[value for _, value, _ in tiles] for tiles in frames])


def _kind_columns() -> Sequence[live.Column]:
    return (
        live.Column(tr("module")),
        live.Column(tr("out × in")),
        live.Column(tr("rank"), layout.count, numeric=True),
        live.Column(tr("layers"), layout.count, numeric=True),
        live.Column(tr("parameters each"), layout.count, numeric=True),
        live.Column(tr("parameters"), layout.count, numeric=True),
    )


def _rows(counted: calculator.ModelCount) -> list[tuple]:
    rows: list[tuple] = [
        (
            kind.kind,
            f"{kind.out_features:,} × {kind.in_features:,}",
            kind.rank,
            kind.layers,
            kind.parameters_each,
            kind.parameters,
        )
        for kind in counted.kinds()
    ]
    whole = [(module.name, module.parameters) for module in counted.saved_modules]
    if counted.biases:
        biases = tr_count(
            "{count} bias of the base", "{count} biases of the base", len(counted.biases)
        )
        whole.append((biases, counted.bias_parameters))
    return rows + [(name, tr("trained whole"), None, None, None, size) for name, size in whole]


def methods_table(methods: tuple[calculator.MethodCount, ...]) -> str:
    """The value of a table of `compare_methods`."""
    columns = (
        live.Column(tr("method")),
        live.Column(tr("trained"), layout.count, numeric=True),
        live.Column(tr("share"), layout.share, numeric=True),
        live.Column(tr("optimizer state, GiB"), layout.number, numeric=True),
        live.Column(tr("later answers")),
        live.Column(tr("formula")),
        live.Column(tr("counted by")),
        live.Column(tr("note")),
    )
    rows = [
        (
            tr(m.method),
            m.trainable_parameters,
            m.trainable_fraction,
            m.optimizer_state_gib,
            tr(m.latency),
            tr(m.formula),
            tr(m.counted_by),
            m.note,
        )
        for m in methods
    ]
    return live.table_value(columns, rows)
