"""Runs: the list of training runs, their states, and the starting and stopping of workers.

service.py           `engine.runs`: submit, watch, stop, resume, annotate, delete
store.py             the list and its states, in SQLite
states.py            the states, and which of them are active, resumable or over
supervisor.py        keeps the list true to what the workers do, and starts the next run
launcher.py          starts a worker on this machine, and signals it
stall_detection.py   does a living worker get anywhere?
extension.py         a finished run extended: the spec that goes on, its steps and learning rate
curve.py             a run's metrics, thinned for a figure
deletion.py          removes a run with all that it made
"""

from lora_engine.runs.extension import ExtensionPlan
from lora_engine.runs.service import RunView
from lora_engine.runs.states import OVER, RESUMABLE, RunState

__all__ = [
    "OVER",
    "RESUMABLE",
    "ExtensionPlan",
    "RunState",
    "RunView",
]
