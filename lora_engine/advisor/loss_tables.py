"""The losses of every child on the same rows: held-out ones, and general ones.

The adapters are columns over one base in memory, a few at a time. Knows nothing of what follows
from the losses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lora_engine.advisor.children import Child
from lora_engine.compare.generate import BASE_COLUMN, ComparisonModel
from lora_engine.compare.prompts import load_held_out_rows
from lora_engine.compare.scoring import general_rows_for, row_losses
from lora_engine.data import Row, TokenizedRow, tokenize_rows
from lora_engine.errors import EngineError, NotFound
from lora_engine.language import tr, translatable
from lora_engine.settings import Settings
from lora_engine.spectrum import WorkMonitor
from lora_engine.training.forward.classification_scores import ClassificationScores

MOST_ROWS = 200
COLUMNS_AT_ONCE = 8
LONGEST = 2048  # tokens of a general row

MIXED_BASES = translatable(
    "The runs quantized their base differently. All are measured on the base without quantization, "
    "so that they have one base in common."
)

LoadColumns = Callable[[Mapping[str, Path]], ComparisonModel]
"""Makes a model with these adapters as columns over the children's base."""


@dataclass(frozen=True, eq=False)
class LossTable:
    """Mean −ln p of every row under every child, in nats a token.

    columns: the children's ids. losses: (rows, columns), NaN where the child was trained on the
    row. base: (rows,), of the base alone. tokens: (rows,), supervised ones.
    """

    columns: tuple[str, ...]
    losses: np.ndarray
    base: np.ndarray
    tokens: np.ndarray
    numbers: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        return len(self.tokens)

    def of(self, ids: Sequence[str]) -> np.ndarray:
        """(rows,): the mean over those of these children that never saw the row, else NaN."""
        losses = self.losses[:, [self.columns.index(one) for one in ids]]
        unseen = ~np.isnan(losses)
        counts = unseen.sum(axis=1)
        total = np.where(unseen, losses, 0.0).sum(axis=1)
        return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)

    def mean(self, losses: np.ndarray) -> float:
        """The mean over all supervised tokens of (rows,) losses, as losses are reported; over the
        rows that have one."""
        tokens = np.where(np.isnan(losses), 0.0, self.tokens)
        return float(np.nan_to_num(losses) @ tokens / tokens.sum())


@dataclass(frozen=True)
class MeasuredTables:
    """general: None where the base has no general questions; notes say why.

    scores: of classifiers, by child, on the held-out rows that it never saw; empty for others.
    """

    held_out: LossTable
    general: LossTable | None
    notes: tuple[str, ...]
    scores: Mapping[str, ClassificationScores] = field(default_factory=dict)


def mean_scores(scores: Sequence[ClassificationScores]) -> ClassificationScores | None:
    """The mean over runs; None where there are none."""
    if not scores:
        return None
    return ClassificationScores(
        accuracy=float(np.mean([one.accuracy for one in scores])),
        f1=float(np.mean([one.f1 for one in scores])),
    )


def measure(
    children: Sequence[Child],
    load: LoadColumns,
    settings: Settings,
    monitor: WorkMonitor,
    most_rows: int = MOST_ROWS,
) -> MeasuredTables:
    """Losses on held-out rows and on general ones: at most so many of each.

    Raises EngineError where fewer than two rows were held out; Stopped.
    """
    held_out = held_out_rows(children, settings)
    length = children[0].spec.optimization.max_length
    columns = {one.id: one.adapter for one in children}
    found = measure_on(columns, held_out.rows, length, load, settings, monitor, most_rows)
    found = replace(found, held_out=held_out.without_seen(found.held_out, children))
    first = children[0].spec.quantization
    if all(one.spec.quantization == first for one in children):
        return found
    return replace(found, notes=(*found.notes, tr(MIXED_BASES)))


def measure_on(
    columns: Mapping[str, Path],
    rows: Sequence[Row],
    max_length: int,
    load: LoadColumns,
    settings: Settings,
    monitor: WorkMonitor,
    most_rows: int = MOST_ROWS,
) -> MeasuredTables:
    """Losses of these adapters on `rows`, cut to `max_length` tokens, and on the general rows."""
    first = load(dict(list(columns.items())[:1]))
    shared = first.shared
    notes, general = [], None
    tokenized = tokenize_rows(spread(rows, most_rows), first.tokenizer, max_length)
    try:
        others = spread(general_rows_for(shared.base, None, settings), most_rows)
    except EngineError as error:
        others = ()
        notes.append(tr("Forgetting is not measured. {problem}", problem=error.problem))
    end = len(tokenized) / (len(tokenized) + len(others))
    held_out = table_of(columns, tokenized, load, monitor.part(0.0, end))
    if others:
        longest = min(shared.context_length or LONGEST, LONGEST)
        tokenized = tokenize_rows(others, shared.tokenizer, longest)
        general = table_of(columns, tokenized, load, monitor.part(end, 1.0))
    return MeasuredTables(held_out, general, tuple(notes))


def spread(rows: Sequence[Row], most: int) -> Sequence[Row]:
    """At most so many rows, evenly spaced over the set."""
    if len(rows) <= most:
        return rows
    return [rows[place * len(rows) // most] for place in range(most)]


@dataclass(frozen=True)
class HeldOutRows:
    """Rows of which each setting has a child that never saw it. unseen: by seed, their numbers."""

    rows: tuple[Row, ...]
    unseen: Mapping[int, frozenset[int]]

    def without_seen(self, table: LossTable, children: Sequence[Child]) -> LossTable:
        """`table` with NaN for each child on the rows that it was trained on."""
        columns = [
            [number in self.unseen[one.spec.seed] for number in table.numbers] for one in children
        ]
        return replace(table, losses=np.where(np.array(columns).T, table.losses, np.nan))


def held_out_rows(children: Sequence[Child], settings: Settings) -> HeldOutRows:
    """The rows to judge on, in the order of the file.

    A run's seed draws its split, so what one seed held out another may have trained on. A row is
    taken where every setting has a run that never saw it; seeds that all settings have in common
    keep all of their rows. Raises NotFound where the runs held none out; EngineError where fewer
    than two rows are left.
    """
    by_seed = {one.spec.seed: one for one in children}
    try:
        sets = {seed: load_held_out_rows(one.adapter, settings) for seed, one in by_seed.items()}
    except NotFound as error:
        raise NotFound(
            tr("There are no rows to judge on. {problem}", problem=error.problem),
            tr("Keep some apart for evaluation (dataset.eval_fraction) and train again."),
        ) from error
    unseen = {seed: frozenset(row.number for row in rows) for seed, rows in sets.items()}
    seeds_of: dict[str, set[int]] = {}
    for one in children:
        seeds_of.setdefault(one.setting, set()).add(one.spec.seed)
    every = {row.number: row for rows in sets.values() for row in rows}
    rows = tuple(
        every[number]
        for number in sorted(every)
        if all(any(number in unseen[seed] for seed in seeds) for seeds in seeds_of.values())
    )
    if len(rows) < 2:
        seeds = ", ".join(map(str, sorted(by_seed)))
        raise EngineError(
            tr(
                "{count} rows were held out by a run of every setting (seeds {seeds}).",
                count=len(rows),
                seeds=seeds,
            ),
            tr(
                "Each seed draws its own held-out rows. Keep a larger share apart, or give "
                "every setting the same seeds."
            ),
        )
    return HeldOutRows(rows, unseen)


def table_of(
    columns: Mapping[str, Path],
    rows: Sequence[TokenizedRow],
    load: LoadColumns,
    monitor: WorkMonitor,
) -> LossTable:
    """The losses of these adapters on these rows.

    Raises as `row_losses`; EngineError where a loss is no finite number; Stopped.
    """
    names = tuple(columns)
    parts = range(0, len(names), COLUMNS_AT_ONCE)
    losses, base, tokens, numbers = [], [], [], []
    for number, start in enumerate(parts):
        together = names[start : start + COLUMNS_AT_ONCE]
        model = load({name: columns[name] for name in together})
        part = monitor.part(number / len(parts), (number + 1) / len(parts))
        found = []
        for place, row in enumerate(row_losses(model, rows, part.stop), 1):
            found.append(row)
            at = {"number": f"{place:,}", "rows": f"{len(rows):,}"}
            part.step(place / len(rows), tr("loss of row {number} of {rows}", **at))
        part.stop.raise_if_set(tr("measuring losses"))
        losses.append([[row.loss[name] for name in together] for row in found])
        base = [row.loss[BASE_COLUMN] for row in found]
        tokens = [row.tokens for row in found]
        numbers = [row.number for row in found]
    found_losses = np.concatenate([np.array(part) for part in losses], axis=1)
    refuse_astray(names, found_losses)
    return LossTable(
        columns=names,
        losses=found_losses,
        base=np.array(base),
        tokens=np.array(tokens, dtype=float),
        numbers=tuple(numbers),
    )


def refuse_astray(names: Sequence[str], losses: np.ndarray) -> None:
    """Raises EngineError where a column of `losses`, (rows, columns), is not finite."""
    broken = [n for n, fine in zip(names, np.isfinite(losses).all(axis=0), strict=True) if not fine]
    if broken:
        raise EngineError(
            tr(
                "The losses of {broken} are not finite: training went astray.",
                broken=", ".join(broken),
            ),
            tr("Leave these runs out."),
        )
