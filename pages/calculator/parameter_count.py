"""What the calculator page shows of a count: numbers at every rank, the layers, and two tables."""

from __future__ import annotations

import gradio as gr

from lora_engine import calculator
from pages.calculator.components import layer_map, layer_map_value
from pages.calculator.form import MOST_RANKS, Selection
from pages.shared import layout, live
from pages.shared.wiring import Update

COUNT_NAMES = ("base model", "trained", "share", "adapter file")
KIND_COLUMNS = (
    live.Column("module"),
    live.Column("out × in"),
    live.Column("rank", layout.count, numeric=True),
    live.Column("layers", layout.count, numeric=True),
    live.Column("parameters each", layout.count, numeric=True),
    live.Column("parameters", layout.count, numeric=True),
)
METHOD_COLUMNS = (
    live.Column("method"),
    live.Column("trained", layout.count, numeric=True),
    live.Column("share", layout.share, numeric=True),
    live.Column("optimizer state, GiB", layout.number, numeric=True),
    live.Column("later answers"),
    live.Column("formula"),
    live.Column("counted by"),
    live.Column("note"),
)


class CountPart:
    """The numbers, the map of layers, the table by module kind, and warnings."""

    def __init__(self) -> None:
        waiting = [(name, "…", "counting; longer the first time") for name in COUNT_NAMES]
        self.tiles = live.rank_tiles(live.rank_tiles_value(waiting), elem_id="model-tiles")
        self.layers = layer_map(elem_id="layers")
        self.kinds = live.live_table(label="Adapted modules by kind", file_name="parameters.csv")
        self.warnings = gr.HTML(js_on_load="")
        self.outputs = [self.tiles, self.layers, self.kinds, self.warnings]

    def update(self, selection: Selection, counted: calculator.ModelCount) -> Update:
        rows = _rows(counted)
        return {
            self.tiles: _tiles_by_rank(selection, counted),
            self.layers: layer_map_value(counted.layer_matrix()),
            self.kinds: live.table_value(KIND_COLUMNS, rows, empty="Nothing is trained."),
            self.warnings: layout.notes_html(counted.warnings),
        }


def _tiles_by_rank(selection: Selection, counted: calculator.ModelCount) -> str:
    """The tiles at the rank and at all of the range, which moves without the server."""
    base = ("base model", layout.short_count(counted.base_parameters), "parameters, frozen")
    ranks = [*range(1, MOST_RANKS + 1), selection.method.rank]
    *frames, chosen = [
        (
            base,
            ("trained", layout.count(at.trainable_parameters), "parameters"),
            ("share", layout.share(at.trainable_fraction), "trained of base"),
            ("adapter file", layout.byte_size(at.adapter_bytes), "in float32"),
        )
        for at in calculator.counts_at_ranks(selection.source, selection.method, ranks)
    ]
    return live.rank_tiles_value(chosen, frames)


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
        whole.append((f"{len(counted.biases):,} biases of the base", counted.bias_parameters))
    return rows + [(name, "trained whole", None, None, None, size) for name, size in whole]


def methods_table(methods: tuple[calculator.MethodCount, ...]) -> str:
    """The value of a table of `compare_methods`."""
    rows = [
        (
            m.method,
            m.trainable_parameters,
            m.trainable_fraction,
            m.optimizer_state_gib,
            m.latency,
            m.formula,
            m.counted_by,
            m.note,
        )
        for m in methods
    ]
    return live.table_value(METHOD_COLUMNS, rows)
