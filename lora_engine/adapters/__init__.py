"""Adapters on disk: list, find, describe and check them before anything loads them.

config         adapter_config.json and provenance.json, read as untrusted input
library        which adapters are known here, and what a name means
weights_keys   what each tensor of the weights file is, from its header
name_patterns  PEFT's patterns for module names, matched in bounded time
other_forms    other makers' adapters and other methods: whose form it is, and what helps
kinds          which method an adapter is of, and the configuration of those that are not LoRA
other_weights  what each tensor of theirs is, from its header
other_check    and are they finite and made for this base model
other_details  their modules, as details shows them
whole          is an adapter whole and finite, from its own files
check          and is it made for this base model
summary        one adapter in a list, from its small files
search         which of them have these words, in which order
notes_and_tags what a person wrote about them, beside them
importing      adding one made elsewhere: a folder, zip_import, or a hub id
details        one adapter opened: its modules, checks, origin
loading_code   the Python that loads it
zip_download   the zip to take along
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
from lora_engine.adapters.details import AdapterDetails, Check, ModuleFacts
from lora_engine.adapters.kinds import (
    KIND_NAMES,
    AdapterKind,
    OtherConfig,
    kind_of,
    read_any_config,
)
from lora_engine.adapters.library import (
    AdapterLibrary,
    UnreadableAdapter,
    list_adapters,
    list_unreadable_adapters,
    resolve_adapter,
)
from lora_engine.adapters.names import name_from
from lora_engine.adapters.other_check import OtherCheck, check_other_adapter
from lora_engine.adapters.other_details import PartFacts
from lora_engine.adapters.other_weights import OtherAdapter, read_other
from lora_engine.adapters.summary import AdapterSummary, describe_adapter

__all__ = [
    "KIND_NAMES",
    "AdapterCheck",
    "AdapterConfig",
    "AdapterDetails",
    "AdapterKind",
    "AdapterLibrary",
    "AdapterSummary",
    "Check",
    "ModuleFacts",
    "OtherAdapter",
    "OtherCheck",
    "OtherConfig",
    "PartFacts",
    "UnreadableAdapter",
    "check_adapter",
    "check_other_adapter",
    "content_hash",
    "describe_adapter",
    "kind_of",
    "list_adapters",
    "list_unreadable_adapters",
    "read_adapter_config",
    "name_from",
    "read_any_config",
    "read_applicable_config",
    "read_other",
    "read_provenance",
    "resolve_adapter",
]
