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
from pages import COMPARE
from pages.adapters.writing import next_steps_html
from pages.shared import layout
from pages.shared.collisions import TOGETHER_THEY, collisions_in_words
from pages.shared.live import Cell, Column, table_value

MET_COLUMNS = (
    Column("module"),
    Column("first"),
    Column("second"),
    Column("together they"),
    Column("first in second", layout.share, numeric=True),
    Column("second in first", layout.share, numeric=True),
    Column("if unrelated", layout.share, numeric=True),
    Column("opposite signs", layout.share, numeric=True),
    Column("cancels", layout.share, numeric=True),
    Column("cosine", layout.number, numeric=True),
)
MODULE_COLUMNS = (
    Column("module"),
    Column("of"),
    Column("rank", layout.count, numeric=True),
    Column("energy kept", layout.share, numeric=True),
    Column("error", layout.number, numeric=True),
    Column("from the sum", layout.number, numeric=True),
)
EFFECT_COLUMNS = (
    Column("adapter"),
    Column("weight", "{:g}".format, numeric=True),
    Column("overlap", layout.share, numeric=True),
    Column("opposite signs", layout.share, numeric=True),
    Column("its loss changes by", layout.number, numeric=True),
    Column("95 % from", layout.number, numeric=True),
    Column("to", layout.number, numeric=True),
    Column("in a word"),
    Column("alone", layout.number, numeric=True),
    Column("combined", layout.number, numeric=True),
    Column("general loss changes by", layout.number, numeric=True),
    Column("general, in a word"),
)
EFFECTS_IN_WORDS = (
    "Predicted, and measured: overlap is the share of the adapter's energy in the others' "
    "directions. Its loss is that on its own held-out rows, combined against this adapter alone "
    "as it was trained, in nats a token; below 0 the combination is better."
)


def collisions_html(met: PredictedInterference, what: str) -> str:
    """Whether the adapters will collide, in a sentence and in numbers. what: was asked about."""
    verdicts = Counter(one.verdict for one in met.modules)
    meetings = f"{len(met.modules):,} meetings of two adapters in a module"
    sentence = (
        collisions_in_words(verdicts, meetings)
        if met.modules
        else "They change different modules, so nothing can collide."
    )
    tiles = layout.tiles_html(
        [
            ("Overlap", layout.share(met.overlap), "of one's energy in the other's directions"),
            ("Opposite signs", layout.share(met.sign_conflict), "of the entries; 50 % by chance"),
            ("Cancels", layout.share(met.cancelled), "of the entries' sizes, added"),
            ("Changed by one alone", layout.count(met.alone), "modules"),
        ]
    )
    words = f'<p class="rs-adapter-words">{escape(what)}: {escape(sentence)}</p>'
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
        TOGETHER_THEY[one.verdict],
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
        ("Size", layout.byte_size(done.bytes), str(done.path)),
        ("Rank", f"{done.rank:,}", "the largest of a module"),
        ("Energy kept", layout.share(done.energy), "of Σσ² over all modules"),
        ("Error", layout.number(done.error), "‖ΔW − ΔW_k‖, by reducing and rounding"),
    ]
    if done.method != "exact":
        distance = layout.number(done.distance_from_sum)
        tiles.append(("From the weighted sum", distance, f"what {done.method} changed"))
    return layout.tiles_html(tiles) + layout.notes_html(done.notes)


def modules_value(done: CombineReport) -> str:
    """The written modules as a table."""
    return table_value(MODULE_COLUMNS, [_module(one) for one in done.modules])


def _module(one: CombinedModule) -> tuple[Cell, ...]:
    sources = ", ".join(one.sources)
    return one.name, sources, one.rank, one.energy, one.error, one.distance_from_sum


def effects_words() -> str:
    """What the table of `effects_value` says."""
    return f'<p class="rs-adapter-words">{escape(EFFECTS_IN_WORDS)}</p>'


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
        (own.difference, own.low, own.high, own.verdict, own.base_loss, own.loss)
        if own
        else (None, None, None, "its held-out rows are not known", None, None)
    )
    of_general = (general.difference, general.verdict) if general else (None, None)
    return (predicted.overlap, predicted.sign_conflict, *of_own, *of_general)


def trial_html(done: CombineReport, words: str, columns: Sequence[str]) -> str:
    """What the trial is, and the way to Compare. columns: of Compare, the trial last."""
    shown = f"{words}: a trial of rank {done.rank:,}, kept until a few newer ones are there."
    return f'<p class="rs-adapter-words">{escape(shown)}</p>' + next_steps_html(
        [(COMPARE, "Hear it in Compare", {"adapter": ",".join(columns)})]
    )
