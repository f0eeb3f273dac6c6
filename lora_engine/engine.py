"""The engine as the pages and the command line hold it.

One object, made once in a process and handed to whoever needs it. Each attribute is what one
package offers to a caller: `engine.runs`, `engine.sweeps`, `engine.compare`, `engine.classifiers`,
`engine.adapters`, `engine.adapter_operations`, `engine.advisor`, `engine.methods`,
`engine.exports`, `engine.base_models`, `engine.datasets`, `engine.machine`.
It knows no screen.
"""

from __future__ import annotations

from lora_engine.adapter_operations.service import AdapterOperations
from lora_engine.adapters.library import AdapterLibrary
from lora_engine.advisor.service import Advisor
from lora_engine.base_models import BaseModels
from lora_engine.compare.classify.service import Classifiers
from lora_engine.compare.service import Comparisons
from lora_engine.data.service import Datasets
from lora_engine.data_folder import make_data_folder
from lora_engine.export.service import Exports
from lora_engine.machine import Machine
from lora_engine.measured_methods.service import MeasuredMethods
from lora_engine.quotas import QueueQuota
from lora_engine.runs.memory_room import MemoryRoom
from lora_engine.runs.service import Runs
from lora_engine.runs.store import RunStore
from lora_engine.runs.supervisor import Supervisor
from lora_engine.runs.sweeps import Sweeps
from lora_engine.settings import Settings


class Engine:
    """Everything that can be done with one data directory."""

    def __init__(self, settings: Settings) -> None:
        make_data_folder(settings)
        store = RunStore(settings.database_path, quota=QueueQuota.of(settings))
        self.settings = settings
        self.compare = Comparisons(settings)
        room = MemoryRoom(
            settings,
            expected=lambda spec: self.advisor.expected_memory(spec),
            let_go=self.compare.let_go_if_idle,
        )
        self._supervisor = Supervisor(store, settings, room)
        self.compare.add_spare(self.let_standby_go)
        self.runs = Runs(store, self._supervisor, settings)
        self.sweeps = Sweeps(store, self._supervisor, settings)
        self.classifiers = Classifiers(settings)
        self.adapters = AdapterLibrary(settings)
        self.adapter_operations = AdapterOperations(settings, self.compare)
        self.advisor = Advisor(settings, self.runs, self.compare)
        self.methods = MeasuredMethods(settings, self.sweeps, self.compare)
        self.exports = Exports(settings, self.compare)
        self.base_models = BaseModels(settings)
        self.datasets = Datasets(settings)
        self.machine = Machine(settings.data_dir)

    def start(self) -> None:
        """Supervise the runs from a thread of this process."""
        self._supervisor.start()

    def has_standby(self) -> bool:
        """Whether a process waits for the next run, with all loaded that it was to load."""
        return self._supervisor.standby.is_ready

    def let_standby_go(self) -> None:
        """Give the memory of that process back."""
        self._supervisor.standby.let_go()

    def stop(self) -> None:
        """End that thread. The workers go on, and the next server adopts them."""
        self._supervisor.stop()
