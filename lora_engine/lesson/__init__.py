"""What the lesson shows and the workbench has no other use for: made, measured and checked here.

lora_layer    LoRA from scratch in one layer
layer_check   the same beside PEFT's
step_by_hand  one step of gradient descent with every number on the way
four_starts   A and B from four starts, trained while a person looks
update_size   how large ΔW becomes at each rank, by alpha/r and by alpha/√r
nf4_rounding  NF4's levels on a real weight; the bits of its constants
measured      what `python docs/make_lesson_figures.py` measured of the starter: typed, read
left_out      an adapter without the updates of some modules
memory_notes  the memory that the notes name, and what the calculator counts

It knows no page; torch loads when something is computed with it.
"""

from lora_engine.lesson.four_starts import STARTS, FourStarts, TrainedStart, train_four_starts
from lora_engine.lesson.layer_check import LayerCheck, compare_with_peft, layer_source
from lora_engine.lesson.measured import (
    ComputedMemory,
    EnergyOfUpdate,
    HowMeasured,
    Measured,
    MeasuredWay,
    WhereItSits,
    read_measured,
)
from lora_engine.lesson.nf4_rounding import (
    BLOCK,
    DOUBLE_BLOCK,
    LEVELS,
    BitsAWeight,
    RoundedWeight,
    bits_a_weight,
    rounded_weight,
)
from lora_engine.lesson.step_by_hand import HandStep, hand_step
from lora_engine.lesson.update_size import RANKS, product_norms, scalings

__all__ = [
    "BLOCK",
    "DOUBLE_BLOCK",
    "LEVELS",
    "RANKS",
    "STARTS",
    "BitsAWeight",
    "ComputedMemory",
    "EnergyOfUpdate",
    "FourStarts",
    "HandStep",
    "HowMeasured",
    "LayerCheck",
    "Measured",
    "MeasuredWay",
    "RoundedWeight",
    "TrainedStart",
    "WhereItSits",
    "bits_a_weight",
    "compare_with_peft",
    "hand_step",
    "layer_source",
    "product_norms",
    "read_measured",
    "rounded_weight",
    "scalings",
    "train_four_starts",
]
