"""A server that knows random adapters of the starter, for the compare page's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lora_engine.base_models import resolve_base_model
from lora_engine.settings import Settings
from tests.browser.conftest import Server
from tests.compare_models import save_adapter


def serve_with_adapter(
    start_server: Callable[..., Server], data_dir: Path, *names: str, **environment: str
) -> Server:
    """Start a server on `data_dir` with an adapter for each name; the last is the newest."""
    base = resolve_base_model("starter", Settings(data_dir=data_dir, models_dir=data_dir / "m"))
    for seed, name in enumerate(names, 1):
        save_adapter(data_dir / "adapters" / name, base, seed=seed, r=2, lora_alpha=2)
    return start_server(data_dir, **environment)
