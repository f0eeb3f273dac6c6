"""A run's directory on disk, the only thing a worker writes and all that others read of it.

directory   RunDirectory: what lies where; spec, result, log
lock        the lock that says whether a worker lives
metrics     one row a logged step, and the name, unit and kind of each number
result      how a run ended
reports     sample answers and the sizes of ΔW, at every evaluation
"""

from lora_engine.run_folder.directory import RunDirectory
from lora_engine.run_folder.lock import RunLock, is_alive, try_lock
from lora_engine.run_folder.metrics import CURVES, METRICS, Metric, MetricsRow, MetricsWriter
from lora_engine.run_folder.reports import (
    SAMPLES,
    UPDATES,
    ModuleUpdateRow,
    SampleRow,
    UpdateRow,
    read_samples,
    read_updates,
)
from lora_engine.run_folder.result import FittingChange, MemoryShortage, RunProblem, RunResult

__all__ = [
    "CURVES",
    "METRICS",
    "SAMPLES",
    "UPDATES",
    "FittingChange",
    "MemoryShortage",
    "Metric",
    "MetricsRow",
    "MetricsWriter",
    "ModuleUpdateRow",
    "RunDirectory",
    "RunLock",
    "RunProblem",
    "RunResult",
    "SampleRow",
    "UpdateRow",
    "is_alive",
    "read_samples",
    "read_updates",
    "try_lock",
]
