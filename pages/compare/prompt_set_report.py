"""What a set of prompts showed, as a page shows it: table, summary, word differences, a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from lora_engine.compare.generate import BASE_COLUMN
from lora_engine.compare.scoring import ReportRow, as_jsonl, diff_words
from lora_engine.language import tr, tr_count, translatable
from pages.shared import layout
from pages.shared.downloads import new_file
from pages.shared.live import Column, table_value

MAX_DIFFERENCES = 100
VERDICTS = {True: translatable("yes"), False: translatable("no")}
TAGS = {"gone": "del", "new": "ins"}

Title = Callable[[str], str]


def answers_table(rows: Sequence[ReportRow], title: Title, checks: bool) -> str:
    """The answers side by side, for a live table."""
    if not rows:
        return table_value([Column(tr("Prompt"))], [], empty=tr("No answer yet."))
    columns = [Column(tr("Prompt"))]
    for answer in rows[0].answers:
        name = title(answer.name)
        columns += [
            Column(name),
            Column(tr("{name}: tokens", name=name), layout.count, numeric=True),
        ]
        columns += [Column(tr("{name}: passes", name=name))] if checks else []
    cells = []
    for row in rows:
        line: list[str | int | None] = [row.prompt]
        for answer in row.answers:
            line += [answer.text, answer.tokens]
            line += [_verdict(answer.passes)] if checks else []
        cells.append(tuple(line))
    return table_value(columns, cells)


def summary_html(rows: Sequence[ReportRow], title: Title) -> str:
    """Per column: how many answers pass, how long they are, how many equal the base's."""
    if not rows:
        return f'<p role="status">{tr("Stopped before the first answer.")}</p>'
    lines = []
    for place, first in enumerate(rows[0].answers):
        answers = [row.answers[place] for row in rows]
        length = sum(answer.tokens for answer in answers) / len(answers)
        parts = [tr("{length} tokens on average", length=layout.number(length))]
        verdicts = [answer.passes for answer in answers if answer.passes is not None]
        if verdicts:
            parts.append(tr("{passed} of {total} pass", passed=sum(verdicts), total=len(verdicts)))
        if first.name != BASE_COLUMN:
            same = sum(row.answers[place].text == row.answers[0].text for row in rows)
            parts.append(tr("{count} the same as the base's", count=same))
        sentence = escape(tr("{name}: {facts}.")).format(
            name=f"<strong>{escape(title(first.name))}</strong>",
            facts=escape(tr(", ").join(parts)),
        )
        lines.append(f"<li>{sentence}</li>")
    answered = tr_count("{count} prompt answered.", "{count} prompts answered.", len(rows))
    return f'<p role="status">{answered}</p><ul class="rs-compare-words">{"".join(lines)}</ul>'


def differences_html(rows: Sequence[ReportRow], title: Title) -> str:
    """Each adapter's answer with what it leaves out of the base's, and what it adds."""
    shown = "".join(_difference(row, title) for row in rows[:MAX_DIFFERENCES])
    if not shown or len(rows[0].answers) < 2:
        return ""
    more = len(rows) - MAX_DIFFERENCES
    rest = (
        tr("{count} more prompts are in the table.", count=layout.count(more)) if more > 0 else ""
    )
    return (
        f'<p class="rs-compare-words">{tr("Word by word against the base:")} '
        f"<del>{tr('only the base')}</del> <ins>{tr('only the adapter')}</ins></p>"
        f'<div class="rs-differences">{shown}</div><p>{rest}</p>'
    )


def _verdict(passes: bool | None) -> str | None:
    return None if passes is None else tr(VERDICTS[passes])


def jsonl_file(rows: Sequence[ReportRow]) -> str:
    """The path of a new file with one JSON object a prompt."""
    return new_file("answers.jsonl", as_jsonl(rows))


def _difference(row: ReportRow, title: Title) -> str:
    base, *adapted = row.answers
    lines = "".join(
        f"<p><strong>{escape(title(answer.name))}</strong> {_marked(base.text, answer.text)}</p>"
        for answer in adapted
    )
    return f"<div><h4>{escape(row.prompt)}</h4>{lines}</div>"


def _marked(before: str, after: str) -> str:
    parts = []
    for piece in diff_words(before, after):
        tag = TAGS.get(piece.kind)
        text = escape(piece.text)
        parts.append(f"<{tag}>{text}</{tag}>" if tag else text)
    return "".join(parts)
