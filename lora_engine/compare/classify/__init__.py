"""Compare a classifier with its base: the classes that both predict for texts, and scores on a set.

    adapter_facts   what an adapter's own folder says: its task, its classes, its base
    predictions     texts with their classes or tagged words, as values
    words           a text as words with their places
    classifier      the base with the adapter and its head, and what both predict
    labelled_set    both on labelled rows: scores, confusion matrix, each row
    service         what the engine's façade offers: the last classifier kept in memory

Importing this loads no torch, transformers or peft.
"""

from lora_engine.compare.classify.adapter_facts import (
    ClassifierFacts,
    facts_of,
    is_classifier,
)
from lora_engine.compare.classify.classifier import MAX_TEXTS, Classifier
from lora_engine.compare.classify.labelled_set import (
    MAX_ROWS,
    SetColumn,
    SetResult,
    SetRow,
    predict_rows,
)
from lora_engine.compare.classify.predictions import (
    PredictedText,
    PredictedWord,
    PredictedWords,
    Prediction,
)
from lora_engine.compare.classify.service import Classifiers

__all__ = [
    "MAX_ROWS",
    "MAX_TEXTS",
    "Classifier",
    "ClassifierFacts",
    "Classifiers",
    "SetColumn",
    "SetResult",
    "SetRow",
    "Prediction",
    "PredictedText",
    "PredictedWord",
    "PredictedWords",
    "facts_of",
    "is_classifier",
    "predict_rows",
]
