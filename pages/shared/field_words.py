"""What a page says of a field where the spec's own text speaks of codes or of files.

The spec describes a field as its document has it: null, `lora_only`, `by_length`. A page shows an
empty field and named choices, so its help names those. Knows paths and words; knows no component.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_engine.language import tr, translatable


@dataclass(frozen=True)
class FieldWords:
    """help: in place of the spec's description, "" where that reads well. empty: what an empty
    field means. choices: names in place of those that `choice_names` has."""

    help: str = ""
    empty: str = ""
    choices: Mapping[Any, str] = field(default_factory=dict)


FOUND = translatable("found by itself")
NO_LIMIT = translatable("no limit")
ONLY_ONE = translatable("the only one")

WORDS: Mapping[str, FieldWords] = {
    "task": FieldWords(
        translatable(
            "What the model learns: to continue a text; or, with a new head on an encoder, to name "
            "a class for each text or for each word."
        ),
        choices={
            "causal_lm": translatable("continue a text"),
            "sequence_classification": translatable("a class for each text"),
            "token_classification": translatable("a class for each word"),
        },
    ),
    "dataset.config": FieldWords(
        translatable("Which configuration of a hub set is read."), ONLY_ONE
    ),
    "dataset.eval_config": FieldWords(
        translatable("Which configuration of an evaluation set on the hub is read."), ONLY_ONE
    ),
    "dataset.format": FieldWords(
        translatable("How a row is read. By itself it is found in the first row's columns."),
        choices={
            "auto": FOUND,
            "messages": translatable("a list of turns"),
            "sharegpt": "ShareGPT",
            "alpaca": "Alpaca",
            "prompt_completion": translatable("prompt and answer"),
            "text": translatable("plain text"),
            "classification": translatable("text and class"),
            "token_classification": translatable("words and their classes"),
            "preference": translatable("chosen and rejected answer"),
            "kto": translatable("answer and verdict"),
        },
    ),
    "dataset.reasoning": FieldWords(
        translatable(
            "What happens to the thoughts before an answer (reasoning_content, or a <think> block)."
        ),
        choices={
            "learn": translatable("learned"),
            "keep": translatable("kept, not learned"),
            "strip": translatable("left out"),
        },
    ),
    "dataset.turns": FieldWords(
        translatable("Which answers of a conversation are learned. The others stay in the text."),
        choices={"all": translatable("every answer"), "last": translatable("the last answer")},
    ),
    "dataset.template": FieldWords(
        translatable(
            "How a conversation becomes text. Where the base model has no template of its own, "
            "rankscope-default takes its place. ChatML is Qwen's form too. Without roles, prompt "
            "and answer stand one behind the other."
        ),
        choices={
            "auto": translatable("the base model's own template"),
            "none": translatable("no roles"),
        },
    ),
    "dataset.filters.min_characters": FieldWords(empty=NO_LIMIT),
    "dataset.filters.max_characters": FieldWords(empty=NO_LIMIT),
    "dataset.filters.keep_matching": FieldWords(empty=translatable("every row stays")),
    "dataset.filters.drop_matching": FieldWords(empty=translatable("every row stays")),
    "objective.kind": FieldWords(
        translatable(
            "What a row teaches. Supervised: its answer. DPO (arXiv 2305.18290), IPO (2310.12036), "
            "ORPO (2403.07691) and SimPO (2405.14734): the chosen answer over the rejected one. "
            "KTO (2402.01306): answers labelled good or bad. GRPO (2402.03300): answers that the "
            "model samples itself, rewarded by rules."
        )
    ),
    "objective.beta": FieldWords(
        translatable(
            "DPO, KTO and IPO: how closely the model keeps to its reference. ORPO: weight of the "
            "odds ratio. SimPO: scale of the reward. GRPO: weight of the KL divergence."
        ),
        translatable("0.1; SimPO 2, GRPO 0"),
    ),
    "objective.rules.kind": FieldWords(translatable("What an answer must meet for the reward.")),
    "objective.rules.compare": FieldWords(
        translatable(
            "What must equal the row's own answer. The whole answer is compared without case, "
            "spaces and marks around it."
        ),
        choices={
            "text": translatable("the whole answer"),
            "last_number": translatable("the last number"),
            "contains": translatable("whole words anywhere in it"),
        },
    ),
    "objective.rules.pattern": FieldWords(
        translatable(
            "A regular expression that must be found in the answer; ^ and $ bind it to the ends."
        )
    ),
    "objective.rules.keys": FieldWords(
        translatable("Keys that the JSON object must have."), translatable("any JSON")
    ),
    "objective.rules.minimum": FieldWords(translatable("The shortest answer."), NO_LIMIT),
    "objective.rules.maximum": FieldWords(translatable("The longest answer."), NO_LIMIT),
    "objective.rules.unit": FieldWords(
        translatable("What the length counts."),
        choices={"tokens": translatable("tokens"), "characters": translatable("characters")},
    ),
    "objective.advantage": FieldWords(
        translatable(
            "GRPO divides by the group's standard deviation, and each answer weighs the same. Dr. "
            "GRPO (arXiv 2503.20783) does not divide, and each token weighs the same."
        )
    ),
    "objective.class_weights": FieldWords(
        translatable(
            "Balanced: each class weighs n / (k n_c), so that rare ones count as much as common "
            "ones. The evaluation loss stays unweighted."
        ),
        choices={"equal": translatable("all rows alike"), "balanced": translatable("balanced")},
    ),
    "method.rank": FieldWords(
        translatable("Inner size r of the update ΔW = scaling · B·A. More rank, more capacity.")
    ),
    "method.alpha": FieldWords(
        translatable("Numerator of the scaling: alpha/rank, or alpha/√rank with rsLoRA."),
        translatable("twice the rank"),
    ),
    "method.virtual_tokens": FieldWords(
        translatable(
            "How many trained tokens stand before every row. They count towards the model's "
            "context and the memory of a step."
        )
    ),
    "method.prompt_text": FieldWords(
        translatable(
            "A text whose embeddings are the first virtual tokens, repeated or cut to their number."
        ),
        translatable("random embeddings"),
    ),
    "method.encoder_size": FieldWords(
        translatable("Inner width of the network that makes the virtual tokens."),
        translatable("the model's width"),
    ),
    "method.init": FieldWords(
        translatable(
            "How A and B start. With B at zero, ΔW starts at zero. PiSSA (arXiv 2404.02948) and "
            "OLoRA (2406.01775) start from the weight's own main directions, EVA (2410.07170) from "
            "those of the rows, LoftQ (2310.08659) from the error of a 4-bit base."
        ),
        choices={
            "default": translatable("A random, B zero"),
            "gaussian": translatable("A Gaussian, B zero"),
            "orthogonal": translatable("orthogonal"),
            "pissa": "PiSSA",
            "olora": "OLoRA",
            "eva": "EVA",
            "loftq": "LoftQ",
        },
    ),
    "method.init_from": FieldWords(
        translatable(
            "An adapter to go on from. Rank, alpha, targets and all else that shapes an adapter "
            "are then its own, and the optimizer starts anew."
        )
    ),
    "method.loraplus_lr_ratio": FieldWords(
        translatable("Learning rate of B divided by that of A (arXiv 2402.12354)."),
        translatable("1: the same for both"),
    ),
    "method.rank_pattern": FieldWords(
        translatable('Another rank for some modules, by name, as {"q_proj": 16}.'),
        translatable("none"),
    ),
    "method.alpha_pattern": FieldWords(
        translatable(
            'Another alpha for some modules, as {"q_proj": 32}. A module in the rank pattern that '
            "is not named here keeps the scaling of the rest."
        ),
        translatable("none"),
    ),
    "method.modules_to_save": FieldWords(empty=translatable("none")),
    "method.bias": FieldWords(choices={"all": translatable("all")}),
    "quantization.type": FieldWords(
        translatable("NF4 fits normally distributed weights (arXiv 2305.14314).")
    ),
    "optimization.optimizer": FieldWords(
        translatable(
            "AdamW is Adam with decoupled weight decay. In 8 bit it keeps its state in bytes; "
            "paged, the state moves to the host when a GPU is full. Adafactor keeps a row and a "
            "column of each matrix."
        )
    ),
    "optimization.schedule": FieldWords(
        choices={
            "cosine": translatable("as a cosine"),
            "linear": translatable("in a straight line"),
            "constant": translatable("not at all"),
        }
    ),
    "optimization.epochs": FieldWords(
        translatable("Passes over the training rows."), translatable("as the number of steps says")
    ),
    "optimization.max_steps": FieldWords(empty=translatable("as the epochs say")),
    "optimization.max_tokens_per_batch": FieldWords(
        translatable(
            "Fill each forward pass with rows up to this many tokens instead of counting rows; a "
            "longer row is a batch of its own."
        ),
        translatable("the batch size counts"),
    ),
    "optimization.row_order": FieldWords(
        translatable(
            "By length, rows of like length stand in one batch: less padding, and measurably worse "
            "learning (docs/training.md)."
        ),
        choices={"random": translatable("random"), "by_length": translatable("by length")},
    ),
    "optimization.precision": FieldWords(
        translatable(
            "Arithmetic of the frozen base. By device: bfloat16 on a GPU, and on a processor that "
            "has instructions for it, for a larger base stored in it; else float32. The adapter "
            "itself is always float32."
        ),
        choices={"auto": translatable("by device")},
    ),
    "optimization.early_stopping": FieldWords(empty=translatable("never")),
    "report.sample_prompts": FieldWords(
        translatable("The prompts, one a line."),
        translatable("the first questions of the evaluation rows"),
    ),
    "report.report_to": FieldWords(
        translatable(
            "Where the curves go besides the run's own folder. Each of them must be installed."
        ),
        choices={"tensorboard": "TensorBoard", "wandb": "Weights & Biases", "trackio": "Trackio"},
    ),
}


def words_of(path: str) -> FieldWords:
    """The words for the field at a dotted path; those of a list's entries are alike."""
    return WORDS.get(
        ".".join(name for name in path.split(".") if not name.isdecimal()), FieldWords()
    )


def empty_words(path: str) -> str:
    """What the field means where it is empty, in the present language; "" where it has no words."""
    found = words_of(path).empty
    return tr(found) if found else ""
