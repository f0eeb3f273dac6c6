"""An answer token by token: what base and adapters would have said at each position.

All in nats. KL at a position is D(adapter ‖ base) = Σ p_a (ln p_a − ln p_b) over the vocabulary:
how surprised the base would be by what the adapter says there (Kullback & Leibler 1951).
Perplexity of an answer is exp(−mean ln p) over its tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.compare.generate.adapter_settings import (
    ALL_AS_TRAINED,
    AdapterSettings,
    AdapterVariant,
)
from lora_engine.compare.generate.comparison_model import BASE_COLUMN, ComparisonModel
from lora_engine.compare.scoring.log_probabilities import (
    answer_tokens,
    log_probabilities,
    next_token_logits,
)

if TYPE_CHECKING:
    import torch

    from lora_engine.data import Message

TOP = 5
STRENGTHS = tuple(step / 10 for step in range(21))


@dataclass(frozen=True)
class Alternative:
    text: str
    probability: float


@dataclass(frozen=True)
class TokenDetail:
    """One token of the answer; each mapping is by column, `kl_from_base` by adapter column."""

    text: str
    log_probability: Mapping[str, float]
    alternatives: Mapping[str, tuple[Alternative, ...]]
    kl_from_base: Mapping[str, float]


@dataclass(frozen=True)
class TokenComparison:
    """An answer under every column.

    first_divergence: by adapter column, the index of the first token at which its likeliest
    next token is not the base's; None where there is none.
    """

    tokens: tuple[TokenDetail, ...]
    perplexity: Mapping[str, float]
    first_divergence: Mapping[str, int | None]


@dataclass(frozen=True)
class CurvePoint:
    """x: a strength, or the number of a layer that is switched off."""

    x: float
    log_probability: float


@dataclass(frozen=True)
class LayersOffScores:
    """ln p of one answer: under the base, the whole adapter, and the adapter without layers."""

    base: float
    full: float
    without: float


def compare_tokens(
    model: ComparisonModel,
    messages: Sequence[Message],
    answer: str,
    adapter_settings: Mapping[str, AdapterSettings] = ALL_AS_TRAINED,
) -> TokenComparison:
    """Score an answer under the base and every adapter of `model`.

    Adapters are as trained where `adapter_settings` does not name them.
    Raises EngineError for a prompt or an answer that cannot be scored.
    """
    prompt, answered = answer_tokens(model, messages, answer)
    columns = [BASE_COLUMN, *(name for name in model.columns if name != BASE_COLUMN)]
    with model.shared.keep_loaded({name: model.columns[name] for name in columns}) as keys:
        variants = model.variants(keys, adapter_settings)
        logits = next_token_logits(model, prompt + answered, len(prompt), variants)
        by_column = dict(zip(columns, logits, strict=True))
    scores = {name: log_probabilities(by_column[name], answered) for name in columns}
    adapters = columns[1:]
    kl = {name: _kl(by_column[name], by_column[BASE_COLUMN]) for name in adapters}
    top = {name: _alternatives(model, by_column[name]) for name in columns}
    details = tuple(
        TokenDetail(
            text=_token_text(model, token),
            log_probability={name: float(scores[name][index]) for name in columns},
            alternatives={name: top[name][index] for name in columns},
            kl_from_base={name: float(kl[name][index]) for name in adapters},
        )
        for index, token in enumerate(answered)
    )
    return TokenComparison(
        tokens=details,
        perplexity={name: math.exp(-float(scores[name].mean())) for name in columns},
        first_divergence={
            name: _first_difference(by_column[name], by_column[BASE_COLUMN]) for name in adapters
        },
    )


def strength_curve(
    model: ComparisonModel,
    column: str,
    messages: Sequence[Message],
    answer: str,
    strengths: Sequence[float] = STRENGTHS,
) -> list[CurvePoint]:
    """ln p of the whole answer against the adapter's strength; 0 is the base, 1 as trained.

    Raises EngineError for a strength out of bounds or an adapter that is not plain LoRA.
    """
    for strength in strengths:
        model.check_column(column, AdapterSettings(strength))
    return _scored(model, column, messages, answer, [(x, AdapterSettings(x)) for x in strengths])


def layer_contributions(
    model: ComparisonModel, column: str, messages: Sequence[Message], answer: str
) -> list[CurvePoint]:
    """ln p of the whole answer with the adapter switched off in one layer at a time.

    A layer whose point lies far from the full adapter's carries much of the change.
    Raises EngineError for an adapter that is not plain LoRA.
    """
    layers = model.check_adjustable(column)
    off = [(float(layer), AdapterSettings(layers_off=frozenset({layer}))) for layer in layers]
    return _scored(model, column, messages, answer, off)


def score_without_layers(
    model: ComparisonModel,
    column: str,
    messages: Sequence[Message],
    answer: str,
    layers: frozenset[int],
) -> LayersOffScores:
    """ln p of the whole answer with the adapter switched off in all of `layers` together.

    Raises EngineError for an adapter that is not plain LoRA.
    """
    model.check_adjustable(column)
    without = AdapterSettings(layers_off=layers)
    model.check_column(column, without)
    settings = [AdapterSettings(0.0), AdapterSettings(), without]
    found = _scored(model, column, messages, answer, list(enumerate(settings)))
    return LayersOffScores(*(point.log_probability for point in found))


def _scored(
    model: ComparisonModel,
    column: str,
    messages: Sequence[Message],
    answer: str,
    points: Sequence[tuple[float, AdapterSettings]],
) -> list[CurvePoint]:
    """One point for each (x, settings of the adapter)."""
    prompt, answered = answer_tokens(model, messages, answer)
    with model.shared.keep_loaded({column: model.columns[column]}) as keys:
        variants = [AdapterVariant(keys[column], settings) for _, settings in points]
        logits = next_token_logits(model, prompt + answered, len(prompt), variants)
        totals = [float(log_probabilities(one, answered).sum()) for one in logits]
    return [CurvePoint(x, total) for (x, _), total in zip(points, totals, strict=True)]


def _kl(adapted: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """D(adapted ‖ base) at each position, (positions,), from logits (positions, vocabulary).

    Rounding can make it slightly negative where the two agree, which no divergence is: clamped.
    """
    adapted, base = adapted.log_softmax(-1), base.log_softmax(-1)
    return (adapted.exp() * (adapted - base)).sum(-1).clamp_(min=0.0)


def _alternatives(model: ComparisonModel, logits: torch.Tensor) -> list[tuple[Alternative, ...]]:
    """The likeliest tokens at each position, from logits (positions, vocabulary)."""
    probabilities, tokens = logits.softmax(-1).topk(min(TOP, logits.shape[-1]))
    return [
        tuple(
            Alternative(_token_text(model, token), probability)
            for token, probability in zip(ids, values, strict=True)
        )
        for ids, values in zip(tokens.tolist(), probabilities.tolist(), strict=True)
    ]


def _token_text(model: ComparisonModel, token: int) -> str:
    return str(model.shared.tokenizer.decode([token], clean_up_tokenization_spaces=False))


def _first_difference(adapted: torch.Tensor, base: torch.Tensor) -> int | None:
    """The first position at which the likeliest tokens differ; logits (positions, vocabulary)."""
    different = (adapted.argmax(-1) != base.argmax(-1)).nonzero()
    return int(different[0]) if len(different) else None
