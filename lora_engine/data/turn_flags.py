"""What a turn says about being learned, in the words of each maker of training software.

weight                            OpenAI, Together, Fireworks: 0 or 1
train, training, train_on_turn    axolotl: true or false
loss_weight                       LLaMA-Factory: 0.0 or 1.0
loss                              ms-swift: true or false
masked, ignore, ...               the same the other way around

Null means learned. A share between is refused: the loss here takes a turn whole or not at all.
"""

from __future__ import annotations

from lora_engine.data.field_values import InvalidRow, flag_of, is_empty, kind_of
from lora_engine.language import tr

LEARN_KEYS = (
    "weight",
    "loss_weight",
    "loss",
    "loss_scale",
    "loss_mask",
    "train",
    "training",
    "trainable",
    "is_trainable",
    "train_on_turn",
    "trained",
    "learn",
    "learned",
    "is_learned",
    "learnable",
    "supervised",
    "supervise",
    "compute_loss",
    "use_loss",
    "with_loss",
)
SKIP_KEYS = (
    "masked",
    "is_masked",
    "loss_masked",
    "ignore",
    "ignored",
    "ignore_loss",
    "no_loss",
    "skip_loss",
    "do_not_train",
    "no_train",
    "frozen",
)
UNCLEAR_KEYS = ("mask", "labels", "train_detail", "training_detail")
FLAG_KEYS = frozenset((*LEARN_KEYS, *SKIP_KEYS, *UNCLEAR_KEYS))


def is_learned(fields: dict, where: str) -> bool | None:
    """Whether the turn (or part) is to be learned; None where it says nothing.

    Raises InvalidRow for a value that is neither yes nor no, for a key that means different things
    in different programs, and for two keys that contradict each other.
    """
    said: dict[str, bool] = {}
    for key in FLAG_KEYS.intersection(fields):
        value = fields[key]
        if is_empty(value):
            continue
        if key in UNCLEAR_KEYS:
            raise InvalidRow(
                tr(
                    "{where} has {key}, which is not read; weight (0 or 1) is",
                    where=where,
                    key=f"{key!r}",
                )
            )
        flag = flag_of(value)
        if flag is None:
            raise InvalidRow(
                tr(
                    "{where} has {key} {written}; 0 (false) and 1 (true) are allowed",
                    where=where,
                    key=key,
                    written=_written(value),
                )
            )
        said[key] = flag if key in LEARN_KEYS else not flag
    if len(set(said.values())) > 1:
        raise InvalidRow(
            tr("{where} contradicts itself in {said}", where=where, said=" and ".join(sorted(said)))
        )
    return next(iter(said.values()), None)


def _written(value: object) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else kind_of(value)
