"""A data check in words, as HTML; everything is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lora_engine.advisor import EarlyWarning
from lora_engine.data import CleanedSet, DataCheck, Finding, Severity
from pages.shared import layout

SEVERITIES: dict[Severity, str] = {
    "serious": "harms the run",
    "look": "worth a look",
    "note": "good to know",
}


def findings_html(check: DataCheck) -> str:
    """How many rows were looked at, and each finding with its first rows and what to do."""
    looked = f"{layout.count(check.rows)} rows were looked at"
    if check.compared_rows < check.rows:
        looked += f", the first {layout.count(check.compared_rows)} of them for repeats"
    if 0 < check.tokenized_rows < check.rows:
        looked += f", the first {layout.count(check.tokenized_rows)} counted in tokens"
    if not check.findings:
        return f'<p class="rs-findings-none">{looked}. Nothing was found.</p>'
    listed = "".join(map(_finding, check.findings))
    return f'<p>{looked}.</p><ul class="rs-findings">{listed}</ul>'


def cleaned_html(cleaned: CleanedSet) -> str:
    """What was written and what was left out."""
    removed = sum(cleaned.removed.values())
    return (
        f'<p role="status">{layout.count(cleaned.rows)} rows are in '
        f"<strong>{escape(cleaned.path)}</strong>, which is chosen on the form now. "
        f"{layout.count(removed)} rows were left out.</p>"
    )


def warnings_html(warnings: Sequence[EarlyWarning]) -> str:
    """Early warnings as a list; nothing where there are none."""
    if not warnings:
        return ""
    listed = "".join(
        f"<li><strong>{escape(one.problem)}</strong> {escape(one.remedy)}</li>" for one in warnings
    )
    return f'<h3>Before you start</h3><ul class="rs-warnings">{listed}</ul>'


def _finding(finding: Finding) -> str:
    kind = finding.kind
    rows = "".join(map(_row, finding.shown, finding.excerpts))
    more = len(finding.places) - len(finding.shown)
    rest = f"<li>and {layout.count(more)} more</li>" if more else ""
    count = layout.count(len(finding.places))
    return (
        f'<li class="rs-finding rs-finding-{kind.severity}"><details><summary>'
        f"<strong>{escape(kind.title)}</strong> "
        f"<span>{count} {'row' if len(finding.places) == 1 else 'rows'}, "
        f"{SEVERITIES[kind.severity]}</span></summary>"
        f"<p>{escape(kind.remedy)}</p><ul>{rows}{rest}</ul></details></li>"
    )


def _row(number: int, excerpt: str) -> str:
    return f"<li>row {number}{f': “{escape(excerpt)}”' if excerpt else ''}</li>"
