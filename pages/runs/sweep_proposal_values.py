"""Proposed ranks as figures, tables and links to the Train page; all text is escaped here."""

from __future__ import annotations

from html import escape

from lora_engine.advisor import ProposalLosses, RankProposal, RankProposals
from lora_engine.language import tr, translatable
from lora_engine.spec import RunSpec
from lora_engine.spectrum import module_place
from pages.runs.sweep_judgement_values import signed
from pages.runs.sweep_used_values import layers_figure
from pages.shared import layout
from pages.shared.figures import Figure
from pages.shared.live import Cell, Column, table_value
from pages.shared.train_link import copy_address_of

KINDS = {
    "uniform": translatable("One rank everywhere"),
    "threshold": translatable("Global threshold on σ"),
    "explained variance": translatable("Explained variance, as EVA"),
}
COLUMNS = (
    Column(translatable("Ranks")),
    Column(translatable("Smallest"), layout.count, numeric=True),
    Column(translatable("Largest"), layout.count, numeric=True),
    Column(translatable("Parameters"), layout.count, numeric=True),
    Column(translatable("Energy kept"), layout.share, numeric=True),
)
MEASURED_COLUMNS = (
    *COLUMNS,
    Column(translatable("Size"), layout.byte_size, numeric=True),
    Column(translatable("Held-out loss"), layout.number, numeric=True),
    Column(translatable("Minus one rank's"), signed, numeric=True),
    Column(translatable("from"), signed, numeric=True),
    Column(translatable("to"), signed, numeric=True),
    Column(translatable("Forgetting"), signed, numeric=True),
)


def figure(proposals: RankProposals, proposal: RankProposal) -> Figure:
    """The proposed ranks as a heat map: layers across, the weights of a layer down."""
    most = max(max(one.ranks.values()) for one in proposals.proposals)
    return layers_figure(
        {module_place(name): rank for name, rank in proposal.ranks.items()},
        title=tr("{kind}: proposed ranks", kind=tr(KINDS[proposal.kind])),
        most=most,
    )


def proposals_value(found: RankProposals) -> str:
    return table_value(COLUMNS, [_row(one) for one in found.proposals])


def measured_value(found: RankProposals, losses: ProposalLosses) -> str:
    """The proposals with their measured losses. Forgetting is from the base on general rows."""
    rows = []
    for proposal, loss in zip(found.proposals, losses.proposals, strict=True):
        general = loss.general_interval
        rows.append(
            (
                *_row(proposal),
                loss.bytes,
                loss.eval_loss,
                loss.interval.mean,
                loss.interval.low,
                loss.interval.high,
                None if general is None else general.mean,
            )
        )
    return table_value(MEASURED_COLUMNS, rows)


def words_html(found: RankProposals, source: str) -> str:
    """What the proposals are."""
    words = tr(
        "Each keeps at most the {parameters} parameters that rank {rank} has in every module, and "
        "goes where the spectrum of {adapter} is. Nothing is measured yet.",
        parameters=layout.count(found.budget),
        rank=found.rank,
        adapter=source,
    )
    return f'<p class="rs-verdict" role="status">{escape(words)}</p>'


def measured_html(losses: ProposalLosses, source: str) -> str:
    """What was measured, in a sentence, and what it is not."""
    best = min(losses.proposals, key=lambda one: one.eval_loss)
    words = tr(
        "On {rows} held-out rows {adapter} as it is has a loss of {loss}, the base {base}. Cut to "
        "the budget, “{kind}” loses least: {best}.",
        rows=f"{losses.rows:,}",
        adapter=source,
        loss=layout.number(losses.loss),
        base=layout.number(losses.base_loss),
        kind=tr(KINDS[best.kind]),
        best=layout.number(best.eval_loss),
    )
    note = tr("Measured is the adapter cut to these ranks. One trained with them may do better.")
    return (
        f'<p class="rs-verdict" role="status">{escape(words)}</p>'
        f'<p class="rs-run-note">{escape(note)}</p>' + layout.notes_html(losses.notes)
    )


def train_links_html(found: RankProposals, run_id: str, spec: RunSpec) -> str:
    """A button for each proposal that opens Train with the run's spec and these ranks."""
    links = []
    for proposal in found.proposals:
        method = found.method(proposal, spec.method)
        name = f"{spec.name} · {proposal.kind} at r{found.rank}"[:100]
        wanted = spec.model_copy(update={"method": method, "name": name})
        address = escape(copy_address_of(run_id, spec, wanted))
        text = escape(tr("Train with it: {kind}", kind=tr(KINDS[proposal.kind])))
        links.append(f'<a class="rs-button" href="{address}">{text}</a>')
    return f'<p class="rs-next">{" ".join(links)}</p>'


def _row(one: RankProposal) -> tuple[Cell, ...]:
    ranks = one.ranks.values()
    return tr(KINDS[one.kind]), min(ranks), max(ranks), one.parameters, one.energy
