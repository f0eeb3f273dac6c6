"""Which launchers there are beside this machine, and which of them these settings name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from lora_engine.errors import Conflict, EngineError
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launchers.interface import Launcher
from lora_engine.runs.launchers.local import LocalLauncher
from lora_engine.runs.launchers.ray.brought import refuse_unbringable
from lora_engine.runs.launchers.ray.forgetting import storage_of
from lora_engine.runs.launchers.ray.launcher import RayLauncher
from lora_engine.runs.launchers.ray.storage import open_storage
from lora_engine.runs.launchers.slurm.launcher import SlurmLauncher
from lora_engine.runs.launchers.slurm.ownership import job_that_trains
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec

log = logging.getLogger(__name__)


def launchers_elsewhere(settings: Settings) -> Mapping[str, Launcher]:
    """Every launcher but this machine's, by its name. One that no setting names still looks after
    runs that were started when one did."""
    return {
        RayLauncher.name: RayLauncher(settings),
        SlurmLauncher.name: SlurmLauncher(settings),
    }


def configured_launchers(settings: Settings) -> tuple[str, ...]:
    """The places that a new run can choose from; this machine is the first."""
    named = {
        RayLauncher.name: settings.ray_address,
        SlurmLauncher.name: settings.slurm_host,
    }
    return (LocalLauncher.name, *(name for name, address in named.items() if address is not None))


def refuse_unconfigured(spec: RunSpec, settings: Settings) -> None:
    """Raises EngineError where a new run would go to a place that no setting names, or to one whose
    storage does not open."""
    if spec.launcher == RayLauncher.name and settings.ray_address is None:
        raise EngineError(
            tr("launcher is ray, and no setting says where Ray is."),
            tr(
                "Set LORA_RAY_ADDRESS to the dashboard of the cluster, as http://head:8265. Or set "
                "launcher to local."
            ),
        )
    if spec.launcher == RayLauncher.name and settings.ray_storage is not None:
        open_storage(settings.ray_storage)
        refuse_unbringable(spec)
    if spec.launcher == SlurmLauncher.name and settings.slurm_host is None:
        raise EngineError(
            tr("launcher is slurm, and no setting says where Slurm is."),
            tr(
                "Set LORA_SLURM_HOST: local for this machine's own commands, else the login node. "
                "Or set launcher to local."
            ),
        )


def forgetting_elsewhere(directory: RunDirectory, settings: Settings) -> Callable[[], None]:
    """Asked while a run's folder is there; what is to be called when the run was deleted, so that
    its place forgets it too. The run is gone whether or not that can be begun."""
    storage = storage_of(directory, settings)

    def forget() -> None:
        if storage is None:
            return
        try:
            RayLauncher(settings).forget(directory.path.name, storage)
        except OSError as error:
            log.error("run %s stays in %s: %s", directory.path.name, storage, error)

    return forget


def refuse_held_elsewhere(directory: RunDirectory, spec: RunSpec) -> None:
    """Raises Conflict where a run is to train at a place of `spec`, and a job of another place,
    which nobody here follows any more, still trains in its folder. Ray's jobs see to that
    themselves: one whose token is not the newest any more ends."""
    job = None if spec.launcher == SlurmLauncher.name else job_that_trains(directory)
    if job is not None:
        raise Conflict(
            tr("Slurm job {number} still trains in this run's folder.", number=job),
            tr(
                "It was asked to stop and does so after its present step. Wait for that, or cancel "
                "it on the cluster; then resume the run."
            ),
        )
