"""A base model, an adapter of it that was made elsewhere, and an empty library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_engine.adapters.library import AdapterLibrary
from lora_engine.base_models import fingerprint
from tests.compare_models import save_adapter, save_base


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def adapter(base, tmp_path_factory) -> Path:
    """Two ranks, two alphas, rsLoRA, and a provenance that names the base."""
    folder = save_adapter(
        tmp_path_factory.mktemp("made") / "pirate", base, r=4, lora_alpha=8, use_rslora=True,
        target_modules=["q_proj", "v_proj"], rank_pattern={"v_proj": 2},
        alpha_pattern={"model.layers.0.self_attn.q_proj": 3},
    )  # fmt: skip
    provenance = {
        "run": "aa11", "spec": {"name": "pirate r4", "dataset": {"source": "starter:pirate"}},
        "base_model": str(base.path), "base_fingerprint": fingerprint(base),
        "data_hash": "d" * 8, "chat_template": "", "chat_template_hash": "t" * 8,
    }  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder


@pytest.fixture
def library(settings) -> AdapterLibrary:
    return AdapterLibrary(settings)
