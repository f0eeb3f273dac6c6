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
from lora_engine.language import tr, translatable
from pages import COMPARE
from pages.adapters.take_away_work import ExportChoice
from pages.shared import layout
from pages.shared.live import Column, table_value

RULES = (
    Column(translatable("program")),
    Column(translatable("loads")),
    Column(translatable("why")),
    Column(translatable("read in")),
    Column(translatable("read on")),
)
SAME_KL = 1e-6  # nats; what float32 arithmetic in another order makes of one and the same update


def rules_value(rules: Sequence[LoadRule]) -> str:
    """The table of programs, one row each."""
    rows = [
        (one.program, tr("✓ yes") if one.loads else tr("✗ no"), one.reason, one.source, one.date)
        for one in rules
    ]
    return table_value(RULES, rows)


def push_question_html(choice: ExportChoice, target: HubTarget) -> str:
    """What a push will do, in a sentence or two."""
    seen_by = tr("only you and your organization") if target.private else tr("everybody")
    return layout.notes_html(
        [
            tr(
                "Send the form {form} to {repository} on the hub, where {who} will see it? It is "
                "written to exports/{name} first; what is there now is replaced.",
                form=choice.form, repository=target.id or tr("no repository"), who=seen_by,
                name=choice.name,
            )
        ]
    )  # fmt: skip


def written_html(done: ExportReport) -> str:
    """Where it is, on this machine and on the hub."""
    words = _with_markup(
        tr("Written as {form} to {path}."),
        form=f"<strong>{escape(done.form)}</strong>",
        path=f"<code>{escape(str(done.path))}</code>",
    )
    return f'<p class="rs-adapter-words" role="status">{words}{_pushed_html(done.pushed)}</p>'


def _pushed_html(pushed: Pushed | None) -> str:
    if pushed is None:
        return ""
    return " " + _with_markup(
        tr("Pushed {files} files, {size}, as revision {revision} of the private repository {link}")
        if pushed.private
        else tr(
            "Pushed {files} files, {size}, as revision {revision} of the public repository {link}"
        ),
        files=layout.count(pushed.files),
        size=layout.byte_size(pushed.bytes),
        revision=f"<code>{escape(pushed.revision)}</code>",
        link=f'<a href="{escape(pushed.url)}" target="_blank" rel="noopener">'
        f"{escape(pushed.id)}</a>",
    )


def _with_markup(sentence: str, **parts: str) -> str:
    """The sentence, escaped, with parts that are HTML already."""
    return escape(sentence).format(**parts)


def fidelity_html(done: ExportReport) -> str:
    """What the export kept, as it is and on requantized bases; nothing without a measurement."""
    if done.fidelity is None:
        return ""
    parts = [f"{_kept(done.fidelity)} {_measured_on(done.fidelity)}</p>"]
    for found in done.requantized:
        title = tr(
            "On its base requantized to {kind} ({bits} bits)",
            kind=found.quantization, bits=found.bits,
        )  # fmt: skip
        parts.append(f"<h3>{escape(title)}</h3>{_kept(found)}</p>")
    return "".join(parts)


def _kept(found: Fidelity) -> str:
    """Tiles, and a paragraph that begins with the verdict."""
    answers = "–" if found.agreement is None else layout.share(found.agreement)
    of = (
        tr("of {count} greedy answers", count=found.answers)
        if found.answers
        else tr("no row has a question")
    )
    before, after = layout.number(found.loss_before), layout.number(found.loss_after)
    tiles = layout.tiles_html(
        [
            (tr("Same answers"), answers, of),
            (
                tr("KL divergence"),
                layout.number(found.kl),
                tr("nats a token, trained against exported"),
            ),
            (tr("Loss"), f"{before} → {after}", tr("nats a token, trained → exported")),
        ]
    )
    return f'{tiles}<p class="rs-adapter-words">{escape(_verdict(found))}'


def loads_heading_html(done: ExportReport) -> str:
    """Over the table of the written form, or in its place."""
    if not done.loads:
        words = tr("A whole model loads in every program that loads its base in this format.")
        return f'<p class="rs-adapter-words">{escape(words)}</p>'
    return f"<h3>{escape(tr('Where the export loads'))}</h3>"


def commands_text(commands: Sequence[ServeCommand]) -> str:
    """What to type to serve it, program by program, for a shell; notes are its comments."""
    parts = []
    for one in commands:
        note = f": {' '.join(one.note.split())}" if one.note else ""
        parts.append("\n".join([f"# {one.program}{note}", *one.lines]))
    return "\n\n".join(parts)


def next_steps_html(done: ExportReport, adapter: str, zip_address: str) -> str:
    """The zip to download, and the comparison with what was trained."""
    links = [f'<a class="rs-button" href="{escape(zip_address)}">{escape(tr("Download zip"))}</a>']
    if done.adapter is not None:
        address = layout.link(COMPARE, adapter=f"{adapter},{done.adapter}")
        links.append(
            f'<a class="rs-button" href="{escape(address)}">{escape(tr("Compare the two"))}</a>'
        )
    return f'<p class="rs-next">{" ".join(links)}</p>'


def _verdict(found: Fidelity) -> str:
    if found.kl < SAME_KL and found.agreement in (1.0, None):
        return tr("The export answers as what was trained.")
    if found.agreement in (1.0, None):
        return tr(
            "The export answers nearly as what was trained: its probabilities differ a little."
        )
    different = round((1 - found.agreement) * found.answers)
    return tr(
        "{different} of {all} answers differ from what was trained.",
        different=different, all=found.answers,
    )  # fmt: skip


def _measured_on(found: Fidelity) -> str:
    counts = {"rows": f"{found.rows:,}", "tokens": f"{found.positions:,}"}
    if found.rows_from == "held-out":
        return tr(
            "Measured on {rows} rows that its training held out ({tokens} answer tokens), with "
            "base, adapter and export loaded here.",
            **counts,
        )
    return tr(
        "Measured on {rows} general questions, because its own rows are not known here ({tokens} "
        "answer tokens), with base, adapter and export loaded here.",
        **counts,
    )
