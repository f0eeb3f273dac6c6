"""A run's directory on disk, the only thing a worker writes and all that others read of it.

directory   RunDirectory: what lies where; spec, result, log
lock        the lock that says whether a worker lives
metrics     one row a logged step, and the name, unit and kind of each number
result      how a run ended
worker_identity  which process holds the lock
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
from lora_engine.run_folder.worker_identity import (
    WorkerIdentity,
    living_worker,
    name_worker,
)

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
    "WorkerIdentity",
    "is_alive",
    "living_worker",
    "name_worker",
    "read_classes",
    "read_samples",
    "read_updates",
    "try_lock",
]
