"""What is raised where a quota is used up."""

from __future__ import annotations

from lora_engine.errors import EngineError


class QuotaExceeded(EngineError):
    """More than is allowed. It says what is used, what is allowed and what can be deleted."""
