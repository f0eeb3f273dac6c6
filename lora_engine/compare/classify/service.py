"""What the engine offers for trying classifiers out: the last one is kept in memory."""

from __future__ import annotations

import threading

from lora_engine.adapters.check import content_hash
from lora_engine.adapters.library import resolve_adapter
from lora_engine.base_models import fingerprint
from lora_engine.compare.classify.adapter_facts import ClassifierFacts, facts_of, is_classifier
from lora_engine.compare.classify.classifier import Classifier
from lora_engine.compare.classify.labelled_set import refuse_other_rows
from lora_engine.compare.prompts.held_out_rows import load_held_out_rows
from lora_engine.data import Dataset, load_dataset
from lora_engine.data.class_labels import FORMATS
from lora_engine.data.rows import hash_rows
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec


class Classifiers:
    """Classifiers over the one that is kept in memory. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._guard = threading.Lock()
        self._kept: tuple[tuple[str, str, ClassifierFacts], Classifier] | None = None

    def is_classifier(self, adapter: str) -> bool:
        """Whether the adapter of this name classifies. Raises NotFound, EngineError."""
        return is_classifier(resolve_adapter(adapter, self._settings))

    def open(self, adapter: str, base: str = "") -> Classifier:
        """The adapter of this name on its own base, or on another one.

        Loaded only if it is another one, or one of the two was saved anew. Raises EngineError as
        `facts_of` and `Classifier` do.
        """
        facts = facts_of(resolve_adapter(adapter, self._settings), self._settings, base)
        key = (content_hash(facts.path), fingerprint(facts.base), facts)
        with self._guard:
            if self._kept is None or self._kept[0] != key:
                self._kept = None  # let go of the old one before loading another
                self._kept = key, Classifier(facts, self._settings)
            return self._kept[1]

    def held_out(self, classifier: Classifier) -> Dataset:
        """The rows that the adapter never saw in training, checked as `rows`."""
        rows = load_held_out_rows(classifier.facts.path, self._settings)
        format = FORMATS[classifier.facts.task]
        found = Dataset(tr("the held-out rows"), format, rows, hash_rows(rows))
        refuse_other_rows(classifier, found)
        return found

    def rows(self, classifier: Classifier, source: str) -> Dataset:
        """The rows of a dataset by its name or path, whose classes the adapter knows.

        Raises EngineError as `load_dataset` and `refuse_other_rows` do.
        """
        found = load_dataset(DatasetSpec(source=source), self._settings)
        refuse_other_rows(classifier, found)
        return found
