"""What the combine tab shows, as values of its parts: collisions, what was written, its effects.

Knows the engine's reports; knows no component.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from lora_engine.adapter_operations import (
    CombinedModule,
    CombineReport,
    LossesBeside,
    ModuleInterference,
    PredictedInterference,
    SourceInterference,
    WeightedAdapter,
)
from lora_engine.compare.scoring import PairedDifference
from lora_engine.language import tr, translatable
from pages import COMPARE
from pages.adapters.writing import next_steps_html
from pages.shared import layout
from pages.shared.collisions import TOGETHER_THEY, collisions_in_words
from pages.shared.live import Cell, Column, table_value

MET_COLUMNS = (
    Column(translatable("module")),
    Column(translatable("first")),
    Column(translatable("second")),
    Column(translatable("together they")),
    Column(translatable("first in second"), layout.share, numeric=True),
    Column(translatable("second in first"), layout.share, numeric=True),
    Column(translatable("if unrelated"), layout.share, numeric=True),
    Column(translatable("opposite signs"), layout.share, numeric=True),
    Column(translatable("cancels"), layout.share, numeric=True),
    Column(translatable("cosine"), layout.number, numeric=True),
)
MODULE_COLUMNS = (
    Column(translatable("module")),
    Column(translatable("sources")),
    Column(translatable("rank"), layout.count, numeric=True),
    Column(translatable("energy kept"), layout.share, numeric=True),
    Column(translatable("error"), layout.number, numeric=True),
    Column(translatable("from the sum"), layout.number, numeric=True),
)
EFFECT_COLUMNS = (
    Column(translatable("adapter")),
    Column(translatable("weight"), "{:g}".format, numeric=True),
    Column(translatable("overlap"), layout.share, numeric=True),
    Column(translatable("opposite signs"), layout.share, numeric=True),
    Column(translatable("its loss changes by"), layout.number, numeric=True),
    Column(translatable("95 % from"), layout.number, numeric=True),
    Column(translatable("95 % to"), layout.number, numeric=True),
    Column(translatable("in a word")),
    Column(translatable("alone"), layout.number, numeric=True),
    Column(translatable("combined"), layout.number, numeric=True),
    Column(translatable("general loss changes by"), layout.number, numeric=True),
    Column(translatable("general, in a word")),
)
EFFECTS_IN_WORDS = translatable(
    "Predicted, and measured: overlap is the share of the adapter's energy in the others' "
    "directions. Its loss is that on its own held-out rows, combined against this adapter alone "
    "as it was trained, in nats a token; below 0 the combination is better."
)


def collisions_html(met: PredictedInterference, what: str) -> str:
    """Whether the adapters will collide, in a sentence and in numbers. what: was asked about."""
    verdicts = Counter(one.verdict for one in met.modules)
    meetings = tr("{count} meetings of two adapters in a module", count=f"{len(met.modules):,}")
    sentence = (
        collisions_in_words(verdicts, meetings)
        if met.modules
        else tr("They change different modules, so nothing can collide.")
    )
    tiles = layout.tiles_html(
        [
            (
                tr("Overlap"),
                layout.share(met.overlap),
                tr("of one's energy in the other's directions"),
            ),
            (
                tr("Opposite signs"),
                layout.share(met.sign_conflict),
                tr("of the entries; 50 % by chance"),
            ),
            (tr("Cancels"), layout.share(met.cancelled), tr("of the entries' sizes, added")),
            (tr("Changed by one alone"), layout.count(met.alone), tr("modules")),
        ]
    )
    said = tr("{what}: {sentence}", what=what, sentence=sentence)
    words = f'<p class="rs-adapter-words">{escape(said)}</p>'
    return words + (tiles if met.modules else "")


def meetings_value(met: PredictedInterference, called: Sequence[str]) -> str:
    """The table of every two adapters that meet in a module; none where none do.

    called: what the page calls the adapters, in the order in which they were given.
    """
    names = dict(zip((one.name for one in met.sources), called, strict=True))
    rows = [_meeting(one, names) for one in met.modules]
    return table_value(MET_COLUMNS, rows) if rows else ""


def _meeting(one: ModuleInterference, names: Mapping[str, str]) -> tuple[Cell, ...]:
    return (
        one.name,
        names[one.first],
        names[one.second],
        tr(TOGETHER_THEY[one.verdict]),
        one.overlap_first,
        one.overlap_second,
        one.random_level,
        one.sign_conflict,
        one.cancelled,
        one.cosine,
    )


def summary_html(done: CombineReport) -> str:
    """Size, rank and errors, as tiles."""
    tiles = [
        (tr("Size"), layout.byte_size(done.bytes), str(done.path)),
        (tr("Rank"), f"{done.rank:,}", tr("the largest of a module")),
        (tr("Energy kept"), layout.share(done.energy), tr("of Σσ² over all modules")),
        (tr("Error"), layout.number(done.error), tr("‖ΔW − ΔW_k‖, by reducing and rounding")),
    ]
    if done.method != "exact":
        distance = layout.number(done.distance_from_sum)
        tiles.append(
            (tr("From the weighted sum"), distance, tr("what {method} changed", method=done.method))
        )
    return layout.tiles_html(tiles) + layout.notes_html(done.notes)


def modules_value(done: CombineReport) -> str:
    """The written modules as a table."""
    return table_value(MODULE_COLUMNS, [_module(one) for one in done.modules])


def _module(one: CombinedModule) -> tuple[Cell, ...]:
    sources = ", ".join(one.sources)
    return one.name, sources, one.rank, one.energy, one.error, one.distance_from_sum


def effects_words() -> str:
    """What the table of `effects_value` says."""
    return f'<p class="rs-adapter-words">{escape(tr(EFFECTS_IN_WORDS))}</p>'


def effects_value(
    sources: Sequence[WeightedAdapter],
    combined: str,
    met: PredictedInterference,
    found: LossesBeside,
    called: Mapping[str, str],
) -> str:
    """Of each source what was predicted, and how its losses changed from it alone to the result.

    combined: the result's column in `found`.
    """
    measured = {one.rows_of: one for one in found.measured}
    rows = []
    for source, predicted in zip(sources, met.sources, strict=True):
        key = str(source.path)
        own, general = (
            measured[rows].against(combined, key) if rows in measured else None
            for rows in (key, None)
        )
        rows.append((called[key], source.weight, *_effect(predicted, own, general)))
    return table_value(EFFECT_COLUMNS, rows)


def _effect(
    predicted: SourceInterference, own: PairedDifference | None, general: PairedDifference | None
) -> tuple[Cell, ...]:
    of_own = (
        (own.difference, own.low, own.high, tr(own.verdict), own.base_loss, own.loss)
        if own
        else (None, None, None, tr("its held-out rows are not known"), None, None)
    )
    of_general = (general.difference, tr(general.verdict)) if general else (None, None)
    return (predicted.overlap, predicted.sign_conflict, *of_own, *of_general)


def trial_html(done: CombineReport, words: str, columns: Sequence[str]) -> str:
    """What the trial is, and the way to Compare. columns: of Compare, the trial last."""
    shown = tr(
        "{what}: a trial of rank {rank}, kept until a few newer ones are there.",
        what=words, rank=f"{done.rank:,}",
    )  # fmt: skip
    return f'<p class="rs-adapter-words">{escape(shown)}</p>' + next_steps_html(
        [(COMPARE, tr("Hear it in Compare"), {"adapter": ",".join(columns)})]
    )
