"""Launchers: the places beside this machine where runs train, each behind the same five calls.

interface  Launcher: start, poll, stop, log, fetch; what each is given and says
choice     the launchers there are, and which of them these settings name
ray        one Ray job for each run
slurm      one Slurm job for each run
"""

from lora_engine.runs.launchers.choice import (
    configured_launchers,
    launchers_elsewhere,
    refuse_unconfigured,
)
from lora_engine.runs.launchers.interface import Launcher, Stop, Watched

__all__ = [
    "Launcher",
    "Stop",
    "Watched",
    "configured_launchers",
    "launchers_elsewhere",
    "refuse_unconfigured",
]
