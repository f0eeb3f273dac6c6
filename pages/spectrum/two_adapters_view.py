"""What is shown of two adapters: the verdict in words, the table of modules, and the way on."""

from __future__ import annotations

from collections import Counter
from html import escape

from lora_engine.language import tr, tr_count
from lora_engine.spectrum import ModuleSimilarity, Similarity
from pages import ADAPTERS, TRAIN
from pages.shared import layout
from pages.shared.collisions import TOGETHER_THEY, collisions_in_words
from pages.shared.live import Column, table_value


def modules_table(found: Similarity) -> str:
    """The value of the table of all modules."""
    return table_value(_columns(), [_row(item) for item in found.modules])


def _columns() -> tuple[Column, ...]:
    return (
        Column(tr("Module")),
        Column(tr("Together they")),
        Column(tr("Cosine"), layout.number, numeric=True),
        Column(tr("Distance"), layout.number, numeric=True),
        Column(tr("Norm of A"), layout.number, numeric=True),
        Column(tr("Norm of B"), layout.number, numeric=True),
        Column("φ(1, 1)", layout.number, numeric=True),
        Column("φ(r, r)", layout.number, numeric=True),
        Column(tr("A inside B"), layout.share, numeric=True),
        Column(tr("B inside A"), layout.share, numeric=True),
    )


def _row(item: ModuleSimilarity) -> tuple:
    shared, phi = item.interference, item.phi
    return (
        item.name,
        tr(TOGETHER_THEY[shared.verdict]) if shared else tr("are zero"),
        item.cosine,
        item.distance,
        item.norm_a,
        item.norm_b,
        float(phi[0, 0]) if phi.size else None,
        float(phi[-1, -1]) if phi.size else None,
        shared.overlap_a if shared else None,
        shared.overlap_b if shared else None,
    )


def most_alike(found: Similarity) -> str:
    """The module with the largest overlap: the one drawn first."""

    def overlap(item: ModuleSimilarity) -> float:
        return item.interference.overlap_a if item.interference else -1.0

    return max(found.modules, key=overlap).name


def summary_html(found: Similarity) -> str:
    """How many modules do what, if both adapters are added; and what is in one only."""
    verdicts = Counter(item.interference.verdict for item in found.modules if item.interference)
    modules = tr_count("{count} module", "{count} modules", len(found.modules))
    sentence = collisions_in_words(verdicts, modules)
    notes = list(found.notes)
    for which, names in (("A", found.only_in_a), ("B", found.only_in_b)):
        if names:
            notes.append(
                tr_count(
                    "Only {which} adapts {count} module, such as {name}.",
                    "Only {which} adapts {count} modules, such as {name}.",
                    len(names),
                    which=which,
                    name=names[0],
                )
            )
    help_text = tr(
        "\"A inside B\" is the share of A's energy that lies in B's directions, "
        "‖U_Bᵀ ΔA V_B‖² / ‖ΔA‖². φ(i, j) is 1 where the first i directions of one lie within the "
        "first j of the other, and about max(i, j)/n for random directions."
    )
    lead = f'<p class="rs-lead">{escape(sentence)}</p>'
    return f'{lead}<p class="rs-doing">{escape(help_text)}</p>{layout.notes_html(notes)}'


def combine_html(first: str, second: str) -> str:
    """The way to the sum of two adapters."""
    href = layout.link(ADAPTERS, adapter=first, tab="combine", **{"with": second})
    link = f'<a class="rs-button rs-small" href="{escape(href)}">{escape(tr("Combine them"))}</a>'
    return f'<p class="rs-next">{link}</p>'


def too_few_html() -> str:
    """What stands there while fewer than two adapters are known."""
    return layout.empty_state_html(
        tr("Two adapters are needed"),
        tr("Train a second one, or give the folders of two PEFT adapters above."),
        tr("Train one"),
        layout.link(TRAIN),
    )
