"""Compare a classifier with its base: the classes that both tell of texts, and scores on a set.

    adapter_facts   what an adapter's own folder says: its task, its classes, its base
    told            texts with their classes or tagged words, as values
    words           a text as words with their places
    classifier      the base with the adapter and its head, and what both tell
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
    tell_rows,
)
from lora_engine.compare.classify.service import Classifiers
from lora_engine.compare.classify.told import Told, ToldText, ToldWord, ToldWords

__all__ = [
    "MAX_ROWS",
    "MAX_TEXTS",
    "Classifier",
    "ClassifierFacts",
    "Classifiers",
    "SetColumn",
    "SetResult",
    "SetRow",
    "Told",
    "ToldText",
    "ToldWord",
    "ToldWords",
    "facts_of",
    "is_classifier",
    "tell_rows",
]
