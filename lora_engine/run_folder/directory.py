"""A run's directory: what lies where, and how its small files are read and written.

    spec.json  metrics.jsonl  worker.log  checkpoints/  adapter/  result.json  lock
    worker.json  stop  waiting.json

The worker alone writes here, but for `stop`, which asks it to end this run of the several that it
may train, and `waiting.json`, which says what a queued run waits for; everyone may read at any
time. Knows nothing of training or of the list of runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from lora_engine.errors import InvalidInput, Unreadable
from lora_engine.files import read_bounded, read_tail, write_atomically
from lora_engine.language import tr, translatable
from lora_engine.run_folder.metrics import MetricsRow, last_metrics, read_metrics
from lora_engine.run_folder.result import RunResult
from lora_engine.spec import RunSpec, read_spec

LOG_TAIL_BYTES = 64_000
RESERVE_BYTES = 64 * 1024  # a result and the folder's own blocks fit in easily
MAX_RESULT_BYTES = 1_000_000
NEWER = translatable(
    "It was changed by hand or written by a newer Rankscope; open it with that one. It is left as "
    "it is."
)


@dataclass(frozen=True)
class RunDirectory:
    """The paths of one run, and its small files read and written."""

    path: Path

    @property
    def spec_path(self) -> Path:
        return self.path / "spec.json"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def log_path(self) -> Path:
        return self.path / "worker.log"

    @property
    def checkpoints_path(self) -> Path:
        return self.path / "checkpoints"

    @property
    def adapter_path(self) -> Path:
        return self.path / "adapter"

    @property
    def result_path(self) -> Path:
        return self.path / "result.json"

    @property
    def reserve_path(self) -> Path:
        return self.path / ".reserve"

    @property
    def lock_path(self) -> Path:
        return self.path / "lock"

    @property
    def worker_path(self) -> Path:
        return self.path / "worker.json"

    @property
    def stop_path(self) -> Path:
        return self.path / "stop"

    @property
    def waiting_path(self) -> Path:
        return self.path / "waiting.json"

    def create(self, spec: RunSpec) -> None:
        """Make the directory with its spec; it must not exist, or be empty."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.spec_path, spec.model_dump_json(indent=1).encode())

    def spec(self) -> RunSpec:
        """The run's spec. Raises NotFound; InvalidInput where this program cannot read it."""
        try:
            return read_spec(self.spec_path)
        except InvalidInput as error:
            what = tr("The spec of run {run}", run=self.path.name)
            raise InvalidInput(what, error.problems, tr(NEWER)) from None

    def result(self) -> RunResult | None:
        """The worker's word in the present language, or None where it left none.

        Raises Unreadable.
        """
        try:
            content = read_bounded(self.result_path, MAX_RESULT_BYTES)
            return RunResult.model_validate_json(content).in_present_language()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise Unreadable(
                tr(
                    "{file_path} cannot be read: {reason}.",
                    file_path=self.result_path,
                    reason=_reason(error),
                ),
                tr(NEWER),
            ) from error

    def write_result(self, result: RunResult) -> None:
        """Write the worker's last word; on a full disk into the room that was kept for it."""
        content = result.with_sayings().model_dump_json(indent=1).encode()
        try:
            write_atomically(self.result_path, content)
        except OSError:
            self.give_up_reserve()
            write_atomically(self.result_path, content)
        self.give_up_reserve()

    def keep_reserve(self) -> None:
        """Take some room on the disk, so that a run can still say that the disk is full."""
        write_atomically(self.reserve_path, bytes(RESERVE_BYTES))

    def give_up_reserve(self) -> None:
        self.reserve_path.unlink(missing_ok=True)

    def clear_result(self) -> None:
        self.result_path.unlink(missing_ok=True)

    def request_stop(self) -> None:
        """Ask the worker to end this run after the present step; asking twice is asking once."""
        self.stop_path.touch()

    def stop_requested(self) -> bool:
        return self.stop_path.exists()

    def clear_stop_request(self) -> None:
        """Forget what was asked of an earlier worker."""
        self.stop_path.unlink(missing_ok=True)

    def metrics(self, after_seq: int = 0) -> list[MetricsRow]:
        """Every logged row with a number above `after_seq`, as `read_metrics` reads them."""
        return read_metrics(self.metrics_path, after_seq)

    def last_metrics(self) -> MetricsRow | None:
        """The newest whole row."""
        return last_metrics(self.metrics_path)

    def log_tail(self, lines: int = 200) -> str:
        """The last lines of the worker's log."""
        text = read_tail(self.log_path, LOG_TAIL_BYTES).decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])


def _reason(error: Exception) -> str:
    """What is wrong with a file, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}" if where else first["msg"]
    return str(error)
