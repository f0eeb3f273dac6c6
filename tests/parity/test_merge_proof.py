"""What a merge says of itself is what can be measured of the written files."""

import errno
import json

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lora_engine.adapter_operations import merge as merging
from lora_engine.adapter_operations import sharded_weights
from lora_engine.adapter_operations.merge import merge
from lora_engine.adapter_operations.merge_report import MergeOptions
from lora_engine.base_models import BaseModel, list_base_models, load_tokenizer, resolve_base_model
from lora_engine.cancellation import Stopped, StopSignal
from lora_engine.data import Message, Row, tokenize_rows
from lora_engine.errors import Conflict, EngineError
from lora_engine.spec import spec_from
from tests.adapter_forms import make
from tests.tiny import save_tiny_model

pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = [
    Row(n, (Message("user", f"What colour is thing {n}?"), Message("assistant", "Blue.")), None)
    for n in range(1, 4)
]
LORA = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
OPTIONS = MergeOptions(rows=ROWS, dtype="bfloat16")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
    return BaseModel("tiny", folder)


@pytest.fixture
def adapter(base, tmp_path):
    make(base, tmp_path / "a", LORA)
    return tmp_path / "a"


def test_an_adapter_that_overflows_the_model_is_not_called_exact(base, adapter, settings, tmp_path):
    weights = adapter / "adapter_model.safetensors"
    save_file({key: torch.full_like(t, 1e30) for key, t in load_file(weights).items()}, weights)
    with pytest.raises(EngineError, match="overflow the model"):
        merge(adapter, base, tmp_path / "m", settings, OPTIONS)
    assert not (tmp_path / "m").exists()


def test_difference_kl_and_loss_are_those_of_the_written_files(base, adapter, settings, tmp_path):
    report = merge(adapter, base, tmp_path / "m", settings, OPTIONS)
    before = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32), adapter
    ).eval()
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32).eval()
    largest, kl, losses, positions = 0.0, 0.0, [], 0
    for row in tokenize_rows(ROWS, load_tokenizer(base), 256):
        ids = torch.tensor([row.input_ids])
        with torch.no_grad():
            ours, theirs = (m(ids).logits[0, :-1].double() for m in (before, after))
        largest = max(largest, float((ours - theirs).abs().max()))
        p, q = ours.log_softmax(-1), theirs.log_softmax(-1)
        kl += float((p.exp() * (p - q)).sum())
        positions += len(p)
        losses += [-float(q[i - 1, t]) for i, t in enumerate(row.labels) if i and t != -100]
    assert report.max_logit_difference == pytest.approx(largest, rel=1e-3)
    assert report.kl == pytest.approx(kl / positions, rel=1e-2)
    assert report.merged_loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert report.positions == positions
    assert 0 < report.max_logit_difference < 0.5


def test_a_merged_model_is_listed_and_says_where_it_comes_from(base, adapter, settings):
    report = merge(adapter, base, settings.models_dir / "mine", settings, OPTIONS)
    assert "mine" in [one.name for one in list_base_models(settings)]
    folder = resolve_base_model("mine", settings).path
    operation = json.loads((folder / "provenance.json").read_text())["operation"]
    assert operation["kind"] == "merge"
    assert operation["max_logit_difference"] == report.max_logit_difference
    assert load_tokenizer(BaseModel("mine", folder)).chat_template
    assert (folder / "generation_config.json").is_file()
    assert list(settings.models_dir.iterdir()) == [folder]


@pytest.mark.parametrize("kept", ["dequantized", "original"])
def test_of_a_qlora_run_both_bases_are_measured(base, adapter, settings, tmp_path, kept):
    spec = spec_from({
        "name": "q", "base_model": str(base.path), "dataset": {"source": "gone.jsonl"},
        "quantization": {"bits": 4, "type": "nf4", "double": True},
    })  # fmt: skip
    (adapter / "provenance.json").write_text(json.dumps({"spec": spec.model_dump(mode="json")}))
    options = MergeOptions(rows=ROWS, weights=kept)
    report = merge(adapter, base, tmp_path / "m", settings, options)
    by_weights = {one.weights: one for one in report.variants}
    assert set(by_weights) == {"dequantized", "original"}
    assert by_weights[kept].kept
    # the run saw rounded weights, so merging into these changes least
    found = {name: one.proof.max_logit_difference for name, one in by_weights.items()}
    assert found["dequantized"] < 1e-3 < found["original"]
    config = json.loads((tmp_path / "m/config.json").read_text())
    assert "quantization_config" not in config


def test_a_full_disk_half_way_leaves_nothing(base, adapter, settings, tmp_path, monkeypatch):
    original = sharded_weights._write_file

    def full(file, *rest):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sharded_weights, "_write_file", full)
    output = tmp_path / "models" / "m"
    with pytest.raises(EngineError, match="No space left"):
        merge(adapter, base, output, settings, MergeOptions(prove=False))
    assert list(output.parent.iterdir()) == []
    monkeypatch.setattr(sharded_weights, "_write_file", original)
    assert merge(adapter, base, output, settings, MergeOptions(prove=False)).changed


@pytest.mark.parametrize("during", ["writing", "asking the base", "asking the merged model"])
def test_stopping_leaves_nothing(base, adapter, settings, tmp_path, during):
    stop = StopSignal()

    def progress(_, doing):
        if doing.startswith(during):
            stop.set()

    with pytest.raises(Stopped, match=during):
        merge(
            adapter, base, tmp_path / "new" / "m", settings, OPTIONS, progress=progress, stop=stop
        )
    assert list((tmp_path / "new").glob("*")) == []


def test_an_output_that_exists_is_refused_before_anything_is_loaded(
    base, adapter, settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(merging, "check_adapter", None)
    (tmp_path / "m").mkdir()
    with pytest.raises(Conflict, match="exists"):
        merge(adapter, base, tmp_path / "m", settings)
    (tmp_path / "m" / "mine.txt").write_text("keep")
    with pytest.raises(Conflict, match="something else"):
        merge(adapter, base, tmp_path / "m", settings, MergeOptions(overwrite=True))
    assert (tmp_path / "m" / "mine.txt").read_text() == "keep"


def test_another_base_is_refused(base, adapter, settings, tmp_path):
    provenance = {"base_model": "other", "base_fingerprint": "0123456789abcdef"}
    (adapter / "provenance.json").write_text(json.dumps(provenance))
    with pytest.raises(EngineError, match="0123456789abcdef"):
        merge(adapter, base, tmp_path / "m", settings)
    assert not (tmp_path / "m").exists()


def test_a_number_beyond_float16_is_named(base, adapter, settings, tmp_path):
    from safetensors.torch import load_file, save_file

    path = adapter / "adapter_model.safetensors"
    save_file({name: 1e4 * tensor for name, tensor in load_file(path).items()}, path)
    with pytest.raises(EngineError, match=r"proj\.weight would hold .*float16"):
        merge(adapter, base, tmp_path / "m", settings, MergeOptions(dtype="float16", prove=False))
    assert not (tmp_path / "m").exists()
