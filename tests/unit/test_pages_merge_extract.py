"""The tabs Merge and Extract without a browser: what they let one choose, and what they say."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from lora_engine.base_models import BaseModel
from lora_engine.engine import Engine
from pages import adapters
from tests.adapter_forms import make
from tests.page_events import answered
from tests.parity.test_merge_quantized import of_fp8_blocks

pytestmark = pytest.mark.filterwarnings("ignore")
LORA = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
MERGE, EXTRACT = "pages.adapters.merge_section", "pages.adapters.extract_section"


@pytest.fixture
def page(settings):
    return adapters.build(Engine(settings))


@pytest.fixture
def adapter(settings, tiny_llama):
    folder = settings.data_dir / "adapters" / "mine"
    make(BaseModel("tiny", tiny_llama), folder, LORA)
    return folder


def event_of(page, module, name):
    """The event whose handler is this method of a section."""
    found = [one for one in page.fns.values() if getattr(one.fn, "__name__", "") == name]
    return next(one for one in found if one.fn.__module__ == module)


def asked_of(**address):
    return SimpleNamespace(query_params=address, session_hash="tab")


def by_id(update):
    """What an update says, by element id."""
    return {part.elem_id: value for part, value in update.items() if part.elem_id}


def field(page, elem_id):
    return next(block for block in page.blocks.values() if block.elem_id == elem_id)


def chosen(page, base):
    event = event_of(page, MERGE, "show_choices")
    return by_id(answered(page, event, str(base), asked_of(adapter="mine")))


def is_visible(change):
    return change["visible"] if isinstance(change, dict) else change.visible


def test_a_plain_base_leaves_nothing_to_choose(page, adapter, tiny_llama):
    found = chosen(page, tiny_llama)
    assert not is_visible(found["merge-quantized"])
    assert found["merge-weights"] is None


def test_of_a_qlora_run_one_chooses_the_weights(page, adapter, tiny_llama):
    spec = {"base_model": str(tiny_llama), "quantization": {"bits": 4}}
    (adapter / "provenance.json").write_text(json.dumps({"spec": spec}))
    found = chosen(page, tiny_llama)
    assert is_visible(found["merge-quantized"])
    assert found["merge-weights"] == "dequantized"
    assert not is_visible(found["merge-original"])  # it lies in the base's own folder


def test_of_a_stored_base_one_names_the_original_too(page, adapter, tiny_llama, tmp_path):
    base, _ = of_fp8_blocks(BaseModel("tiny", tiny_llama), tmp_path / "fp8")
    found = chosen(page, base.path)
    assert is_visible(found["merge-quantized"])
    assert found["merge-weights"] == "dequantized"
    assert is_visible(found["merge-original"])


def test_before_the_first_run_the_tab_opens_on_the_bundled_adapter(page):
    event = event_of(page, MERGE, "open_page")
    found = by_id(answered(page, event, asked_of()))
    assert found["merge-base"] == "starter"
    assert found["merge-name"] == "starter-pirate-adapter-merged"


def test_an_adapter_that_cannot_be_measured_is_there_with_the_reason(
    page, settings, tiny_llama, rows_file, tmp_path
):
    tuned = shutil.copyfile(tiny_llama / "model.safetensors", tmp_path / "tuned.safetensors")
    tensors = {name: 1.1 * weight for name, weight in load_file(tuned).items()}
    save_file(tensors, tuned, metadata={"format": "pt"})
    event = event_of(page, EXTRACT, "write")
    given = {
        "extract-base": str(tiny_llama), "extract-tuned": str(tuned), "extract-kind": "rank",
        "extract-rank": 2, "extract-energy": 0.99, "extract-threshold": None,
        "extract-rows": str(rows_file), "extract-name": "mine",
    }  # fmt: skip
    values = {field(page, elem_id): value for elem_id, value in given.items()}
    shown = {}
    for update in event.fn(values, asked_of()):
        shown |= by_id(update)
    assert "no model folder" in shown["extract-doing"]
    assert shown["extract-losses"] == ""
    assert "modules as factors" in shown["extract-summary"]
    rows = json.loads(shown["extract-modules"])["rows"]
    assert {row["shown"][1] for row in rows} == {"factors", "whole"}
    assert (settings.data_dir / "adapters" / "mine" / "adapter_config.json").is_file()
