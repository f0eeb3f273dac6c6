"""The classic cases of choosing a rank, as examples beside the advice for one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lora_engine.advisor import AdviceRequest, AdvisedTask
from lora_engine.calculator import ModelSource, config_source, preset_source
from lora_engine.language import tr, translatable


@dataclass(frozen=True)
class ClassicCase:
    """A task with so many rows; model: makes the model's shapes, `model_words` names it."""

    title: str
    task: AdvisedTask
    rows: int
    model_words: str
    model: Callable[[], ModelSource]

    def request(self) -> AdviceRequest:
        return AdviceRequest(task=self.task, rows=self.rows, model=self.model())

    def about(self) -> str:
        return tr(
            "{title}: {rows} rows, {model}.",
            title=tr(self.title),
            rows=f"{self.rows:,}",
            model=self.model_words,
        )


def _gpt2_medium() -> ModelSource:
    sizes = {"n_embd": 1024, "n_layer": 24, "n_head": 16}
    return config_source({**preset_source("gpt2").config, **sizes}, "gpt2-medium")


CASES = (
    ClassicCase(
        translatable("A few hundred questions and answers, 7B chatbot"),
        "faq",
        500,
        "Llama 2 7B",
        lambda: preset_source("llama-2-7b"),
    ),
    ClassicCase(
        translatable("Hundreds of thousands of sentences with entities, BERT base"),
        "entities",
        300_000,
        "BERT base",
        lambda: preset_source("bert-base"),
    ),
    ClassicCase(
        translatable("Tens of thousands of lines of verse, GPT-2 medium"),
        "verse",
        30_000,
        "GPT-2 medium",
        _gpt2_medium,
    ),
)
