"""Adapters on disk: list, find, describe and check them before anything loads them.

config.py    adapter_config.json, read as untrusted input
library.py   which adapters are known here, and what a name means
check.py     is an adapter whole, finite and made for this base model

This package loads no model; `lora_engine.compare` does.
"""
