"""This machine keeps what every launcher keeps; test_ray.py and test_slurm.py hold the clusters to
the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_engine.engine import Engine
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from tests.launcher_contract import LauncherContract, contract_spec

pytestmark = pytest.mark.slow


@pytest.fixture
def engine(settings: Settings) -> Engine:
    return Engine(settings)


@pytest.fixture
def spec(tiny_llama: Path, rows_file: Path) -> RunSpec:
    return contract_spec(tiny_llama, rows_file)


class TestThisMachine(LauncherContract):
    """With a worker of its own for each start."""
