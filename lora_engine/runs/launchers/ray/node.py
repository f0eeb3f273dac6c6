"""Whether a node can train what another machine sent it: this program, and the packages it needs.

The program comes with the job, the packages are the node's own. Knows nothing of runs.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.runs.launchers.ray.code import ENGINE

NEEDED = ("torch", "transformers", "peft", "safetensors", "numpy", "scipy")


def packages_here() -> dict[str, str]:
    """The version of each needed package that is installed, without the build (+cpu, +cu128)."""
    found = {}
    for name in NEEDED:
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def refuse_other_program(sent_to: Path) -> None:
    """Raises EngineError where Python found another copy of this program than the one in
    `sent_to`."""
    if ENGINE.parent.resolve() != sent_to.resolve():
        raise EngineError(
            tr("The node runs the Rankscope in {path}, not the one it was sent.", path=ENGINE),
            tr("Uninstall it there, or name another Python (LORA_RAY_PYTHON)."),
        )


def refuse_missing_packages() -> None:
    """Raises EngineError where the node lacks one."""
    missing = [name for name in NEEDED if name not in packages_here()]
    if missing:
        raise EngineError(
            tr("The node's Python lacks {packages}.", packages=", ".join(missing)),
            tr("Install requirements.txt there, or name another Python (LORA_RAY_PYTHON)."),
        )


def other_versions(sent: Mapping[str, str]) -> str:
    """The packages that are others here than on the machine that sent the job; empty for none."""
    here = packages_here()
    return ", ".join(
        f"{name} {here[name]} ({version})"
        for name, version in sent.items()
        if name in here and here[name] != version
    )
