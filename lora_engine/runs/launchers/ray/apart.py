"""The two ends of a run whose node does not see its folder: `Here` and `There`, over a storage.

content/, lists/               what the job takes: see `shared_content`
runs/ID/token.json             the newest token
runs/ID/<token>/stop           it is to stop and save       heartbeat.json  its sign of life
runs/ID/<token>/index.json, pieces/                         what it left
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launchers.ray.brought import MANIFEST, bring, keep_listed, take
from lora_engine.runs.launchers.ray.returned import Giver, Taker, newest_step
from lora_engine.runs.launchers.ray.shared_content import list_name, lists_of
from lora_engine.runs.launchers.ray.storage import (
    Between,
    Storage,
    StorageTrouble,
    open_storage,
)
from lora_engine.runs.launchers.ray.tenancy import Heartbeat, Tenancy, read_heartbeat
from lora_engine.settings import Settings

EVERY_S = 2.0  # every request to a storage costs


class Token(BaseModel):
    """The newest token of a run, as its jobs read it."""

    model_config = ConfigDict(frozen=True)

    token: int


class Fenced(Exception):
    """Another job has the run now."""


class Stopped(Exception):
    """The job is to end at once."""


class Shared:
    """This machine's end of a job that sees the run's folder: it has nothing to bring."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory

    def write_token(self, token: int) -> None:
        """Nothing: the job reads `ray.json` itself."""

    def take_earlier(self) -> None:
        """Nothing: all is here."""

    def bring(self, resume: bool, between: Between) -> None:
        """Nothing: all is there."""

    def heartbeat(self) -> Heartbeat | None:
        return read_heartbeat(self._directory)

    def request_stop(self) -> None:
        """Nothing: the worker looks for the file in the folder."""

    def take(self) -> None:
        """Nothing: all is here."""

    def clear(self) -> None:
        """Nothing: there is no copy."""


class Here:
    """This machine's end of a job that does not see the run's folder. Raises StorageTrouble."""

    def __init__(
        self, directory: RunDirectory, storage: Storage, token: int, settings: Settings
    ) -> None:
        self._directory, self._storage, self._settings = directory, storage, settings
        self._run = f"runs/{directory.path.name}"
        self._name = f"{self._run}/{token}"
        self._list = list_name(directory.path.name, token)
        self._taker = Taker(directory, storage, self._name, settings.ray_storage_mb)

    def write_token(self, token: int) -> None:
        """From here on jobs with another token stop by themselves."""
        content = Token(token=token).model_dump_json().encode()
        self._storage.write(f"{self._run}/token.json", content)

    def take_earlier(self) -> None:
        """What an earlier job left and nobody has taken, where it came further than what is here.
        The run goes on from there, so its result is none."""
        tokens = [int(name) for name in self._storage.names(self._run) if name.isdecimal()]
        for token in sorted(tokens, reverse=True):
            name = f"{self._run}/{token}"
            taker = Taker(self._directory, self._storage, name, self._settings.ray_storage_mb)
            if taker.newest_step() > self._newest_step():
                taker.take()
                self._directory.clear_result()
                return

    def _newest_step(self) -> int:
        folder = self._directory.path
        found = self._directory.checkpoints_path.glob(f"step-*/{MANIFEST}")
        return newest_step(path.relative_to(folder).as_posix() for path in found)

    def bring(self, resume: bool, between: Between) -> None:
        """Raises what `between` raises, too."""
        bring(self._directory, self._list, self._storage, self._settings, resume, between)

    def heartbeat(self) -> Heartbeat | None:
        """None where there is none, or where it is just being written."""
        content = self._storage.read(f"{self._name}/heartbeat.json")
        try:
            return None if content is None else Heartbeat.model_validate_json(content)
        except ValueError:
            return None

    def request_stop(self) -> None:
        self._storage.write(f"{self._name}/stop", b"stop")

    def take(self) -> None:
        self._taker.take()

    def clear(self) -> None:
        """All that the run left is here: remove it there. A job that still lives ends by it."""
        self._storage.remove(self._run)
        for name in lists_of(self._storage, self._directory.path.name):
            if name != self._list:
                self._storage.remove(name)
        keep_listed(self._list, self._storage)


def end_of(directory: RunDirectory, tenancy: Tenancy, settings: Settings) -> Here | Shared:
    """Our end of a job. Raises EngineError where its storage does not open."""
    if tenancy.storage is None:
        return Shared(directory)
    return Here(directory, open_storage(tenancy.storage), tenancy.token, settings)


class There:
    """The node's end of one job. Its methods raise StorageTrouble and Fenced."""

    def __init__(self, storage: Storage, run: str, token: int, folder: Path) -> None:
        self._storage, self._token, self._folder = storage, token, folder
        self._run = f"runs/{run}"
        self._name = f"{self._run}/{token}"
        self._list = list_name(run, token)
        self._beat, self._beaten_at = 0, -EVERY_S
        self._exchanged_at = -EVERY_S
        self.directory = RunDirectory(folder / "runs" / run)
        self._giver: Giver | None = None

    def begin(self, stopped: threading.Event) -> None:
        """Make the run's folder on this node. Raises Stopped; OSError where its disk refuses."""

        def between() -> None:
            if stopped.is_set():
                raise Stopped
            self.beat()

        self.directory.path.mkdir(parents=True, exist_ok=True)
        inputs = self._folder / "inputs"
        renaming = take(self._list, self._storage, self.directory, inputs, between)
        self._giver = Giver(self.directory, self._storage, self._name, renaming)

    def beat(self) -> None:
        """Show that this job lives, unless it did just now. Raises Fenced where it may not."""
        if time.monotonic() - self._beaten_at < EVERY_S:
            return
        if self._newest() != self._token:
            raise Fenced
        self._beat += 1
        sign = Heartbeat(token=self._token, beat=self._beat)
        self._storage.write(f"{self._name}/heartbeat.json", sign.model_dump_json().encode())
        self._beaten_at = time.monotonic()

    def _newest(self) -> int | None:
        """The run's newest token; None where the run was removed there."""
        content = self._storage.read(f"{self._run}/token.json")
        try:
            return None if content is None else Token.model_validate_json(content).token
        except ValueError as error:
            raise StorageTrouble(
                tr("The run's token in the storage cannot be read."),
                tr("It is read again; start the run anew if it stays so."),
            ) from error

    def exchange(self) -> None:
        """Hear whether the run is to stop, and give what is new, unless it was done just now."""
        if time.monotonic() - self._exchanged_at < EVERY_S:
            return
        if self._storage.size(f"{self._name}/stop") is not None:
            self.directory.request_stop()
        self.give()
        self._exchanged_at = time.monotonic()

    def give(self) -> None:
        if self._giver is not None:
            self._giver.give(self.beat)
