"""Launchers: the places where runs train, each behind the same five calls.

interface      Launcher: start, poll, stop, log, fetch; what each is given and says
choice         the launchers there are, and which of them these settings name
local          this machine: a worker, of one run or of several that share a base
ray            one Ray job for each run
slurm          one Slurm job for each run
cluster_queue  whether a run's job waits in the queue of its cluster
trouble        what is wrong at a run's cluster, for the person
versions       the packages' versions here, and where a node's differ
"""

from lora_engine.runs.launchers.choice import (
    configured_launchers,
    forgetting_elsewhere,
    launchers_elsewhere,
    refuse_held_elsewhere,
    refuse_unconfigured,
)
from lora_engine.runs.launchers.cluster_queue import JobInQueue, read_queue, waits_in_queue
from lora_engine.runs.launchers.interface import Launcher, Order, Stop, Watched
from lora_engine.runs.launchers.local import LocalLauncher
from lora_engine.runs.launchers.trouble import read_trouble

__all__ = [
    "JobInQueue",
    "Launcher",
    "LocalLauncher",
    "Order",
    "Stop",
    "Watched",
    "configured_launchers",
    "forgetting_elsewhere",
    "launchers_elsewhere",
    "read_queue",
    "read_trouble",
    "refuse_held_elsewhere",
    "refuse_unconfigured",
    "waits_in_queue",
]
