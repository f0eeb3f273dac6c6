"""An export in words and numbers, as HTML and tables; everything is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lora_engine.export import (
    ExportReport,
    Fidelity,
    HubTarget,
    LoadRule,
    Pushed,
    ServeCommand,
)
from pages import COMPARE
from pages.adapters.take_away_work import ExportChoice
from pages.shared import layout
from pages.shared.live import Column, table_value

RULES = (
    Column("program"),
    Column("loads"),
    Column("why"),
    Column("read in"),
    Column("on"),
)
SAME_KL = 1e-6  # nats; what float32 arithmetic in another order makes of one and the same update


def rules_value(rules: Sequence[LoadRule]) -> str:
    """The table of programs, one row each."""
    rows = [
        (one.program, "✓ yes" if one.loads else "✗ no", one.reason, one.source, one.date)
        for one in rules
    ]
    return table_value(RULES, rows)


def push_question_html(choice: ExportChoice, target: HubTarget) -> str:
    """What a push will do, in a sentence or two."""
    seen_by = "only you and your organization" if target.private else "everybody"
    return layout.notes_html(
        [
            f"Send the form {choice.form} to {target.id or 'no repository'} on the hub, where "
            f"{seen_by} will see it? It is written to exports/{choice.name} first; what is there "
            "now is replaced."
        ]
    )


def written_html(done: ExportReport) -> str:
    """Where it is, on this machine and on the hub."""
    return (
        f'<p class="rs-adapter-words" role="status">Written as <strong>{escape(done.form)}'
        f"</strong> to <code>{escape(str(done.path))}</code>.{_pushed_html(done.pushed)}</p>"
    )


def _pushed_html(pushed: Pushed | None) -> str:
    if pushed is None:
        return ""
    seen_by = "private" if pushed.private else "public"
    return (
        f" Pushed {layout.count(pushed.files)} files, {layout.byte_size(pushed.bytes)}, as "
        f"revision <code>{escape(pushed.revision)}</code> of the {seen_by} repository "
        f'<a href="{escape(pushed.url)}" target="_blank" rel="noopener">{escape(pushed.id)}</a>'
    )


def fidelity_html(done: ExportReport) -> str:
    """What the export kept, as it is and on requantized bases; nothing without a measurement."""
    if done.fidelity is None:
        return ""
    parts = [f"{_kept(done.fidelity)} {_measured_on(done.fidelity)}</p>"]
    for found in done.requantized:
        title = f"On its base requantized to {found.quantization} ({found.bits} bits)"
        parts.append(f"<h3>{escape(title)}</h3>{_kept(found)}</p>")
    return "".join(parts)


def _kept(found: Fidelity) -> str:
    """Tiles, and a paragraph that begins with the verdict."""
    answers = "–" if found.agreement is None else layout.share(found.agreement)
    of = f"of {found.answers} greedy answers" if found.answers else "no row has a question"
    before, after = layout.number(found.loss_before), layout.number(found.loss_after)
    tiles = layout.tiles_html(
        [
            ("Same answers", answers, of),
            ("KL divergence", layout.number(found.kl), "nats a token, trained against exported"),
            ("Loss", f"{before} → {after}", "nats a token, trained → exported"),
        ]
    )
    return f'{tiles}<p class="rs-adapter-words">{escape(_verdict(found))}'


def loads_heading_html(done: ExportReport) -> str:
    """Over the table of the written form, or in its place."""
    if not done.loads:
        words = "A whole model loads in every program that loads its base in this format."
        return f'<p class="rs-adapter-words">{words}</p>'
    return "<h3>Where the export loads</h3>"


def commands_text(commands: Sequence[ServeCommand]) -> str:
    """What to type to serve it, program by program, for a shell; notes are its comments."""
    parts = []
    for one in commands:
        note = f": {' '.join(one.note.split())}" if one.note else ""
        parts.append("\n".join([f"# {one.program}{note}", *one.lines]))
    return "\n\n".join(parts)


def next_steps_html(done: ExportReport, adapter: str, zip_address: str) -> str:
    """The zip to download, and the comparison with what was trained."""
    links = [f'<a class="rs-button" href="{escape(zip_address)}">Download zip</a>']
    if done.adapter is not None:
        address = layout.link(COMPARE, adapter=f"{adapter},{done.adapter}")
        links.append(f'<a class="rs-button" href="{escape(address)}">Compare the two</a>')
    return f'<p class="rs-next">{" ".join(links)}</p>'


def _verdict(found: Fidelity) -> str:
    if found.kl < SAME_KL and found.agreement in (1.0, None):
        return "The export answers as what was trained."
    if found.agreement in (1.0, None):
        return "The export answers nearly as what was trained: its probabilities differ a little."
    different = round((1 - found.agreement) * found.answers)
    return f"{different} of {found.answers} answers differ from what was trained."


def _measured_on(found: Fidelity) -> str:
    rows = (
        "rows that its training held out"
        if found.rows_from == "held-out"
        else "general questions, because its own rows are not known here"
    )
    return (
        f"Measured on {found.rows:,} {rows} ({found.positions:,} answer tokens), with base, "
        "adapter and export loaded here."
    )
