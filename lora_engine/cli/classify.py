"""The command that tries a classifier out beside its base: classify."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from lora_engine.cli.options import add_commands, json_flag
from lora_engine.cli.output import note, print_json, print_table
from lora_engine.compare.classify.classifier import Classifier
from lora_engine.compare.classify.labelled_set import SetResult, predict_rows
from lora_engine.compare.classify.predictions import PredictedText, Prediction
from lora_engine.data import Dataset
from lora_engine.engine import Engine
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError
from lora_engine.language import tr


def register(app: typer.Typer) -> None:
    add_commands(app, classify)


def classify(
    adapter: Annotated[str, typer.Option(help=tr("A run's id, a name or a folder."))],
    text: Annotated[
        list[str] | None, typer.Option(help=tr("A text to classify or to tag; may be given again."))
    ] = None,
    rows: Annotated[
        str, typer.Option("--set", help=tr("Labelled rows: a dataset's name or a file."))
    ] = "",
    held_out: Annotated[
        bool, typer.Option(help=tr("The rows that the adapter never saw in training."))
    ] = False,
    base: Annotated[str, typer.Option(help=tr("Another base model than the adapter names."))] = "",
    csv: Annotated[
        Path | None,
        typer.Option(
            help=tr("Write each row of the set with its true and predicted classes to this file.")
        ),
    ] = None,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Classify texts with the base and with a classifier's adapter, or score both on a set.

    The adapter's own folder says what it classifies, its classes and its base.
    """
    if (rows and held_out) or not (text or rows or held_out):
        raise EngineError(
            tr("Nothing to classify was named, or two sets at once."),
            tr("Give --text, and --set FILE or --held-out."),
        )
    if csv is not None and not (rows or held_out):
        raise EngineError(
            tr("--csv writes the rows of a set."), tr("Name one with --set or --held-out.")
        )
    started = time.perf_counter()
    engine = Engine(load_settings())
    classifier = engine.classifiers.open(adapter, base)
    for warning in classifier.warnings:
        note(f"warning: {warning}")
    found = list(classifier.predict(text)) if text else []
    scored = _scored(engine, classifier, rows) if rows or held_out else None
    if csv is not None and scored is not None:
        csv.write_text(scored.as_csv(), encoding="utf-8", newline="")
    if json:
        print_json(_document(adapter, classifier, found, scored) | _elapsed(started))
        return
    typer.echo(classifier.base_head)
    for prediction in found:
        _print_text(prediction)
    if scored is not None:
        _print_set(scored)


def _scored(engine: Engine, classifier: Classifier, source: str) -> SetResult:
    """Both columns on the set that is named, or on the held-out rows."""
    found: Dataset = (
        engine.classifiers.rows(classifier, source)
        if source
        else engine.classifiers.held_out(classifier)
    )
    for state in predict_rows(classifier, found.rows):
        if isinstance(state, SetResult):
            return state
    raise AssertionError("the last state is the result")


def _elapsed(started: float) -> dict[str, Any]:
    return {"elapsed_s": time.perf_counter() - started}


def _document(
    adapter: str, classifier: Classifier, found: list[Prediction], scored: SetResult | None
) -> dict[str, Any]:
    facts = classifier.facts
    return {
        "adapter": adapter,
        "base": facts.base.name,
        "task": facts.task,
        "labels": list(facts.classes.labels),
        "scheme": facts.classes.scheme,
        "base_head": "own" if classifier.base_has_head else "untrained",
        "max_length": classifier.max_length,
        "warnings": list(classifier.warnings),
        "texts": [prediction.as_json() for prediction in found],
        "set": None if scored is None else scored.as_json(),
    }


def _print_text(prediction: Prediction) -> None:
    typer.echo(f"\n{prediction.text}")
    for name, one in prediction.columns.items():
        if isinstance(one, PredictedText):
            shares = ", ".join(f"{label} {share:.1%}" for label, share in one.classes[:5])
            typer.echo(f"  {name}: {shares}")
        else:
            spans = [f"{span.name}: {span.text} ({span.probability:.0%})" for span in one.spans]
            typer.echo(f"  {name}: {'; '.join(spans) or 'nothing'}")
    if prediction.is_cut:
        typer.echo("  The end of this text lies beyond the model's limit and was not read.")


def _print_set(scored: SetResult) -> None:
    for column in scored.columns:
        scores = column.scores
        typer.echo(
            f"\n{column.name}: F1 {scores.f1:.3f} of {scores.unit}, accuracy "
            f"{scores.accuracy:.3f}, on {len(scored.rows):,} rows"
        )
        print_table(
            ["class", "precision", "recall", "F1", "true ones"],
            [
                [
                    one.name,
                    f"{one.precision:.3f}",
                    f"{one.recall:.3f}",
                    f"{one.f1:.3f}",
                    one.support,
                ]
                for one in scores.classes
            ],
        )
    if scored.cut:
        typer.echo(f"\nCut at the model's limit: {len(scored.cut):,} rows.")
