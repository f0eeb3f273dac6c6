"""A task file for SkyPilot from a spec: `sky launch FILE` then trains the run on a rented machine.

The file says what the machine must have, what is brought there (this program, the spec, and the
base and rows that lie on this machine), and the command. Knows nothing of SkyPilot itself, which
need not be installed here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lora_engine.adapters.library import resolve_adapter
from lora_engine.base_models import BUNDLED, resolve_base_model
from lora_engine.data.sources import STARTER_PREFIX, path_of_source
from lora_engine.errors import Conflict, EngineError, InvalidInput
from lora_engine.files import given_path, write_atomically
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from lora_engine.training.compatibility import Machine, asked_machine, compatibility_problems

PROJECT_ROOT = Path(__file__).resolve().parents[2]
THERE = "/tmp/rankscope"  # on the rented machine
ENVIRONMENT = "~/rankscope-venv"
STARTED_ANEW = (
    f"python3 -m venv {ENVIRONMENT}\n{ENVIRONMENT}/bin/pip install --quiet -r requirements.txt\n"
)


class SkyResources(BaseModel):
    """What the machine must have, in SkyPilot's words; what is left out SkyPilot chooses.

    accelerators: as A100:2. infra: as aws/us-east-1 or kubernetes. storage: a bucket for the run's
    folder, as s3://bucket/path, so that a machine that is taken away loses no checkpoint.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accelerators: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}(:[1-9][0-9]{0,2})?$"
    )
    cpus: int | None = Field(None, ge=1, le=1_024)
    memory_gib: int | None = Field(None, ge=1, le=100_000)
    disk_gib: int | None = Field(None, ge=50, le=100_000)
    infra: str | None = Field(None, pattern=r"^[A-Za-z0-9*][A-Za-z0-9_.:*/-]{0,199}$")
    spot: bool = False
    storage: str | None = Field(
        None, pattern=r"^(s3|gs|r2|https|cos|oci|nebius)://[A-Za-z0-9][A-Za-z0-9._/-]{2,499}$"
    )

    @property
    def machine(self) -> Machine:
        """The machine that is asked for, as a run is checked against it."""
        _, _, count = (self.accelerators or "").partition(":")
        gpus = int(count or 1) if self.accelerators else 0
        return asked_machine(gpus, self.cpus, "--accelerators", "--cpus")

    def to_document(self) -> dict[str, Any]:
        """The section `resources`."""
        wanted = {
            "infra": self.infra,
            "accelerators": self.accelerators,
            "cpus": f"{self.cpus}+" if self.cpus else None,
            "memory": f"{self.memory_gib}+" if self.memory_gib else None,
            "disk_size": self.disk_gib,
            "use_spot": self.spot or None,
        }
        return {name: value for name, value in wanted.items() if value is not None}


@dataclass(frozen=True)
class WrittenTask:
    """The task file, and the spec beside it, which names what it names as it lies there."""

    task: Path
    spec: Path
    document: dict[str, Any]


def write_task(
    spec: RunSpec, output: Path, resources: SkyResources, settings: Settings
) -> WrittenTask:
    """Write OUTPUT and OUTPUT's spec. Raises Conflict where either is there, NotFound where the
    base or the rows are not, InvalidInput for a run that such a machine could not train."""
    if not output.name:
        raise EngineError(
            tr("{path} names no file.", path=output), tr("Give a path that ends in a name.")
        )
    spec_path = output.with_suffix(".spec.json")
    for path in (given_path(output), given_path(spec_path)):
        if os.path.lexists(path):
            raise Conflict(
                tr("{path} is there already.", path=path), tr("Choose another name, or delete it.")
            )
    if not (PROJECT_ROOT / "requirements.txt").exists():
        raise EngineError(
            tr("There is no requirements.txt in {folder}.", folder=PROJECT_ROOT),
            tr("Write the task file from a checkout of this program: the task takes it along."),
        )
    if problems := compatibility_problems(spec, resources.machine):
        raise InvalidInput(tr("The run"), problems, tr("Change these fields."))
    there, mounts = _brought_along(spec, settings)
    mounts[f"{THERE}/spec.json"] = str(spec_path.resolve())
    document = _document(spec, resources, mounts)
    text = _yaml(document)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(spec_path, there.model_dump_json(indent=1).encode())
        write_atomically(output, text.encode())
    except OSError as error:
        with suppress(OSError):  # where its folder is none, there is nothing to take back
            spec_path.unlink(missing_ok=True)
        raise EngineError(
            tr("{path} cannot be written: {reason}.", path=output, reason=error.strerror or error),
            tr("Choose a folder that can be written to."),
        ) from error
    return WrittenTask(output, spec_path, document)


def _yaml(document: Mapping[str, Any], indent: str = "") -> str:
    """A document of mappings, texts, numbers and truths as YAML, commands as the lines they are."""
    lines = []
    for key, value in document.items():
        if isinstance(value, Mapping):
            lines.append(f"{indent}{key}:\n{_yaml(value, indent + '  ')}" if value else "")
        elif isinstance(value, str) and value.endswith("\n"):
            block = value.rstrip("\n").replace("\n", f"\n{indent}  ")
            lines.append(f"{indent}{key}: |\n{indent}  {block}\n")
        else:
            lines.append(f"{indent}{key}: {_yaml_value(value)}\n")
    return "".join(lines)


def _yaml_value(value: Any) -> str:
    """What JSON writes of one value, YAML reads; but it has no pairs of surrogates."""
    if not isinstance(value, str):
        return json.dumps(value)
    signs = (f"\\U{ord(s):08x}" if ord(s) > 0xFFFF else json.dumps(s)[1:-1] for s in value)
    return f'"{"".join(signs)}"'


def _document(spec: RunSpec, resources: SkyResources, mounts: dict[str, str]) -> dict[str, Any]:
    run_dir = f"{THERE}/run"
    mounted: dict[str, Any] = dict(mounts)
    if resources.storage:
        mounted[run_dir] = {"source": resources.storage, "mode": "MOUNT_CACHED"}
    train = ["-m", "lora_engine", "train", f"{THERE}/spec.json", "--run-dir", run_dir, "--resume"]
    document = {
        "name": re.sub(r"[^a-z0-9]+", "-", f"rankscope-{spec.name}".lower()).strip("-")[:50],
        "resources": resources.to_document(),
        "workdir": str(PROJECT_ROOT),
        "file_mounts": mounted,
        "envs": {
            "LORA_DEVICE": "cuda" if resources.accelerators else "cpu",
            "LORA_DATA_DIR": f"{THERE}/data",
        },
        "setup": STARTED_ANEW,
        "run": f"{ENVIRONMENT}/bin/python {shlex.join(train)}\n",
    }
    return {name: value for name, value in document.items() if value}


def _brought_along(spec: RunSpec, settings: Settings) -> tuple[RunSpec, dict[str, str]]:
    """The spec with the paths that its base and rows have there, and what lies here for each."""
    mounts: dict[str, str] = {}

    def moved(path: Path | None, otherwise: str) -> str:
        if path is None:
            return otherwise
        there = f"{THERE}/brought/{len(mounts)}/{_plain(path.name)}"
        there = next((name for name, here in mounts.items() if here == str(path)), there)
        mounts[there] = str(path)
        return there

    document = spec.model_dump()
    document["launcher"] = "local"  # as that machine sees it
    document["base_model"] = moved(_base_path(spec.base_model, settings), spec.base_model)
    if spec.extended_from is not None:
        raise EngineError(
            tr("The run goes on from another run's checkpoint, which lies here alone."),
            tr("Extend it here, or give its adapter as method.init_from."),
        )
    if spec.method.init_from is not None:
        adapter = resolve_adapter(spec.method.init_from, settings)
        document["method"]["init_from"] = moved(adapter, spec.method.init_from)
    dataset = document["dataset"]
    of_source = _sources(settings)
    for holder, key in [(dataset, "source"), (dataset, "eval_source")] + [
        (part, "source") for part in dataset["mixture"]
    ]:
        if holder[key] is not None:
            holder[key] = moved(of_source(holder[key]), holder[key])
    return RunSpec.model_validate(document), mounts


def _base_path(name: str, settings: Settings) -> Path | None:
    """The base's folder on this machine; None where the program or the hub has it."""
    return None if name in BUNDLED else resolve_base_model(name, settings).path


def _sources(settings: Settings) -> Callable[[str], Path | None]:
    def of(source: str) -> Path | None:
        path = path_of_source(source, settings)
        if source.startswith(STARTER_PREFIX):
            return None
        if path is not None and not (path.is_file() or path.is_dir()):
            raise EngineError(
                tr("There is no dataset {source}.", source=source[:200]),
                tr("Correct dataset.source in the spec."),
            )
        return None if path is None else path.resolve()

    return of


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "file"
