"""What a classifier and its base predict, as HTML: spans, bars, scores, matrices. Escaped here.

A span and a bar carry their class and their probability as text; colour comes besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from lora_engine.compare.classify import (
    PredictedText,
    PredictedWords,
    Prediction,
    SetColumn,
    SetResult,
)
from lora_engine.data import type_of
from lora_engine.language import tr, tr_count, translatable
from pages.shared import class_scores, layout
from pages.shared.live import Column, table_value

MOST_BARS = 6
MOST_CLASSES = 40  # of a matrix on the page; the files have all
COLOURS = 5
OUTSIDE = "O"
CUT = translatable("The end of this text lies beyond the limit and was not read.")
TITLES = {"base": translatable("Base"), "adapter": translatable("With the adapter")}


def predictions_html(found: Sequence[Prediction], labels: Sequence[str], base_head: str) -> str:
    """Every text under the base and under the adapter, side by side."""
    classes = [_class_of(label) for label in labels] if any(map(_is_words, found)) else labels
    colours = colours_of(classes)
    rows = "".join(_text(one, colours) for one in found)
    return (
        f'<p class="rs-compare-words">{escape(base_head)}</p><div class="rs-predicted">{rows}</div>'
    )


def colours_of(classes: Sequence[str]) -> Mapping[str, int]:
    """A number below COLOURS for each class or type of entity, in their order."""
    names = dict.fromkeys(name for name in classes if name != OUTSIDE)
    return {name: number % COLOURS for number, name in enumerate(names)}


def summary_html(result: SetResult) -> str:
    """Both columns' scores in a sentence each, and what was not read."""
    lines = "".join(
        f"<li><strong>{tr(TITLES[one.name])}</strong> "
        f"{escape(class_scores.in_words(one.scores))}</li>"
        for one in result.columns
    )
    notes = [tr_count("{count} row.", "{count} rows.", len(result.rows))]
    if result.left_out:
        notes.append(
            tr_count(
                "{count} more row was left out.",
                "{count} more rows were left out.",
                result.left_out,
            )
        )
    if result.cut:
        notes.append(
            tr_count(
                "The end of {count} row lies beyond the limit.",
                "The end of {count} rows lies beyond the limit.",
                len(result.cut),
            )
        )
    return (
        f'<ul class="rs-compare-words" role="status">{lines}</ul>'
        f'<p class="rs-compare-words">{" ".join(notes)}</p>'
    )


def classes_table(result: SetResult) -> str:
    """Each class under the base and under the adapter, as a live table shows it."""
    base, adapter = result.columns
    before = {one.name: one for one in base.classes}
    columns = (
        Column(tr("Class")),
        Column(tr("Base F1"), numeric=True, show=layout.number),
        *class_scores.COLUMNS[1:],
    )
    rows = [
        (one.name, before[one.name].f1 if one.name in before else 0.0,
         one.precision, one.recall, one.f1, one.support)
        for one in adapter.classes
    ]  # fmt: skip
    return table_value(columns, rows)


def matrices_html(result: SetResult) -> str:
    """Both confusion matrices: a true class a row, a predicted class a column.

    Of words; the tags of one type of entity are one class here, and apart in the files.
    """
    is_entities = result.columns[0].unit == "entities"
    names = [_class_of(label) if is_entities else label for label in result.labels]
    shown = "".join(_matrix(one, names) for one in result.columns)
    more = len(dict.fromkeys(names)) - MOST_CLASSES
    rest = tr("{count} more classes are in the files.", count=layout.count(more))
    return f'<div class="rs-confusions">{shown}</div>' + (f"<p>{rest}</p>" if more > 0 else "")


def _matrix(column: SetColumn, of_label: Sequence[str]) -> str:
    """of_label: the class that each label counts for."""
    counts = _summed(column.confusion, of_label)
    names = list(counts)[:MOST_CLASSES]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    lines = "".join(_matrix_line(name, counts[name], names) for name in names)
    of = tr(TITLES[column.name])
    label = escape(tr("Confusion matrix: {name}", name=of))
    caption = escape(tr("{name}: rows are the true class, columns the predicted class", name=of))
    return (
        f'<div class="rs-confusion" tabindex="0" role="group" aria-label="{label}"><table>'
        f"<caption>{caption}</caption><thead><tr><td></td>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _matrix_line(true: str, counts: Mapping[str, int], names: Sequence[str]) -> str:
    total = max(1, sum(counts.values()))
    cells = "".join(
        f'<td class="{"rs-right" if name == true else "rs-wrong" if counts[name] else ""}" '
        f'style="--share: {100 * counts[name] / total:.0f}%">{layout.count(counts[name])}</td>'
        for name in names
    )
    return f'<tr><th scope="row">{escape(true)}</th>{cells}</tr>'


def _summed(
    confusion: Sequence[Sequence[int]], of_label: Sequence[str]
) -> dict[str, dict[str, int]]:
    """True class → predicted class → how often, over the labels that count for each."""
    names = dict.fromkeys(of_label)
    found = {true: dict.fromkeys(names, 0) for true in names}
    for true, line in zip(of_label, confusion, strict=True):
        for predicted, count in zip(of_label, line, strict=True):
            found[true][predicted] += count
    return found


def _text(prediction: Prediction, colours: Mapping[str, int]) -> str:
    columns = "".join(
        f'<div role="group" aria-label="{tr(TITLES[name])}"><h4>{tr(TITLES[name])}</h4>'
        f"{_column(prediction.text, one, colours)}</div>"
        for name, one in prediction.columns.items()
    )
    text = "" if _is_words(prediction) else f"<p><q>{escape(prediction.text)}</q></p>"
    cut = f'<p class="rs-compare-words">{tr(CUT)}</p>' if prediction.is_cut else ""
    return f"<article>{text}<div class='rs-predicted-columns'>{columns}</div>{cut}</article>"


def _column(text: str, one: PredictedText | PredictedWords, colours: Mapping[str, int]) -> str:
    return _bars(one, colours) if isinstance(one, PredictedText) else _spans(text, one, colours)


def _bars(one: PredictedText, colours: Mapping[str, int]) -> str:
    bars = "".join(
        f'<dt>{escape(name)}</dt><dd class="rs-class-bar" data-colour="{colours.get(name, 0)}" '
        f'style="--share: {100 * share:.1f}%"></dd><dd>{layout.share(share)}</dd>'
        for name, share in one.classes[:MOST_BARS]
    )
    more = len(one.classes) - MOST_BARS
    rest = tr("and {count} less likely classes", count=layout.count(more))
    return f'<dl class="rs-shares">{bars}</dl>' + (f"<p>{rest}</p>" if more > 0 else "")


def _spans(text: str, one: PredictedWords, colours: Mapping[str, int]) -> str:
    """The text with a mark around each span, the class behind its words."""
    parts, at = [], 0
    for span in one.spans:
        name = escape(span.name)
        parts.append(escape(text[at : span.start]))
        parts.append(
            f'<mark data-colour="{colours.get(span.name, 0)}" '
            f'title="{name}, {layout.share(span.probability)}">{escape(span.text)}'
            f"<small>{name} {layout.share(span.probability)}</small></mark>"
        )
        at = span.end
    parts.append(escape(text[at : one.read_characters]))
    unread = text[one.read_characters :]
    if unread.strip():
        parts.append(f"<del>{escape(unread)}</del>")
    return f'<p class="rs-spans">{"".join(parts)}</p>'


def _is_words(prediction: Prediction) -> bool:
    return any(isinstance(one, PredictedWords) for one in prediction.columns.values())


def _class_of(label: str) -> str:
    """What a label of words counts for: the type of entity that a tag names, or OUTSIDE."""
    return type_of(label) or label
