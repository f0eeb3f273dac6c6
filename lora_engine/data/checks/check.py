"""The check of one dataset: every row looked at once, and what was found, kind by kind.

Memory is bounded: digests of the rows and places of the findings are held, never the texts. Knows
nothing of files or screens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.data.checks.across_rows import RowComparison, near_key
from lora_engine.data.checks.findings import Finding, FindingKind, Severity
from lora_engine.data.checks.row_tokens import ROWS_AT_ONCE, token_problems
from lora_engine.data.checks.single_rows import answer_of, problems_of, text_of
from lora_engine.data.class_labels import FORMATS
from lora_engine.data.rows import Dataset, Row
from lora_engine.language import tr

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_TOKENIZED = 100_000  # rows; a million take minutes
READING, COUNTING = 0.4, 1.0  # shares of the work where each part ends

ReportProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class DataCheck:
    """What is wrong with a dataset. compared_rows, tokenized_rows: how many of the rows were
    compared with each other, and counted in tokens; 0 of the latter without a tokenizer."""

    source: str
    format: str
    content_hash: str
    rows: int
    compared_rows: int
    tokenized_rows: int
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """Rows of findings that are so bad; a row with two counts twice."""
        return sum(len(one.places) for one in self.findings if one.kind.severity == severity)

    def places_of(self, kinds: Iterable[FindingKind]) -> set[int]:
        """The places of the rows in any of these findings."""
        wanted = set(kinds)
        return {place for one in self.findings if one.kind in wanted for place in one.places}

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "format": self.format,
            "rows": self.rows,
            "compared_rows": self.compared_rows,
            "tokenized_rows": self.tokenized_rows,
            "findings": [finding.to_json() for finding in self.findings],
        }


def check_dataset(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int = 0,
    held_out: Sequence[Row] = (),
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> DataCheck:
    """Look at every row of `dataset`.

    tokenizer, max_length: what a run would cut; not looked at without a tokenizer. held_out: rows
    that are kept apart from these and should not be among them. Raises EngineError where the
    template fails on a row; Stopped.
    """
    report = progress or (lambda share, doing: None)
    found = {kind: Finding(kind) for kind in FindingKind}
    comparison, kept_apart = RowComparison(), {near_key(row) for row in held_out}
    for place, row in enumerate(dataset.rows):
        if place % ROWS_AT_ONCE == 0:
            stop.raise_if_set("checking the rows")
            report(READING * place / len(dataset.rows), tr("row {place}", place=f"{place + 1:,}"))
        for kind, excerpt in dict([*problems_of(row), *comparison.problems_of(row)]).items():
            found[kind].add(place, row.number, excerpt)
        if kept_apart and near_key(row) in kept_apart:
            found[FindingKind.LEAK].add(place, row.number, text_of(row))
    _add_common_and_rare(dataset, comparison, found)
    tokenized = 0
    if tokenizer is not None and dataset.format not in FORMATS.values():
        some = dataset.rows[:MOST_TOKENIZED]
        tokenized = len(some)
        for place, kind, words in token_problems(some, tokenizer, max_length):
            found[kind].add(place, some[place].number, words)
            stop.raise_if_set("counting tokens")
            report(READING + (COUNTING - READING) * place / tokenized, tr("counting tokens"))
    shown = tuple(finding for finding in found.values() if finding.places)
    return DataCheck(
        source=dataset.source,
        format=dataset.format,
        content_hash=dataset.content_hash,
        rows=len(dataset.rows),
        compared_rows=comparison.rows,
        tokenized_rows=tokenized,
        findings=shown,
    )


def _add_common_and_rare(
    dataset: Dataset, comparison: RowComparison, found: dict[FindingKind, Finding]
) -> None:
    """Findings that only the whole set shows."""
    kinds = [(FindingKind.SAME_ANSWER, comparison.rows_with_the_common_answer())]
    if dataset.format == FORMATS["sequence_classification"]:
        kinds = [(FindingKind.RARE_CLASS, comparison.rows_with_a_rare_answer())]
    elif dataset.format in (*FORMATS.values(), "text"):
        kinds = []
    for kind, places in kinds:
        for place in places:
            row = dataset.rows[place]
            found[kind].add(place, row.number, answer_of(row))
