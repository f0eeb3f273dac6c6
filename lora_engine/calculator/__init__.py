"""Parameters and memory from shapes alone, before a byte is downloaded.

    count_matrix(d, k, rank)               one weight by hand
    filled_example, with_rank, without_training, work_example, descend
                                           matrices small enough to print
    PRESETS, named_source, preset_source, path_source, config_source, hub_source
                                           which model
    available_modules(source)              what it has that LoRA can adapt
    count_model(source, LoraChoice(...))   what LoRA trains in it, counted by PEFT
    counts_at_ranks(source, choice, ranks) the same at many ranks, from two counts
    compare_methods(source, choice)        LoRA beside the other methods
    estimate_memory(MemoryQuestion(...))   the peak, item by item
    verdicts, largest_that_fits, make_it_fit
                                           which card, how much, what to change
    estimate_work(...), seconds_here       steps, tokens, operations, and how long here
    modules_csv, lora_config_snippet, run_spec
                                           a count as text, and as a run's spec

Importing this package loads neither torch nor transformers: they load when a model is counted.
"""

from lora_engine.calculator.cards import CARDS, Card
from lora_engine.calculator.choice import SHORTCUTS, LoraChoice
from lora_engine.calculator.count_parameters import available_modules, count_model
from lora_engine.calculator.counts_by_rank import RankCount, counts_at_ranks
from lora_engine.calculator.export import lora_config_snippet, modules_csv
from lora_engine.calculator.matrix_count import MatrixCount, count_matrix
from lora_engine.calculator.memory import estimate_from, estimate_memory
from lora_engine.calculator.memory_fit import largest_that_fits, make_it_fit, verdicts
from lora_engine.calculator.memory_request import Margins, MemoryEstimate, MemoryQuestion
from lora_engine.calculator.methods import MethodCount, MethodOptions, compare_methods
from lora_engine.calculator.model_count import LayerMatrix, ModelCount
from lora_engine.calculator.model_profile import ModelProfile, read_profile
from lora_engine.calculator.model_source import (
    ModelSource,
    config_source,
    hub_source,
    path_source,
    preset_source,
)
from lora_engine.calculator.named_model import named_source, trainable_name
from lora_engine.calculator.presets import PRESETS, Preset
from lora_engine.calculator.run_spec import run_spec
from lora_engine.calculator.speed_probe import (
    SHARE_REACHED,
    device_here,
    matmul_flops_per_second,
    seconds_here,
)
from lora_engine.calculator.targets import AvailableModule
from lora_engine.calculator.training_work import estimate_work
from lora_engine.calculator.worked_example import (
    WorkedExample,
    descend,
    filled_example,
    lowest_loss,
    start_example,
    toy_target,
    with_rank,
    without_training,
    work_example,
)

__all__ = [
    "AvailableModule",
    "CARDS",
    "PRESETS",
    "SHARE_REACHED",
    "SHORTCUTS",
    "Card",
    "LayerMatrix",
    "LoraChoice",
    "Margins",
    "MatrixCount",
    "MemoryEstimate",
    "MemoryQuestion",
    "MethodCount",
    "MethodOptions",
    "ModelCount",
    "ModelProfile",
    "ModelSource",
    "Preset",
    "WorkedExample",
    "available_modules",
    "compare_methods",
    "config_source",
    "count_matrix",
    "count_model",
    "descend",
    "device_here",
    "estimate_from",
    "estimate_memory",
    "estimate_work",
    "filled_example",
    "hub_source",
    "largest_that_fits",
    "lora_config_snippet",
    "lowest_loss",
    "make_it_fit",
    "matmul_flops_per_second",
    "modules_csv",
    "named_source",
    "path_source",
    "preset_source",
    "read_profile",
    "RankCount",
    "counts_at_ranks",
    "run_spec",
    "seconds_here",
    "start_example",
    "toy_target",
    "trainable_name",
    "verdicts",
    "with_rank",
    "without_training",
    "work_example",
]
