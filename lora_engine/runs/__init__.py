"""Runs: the list of training runs, their states, and the starting and stopping of workers.

service.py           `engine.runs`: submit, watch, stop, resume, annotate, delete
sweeps.py            `engine.sweeps`: submit, watch, stop and resume the runs of a grid together
sweep_folder.py      a sweep's own file: its spec, and the runs that it began with
submission.py        writes new runs and queues them, all or none
view.py              a run as it is shown
store.py             the list and its states, in SQLite
record.py            a run as its row of the list says it
states.py            the states, and which of them are active, resumable or over
supervisor.py        keeps the list true to what the workers do, and starts the next run
memory_room.py       is there memory for the next run, and what does it wait for?
shared_worker.py     which waiting runs the next worker trains
launcher.py          starts a worker on this machine, and signals it
stall_detection.py   does a living worker get anywhere?
resuming.py          where a stopped run goes on
extension.py         a finished run extended: the spec that goes on, its steps and learning rate
run_files.py         what lies in a run's folder
curve.py             a run's metrics, thinned for a figure
deletion.py          removes a run with all that it made
"""

from lora_engine.runs.extension import ExtensionPlan
from lora_engine.runs.launchers import configured_launchers
from lora_engine.runs.resuming import Place
from lora_engine.runs.run_files import RunFile
from lora_engine.runs.states import OVER, RESUMABLE, RunState, state_name
from lora_engine.runs.sweeps import SweepView
from lora_engine.runs.view import RunView

__all__ = [
    "OVER",
    "RESUMABLE",
    "ExtensionPlan",
    "Place",
    "RunFile",
    "RunState",
    "RunView",
    "SweepView",
    "configured_launchers",
    "state_name",
]
