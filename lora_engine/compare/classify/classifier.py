"""A base model with a classifier's adapter: what both predict for the same texts.

The base answers with its own head where its checkpoint has one of these classes, else with the new
head that the run began with, which knows nothing yet. Knows no files of rows and no scores.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from lora_engine.adapters import check_adapter
from lora_engine.base_models import load_tokenizer
from lora_engine.base_models.classifier_heads import stores_head
from lora_engine.base_models.positions import longest_input
from lora_engine.compare.classify.adapter_facts import ClassifierFacts
from lora_engine.compare.classify.predictions import (
    PredictedSpan,
    PredictedText,
    PredictedWord,
    PredictedWords,
    Prediction,
)
from lora_engine.compare.classify.words import Word, words_of
from lora_engine.compare.generate.comparison_model import BASE_COLUMN
from lora_engine.data import TokenizedRow
from lora_engine.data.entity_spans import entity_spans
from lora_engine.devices import pick_device
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.training.forward.classifier_path import ClassifierPath
from lora_engine.training.models.classifier import load_classifier, load_trained_classifier

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

ADAPTER_COLUMN = "adapter"
COLUMNS = (BASE_COLUMN, ADAPTER_COLUMN)
MAX_TEXTS = 200
MAX_CHARACTERS = 100_000  # of all texts together
BATCH_ROWS = 32


class Classifier:
    """Loaded, and ready to predict classes. Safe to use from several threads, one after the other.

    base_has_head: whether the base's head is its own. max_length: tokens that are read of a text.
    warnings: of the adapter's check and of its facts.
    """

    def __init__(self, facts: ClassifierFacts, settings: Settings) -> None:
        """Raises EngineError for a base or an adapter that cannot be used together."""
        import torch

        self.facts = facts
        check = check_adapter(facts.path, facts.base, facts.task)
        self.sha256 = check.sha256
        self.warnings = (*facts.notes, *check.warnings)
        self.tokenizer = load_tokenizer(facts.base)
        if facts.classes.of_words and not self.tokenizer.is_fast:
            raise EngineError(
                tr(
                    "The tokenizer of {name} has no fast version, which tags need.",
                    name=f"{facts.base.name!r}",
                ),
                tr("Put its tokenizer.json beside the model."),
            )
        self.max_length = longest_input(facts.base, self.tokenizer, facts.max_length)
        device = pick_device(settings)
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        labels, bits = facts.classes.labels, facts.quantization
        torch.manual_seed(facts.seed)  # the head that the run began with
        model = load_trained_classifier(facts.base, labels, check, device, dtype, bits)
        # PEFT says Module of what it was given.
        self.base_has_head = stores_head(
            cast("PreTrainedModel", model.get_base_model()), facts.base
        )
        pad = self.tokenizer.pad_token_id
        self.adapted = ClassifierPath(model.eval(), pad, device, dtype, facts.classes)
        self._plain: ClassifierPath | None = None
        if check.config.bias != "none":  # these were written over, so the base needs its own
            torch.manual_seed(facts.seed)
            alone = load_classifier(facts.base, facts.task, labels, device, dtype, bits)
            self._plain = replace(self.adapted, model=alone.eval())
        self._model: PeftModel = model
        self._guard = threading.Lock()

    @property
    def base_head(self) -> str:
        """Which head the base answers with, in words."""
        if self.base_has_head:
            return tr("The base answers with the head that its own checkpoint holds.")
        return tr(
            "The base has no head for these classes: it answers with the untrained head that the "
            "run began with (seed {seed}).",
            seed=self.facts.seed,
        )

    @contextmanager
    def column(self, name: str) -> Iterator[ClassifierPath]:
        """Within: the forward path of a column, for this thread alone."""
        with self._guard:
            if name == ADAPTER_COLUMN:
                yield self.adapted
            elif self._plain is not None:
                yield self._plain
            else:
                with self._model.disable_adapter():
                    yield self.adapted

    def predict(self, texts: Sequence[str]) -> Iterator[Prediction]:
        """What both columns predict for each text. Raises EngineError for no, too many, or empty
        texts, before anything is computed."""
        refuse_texts(texts)
        for start in range(0, len(texts), BATCH_ROWS):
            some = texts[start : start + BATCH_ROWS]
            found = {name: self._predicted(name, some) for name in COLUMNS}
            for number, text in enumerate(some):
                yield Prediction(text, {name: column[number] for name, column in found.items()})

    def _predicted(
        self, column: str, texts: Sequence[str]
    ) -> Sequence[PredictedText | PredictedWords]:
        if self.facts.classes.of_words:
            return self._tagged(column, texts)
        return self._classified(column, texts)

    def _classified(self, column: str, texts: Sequence[str]) -> list[PredictedText]:
        encoded = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_length, verbose=False
        )
        ids = encoded["input_ids"]
        rows = [TokenizedRow(i, tuple(one), (0,), False) for i, one in enumerate(ids)]
        shares = self._probabilities(column, rows)[:, 0]  # (rows, classes)
        labels = self.facts.classes.labels
        found = []
        for number, row in enumerate(shares.tolist()):
            ordered = sorted(zip(labels, row, strict=True), key=lambda pair: -pair[1])
            found.append(PredictedText(tuple(ordered), self._read(texts[number], ids[number])))
        return found

    def _read(self, text: str, ids: Sequence[int]) -> int:
        """How many characters of the text the tokens stand for."""
        if len(ids) < self.max_length or not self.tokenizer.is_fast:
            return len(text)
        whole = self.tokenizer(text, return_offsets_mapping=True, verbose=False)
        if len(whole["input_ids"]) <= self.max_length:
            return len(text)
        kept = self.tokenizer(
            text, truncation=True, max_length=self.max_length, return_offsets_mapping=True
        )
        return max(end for _, end in kept["offset_mapping"])

    def _tagged(self, column: str, texts: Sequence[str]) -> list[PredictedWords]:
        words = [words_of(text) for text in texts]
        encoded = self.tokenizer(
            [[word.text for word in row] for row in words],
            is_split_into_words=True,
            truncation=True,
            max_length=self.max_length,
            verbose=False,
        )
        rows = [
            TokenizedRow(i, tuple(one), (0,) * len(one), False)
            for i, one in enumerate(encoded["input_ids"])
        ]
        shares = self._probabilities(column, rows)  # (rows, longest, classes)
        return [
            self._tagged_row(text, row, encoded.word_ids(number), shares[number])
            for number, (text, row) in enumerate(zip(texts, words, strict=True))
        ]

    def _tagged_row(
        self, text: str, words: Sequence[Word], of_token: Sequence[int | None], shares: torch.Tensor
    ) -> PredictedWords:
        first = {
            word: place for place, word in reversed([*enumerate(of_token)]) if word is not None
        }
        tagged: list[PredictedWord] = []
        for number, word in enumerate(words):
            if number not in first:
                break
            best = int(shares[first[number]].argmax())
            share = float(shares[first[number], best])
            tag = self.facts.classes.labels[best]
            tagged.append(PredictedWord(word.text, word.start, word.end, tag, share))
        is_whole = len(tagged) == len(words)
        read = len(text) if is_whole else tagged[-1].end if tagged else 0
        return PredictedWords(tuple(tagged), tuple(self._spans(text, tagged)), read)

    def _spans(self, text: str, tagged: Sequence[PredictedWord]) -> Iterator[PredictedSpan]:
        """Entities where the tags mean some, else each word with its class."""
        if self.facts.classes.scheme is None:
            for word in tagged:
                yield PredictedSpan(word.tag, word.text, word.start, word.end, word.probability)
            return
        for span in entity_spans([word.tag for word in tagged]):
            inside = tagged[span.start : span.end]
            start, end = inside[0].start, inside[-1].end
            mean = sum(word.probability for word in inside) / len(inside)
            yield PredictedSpan(span.name, text[start:end], start, end, mean)

    def _probabilities(self, column: str, rows: Sequence[TokenizedRow]) -> torch.Tensor:
        """Softmax over the classes, (rows, labels of a row, classes) on the CPU."""
        import torch

        with self.column(column) as path, torch.inference_mode():
            batch = path.collate(rows)
            shares = path.logits(batch).softmax(-1)
        return shares.view(*batch.labels.shape, -1).cpu()


def refuse_texts(texts: Sequence[str]) -> None:
    """Raises EngineError for no text, an empty one, or more than can be classified at once."""
    if not texts:
        raise EngineError(tr("There is no text to classify."), tr("Write or paste some text."))
    for number, text in enumerate(texts, start=1):
        if not words_of(text):
            raise EngineError(
                tr("Text {number} has no word in it.", number=number),
                tr("Write some text, or leave it out."),
            )
    characters = sum(map(len, texts))
    if len(texts) > MAX_TEXTS or characters > MAX_CHARACTERS:
        raise EngineError(
            tr(
                "{count} texts of {characters} characters; at most {max_texts} of "
                "{max_characters} characters together are classified at once.",
                count=f"{len(texts):,}",
                characters=f"{characters:,}",
                max_texts=f"{MAX_TEXTS:,}",
                max_characters=f"{MAX_CHARACTERS:,}",
            ),
            tr("Give fewer, or put them into a file of rows and try the set."),
        )
