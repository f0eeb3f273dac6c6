"""Adapters on disk: list, find, describe and check them before anything loads them.

config         adapter_config.json and provenance.json, read as untrusted input
library        which adapters are known here, and what a name means
weights_keys   what each tensor of the weights file is, from its header
name_patterns  PEFT's patterns for module names, matched in bounded time
other_forms    other makers' adapters and other methods: whose form it is, and what helps
check          is an adapter whole, finite and made for this base model
lora_config    a method of the spec as PEFT's LoraConfig, for training and for counting

This package loads no model; `lora_engine.compare` does.
"""

from lora_engine.adapters.check import AdapterCheck, check_adapter, content_hash
from lora_engine.adapters.config import (
    AdapterConfig,
    read_adapter_config,
    read_applicable_config,
    read_provenance,
)
from lora_engine.adapters.library import (
    AdapterLibrary,
    AdapterSummary,
    UnreadableAdapter,
    describe_adapter,
    list_adapters,
    list_unreadable_adapters,
    resolve_adapter,
)

__all__ = [
    "AdapterCheck",
    "AdapterConfig",
    "AdapterLibrary",
    "AdapterSummary",
    "UnreadableAdapter",
    "check_adapter",
    "content_hash",
    "describe_adapter",
    "list_adapters",
    "list_unreadable_adapters",
    "read_adapter_config",
    "read_applicable_config",
    "read_provenance",
    "resolve_adapter",
]
