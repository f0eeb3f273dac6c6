"""What a sweep's runs used and share, as figures, tables and words; all text is escaped here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from lora_engine.advisor import ModuleUse, RunUse, SharedDirections, UsedRank
from lora_engine.language import tr, translatable
from pages import RUNS
from pages.runs.sweep_judgement_values import plain
from pages.shared import figures, layout
from pages.shared.figures import ACCENT, ACCENT_SOFT, MUTED, SERIES, TEXT, Figure
from pages.shared.live import Cell, Column, table_value

EFFECTIVE_RANK = translatable("effective rank")  # k90 and the like are called so everywhere
USES: Mapping[str, tuple[str, Callable[[ModuleUse], float]]] = {
    EFFECTIVE_RANK: (translatable("Effective rank"), lambda one: one.effective_rank),
    "k90": (translatable("Directions with 90 % of the energy"), lambda one: one.k90),
    "k95": (translatable("Directions with 95 % of the energy"), lambda one: one.k95),
    "k99": (translatable("Directions with 99 % of the energy"), lambda one: one.k99),
}
"""What a heat map can show of a module: its title and its number, by what it is called."""

RUN_COLUMNS = (
    Column(translatable("Run")),
    Column(translatable("Rank"), layout.count, numeric=True),
    Column(translatable("Seed"), layout.count, numeric=True),
    Column(translatable("Effective rank"), layout.number, numeric=True),
    Column("k90", plain, numeric=True),
    Column("k95", plain, numeric=True),
    Column("k99", plain, numeric=True),
)
MODULE_COLUMNS = (
    Column(translatable("Run")),
    Column(translatable("Module")),
    Column(translatable("Layer"), layout.count, numeric=True),
    Column(translatable("Rank"), layout.count, numeric=True),
    Column(translatable("Effective rank"), layout.number, numeric=True),
    Column("k90", layout.count, numeric=True),
    Column("k95", layout.count, numeric=True),
    Column("k99", layout.count, numeric=True),
    Column(translatable("Energy in 10"), layout.share, numeric=True),
    Column(translatable("Energy in 20"), layout.share, numeric=True),
)
DIFFER_IN = {"rank": translatable("rank"), "seed": translatable("seed")}
SHOWN_K = (1, 2, 4, 8, 16, 32, 64)
COLOURS = SERIES[:5]

Names = Mapping[str, str]
"""What the runs are called, by id."""


def words_html(used: UsedRank) -> str:
    """The claim on these updates, and what the numbers are."""
    medians = tr(
        "The table has the medians over a run's modules; k90 is how many directions hold 90 % of "
        "the energy Σσ² of a module's update."
    )
    return (
        f'<p class="rs-verdict" role="status">{escape(used.claim.sentence())}</p>'
        f'<p class="rs-run-note">{escape(medians)}</p>'
    )


def runs_value(used: UsedRank, names: Names) -> str:
    rows: list[tuple[Cell, ...]] = [
        (
            names.get(one.run, one.run),
            one.rank,
            one.seed,
            one.effective_rank,
            one.k90,
            one.k95,
            one.k99,
        )
        for one in used.runs
    ]
    links = [layout.link(RUNS, run=one.run) for one in used.runs]
    return table_value(RUN_COLUMNS, rows, links=links)


def modules_value(used: UsedRank, names: Names) -> str:
    rows: list[tuple[Cell, ...]] = [
        (
            names.get(run.run, run.run),
            one.name,
            one.layer,
            one.rank,
            one.effective_rank,
            one.k90,
            one.k95,
            one.k99,
            one.energy_of_10,
            one.energy_of_20,
        )
        for run in used.runs
        for one in run.modules
    ]
    return table_value(MODULE_COLUMNS, rows)


def pairs_value(used: UsedRank, names: Names) -> str:
    """φ(k, k) of each pair of runs, with its random level in the column beside."""
    ks = [k for k in SHOWN_K if any(pair.mean_phi(k) for pair in used.pairs)]
    columns = [Column(translatable("Runs")), Column(translatable("They differ in"))]
    for k in ks:
        columns += [
            Column(f"φ({k})", layout.number, numeric=True),
            Column(tr("random {k}", k=k), layout.number, numeric=True),
        ]
    rows = []
    for pair in used.pairs:
        row: list[Cell] = [_pair_name(pair, names), tr(DIFFER_IN[pair.differ_in])]
        for k in ks:
            row += pair.mean_phi(k) or (None, None)
        rows.append(row)
    return table_value(columns, rows, empty=tr("There is one run: nothing to compare it with."))


def pairs_figure(used: UsedRank) -> Figure:
    """φ(k, k) over k of each pair, means over the modules, and the level of random directions."""
    data, runs = [], {run.run: run for run in used.runs}
    longest: list[tuple[int, float]] = []
    for number, pair in enumerate(used.pairs):
        found = list(_phi_by_k(pair))
        levels = [(k, level) for k, _, level in found]
        longest = max(longest, levels, key=len)
        drawn = figures.line(
            _pair_in_short(pair, runs), [k for k, *_ in found], [phi for _, phi, _ in found],
            COLOURS[number % len(COLOURS)], width=2,
        )  # fmt: skip
        dash = "dot" if pair.differ_in == "seed" else "solid"
        data.append({**drawn, "line": {**drawn["line"], "dash": dash}, "mode": "lines+markers"})
    level = figures.line(
        tr("random directions"),
        [k for k, _ in longest],
        [one for _, one in longest],
        MUTED,
        width=1.5,
    )
    data.append({**level, "line": {**level["line"], "dash": "dash"}})
    said = "; ".join(
        tr(
            "{pair}: {phi} at k = 1, random {level}",
            pair=_pair_in_short(pair, runs),
            phi=f"{first[0]:.2f}",
            level=f"{first[1]:.2f}",
        )
        for pair in used.pairs
        if (first := pair.mean_phi(1)) is not None
    )
    return {
        "data": data,
        "layout": figures.layout(
            description=tr("Shared directions φ(k, k) of pairs of runs. {said}.", said=said),
            hovermode="closest",
            title=figures.small_title(tr("φ(k, k) over k: what two runs share")),
            margin={"t": 34},
            yaxis={"range": [0, 1.02]},
            legend={"orientation": "h", "x": 0, "y": -0.1, "yanchor": "top"},
        ),
    }


def heat_map(run: RunUse, name: str, use: str) -> Figure:
    """One number of each module of a run: layers across, the weights of a layer down."""
    title, of = USES[use]
    return layers_figure(
        {(one.layer, one.part): of(one) for one in run.modules},
        title=tr("{measure} of {run}", measure=tr(title), run=name),
        most=run.rank,
    )


def layers_figure(
    numbers: Mapping[tuple[int | None, str], float], *, title: str, most: float
) -> Figure:
    """A number of each module as a heat map: layers across, the weights of a layer down.

    numbers: by layer (None outside of the layers) and weight. most: the end of the colours.
    """
    parts = list(dict.fromkeys(part for _, part in numbers))
    layers = sorted(
        {layer for layer, _ in numbers}, key=lambda one: (one is None, one if one else 0)
    )
    rows = [[numbers.get((layer, part)) for layer in layers] for part in parts]
    found = list(numbers.values())
    data = [
        {
            "type": "heatmap",
            "x": [tr("other") if layer is None else str(layer) for layer in layers],
            "y": parts,
            "z": rows,
            "zmin": 0,
            "zmax": most,
            "xgap": 1,
            "ygap": 1,
            "text": [["" if one is None else f"{one:.3g}" for one in row] for row in rows],
            "texttemplate": "%{text}" if len(layers) <= 16 else "",
            "textfont": {"color": TEXT},
            "opacity": 0.6,  # so that the text stands out from the strongest colour too
            "colorscale": [[0, ACCENT_SOFT], [1, ACCENT]],
            "hovertemplate": tr("layer") + " %{x}, %{y}: %{z:.3g}<extra></extra>",
            "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": {"color": MUTED}},
        }
    ]
    return {
        "data": data,
        "layout": figures.layout(
            description=tr(
                "{title}: from {least} to {most} over {count} modules.",
                title=title,
                least=f"{min(found):.3g}",
                most=f"{max(found):.3g}",
                count=len(found),
            ),
            x_title=tr("layer"),
            hovermode="closest",
            title=figures.small_title(title),
            margin={"t": 34},
            xaxis={"type": "category"},
            yaxis={"autorange": "reversed"},
        ),
    }


def _phi_by_k(pair: SharedDirections) -> Sequence[tuple[int, float, float]]:
    """k, φ(k, k) and its random level, for every k that a module has."""
    largest = max((min(one.phi.shape) for one in pair.modules), default=0)
    means = ((k, pair.mean_phi(k)) for k in range(1, largest + 1))
    return [(k, *found) for k, found in means if found is not None]


def _pair_name(pair: SharedDirections, names: Names) -> str:
    first, second = (names.get(run, run) for run in (pair.first, pair.second))
    return tr("{first} and {second}", first=first, second=second)


def _pair_in_short(pair: SharedDirections, runs: Mapping[str, RunUse]) -> str:
    first, second = runs[pair.first], runs[pair.second]
    if pair.differ_in == "seed":
        return tr(
            "rank {rank}, seeds {first} and {second}",
            rank=first.rank,
            first=first.seed,
            second=second.seed,
        )
    return tr("ranks {first} and {second}", first=first.rank, second=second.rank)
