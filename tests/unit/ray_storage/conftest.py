"""A run that waits for its Ray job, a storage in a folder, and the job's end of it."""

from __future__ import annotations

import threading

import pytest

from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launchers.ray.apart import Here, There
from lora_engine.runs.launchers.ray.storage import Storage
from lora_engine.spec import RunSpec
from tests.ray_storage import FullDisk
from tests.training_runs import tiny_spec


@pytest.fixture
def disk() -> FullDisk:
    return FullDisk()


@pytest.fixture
def storage(disk, tmp_path) -> Storage:
    return Storage(disk, str(tmp_path / "storage"), "file:///storage")


@pytest.fixture
def spec(tmp_path, rows_file, tiny_llama) -> RunSpec:
    return tiny_spec(tiny_llama, rows_file, optimization={"save_every": 2})


@pytest.fixture
def here(spec, settings, storage) -> Here:
    """A run whose job 1 may begin."""
    directory = RunDirectory(settings.runs_dir / "a-run")
    directory.create(spec)
    end = Here(directory, storage, 1, settings)
    end.write_token(1)
    end.bring(resume=False, between=lambda: None)
    return end


@pytest.fixture
def local(settings) -> RunDirectory:
    return RunDirectory(settings.runs_dir / "a-run")


@pytest.fixture
def there(here, storage, tmp_path) -> There:
    end = There(storage, "a-run", 1, tmp_path / "node")
    end.begin(threading.Event())
    return end
