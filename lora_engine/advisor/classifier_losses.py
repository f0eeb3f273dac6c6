"""The losses and scores of classifiers of one experiment on the same held-out rows.

Each adapter is loaded with its head onto a base of its own, one after the other: training may have
changed the base's biases too. Knows nothing of what follows from the losses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lora_engine.adapters.check import check_adapter
from lora_engine.advisor.children import Child
from lora_engine.advisor.loss_tables import (
    MOST_ROWS,
    LossTable,
    MeasuredTables,
    held_out_rows,
    refuse_astray,
    spread,
)
from lora_engine.base_models import load_tokenizer, resolve_base_model, spec_on_base
from lora_engine.data import TokenizedRow, load_dataset
from lora_engine.data.class_labels import Classes, label_rows, labels_of
from lora_engine.data.tokenization import IGNORED
from lora_engine.devices import pick_device
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spectrum import WorkMonitor
from lora_engine.training.evaluation import row_losses
from lora_engine.training.forward.classifier_path import (
    ClassifierPath,
    classification_scores,
)
from lora_engine.training.models.classifier import load_trained_classifier
from lora_engine.training.starting_adapter import refuse_other_labels

BATCH_ROWS = 32


def measure_classifiers(
    children: Sequence[Child],
    settings: Settings,
    monitor: WorkMonitor,
    most_rows: int = MOST_ROWS,
) -> MeasuredTables:
    """−ln p(class) of at most so many held-out rows under every child, accuracy and F1
    (of entities where the tags mean some, else macro).

    A base has no head, so its loss is ln K, that of an even guess among the K classes. There are
    no general rows. Raises as `loss_tables.measure`; EngineError where the data has other classes
    than a child.
    """
    spec = children[0].spec
    labels = labels_of(load_dataset(spec.dataset, settings).rows)
    for one in children:
        refuse_other_labels(one.adapter, labels)
    held_out = held_out_rows(children, settings)
    tokenizer = load_tokenizer(resolve_base_model(spec.base_model, settings))
    chosen = spread(held_out.rows, most_rows)
    rows = label_rows(chosen, tokenizer, spec.optimization.max_length, labels).rows
    columns, scores = [], {}
    for place, one in enumerate(children):
        monitor.step(place / len(children), tr("classifying with {run}", run=one.id))
        path = _path(one, labels, tokenizer.pad_token_id, settings)
        columns.append(row_losses(path, rows))
        unseen = [row for row in rows if row.number in held_out.unseen[one.spec.seed]]
        found = classification_scores(path, unseen, BATCH_ROWS)
        if found is not None:
            scores[one.id] = found
    monitor.step(1.0, tr("classified"))
    table = _table([one.id for one in children], rows, columns, len(labels))
    return MeasuredTables(
        held_out=held_out.without_seen(table, children),
        general=None,
        notes=(
            tr(
                "Forgetting does not apply to classifiers. The base has no head: the loss that "
                "stands for it is that of an even guess, ln {classes}.",
                classes=len(labels),
            ),
        ),
        scores=scores,
    )


def _path(child: Child, labels: Sequence[str], pad_id: int, settings: Settings) -> ClassifierPath:
    import torch

    base = resolve_base_model(child.spec.base_model, settings)
    adapter = check_adapter(child.adapter, base, child.spec.task)
    device = pick_device(settings)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    quantization = spec_on_base(child.spec, base).quantization
    model = load_trained_classifier(base, labels, adapter, device, dtype, quantization)
    classes = Classes(tuple(labels), child.spec.task == "token_classification")
    return ClassifierPath(model, pad_id, device, dtype, classes)


def _table(
    names: Sequence[str],
    rows: Sequence[TokenizedRow],
    columns: Sequence[Sequence[float]],
    classes: int,
) -> LossTable:
    losses = np.array(columns).T
    refuse_astray(names, losses)
    return LossTable(
        columns=tuple(names),
        losses=losses,
        base=np.full(len(rows), math.log(classes)),
        tokens=np.array([sum(label != IGNORED for label in row.labels) for row in rows], float),
        numbers=tuple(row.number for row in rows),
    )
