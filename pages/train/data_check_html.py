"""A data check in words, as HTML; everything is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lora_engine.advisor import EarlyWarning
from lora_engine.data import CleanedSet, DataCheck, Finding, Severity
from lora_engine.language import tr, tr_count, translatable
from pages.shared import layout

SEVERITIES: dict[Severity, str] = {
    "serious": translatable("harms the run"),
    "look": translatable("worth a look"),
    "note": translatable("good to know"),
}


def findings_html(check: DataCheck) -> str:
    """How many rows were looked at, and each finding with its first rows and what to do."""
    said = [tr_count("{count} row was looked at.", "{count} rows were looked at.", check.rows)]
    if check.compared_rows < check.rows:
        said.append(tr("The first {count} were looked at for repeats.",
                       count=layout.count(check.compared_rows)))  # fmt: skip
    if 0 < check.tokenized_rows < check.rows:
        said.append(tr("The first {count} were counted in tokens.",
                       count=layout.count(check.tokenized_rows)))  # fmt: skip
    if not check.findings:
        return f'<p class="rs-findings-none">{" ".join([*said, tr("Nothing was found.")])}</p>'
    listed = "".join(map(_finding, check.findings))
    return f'<p>{" ".join(said)}</p><ul class="rs-findings">{listed}</ul>'


def cleaned_html(cleaned: CleanedSet) -> str:
    """What was written and what was left out."""
    removed = sum(cleaned.removed.values())
    kept = tr_count(
        "{count} row is in {path}, which is chosen on the form now.",
        "{count} rows are in {path}, which is chosen on the form now.",
        cleaned.rows,
        path=f"<strong>{escape(cleaned.path)}</strong>",
    )
    left = tr_count("{count} row was left out.", "{count} rows were left out.", removed)
    return f'<p role="status">{kept} {left}</p>'


def warnings_html(warnings: Sequence[EarlyWarning]) -> str:
    """Early warnings as a list; nothing where there are none."""
    if not warnings:
        return ""
    listed = "".join(
        f"<li><strong>{escape(one.problem)}</strong> {escape(one.remedy)}</li>" for one in warnings
    )
    return f'<h3>{tr("Before you start")}</h3><ul class="rs-warnings">{listed}</ul>'


def _finding(finding: Finding) -> str:
    kind = finding.kind
    rows = "".join(map(_row, finding.shown, finding.excerpts))
    more = len(finding.places) - len(finding.shown)
    rest = f"<li>{tr('and {count} more', count=layout.count(more))}</li>" if more else ""
    count = tr_count("{count} row", "{count} rows", len(finding.places))
    return (
        f'<li class="rs-finding rs-finding-{kind.severity}"><details><summary>'
        f"<strong>{escape(tr(kind.title))}</strong> "
        f"<span>{count}, {tr(SEVERITIES[kind.severity])}</span></summary>"
        f"<p>{escape(tr(kind.remedy))}</p><ul>{rows}{rest}</ul></details></li>"
    )


def _row(number: int, excerpt: str) -> str:
    if not excerpt:
        return f"<li>{tr('row {number}', number=number)}</li>"
    text = f'<span translate="no">{escape(excerpt)}</span>'
    return f"<li>{tr('row {number}: “{text}”', number=number, text=text)}</li>"
