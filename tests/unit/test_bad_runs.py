"""What cannot work is refused before a run exists, with the field or the row named."""

from __future__ import annotations

import json

import pytest

from lora_engine.base_models import load_tokenizer, resolve_base_model
from lora_engine.data.role_orders import template_in
from lora_engine.data.templates import chat_template_of
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.starter import MODEL_DIR
from lora_engine.training.preflight import check_run
from lora_engine.training.spec import spec_from
from tests.tiny import CHAT_TEMPLATE, save_tiny_tokenizer
from tests.training_runs import tiny_spec


def refused_paths(document) -> set[str]:
    with pytest.raises(InvalidInput) as refused:
        spec_from(document)
    return {problem.path for problem in refused.value.problems}


def test_a_learning_rate_of_ten_and_a_share_of_one_are_named_together():
    document = {"optimization": {"learning_rate": 10}, "dataset": {"eval_fraction": 1.0}}
    assert refused_paths(document) == {"optimization.learning_rate", "dataset.eval_fraction"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ({"rank": 129}, "method.rank"),
        ({"rank": 65, "target_modules": ["q_proj"]}, "method.rank"),
        ({"rank_pattern": {"k_proj": 40}}, "method.rank_pattern"),
    ],
)
def test_a_rank_over_the_dimension_is_refused(method, path, tiny_llama, rows_file, settings):
    with pytest.raises(InvalidInput) as refused:
        check_run(tiny_spec(tiny_llama, rows_file, method=method), settings)
    (problem,) = refused.value.problems
    assert problem.path == path
    assert "over the dimension" in problem.message


@pytest.mark.parametrize("method", [{"rank": 64}, {"rank": 64, "target_modules": ["q_proj"]},
                                    {"rank": 200, "finetuning_type": "galore"}])  # fmt: skip
def test_a_rank_that_some_weight_can_have_is_let_through(method, tiny_llama, rows_file, settings):
    check_run(tiny_spec(tiny_llama, rows_file, method=method), settings)


STRICT = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}" + CHAT_TEMPLATE.split("%}", 1)[1]
)


@pytest.fixture
def strict(tiny_llama, tmp_path):
    """The tiny model with a template that wants user and assistant in turn."""
    folder = tmp_path / "strict"
    folder.mkdir()
    for path in tiny_llama.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "chat_template.jinja").write_text(STRICT)
    return folder


def test_a_role_order_the_template_refuses_is_found_before_the_run(strict, tmp_path, settings):
    user, answer = ({"role": role, "content": "Hi"} for role in ("user", "assistant"))
    rows = tmp_path / "chat.jsonl"
    good, bad = {"messages": [user, answer]}, {"messages": [user, user, answer]}
    rows.write_text("\n".join(map(json.dumps, [good, good, bad, good])))
    with pytest.raises(EngineError, match=r"row 3 .*roles must alternate"):
        check_run(tiny_spec(strict, rows), settings)
    rows.write_text("\n".join(map(json.dumps, [good, {"messages": [user, answer, user]}])))
    check_run(tiny_spec(strict, rows), settings)  # what follows the last answer is left out


@pytest.mark.parametrize("which", ["starter", "tiny", "bare"])
def test_the_template_in_a_folder_is_the_tokenizers(which, tiny_llama, tmp_path, settings):
    if which == "bare":
        tokenizer = save_tiny_tokenizer(tmp_path)
        tokenizer.chat_template = None
        (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
        tokenizer.save_pretrained(tmp_path)
        (tmp_path / "config.json").write_text("{}")
    folder = {"starter": MODEL_DIR, "tiny": tiny_llama, "bare": tmp_path}[which]
    loaded = chat_template_of(load_tokenizer(resolve_base_model(str(tiny_llama), settings))
                              if which == "tiny" else _tokenizer(folder))  # fmt: skip
    found = template_in(folder)
    assert (found.name, found.source) == (loaded.name, loaded.source)
    assert loaded.variables.items() <= found.variables.items()


def _tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
