"""Which configurations are of causal language models, told without a weight."""

from __future__ import annotations

import inspect
import json

import pytest
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.models.auto import modeling_auto

from lora_engine import __main__ as command_line
from lora_engine.base_models import BaseModel, refuse_no_causal_model, refuse_other_task_of
from lora_engine.base_models.causal_models import ENCODER_DECODERS, ENCODERS, SWITCHED, other_kind
from lora_engine.errors import EngineError
from lora_engine.training.preflight import check_run
from tests.tiny import save_tiny_tokenizer
from tests.training_runs import tiny_spec

CAUSAL = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
MASKED = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
SEQ_TO_SEQ = modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

OTHERS = {
    "bert": {"model_type": "bert"},
    "bert saved with false": {"model_type": "bert", "is_decoder": False},
    "roberta": {"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]},
    "xlm-roberta": {"model_type": "xlm-roberta"},
    "electra": {"model_type": "electra"},
    "albert": {"model_type": "albert"},
    "distilbert": {"model_type": "distilbert"},
    "deberta": {"model_type": "deberta-v2", "is_decoder": True},
    "modernbert": {"model_type": "modernbert"},
    "xlnet": {"model_type": "xlnet"},
    "t5": {"model_type": "t5", "is_encoder_decoder": True},
    "t5 unsaid": {"model_type": "t5"},
    "bart": {"model_type": "bart", "is_encoder_decoder": True, "is_decoder": False},
    "whisper": {"model_type": "whisper", "is_encoder_decoder": True},
    "tomorrow's": {"model_type": "tomorrow", "is_encoder_decoder": True},
}
CAUSAL_ONES = {
    "llama": {"model_type": "llama"},
    "gpt_neox": {"model_type": "gpt_neox", "is_decoder": False},  # its configuration has the field
    "bert decoder": {"model_type": "bert", "is_decoder": True},
    "bart decoder": {"model_type": "bart", "is_decoder": True, "is_encoder_decoder": False},
    "modernbert decoder": {"model_type": "modernbert-decoder"},
    "gemma3": {"model_type": "gemma3"},
}


@pytest.mark.parametrize("name", OTHERS)
def test_encoders_are_refused_with_the_tasks_they_are_for(name, tmp_path, rows_file, settings):
    config = OTHERS[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    for way in (
        lambda: refuse_no_causal_model(BaseModel("mine", tmp_path)),
        lambda: check_run(tiny_spec(tmp_path, rows_file), settings),
    ):
        with pytest.raises(EngineError) as refused:
            way()
        assert config["model_type"] in refused.value.problem
        is_pair = "encoder-decoder" in refused.value.problem
        assert is_pair == (config.get("is_encoder_decoder", False) or name == "t5 unsaid")
        assert is_pair or "sequence_classification or token_class" in refused.value.remedy
    refuse_other_task_of(BaseModel("mine", tmp_path), "token_classification")


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"prompt": "What colour is sky {}?", "completion": "Blue {}."}, 2),
        ({"text": "the sky is blue {}", "label": "class {}"}, 0),
    ],
    ids=["answers", "classes"],
)
def test_a_preview_of_answers_needs_a_causal_model(
    row, code, tmp_path, settings, monkeypatch, capsys
):
    save_tiny_tokenizer(tmp_path / "base")
    (tmp_path / "base" / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "base" / "model.safetensors").touch()
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row).replace("{}", str(n)) + "\n" for n in range(3)))
    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    monkeypatch.setattr(
        "sys.argv", ["rankscope", "preview", str(rows), "--base", str(tmp_path / "base"), "--json"]
    )
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(command_line.main())
    said = capsys.readouterr()
    assert (ended.value.code or 0) == code, said.err
    assert ("is_decoder" in said.err) == (code == 2)
    assert bool(said.out) == (code == 0)


@pytest.mark.parametrize("name", CAUSAL_ONES)
def test_causal_models_are_not_refused(name):
    assert other_kind(CAUSAL_ONES[name]) is None


def test_every_encoder_that_transformers_builds_as_a_language_model_is_known():
    """Those that warn about is_decoder, by their own source."""
    warned = set()
    for model_type in CAUSAL:
        model_class = AutoModelForCausalLM._model_mapping.get(CONFIG_MAPPING[model_type], None)
        if isinstance(model_class, type):
            source = inspect.getsource(inspect.getmodule(model_class))
            if "add `is_decoder=True" in source:
                warned.add(model_type)
    assert len(warned) > 10
    assert warned <= SWITCHED
    assert set(MASKED) - set(CAUSAL) - set(SEQ_TO_SEQ) <= ENCODERS | ENCODER_DECODERS


def test_no_causal_model_is_called_an_encoder():
    plain = set(CAUSAL) - set(MASKED) - set(SEQ_TO_SEQ) - ENCODER_DECODERS
    assert not (ENCODERS | SWITCHED) & plain - {"bert-generation", "xlnet"}
    for model_type in plain - {"bert-generation", "xlnet"}:
        assert other_kind({"model_type": model_type}) is None
