"""Which adapters there are to choose from, and what each is called in an address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lora_engine.adapters import AdapterSummary

if TYPE_CHECKING:
    from lora_engine.engine import Engine

MAX_COMPARED = 3
"""As many adapters Compare shows, each in a column beside the base."""


def adapter_key(adapter: AdapterSummary) -> str:
    """What `engine.adapters.get` finds this adapter by, and an address names it with.

    The run's id for the adapter that the run left; the name of one that comes with the program; the
    folder for any other, also for one that was made from a run's adapter and keeps its provenance.
    """
    if adapter.bundled:
        return adapter.name
    path = adapter.path
    is_the_runs = path.name == "adapter" and path.parent.name == adapter.run_id
    return path.parent.name if is_the_runs else str(path)


def adapter_choices(engine: Engine, lora_alone: bool = False) -> list[tuple[str, str]]:
    """Every adapter known here for a dropdown, newest first; or those of LoRA alone."""
    listed = engine.adapters.of_lora() if lora_alone else engine.adapters.list()
    return [(f"{adapter.name} ({adapter.size})", adapter_key(adapter)) for adapter in listed]
