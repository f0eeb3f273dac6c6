"""What is known about choosing a rank, as data and functions: each rule with its source and year.

A rule says what one source would choose for one field. Where sources disagree, both rules stand
and share the name of the disagreement. Knows nothing of how they are weighed; `advice.py` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from lora_engine.language import tr, translatable

AdvisedTask = Literal["faq", "style", "classification", "entities", "verse", "reasoning", "code"]
Field = Literal[
    "rank",
    "alpha",
    "dropout",
    "target_modules",
    "loraplus_lr_ratio",
    "learning_rate",
    "quantization",
]

BITS_A_PARAMETER = 2.0
BITS_A_TOKEN = 1.0
FEW_ROWS, MANY_ROWS = 5_000, 50_000
LARGE_MODEL = 1_000_000_000


@dataclass(frozen=True)
class Source:
    """Who says it. year, url: none for common practice, which no study backs."""

    name: str
    year: int | None
    url: str = ""


def _arxiv(name: str, year: int, number: str) -> Source:
    return Source(f"{name} (arXiv {number})", year, f"https://arxiv.org/abs/{number}")


LORA = _arxiv("LoRA", 2021, "2106.09685")
INTRINSIC = _arxiv("Intrinsic Dimensionality Explains Fine-Tuning", 2020, "2012.13255")
QLORA = _arxiv("QLoRA", 2023, "2305.14314")
RSLORA = _arxiv("rsLoRA", 2023, "2312.03732")
LORA_PLUS = _arxiv("LoRA+", 2024, "2402.12354")
LEARNS_LESS = _arxiv("LoRA Learns Less and Forgets Less", 2024, "2405.09673")
RATE_MATTERS = _arxiv("Learning Rate Matters: Vanilla LoRA May Suffice", 2026, "2602.04998")
RATE_AND_RANK = _arxiv("Learning Rate Scaling across LoRA Ranks", 2026, "2602.06204")
WITHOUT_REGRET = Source(
    "LoRA Without Regret (Thinking Machines)", 2025, "https://thinkingmachines.ai/blog/lora/"
)
PRACTICE = Source(translatable("common practice; no study"), None)
MEASURED_HERE = Source(
    translatable("measured here on the starter (benchmarks/starter_adapters.py)"), 2026
)


@dataclass(frozen=True)
class Rule:
    """What one source would choose for `field`.

    value: its choice; None where it names none. disagreement: rules with the same name here
    contradict each other, and each stands as its source has it. rule: in the language of the
    present work.
    """

    field: Field
    rule: str
    value: float | str | None
    source: Source
    disagreement: str = ""

    @property
    def rank(self) -> int | None:
        """The rank it names, for a rule about the rank."""
        return int(self.value) if self.field == "rank" and isinstance(self.value, int) else None

    def to_json(self) -> dict[str, Any]:
        return {
            "field": self.field,
            "rule": self.rule,
            "value": self.value,
            "rank": self.rank,
            "source": tr(self.source.name),
            "year": self.source.year,
            "url": self.source.url,
            "disagreement": self.disagreement,
        }


@dataclass(frozen=True)
class TaskRanks:
    """What a task usually takes. low, high: ranks; source: who says so."""

    words: str
    low: int
    high: int
    source: Source

    @property
    def typical(self) -> int:
        """The geometric mean of both ends."""
        return round(math.sqrt(self.low * self.high))


TASKS: Mapping[AdvisedTask, TaskRanks] = MappingProxyType(
    {
        "faq": TaskRanks(
            translatable("Answers to known questions are a simple task"), 4, 16, PRACTICE
        ),
        "style": TaskRanks(translatable("A tone or a format is a simple task"), 4, 16, PRACTICE),
        "classification": TaskRanks(
            translatable("A class for each text is a simple task"), 4, 16, PRACTICE
        ),
        "verse": TaskRanks(
            translatable("Verse and prose of a kind lie between simple and medium"), 8, 32, PRACTICE
        ),
        "entities": TaskRanks(
            translatable("A class for each word is a task of medium difficulty"), 16, 64, PRACTICE
        ),
        "reasoning": TaskRanks(
            translatable("Mathematics and reasoning are hard tasks; ranks up to 256 still gained"),
            64,
            256,
            LEARNS_LESS,
        ),
        "code": TaskRanks(
            translatable("Code is a hard task; ranks up to 256 still gained"), 64, 256, LEARNS_LESS
        ),
    }
)


def task_rule(task: AdvisedTask) -> Rule:
    """The rank that a task of this kind usually takes."""
    ranks = TASKS[task]
    said = tr("{task}: rank {low} to {high}.", task=tr(ranks.words), low=ranks.low, high=ranks.high)
    return Rule("rank", said, ranks.typical, ranks.source)


def rows_rule(rows: int) -> Rule:
    """The rank for so many training rows."""
    few, many = f"{FEW_ROWS:,}", f"{MANY_ROWS:,}"
    if rows < FEW_ROWS:
        said, rank = tr("Under {few} rows rank 8 is enough.", few=few), 8
    elif rows <= MANY_ROWS:
        said, rank = (
            tr("Between {few} rows (rank 8) and {many} (rank 32): 16.", few=few, many=many),
            16,
        )
    else:
        said, rank = tr("Over {many} rows at least rank 32.", many=many), 32
    counted = tr("There are {rows}.", rows=f"{rows:,}")
    return Rule("rank", f"{said} {counted}", rank, PRACTICE)


def small_rank_rule() -> Rule:
    """What the LoRA paper found; it names no number for a task of one's own."""
    said = tr("On small tasks ranks from 1 to 64 differ by no more than chance (table 6).")
    return Rule("rank", said, None, LORA)


def information_rule(tokens: int, parameters_a_rank: int) -> Rule:
    """r ≥ tokens · 1 bit / (2 bits · parameters per unit of rank)."""
    bits = tokens * BITS_A_TOKEN
    rank = math.ceil(bits / (BITS_A_PARAMETER * parameters_a_rank))
    said = tr(
        "The adapter must hold what the data tells: {tokens} supervised tokens at no more than "
        "{bits} bit each, {held} bits a parameter, {parameters} parameters per unit of rank.",
        tokens=f"{tokens:,}",
        bits=f"{BITS_A_TOKEN:g}",
        held=f"{BITS_A_PARAMETER:g}",
        parameters=f"{parameters_a_rank:,}",
    )
    return Rule("rank", said, max(1, rank), WITHOUT_REGRET, translatable("capacity"))


def parameters_rule(tokens: int, parameters_a_rank: int) -> Rule:
    """r ≥ tokens / parameters per unit of rank: one parameter a token, the cautious form."""
    rank = max(1, math.ceil(tokens / parameters_a_rank))
    said = tr("Cautiously: at least as many trainable parameters as supervised tokens.")
    return Rule("rank", said, rank, WITHOUT_REGRET, translatable("capacity"))


def model_size_rules(parameters: int, low: int, high: int) -> tuple[Rule, ...]:
    """For a base of a billion parameters or more: two opinions, one for each end of the range."""
    if parameters < LARGE_MODEL:
        return ()
    billions = f"{parameters / 1e9:.1f}"
    return (
        Rule(
            "rank",
            tr(
                "A stronger base needs less rank: the larger a pretrained model, the lower the "
                "dimension of what a task changes in it. This one has {billions} billion "
                "parameters.",
                billions=billions,
            ),
            low,
            INTRINSIC,
            translatable("model size"),
        ),
        Rule(
            "rank",
            tr(
                "A larger model is usually given a larger rank. This one has {billions} billion "
                "parameters.",
                billions=billions,
            ),
            high,
            PRACTICE,
            translatable("model size"),
        ),
    )


def alpha_rules(rank: int) -> tuple[Rule, ...]:
    """Alpha 2r keeps the scaling at 2; rsLoRA divides by √r instead of r."""
    return (
        Rule(
            "alpha",
            tr("alpha = 2 · rank, so the scaling alpha/rank is 2."),
            2 * rank,
            LEARNS_LESS,
            translatable("scaling"),
        ),
        Rule(
            "alpha",
            tr(
                "alpha/rank slows the learning of high ranks; divide by √rank. For the same "
                "scaling at this rank, with rsLoRA switched on:"
            ),
            round(2 * math.sqrt(rank), 2),
            RSLORA,
            translatable("scaling"),
        ),
    )


def target_rules() -> tuple[Rule, ...]:
    """Where the adapters go."""
    return (
        Rule(
            "target_modules",
            tr(
                "Adapt every linear layer; attention alone is worse at the same number of "
                "parameters."
            ),
            "all-linear",
            WITHOUT_REGRET,
        ),
        Rule(
            "target_modules",
            tr(
                "A given number of parameters is better spread over more matrices (tables 5 and 7)."
            ),
            None,
            LORA,
        ),
    )


def dropout_rule(rows: int | None) -> Rule:
    """A little dropout where rows are few and seen often."""
    if rows is not None and rows < FEW_ROWS:
        said = tr(
            "Under {few} rows a little dropout against learning them by heart.",
            few=f"{FEW_ROWS:,}",
        )
        return Rule("dropout", said, 0.05, PRACTICE)
    return Rule(
        "dropout",
        tr("No dropout where rows are many or their number is unknown."),
        0.0,
        PRACTICE,
    )


def learning_rate_rules(rate: float, is_starter: bool) -> tuple[Rule, ...]:
    """rate: where to start. The other two say why one learning rate is not enough."""
    start = (
        Rule("learning_rate", tr("The starter learns best at this rate."), rate, MEASURED_HERE)
        if is_starter
        else Rule("learning_rate", tr("Where most runs of LoRA and QLoRA start."), rate, PRACTICE)
    )
    return (
        start,
        Rule(
            "learning_rate",
            tr("About ten times the best rate of full fine-tuning, much the same at every rank."),
            None,
            WITHOUT_REGRET,
            translatable("rate and rank"),
        ),
        Rule(
            "learning_rate",
            tr(
                "By the start and the scaling, the best rate stays the same over the ranks or "
                "falls with 1/rank: a comparison of ranks at one learning rate can mislead."
            ),
            None,
            RATE_AND_RANK,
            translatable("rate and rank"),
        ),
    )


def loraplus_rules() -> tuple[Rule, ...]:
    """Whether B gets a rate of its own."""
    return (
        Rule(
            "loraplus_lr_ratio",
            tr(
                "B learns faster than A, 16 times for a start: 1 to 2 % better, up to twice as "
                "fast."
            ),
            16,
            LORA_PLUS,
            translatable("variants"),
        ),
        Rule(
            "loraplus_lr_ratio",
            tr(
                "With learning rates tuned for each, nine variants end within 1 to 2 % of plain "
                "LoRA: tune the rate before adding a variant."
            ),
            None,
            RATE_MATTERS,
            translatable("variants"),
        ),
    )


def quantization_rule(total_gib: float, card_gib: float, qlora_gib: float) -> Rule:
    """For a card that the run does not fit: QLoRA, and what it takes there."""
    sizes = {
        "total": f"{total_gib:.1f}",
        "card": f"{card_gib:g}",
        "qlora": f"{qlora_gib:.1f}",
    }
    said = tr(
        "{total} GiB do not fit {card} GiB; with the frozen base in 4 bits (QLoRA) and "
        "gradient checkpointing it takes {qlora} GiB, which fits."
        if qlora_gib <= card_gib
        else "{total} GiB do not fit {card} GiB; with the frozen base in 4 bits (QLoRA) and "
        "gradient checkpointing it takes {qlora} GiB, which does not fit either.",
        **sizes,
    )
    return Rule("quantization", said, "nf4", QLORA)
