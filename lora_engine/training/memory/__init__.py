"""Memory of a run: predicted before it, measured during it, explained where it runs out.

prediction      what a run should need, and margins fitted to earlier runs
quick_bound     more than a run can need, without loading anything
usage           what the worker uses now, and at its peak
out_of_memory   a run that ran out: the figures, and changes that would fit
"""

from lora_engine.training.memory.out_of_memory import SPEC_PATHS
from lora_engine.training.memory.prediction import (
    MemoryRecord,
    read_prediction,
    read_records,
    refit_margins,
    used_records,
)

__all__ = [
    "SPEC_PATHS",
    "MemoryRecord",
    "read_prediction",
    "read_records",
    "refit_margins",
    "used_records",
]
