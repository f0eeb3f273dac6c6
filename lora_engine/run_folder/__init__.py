"""A run's directory on disk, the only thing a worker writes and all that others read of it.

directory   RunDirectory: what lies where; spec, result, log
lock        the lock that says whether a worker lives
metrics     one row a logged step, and the name, unit and kind of each number
result      how a run ended
reports     sample answers, the sizes of ΔW and each class's scores, at every evaluation
"""

from lora_engine.run_folder.directory import RunDirectory
from lora_engine.run_folder.lock import RunLock, is_alive, try_lock
from lora_engine.run_folder.metrics import CURVES, METRICS, Metric, MetricsRow, MetricsWriter
from lora_engine.run_folder.reports import (
    CLASSES,
    SAMPLES,
    UPDATES,
    ClassesRow,
    ClassScore,
    ModuleUpdateRow,
    SampleRow,
    ScoredUnit,
    UpdateRow,
    read_classes,
    read_samples,
    read_updates,
)
from lora_engine.run_folder.result import FittingChange, MemoryShortage, RunProblem, RunResult

__all__ = [
    "CLASSES",
    "CURVES",
    "METRICS",
    "SAMPLES",
    "UPDATES",
    "ClassScore",
    "ClassesRow",
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
    "ScoredUnit",
    "UpdateRow",
    "is_alive",
    "read_classes",
    "read_samples",
    "read_updates",
    "try_lock",
]
