"""Loss on given rows under the base and the adapters, as lines for a page."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from html import escape

from lora_engine.cancellation import StopSignal
from lora_engine.compare.generate import ComparisonModel
from lora_engine.compare.scoring import PairedDifference, RowLoss, paired_difference, row_losses
from lora_engine.data import TokenizedRow
from pages.shared import layout

PROGRESS_ROWS = 10


def losses(
    model: ComparisonModel, tokenized: Sequence[TokenizedRow], stop: StopSignal
) -> Generator[str, None, list[RowLoss]]:
    """Yields its progress as HTML; returns the losses of all rows, or of those before a stop."""
    found: list[RowLoss] = []
    for loss in row_losses(model, tokenized, stop):
        found.append(loss)
        if len(found) % PROGRESS_ROWS == 0:
            yield progress_html(len(found), len(tokenized), "rows")
    return found


def progress_html(done: int, total: int, what: str) -> str:
    return (
        f'<p role="status">{layout.count(done)} of {layout.count(total)} {what}.</p>'
        f'<progress value="{done}" max="{total}"></progress>'
    )


def differences_html(
    found: Sequence[RowLoss],
    columns: Sequence[str],
    title: Callable[[str], str],
    word: Callable[[PairedDifference], str],
) -> str:
    """A line for each column: both losses, the difference with its interval, and a word for it."""
    lines = []
    pairs = [paired_difference(found, column) for column in columns]
    for column, pair in zip(columns, pairs, strict=True):
        lines.append(
            f"<li><strong>{escape(title(column))}: {word(pair)}.</strong> "
            f"{layout.number(pair.loss)} nats a token against the base's "
            f"{layout.number(pair.base_loss)}; difference {layout.number(pair.difference)} "
            f"(95 % between {layout.number(pair.low)} and {layout.number(pair.high)}, "
            f"{pair.rows} rows).</li>"
        )
    warning = f"<p>{escape(pairs[0].warning)}</p>" if pairs and pairs[0].warning else ""
    return f'<ul class="rs-compare-words" role="status">{"".join(lines)}</ul>{warning}'
