"""Token ids beyond the embedding are told before anything runs, by row, token and rows."""

import json
import shutil

import pytest

from lora_engine.base_models import load_tokenizer, resolve_base_model
from lora_engine.base_models.token_ids import embedding_rows, highest_token_id
from lora_engine.data.embedding_range import refuse_ids_beyond
from lora_engine.data.preview_rows import preview
from lora_engine.errors import EngineError
from lora_engine.training.preflight import check_run
from tests.training_runs import tiny_spec, train_here


@pytest.fixture(scope="module")
def larger(tiny_llama, tmp_path_factory):
    """The tiny model with one token more in its tokenizer than rows in its embedding."""
    folder = tmp_path_factory.mktemp("larger") / "model"
    shutil.copytree(tiny_llama, folder)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<tool_call>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    return folder


def rows(path, *answers):
    path.write_text("\n".join(json.dumps({"prompt": "Hi", "completion": a}) for a in answers))
    return path


def changed(folder, name, **keys):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_a_row_with_such_a_token_is_refused_and_others_are_not(larger, tmp_path, settings):
    base = resolve_base_model(str(larger), settings)
    limit = embedding_rows(base)
    assert highest_token_id(larger) == limit
    bad = tiny_spec(larger, rows(tmp_path / "bad.jsonl", "Ho", "<tool_call> Ho"))
    words = rf"Row 2\b.*<tool_call>.*{limit:,}.* {limit:,} rows"
    with pytest.raises(EngineError, match=words):
        check_run(bad, settings)
    with pytest.raises(EngineError, match=words):
        train_here(bad, tmp_path / "run", settings)
    good = tiny_spec(larger, rows(tmp_path / "good.jsonl", "Ho", "Hu"))
    check_run(good, settings)
    tokenizer = load_tokenizer(base)
    shown = [
        preview(spec.dataset, tokenizer, 64, 1, settings, base).warnings for spec in (bad, good)
    ]
    assert any("row 2" in warning and "<tool_call>" in warning for warning in shown[0])
    assert any(f"{limit:,} rows" in warning for warning in shown[1])
    with pytest.raises(EngineError, match="Prompt 2.*<tool_call>"):
        refuse_ids_beyond(base, [[1], [limit]], tokenizer)


def test_an_embedding_with_spare_rows_is_no_matter(tiny_llama, rows_file, tmp_path, settings):
    folder = tmp_path / "padded"
    shutil.copytree(tiny_llama, folder)
    limit = embedding_rows(resolve_base_model(str(folder), settings))
    changed(folder, "config.json", vocab_size=limit + 64)
    base = resolve_base_model(str(folder), settings)
    check_run(tiny_spec(folder, rows_file), settings)
    spec = tiny_spec(folder, rows_file).dataset
    said = preview(spec, load_tokenizer(base), 64, 1, settings, base).warnings
    assert not any("embedding" in warning for warning in said)


@pytest.mark.parametrize(("pad", "is_refused"), [(-1, False), (None, False), (99_999, True)])
def test_a_padding_id_that_no_model_can_be_built_with_is_refused(
    pad, is_refused, tiny_llama, rows_file, tmp_path, settings
):
    folder = tmp_path / "pad"
    shutil.copytree(tiny_llama, folder)
    changed(folder, "config.json", pad_token_id=pad)
    spec = tiny_spec(folder, rows_file)
    if not is_refused:
        check_run(spec, settings)
        return
    with pytest.raises(EngineError, match=r"pad_token_id.*99,999"):
        check_run(spec, settings)


def test_an_end_token_of_the_configuration_that_the_model_lacks_is_said(
    tiny_llama, rows_file, tmp_path, settings
):
    folder = tmp_path / "eos"
    shutil.copytree(tiny_llama, folder)
    changed(folder, "generation_config.json", eos_token_id=[2, 128_009])
    base = resolve_base_model(str(folder), settings)
    spec = tiny_spec(folder, rows_file).dataset
    said = preview(spec, load_tokenizer(base), 64, 1, settings, base).warnings
    assert any("generation_config.json" in warning and "128,009" in warning for warning in said)
