"""Parameters and memory from shapes alone, before a byte is downloaded.

    matrix_count.py      one weight by hand: count_matrix(d, k, rank)
    worked_example.py    matrices small enough to print, to edit and to train
    presets.py, model_source.py, named_model.py
                         which model: a preset, a folder, a config.json, a hub id
    meta_model.py, repeated_layers.py, model_shape.py
                         its shapes, from the real class on the meta device
    targets.py           the modules a name or a shortcut means in it
    count_parameters.py, model_count.py, counts_by_rank.py
                         what a method trains in it, counted by PEFT
    methods.py           LoRA beside the other ways to fine-tune
    workload.py, memory_request.py, memory_options.py
                         a question about memory: in the spec's words, and in short names
    memory.py, weight_items.py, memory_items.py, activations.py, offloading.py,
    optimizer_state.py, model_profile.py
                         its answer, item by item
    cards.py, memory_fit.py
                         which card it fits, how much does, what to change
    training_work.py, speed_probe.py
                         steps, tokens, operations, and how long here
    export.py            a count as CSV, as a LoraConfig, and as a run's spec

The method, the quantization and the optimization are the spec's own (`lora_engine.spec`).
Importing this package loads neither torch nor transformers: they load when a model is counted.
"""

from lora_engine.calculator.cards import CARDS, Card, card_of
from lora_engine.calculator.count_parameters import available_modules, count_model
from lora_engine.calculator.counts_by_rank import RankCount, counts_at_ranks
from lora_engine.calculator.export import lora_config_snippet, modules_csv, run_spec
from lora_engine.calculator.matrix_count import MatrixCount, count_matrix
from lora_engine.calculator.memory import estimate_from, estimate_memory
from lora_engine.calculator.memory_fit import largest_that_fits, make_it_fit, verdicts
from lora_engine.calculator.memory_options import MemoryOptions, estimate_json
from lora_engine.calculator.memory_request import (
    Margins,
    MemoryEstimate,
    MemoryRequest,
    read_method,
    read_request,
    with_changes,
)
from lora_engine.calculator.methods import MethodCount, compare_methods
from lora_engine.calculator.model_count import LayerMatrix, ModelCount
from lora_engine.calculator.model_profile import ModelProfile, read_profile
from lora_engine.calculator.model_source import (
    ModelSource,
    config_source,
    given_config,
    hub_source,
    path_source,
    preset_source,
)
from lora_engine.calculator.named_model import named_source, trainable_name
from lora_engine.calculator.presets import PRESETS, Preset
from lora_engine.calculator.speed_probe import (
    SHARE_REACHED,
    device_here,
    matmul_flops_per_second,
    seconds_here,
)
from lora_engine.calculator.targets import SHORTCUTS, AvailableModule
from lora_engine.calculator.training_work import Work, estimate_work
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
from lora_engine.calculator.workload import Workload

__all__ = [
    "CARDS",
    "PRESETS",
    "SHARE_REACHED",
    "SHORTCUTS",
    "AvailableModule",
    "Card",
    "LayerMatrix",
    "Margins",
    "MatrixCount",
    "MemoryEstimate",
    "MemoryOptions",
    "MemoryRequest",
    "MethodCount",
    "ModelCount",
    "ModelProfile",
    "ModelSource",
    "Preset",
    "RankCount",
    "Work",
    "WorkedExample",
    "Workload",
    "available_modules",
    "card_of",
    "compare_methods",
    "config_source",
    "count_matrix",
    "count_model",
    "counts_at_ranks",
    "descend",
    "device_here",
    "estimate_from",
    "estimate_json",
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
    "given_config",
    "path_source",
    "preset_source",
    "read_method",
    "read_profile",
    "read_request",
    "run_spec",
    "seconds_here",
    "start_example",
    "toy_target",
    "trainable_name",
    "verdicts",
    "with_changes",
    "with_rank",
    "without_training",
    "work_example",
]
