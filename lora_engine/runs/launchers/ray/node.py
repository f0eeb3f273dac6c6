"""Whether a node can train what another machine sent it: this program, and the packages it needs.

The program comes with the job, the packages are the node's own. Knows nothing of runs.
"""

from __future__ import annotations

from pathlib import Path

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.runs.launchers.ray.code import ENGINE
from lora_engine.runs.launchers.versions import NEEDED, packages_here


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
