"""An adapter is asked as it was trained: text continued, prompts in the template it brought."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest
from typer.testing import CliRunner

from lora_engine.__main__ import build
from lora_engine.adapters.library import AdapterLibrary
from lora_engine.base_models import BaseModel, load_tokenizer, resolve_base_model
from lora_engine.chat_template import TEMPLATE_FILE
from lora_engine.compare.generate.comparison_model import ComparisonModel
from lora_engine.compare.generate.compatibility import find_mismatches, form_before_loading
from lora_engine.compare.generate.prompt_set import answer_conversation, answer_prompts
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.compare.prompts.prompt_form import Cause
from lora_engine.compare.scoring.column_proof import prove_columns
from lora_engine.compare.scoring.token_comparison import compare_tokens
from lora_engine.compare.service import Comparisons
from lora_engine.data import Message, load_dataset, tokenize
from lora_engine.data.bundled_templates import bundled_templates, choose_template
from lora_engine.data.plain_text import continuation_tokens
from lora_engine.data.trained_template import (
    form_changes,
    tokenizer_as_trained,
    trained_template,
)
from lora_engine.errors import EngineError
from lora_engine.export.ollama import write_ollama
from lora_engine.generation.sampling import Sampling
from lora_engine.serve.api_errors import ApiError
from lora_engine.serve.api_requests import read_chat_request, read_completion_request
from lora_engine.serve.served_models import ServedModels
from lora_engine.settings import Settings
from lora_engine.training.reporting.sample_answers import prompts_from_texts
from tests.training_runs import tiny_spec, train_here

QUESTION = "What colour is the sky?"
STORY = "The sky is blue and the"
FEW_STEPS = {"max_steps": 2, "max_length": 256}
SHORT = Sampling(max_new_tokens=6)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    return Settings(data_dir=folder, models_dir=folder / "models", device="cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("rows")
    story, rows = folder / "story.txt", folder / "rows.jsonl"
    lines = (f"The sky is blue and the grass is green, {number} times." for number in range(250))
    story.write_text("\n".join(lines))
    row = {"prompt": QUESTION, "completion": " Blue."}
    rows.write_text("\n".join(json.dumps({**row, "prompt": f"{QUESTION}{n}"}) for n in range(12)))
    return {"text": story, "rows": rows}


@pytest.fixture(scope="module")
def adapters(tiny_llama, files, settings) -> dict[str, Path]:
    """Adapters trained on text, on rows without a template, in a chosen one, in the base's own."""
    sets = {
        "text": {"source": str(files["text"])},
        "none": {"source": str(files["rows"]), "template": "none"},
        "vicuna": {"source": str(files["rows"]), "template": "vicuna"},
        "own": {"source": str(files["rows"])},
    }
    made = {}
    for name, dataset in sets.items():
        spec = tiny_spec(tiny_llama, files["rows"], dataset=dataset, optimization=FEW_STEPS)
        train_here(spec, settings.data_dir / "runs" / name, settings)
        made[name] = settings.data_dir / "runs" / name / "adapter"
    return made


@pytest.fixture(scope="module")
def base(tiny_llama) -> BaseModel:
    return BaseModel("tiny", tiny_llama)


@pytest.fixture
def bare(tmp_path, tiny_llama) -> Path:
    """The same base without its chat template."""
    folder = tmp_path / "bare"
    copytree(tiny_llama, folder, ignore=lambda *_: [TEMPLATE_FILE])
    return folder


@pytest.fixture(scope="module")
def shared(base, settings) -> SharedBase:
    return SharedBase.load(base, settings)


@pytest.fixture
def ask(shared, adapters):
    def made(*names: str, ask_as="auto") -> ComparisonModel:
        return ComparisonModel(shared, {name: adapters[name] for name in names}, ask_as)

    return made


def saved(adapter: Path) -> tuple[str, str | None]:
    template = adapter / TEMPLATE_FILE
    named = json.loads((adapter / "provenance.json").read_text())["chat_template"]
    return named, template.read_text() if template.exists() else None


def test_an_adapter_brings_the_template_of_its_rows(adapters):
    bundled = bundled_templates()
    assert saved(adapters["text"]) == ("", None)
    assert saved(adapters["none"]) == ("", bundled["none"].source)
    assert saved(adapters["vicuna"]) == ("vicuna", bundled["vicuna"].source)
    assert trained_template(adapters["vicuna"]).source == bundled["vicuna"].source
    assert [trained_template(adapters[name]).is_completion for name in adapters] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("name", ["none", "vicuna", "own"])
def test_a_question_is_written_as_the_rows_were(name, adapters, files, ask, shared, settings):
    spec = tiny_spec(Path("x"), files["rows"]).dataset
    row = load_dataset(spec, settings).rows[3]
    tokenizer = tokenizer_as_trained(shared.tokenizer, adapters[name])
    (learned,) = tokenize([row], tokenizer, 256).rows
    start = next(place for place, label in enumerate(learned.labels) if label >= 0)
    (prompt,) = ask(name).tokens_of([[row.messages[0]]])
    assert prompt == list(learned.input_ids[:start])


def test_text_is_continued_as_peft_continues_it(ask, adapters, base, shared):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = ask("text")
    assert (model.form.mode, model.form.cause, model.warnings()) == (
        "completion",
        Cause.ADAPTERS,
        [],
    )
    (prompt,) = model.tokens_of([[Message("user", STORY)]])
    assert prompt == shared.tokenizer(f"<bos>{STORY}", add_special_tokens=False)["input_ids"]
    (answered,) = answer_prompts(model, [STORY], SHORT)
    import torch

    peft = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base.path), adapters["text"]
    )
    ids = torch.tensor([prompt])
    out = peft.generate(input_ids=ids, max_new_tokens=6, do_sample=False)[0, len(prompt) :]
    assert answered.answers[1].text == shared.tokenizer.decode(out, skip_special_tokens=True)


def test_a_next_text_goes_on_where_the_column_stopped(ask):
    model = ask("text")
    first, second = answer_conversation(model, [STORY, " And then"], SHORT)
    whole = STORY + first.answers[1].text + " And then"
    (alone,) = answer_prompts(model, [whole], SHORT)
    assert second.answers[1].text == alone.answers[1].text


def test_a_continued_text_is_scored_token_by_token(ask):
    model = ask("text")
    (answered,) = answer_prompts(model, [STORY], SHORT)
    text = answered.answers[1].text
    found = compare_tokens(model, [Message("user", STORY)], text)
    assert "".join(token.text for token in found.tokens) == text
    assert prove_columns(model, STORY).base_is_base


def test_text_wins_over_a_template_and_both_are_said(ask, base, adapters):
    mixed = ask("own", "text")
    assert (mixed.form.mode, mixed.form.without, mixed.form.mixed) == (
        "completion",
        ("text",),
        True,
    )
    assert list(mixed.form.otherwise) == ["own"]
    assert "asked without one" in mixed.warnings()[0]
    chosen = ask("own", "text", ask_as="chat")
    assert (chosen.form.mode, list(chosen.form.otherwise)) == ("chat", ["text"])
    assert "trained without a chat template" in chosen.warnings()[0]
    two = {name: adapters[name] for name in ("own", "text")}
    assert find_mismatches(base, two).other_template == mixed.form.otherwise
    assert form_before_loading(base, two, "chat") == chosen.form


def test_the_first_brought_template_is_asked_in_and_the_others_are_warned_about(ask):
    model = ask("vicuna", "own")
    assert (model.form.template, list(model.form.otherwise)) == ("vicuna", ["own"])
    assert "than it is asked in here" in model.form.otherwise["own"]
    assert (ask("own").form.template, ask("own").form.otherwise) == ("the base model's own", {})


def test_a_base_without_a_template_continues_text(bare):
    form = form_before_loading(BaseModel("bare", bare), {})
    assert (form.mode, form.cause) == ("completion", Cause.BARE_BASE)
    unknown = form_before_loading(BaseModel("org/not-here", None), {})
    assert (unknown.mode, unknown.otherwise) == ("chat", {})


def test_an_ollama_export_writes_the_template_that_the_adapter_brought(adapters, base, tmp_path):
    found = {}
    for name in ("vicuna", "none"):
        write_ollama(adapters[name], tmp_path / name, base, "llama")
        found[name] = (tmp_path / name / "Modelfile").read_text()
    assert "USER: {{ .Content }} ASSISTANT:" in found["vicuna"]
    assert "USER" not in found["none"]


def test_the_api_continues_text_and_refuses_a_chat_that_has_no_template(
    bare, adapters, settings, shared
):
    served = Settings(data_dir=settings.data_dir, api_base=str(bare), device="cpu")
    models = ServedModels(served, Comparisons(served), AdapterLibrary(served))
    folder = copytree(adapters["text"], settings.data_dir / "adapters" / "text")
    (named,) = [one.name for one in models.listed() if one.folder == folder]
    asked = {"model": named, "messages": [{"role": "user", "content": STORY}]}
    with pytest.raises(ApiError, match="/v1/completions"):
        models.chat(read_chat_request(json.dumps(asked).encode()))
    text = json.dumps({"model": named, "prompt": STORY}).encode()
    (generation,) = models.completions(read_completion_request(text))
    assert generation.row.prompt == continuation_tokens([STORY], shared.tokenizer)[0]


def test_special_tokens_are_text_to_continue_and_no_part_of_a_chat(ask):
    assert ask("text").tokens_of([[Message("user", "a<eos>b")]])
    with pytest.raises(EngineError, match="<eos>"):
        ask("own").tokens_of([[Message("user", "a<eos>b")]])
    with pytest.raises(EngineError, match="The text is empty"):
        ask("text").tokens_of([[Message("user", " ")]])


def test_the_command_asks_by_itself_and_as_it_is_told(monkeypatch, settings, tiny_llama, adapters):
    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    asked = ["compare", "--json", "--base", str(tiny_llama), "--adapter", str(adapters["text"]),
             "--prompt", STORY, "--max-new-tokens", "2", "--held-out"]  # fmt: skip
    found = {}
    for more in ([], ["--completion"], ["--chat"]):
        done = CliRunner().invoke(build(), [*asked, *more])
        document = json.loads(done.stdout)
        found[" ".join(more)] = document["mode"], document["prompts"], len(document["warnings"])
    assert found[""] == found["--completion"]
    assert (found[""][0], found["--chat"][0]) == ("completion", "chat")
    assert (found[""][2], found["--chat"][2]) == (0, 1)
    assert found[""][1] != found["--chat"][1]


def test_samples_of_text_continue_the_prompts(tiny_llama, settings):
    tokenizer = load_tokenizer(resolve_base_model(str(tiny_llama), settings))
    chat, text = (
        prompts_from_texts([STORY], tokenizer, 64, with_template) for with_template in (True, False)
    )
    assert tokenizer.decode(text[0].input_ids) == f"<bos>{STORY}"
    assert "<|user|>" in tokenizer.decode(chat[0].input_ids)


def test_going_on_with_rows_of_another_form_is_said(adapters, shared):
    own = shared.tokenizer
    vicuna = choose_template(own, "vicuna")
    assert form_changes(adapters["vicuna"], vicuna, "vicuna") == ()
    assert "another chat template" in form_changes(adapters["vicuna"], own, "the model's own")[0]
    assert "without a chat template" in form_changes(adapters["text"], own, "the model's own")[0]
    assert "with a chat template" in form_changes(adapters["own"], own, "")[0]
    assert form_changes(adapters["text"], own, "") == ()


def test_the_program_that_loads_an_adapter_takes_its_template(adapters, settings):
    code = AdapterLibrary(settings).loading_code(str(adapters["vicuna"]))
    names: dict = {}
    exec(compile(code, "loading_code", "exec"), names)
    assert names["tokenizer"].chat_template == bundled_templates()["vicuna"].source
    assert "USER: Hello ASSISTANT:" in names["tokenizer"].decode(names["inputs"]["input_ids"][0])
