"""Loss on given rows under the base and the adapters, as lines for a page."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from html import escape

from lora_engine.cancellation import StopSignal
from lora_engine.compare.generate import ComparisonModel
from lora_engine.compare.scoring import PairedDifference, RowLoss, paired_difference, row_losses
from lora_engine.data import TokenizedRow
from lora_engine.language import tr
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
            yield progress_html(len(found), len(tokenized), tr("{done} of {total} rows."))
    return found


def progress_html(done: int, total: int, words: str) -> str:
    """words: a sentence in the present language, with `{done}` and `{total}`."""
    said = words.format(done=layout.count(done), total=layout.count(total))
    return (
        f'<p role="status">{escape(said)}</p>'
        f'<progress value="{done}" max="{total}" aria-label="{escape(tr("Progress"))}"></progress>'
    )


def differences_html(
    found: Sequence[RowLoss],
    columns: Sequence[str],
    title: Callable[[str], str],
    word: Callable[[PairedDifference], str],
) -> str:
    """A line for each column: both losses, the difference with its interval, and a word for it.

    word: in the present language.
    """
    lines = []
    pairs = [paired_difference(found, column) for column in columns]
    for column, pair in zip(columns, pairs, strict=True):
        head = tr("{name}: {verdict}.", name=title(column), verdict=word(pair))
        words = tr(
            "{loss} nats a token against the base's {base}; difference {difference} (95 % between "
            "{low} and {high}, {rows} rows).",
            loss=layout.number(pair.loss),
            base=layout.number(pair.base_loss),
            difference=layout.number(pair.difference),
            low=layout.number(pair.low),
            high=layout.number(pair.high),
            rows=pair.rows,
        )
        lines.append(f"<li><strong>{escape(head)}</strong> {escape(words)}</li>")
    warning = f"<p>{escape(pairs[0].warning)}</p>" if pairs and pairs[0].warning else ""
    return f'<ul class="rs-compare-words" role="status">{"".join(lines)}</ul>{warning}'
