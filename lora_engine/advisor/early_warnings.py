"""Early warnings: what the data alone says against a run, before it starts. They refuse nothing.

Rows over the limit, answers that are empty or all alike, too few rows for the rank, rows that
stand on both sides of the split, a loss that cannot fall. Knows nothing of a run's course.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lora_engine.advisor.evidence import rows_rule
from lora_engine.base_models import load_tokenizer, resolve_base_model
from lora_engine.data import Row, load_dataset, split_rows
from lora_engine.data.bundled_templates import choose_template
from lora_engine.data.checks import DataCheck, FindingKind, check_dataset
from lora_engine.data.checks.findings import Finding
from lora_engine.language import tr, tr_count
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec

LOOKED_AT = 5_000  # rows: enough for what concerns a share of them, and quick on every change
FEW_ROWS = 20
# Below this share of the rows a finding is the data check's to list, and no warning.
MANY = 0.02
# Questions with several answers: from here on the loss cannot fall near zero.
CONTRADICTED = 0.3
RANK_FACTOR = 4  # times the rank that practice takes for so many rows

ALWAYS_TOLD = (FindingKind.EMPTY_ANSWER, FindingKind.LOST_ANSWER, FindingKind.LEAK)
TOLD_WHERE_MANY = (
    FindingKind.CUT,
    FindingKind.NO_ANSWER,
    FindingKind.DUPLICATE,
    FindingKind.ANSWER_IS_QUESTION,
    FindingKind.EQUAL_PAIR,
    FindingKind.SAME_ANSWER,
)


@dataclass(frozen=True)
class EarlyWarning:
    """What may go wrong, and what to do about it."""

    problem: str
    remedy: str

    def to_json(self) -> dict[str, Any]:
        return {"problem": self.problem, "remedy": self.remedy}


def early_warnings(spec: RunSpec, settings: Settings) -> tuple[EarlyWarning, ...]:
    """What speaks against this run before it starts; looks at the first LOOKED_AT rows.

    Raises EngineError where the base's tokenizer or the data cannot be read.
    """
    dataset = load_dataset(spec.dataset, settings)
    training, evaluation = split_rows(dataset, spec.dataset.eval_fraction, spec.seed)
    looked_at = replace(dataset, rows=tuple(training[:LOOKED_AT]))
    base = resolve_base_model(spec.base_model, settings)
    tells_tokens = spec.task == "causal_lm" and base.is_local  # a warning downloads nothing
    template = spec.dataset.template
    tokenizer = choose_template(load_tokenizer(base), template) if tells_tokens else None
    limit = spec.optimization.max_length
    check = check_dataset(looked_at, tokenizer, limit, held_out=evaluation[:LOOKED_AT])
    if dataset.parts:  # a mixture repeats rows on purpose
        others = (one for one in check.findings if one.kind is not FindingKind.DUPLICATE)
        check = replace(check, findings=tuple(others))
    return tuple(_warnings(spec, check, training))


def _warnings(spec: RunSpec, check: DataCheck, training: Sequence[Row]) -> Iterator[EarlyWarning]:
    for finding in check.findings:
        share = len(finding.places) / check.rows
        if finding.kind in ALWAYS_TOLD or (finding.kind in TOLD_WHERE_MANY and share >= MANY):
            yield _of_finding(finding, check.rows)
        elif finding.kind is FindingKind.CONTRADICTION and share >= CONTRADICTED:
            yield EarlyWarning(
                tr(
                    "{share} of the questions stand there before with another answer, so the loss "
                    "cannot fall far.",
                    share=f"{share:.0%}",
                ),
                tr("Keep one answer a question, or put into the question what tells them apart."),
            )
    if len(training) < FEW_ROWS:
        yield EarlyWarning(
            tr_count(
                "There is {count} row to train on.",
                "There are {count} rows to train on.",
                len(training),
            ),
            tr(
                "A run can learn them by heart and little else. Add rows, or train a few epochs "
                "only."
            ),
        )
    if len(classes := _classes(training[:LOOKED_AT])) == 1:
        yield EarlyWarning(
            tr("All rows have the class {name}.", name=f"{classes.pop()!r}"),
            tr("The loss falls to zero and nothing is learned. Add rows of other classes."),
        )
    yield from _rank_warning(spec, len(training))


def _of_finding(finding: Finding, rows: int) -> EarlyWarning:
    said = tr(
        "{finding}: {count} of {rows} training rows ({numbers}).",
        finding=tr(finding.kind.title),
        count=f"{len(finding.places):,}",
        rows=f"{rows:,}",
        numbers=finding.numbers,
    )
    return EarlyWarning(said, tr(finding.kind.remedy))


def _classes(rows: Sequence[Row]) -> set[str]:
    """The classes of rows to classify; none of other rows."""
    of_texts = {row.label for row in rows if row.label is not None}
    return of_texts | {tag for row in rows for tag in row.tags}


def _rank_warning(spec: RunSpec, rows: int) -> Iterator[EarlyWarning]:
    """Where the rank is far above what so many rows usually take."""
    rule = rows_rule(rows)
    is_far = rule.rank is not None and spec.method.rank > RANK_FACTOR * rule.rank
    if spec.method.finetuning_type == "lora" and is_far:
        yield EarlyWarning(
            tr(
                "Rank {rank} is much for these rows. {rule} ({source})",
                rank=spec.method.rank,
                rule=rule.rule,
                source=tr(rule.source.name),
            ),
            tr(
                "Start with rank {rank}; a sweep over ranks tells whether more is better.",
                rank=rule.rank,
            ),
        )
