"""The API as a server of its own, under the real `openai` client and `curl`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
from typer.testing import CliRunner

import app
from lora_engine.__main__ import build
from lora_engine.base_models import STARTER, BaseModel
from lora_engine.cli import serve
from lora_engine.compare.generate import AnswerRequest, ComparisonModel, Sampling
from lora_engine.data import Message
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from lora_engine.starter import MODEL_DIR
from tests.api_server import KEY, ServedApi, save_served_adapter, served_api
from tests.compare_models import save_adapter, save_base

STARTER_MODEL = BaseModel(STARTER, MODEL_DIR)
SKY = [{"role": "user", "content": "What colour is the sky?"}]
QUESTIONS = ("What colour is the sky?", "What is two and three?", "Who are you?")
TOKENS = 24


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApi]:
    data = tmp_path_factory.mktemp("served")
    for seed, name in enumerate(("first", "second", "third"), 1):
        save_served_adapter(data, name, STARTER_MODEL, seed=seed)
    save_served_adapter(data, "dora", STARTER_MODEL, seed=9, use_dora=True)
    other = save_base(data / "models" / "other")
    save_served_adapter(data, "of-another-base", other)
    limits = {"LORA_API_MAX_TOKENS": "64", "LORA_API_MAX_PROMPT_TOKENS": "100"}
    with served_api(data, **limits) as served:
        yield served


@pytest.fixture(scope="module")
def client(api: ServedApi) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=api.address, api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def alone(api: ServedApi) -> ComparisonModel:
    """Compare's own model over the same adapters, in this process."""
    names = ("first", "second", "third", "dora")
    folders = {name: api.data_dir / "adapters" / name for name in names}
    return ComparisonModel.load(STARTER_MODEL, folders, Settings(device="cpu"))


def expected(alone: ComparisonModel, name: str, question: str, **sampling) -> str:
    column = "base" if name == STARTER else name
    request = AnswerRequest(column, column, [Message("user", question)])
    *_, last = alone.answer_all([request], Sampling(max_new_tokens=TOKENS, **sampling))
    return last.columns[column].text


def asked(client: openai.OpenAI, name: str, question: str, **more):
    more = {"temperature": 0, "max_tokens": TOKENS, **more}
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(model=name, messages=messages, **more)


def curl(api: ServedApi, path: str, body: object = None, key: str = KEY) -> tuple[int, dict, str]:
    """Status, JSON and the Retry-After header of one request."""
    command = ["curl", "-s", "-w", "\n%{http_code}\n%header{retry-after}", api.address + path]
    command += ["-H", f"Authorization: Bearer {key}"] if key else []
    if body is not None:
        command += ["--data-binary", body if isinstance(body, str) else json.dumps(body)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    text, status, retry = said.rsplit("\n", 2)
    return int(status), json.loads(text), retry


def test_the_models_are_the_base_and_the_adapters_trained_on_it(client, api):
    models = {model.id: model.model_dump() for model in client.models.list()}
    bundled = "starter:pirate-adapter"
    assert set(models) == {STARTER, "first", "second", "third", "dora", bundled}
    assert models[STARTER]["parent"] is None
    assert models["first"]["parent"] == STARTER
    assert client.models.retrieve("first").id == "first"
    status, body, _ = curl(api, "/models")
    assert (status, len(body["data"])) == (200, 6)


@pytest.mark.parametrize("name", [STARTER, "first", "dora"])
def test_a_model_alone_answers_as_in_compare(client, alone, name):
    answer = asked(client, name, QUESTIONS[0])
    (choice,) = answer.choices
    assert choice.message.content == expected(alone, name, QUESTIONS[0])
    assert choice.finish_reason == ("stop" if answer.usage.completion_tokens < TOKENS else "length")
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_requests_for_all_models_at_once_get_the_answers_they_get_alone(client, alone):
    cases = [
        (name, question)
        for question in QUESTIONS
        for name in (STARTER, "first", "second", "third", "dora")
    ]
    with ThreadPoolExecutor(len(cases)) as pool:
        answers = list(pool.map(lambda case: asked(client, *case), cases))
    found = [answer.choices[0].message.content for answer in answers]
    assert found == [expected(alone, *case) for case in cases]


def test_a_seed_draws_what_it_draws_in_compare_and_two_requests_without_one_differ(client, alone):
    drawn = {"temperature": 1.5, "top_p": 0.9}
    answer = asked(client, "first", QUESTIONS[1], seed=5, **drawn)
    text = answer.choices[0].message.content
    assert text == expected(alone, "first", QUESTIONS[1], seed=5, **drawn)
    unseeded = {
        asked(client, "first", QUESTIONS[1], **drawn).choices[0].message.content for _ in range(4)
    }
    assert len(unseeded) > 1


def test_a_stream_carries_the_same_answer_and_its_usage(client):
    whole = asked(client, "first", QUESTIONS[0])
    chunks = list(
        asked(client, "first", QUESTIONS[0], stream=True, stream_options={"include_usage": True})
    )
    deltas = [choice for chunk in chunks for choice in chunk.choices]
    assert deltas[0].delta.role == "assistant"
    assert "".join(one.delta.content or "" for one in deltas) == whole.choices[0].message.content
    assert deltas[-1].finish_reason == whole.choices[0].finish_reason
    assert [chunk.usage for chunk in chunks if chunk.usage] == [whole.usage]
    plain = list(asked(client, "first", QUESTIONS[0], stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in plain)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("as_list", [False, True])
def test_an_answer_ends_before_a_stop(client, stream, as_list):
    text = asked(client, STARTER, QUESTIONS[0]).choices[0].message.content
    stop = text[5:9]
    answer = asked(
        client, STARTER, QUESTIONS[0], stream=stream, stop=["never", stop] if as_list else stop
    )
    if stream:
        choices = [choice for chunk in answer for choice in chunk.choices]
        found = "".join(choice.delta.content or "" for choice in choices)
        reason = choices[-1].finish_reason
    else:
        found, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
    assert found == text[: text.index(stop)]
    assert reason == "stop"


def test_a_limit_of_tokens_ends_an_answer_for_its_length(client):
    for limit in ({"max_tokens": 2}, {"max_completion_tokens": 2, "max_tokens": None}):
        answer = asked(client, STARTER, QUESTIONS[0], **limit)
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 2


def test_completions_take_texts_and_token_ids_one_or_many(client, alone):
    prompts = ["The sky is", "Two and three"]
    ids = [alone.shared.tokenizer(prompt)["input_ids"] for prompt in prompts]
    answers = [
        client.completions.create(model="first", prompt=prompt, temperature=0, max_tokens=8)
        for prompt in (prompts, ids, prompts[0], ids[0])
    ]
    texts = [[choice.text for choice in answer.choices] for answer in answers]
    assert texts[0] == texts[1] == [*texts[2], texts[0][1]]
    assert texts[2] == texts[3]
    assert [choice.index for choice in answers[0].choices] == [0, 1]
    echoed = client.completions.create(
        model="first", prompt=prompts, temperature=0, max_tokens=8, echo=True, stream=True
    )
    streamed = ["", ""]
    for chunk in echoed:
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert streamed == [prompt + text for prompt, text in zip(prompts, texts[0], strict=True)]


@pytest.mark.parametrize("name", [STARTER, "first"])  # the starter ends here: its end token
def test_echo_with_logprobs_scores_the_prompt_and_one_token_more(client, name):
    prompt = "The sky is blue."
    read = client.completions.create(
        model=name, prompt=prompt, temperature=0, max_tokens=0, echo=True, logprobs=2
    ).choices[0]
    longer = client.completions.create(
        model=name, prompt=prompt, temperature=0, max_tokens=1, echo=True, logprobs=2
    ).choices[0]
    assert (read.text, read.finish_reason) == (prompt, "length")
    assert read.logprobs.token_logprobs[0] is None
    assert len(longer.logprobs.token_logprobs) == len(read.logprobs.token_logprobs) + 1
    assert longer.logprobs.token_logprobs[1:-1] == pytest.approx(
        read.logprobs.token_logprobs[1:], abs=1e-4
    )
    assert "".join(read.logprobs.tokens) == prompt
    for token, own, top in zip(
        read.logprobs.tokens[1:],
        read.logprobs.token_logprobs[1:],
        read.logprobs.top_logprobs[1:],
        strict=True,
    ):
        assert top[token] == own <= max(top.values())
        assert 2 <= len(top) <= 3
    assert [prompt[offset] for offset in read.logprobs.text_offset] == [
        token[0] for token in read.logprobs.tokens
    ]


def test_a_chat_tells_the_log_probability_of_each_token(client):
    answer = asked(client, "first", QUESTIONS[0], logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    assert "".join(one.token for one in content) == answer.choices[0].message.content
    assert all(one.logprob == one.top_logprobs[0].logprob <= 0 for one in content)  # greedy
    streamed = [
        one.logprob
        for chunk in asked(client, "first", QUESTIONS[0], logprobs=True, stream=True)
        for choice in chunk.choices
        if choice.logprobs
        for one in choice.logprobs.content
    ]
    assert streamed == pytest.approx([one.logprob for one in content], abs=1e-4)


def test_a_new_adapter_is_served_without_a_restart(client, api, alone):
    folder = save_served_adapter(api.data_dir, "newcomer", STARTER_MODEL, seed=20)
    assert "newcomer" in {model.id for model in client.models.list()}
    alone.add_adapter("newcomer", folder)
    answer = asked(client, "newcomer", QUESTIONS[2])
    assert answer.choices[0].message.content == expected(alone, "newcomer", QUESTIONS[2])
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    with pytest.raises(openai.NotFoundError):
        asked(client, "newcomer", QUESTIONS[2])


@pytest.mark.parametrize("key", ["", "sk-another-key-0123456789", KEY + "x", KEY[:-1]])
def test_without_the_key_nothing_is_answered(api, key):
    for path, body in (("/models", None), ("/chat/completions", {}), ("/nowhere", None)):
        status, answer, _ = curl(api, path, body, key)
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")


CHAT = {"model": STARTER, "messages": SKY}
TEXT = {"model": STARTER, "prompt": "The sky"}


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/chat/completions", {**CHAT, "model": "nobody"}, 404, "model"),
        ("/chat/completions", {**CHAT, "model": "../../adapters/first"}, 404, "model"),
        ("/chat/completions", {**CHAT, "model": "of-another-base"}, 400, None),
        ("/chat/completions", {**CHAT, "n": 2}, 400, "n"),
        ("/chat/completions", {**CHAT, "frequency_penalty": 0.5}, 400, "frequency_penalty"),
        ("/chat/completions", {**CHAT, "logit_bias": {"5": 9}}, 400, "logit_bias"),
        ("/chat/completions", {**CHAT, "tools": [{"type": "function"}]}, 400, "tools"),
        ("/chat/completions", {**CHAT, "response_format": {"type": "json_object"}}, 400,
         "response_format"),
        ("/chat/completions", {**CHAT, "top_k": 5}, 400, "top_k"),
        ("/chat/completions", {**CHAT, "temperature": 9}, 400, "temperature"),
        ("/chat/completions", {**CHAT, "temperature": "hot"}, 400, "temperature"),
        ("/chat/completions", {**CHAT, "top_p": 0}, 400, "top_p"),
        ("/chat/completions", {**CHAT, "max_tokens": 65}, 400, "max_tokens"),
        ("/chat/completions", {**CHAT, "max_tokens": 0}, 400, "max_tokens"),
        ("/chat/completions", {**CHAT, "max_tokens": True}, 400, "max_tokens"),
        ("/chat/completions", {**CHAT, "top_logprobs": 2}, 400, "top_logprobs"),
        ("/chat/completions", {**CHAT, "stop": ["a"] * 17}, 400, "stop"),
        ("/chat/completions", {**CHAT, "stop": ""}, 400, "stop"),
        ("/chat/completions", {**CHAT, "seed": -1}, 400, "seed"),
        ("/chat/completions", {"model": STARTER}, 400, "messages"),
        ("/chat/completions", {**CHAT, "messages": []}, 400, "messages"),
        ("/chat/completions", {**CHAT, "messages": [{"role": "user"}]}, 400, "messages.0.content"),
        ("/chat/completions", {**CHAT, "messages": [{**SKY[0], "name": "Bob"}]}, 400,
         "messages.0.name"),
        ("/chat/completions", {**CHAT, "messages": [{"role": "robot", "content": "x"}]}, 400, None),
        ("/chat/completions", {**CHAT, "messages": [{**SKY[0], "content": "x " * 400}]}, 400, None),
        ("/chat/completions", "{", 400, None),
        ("/chat/completions", "[" * 100_000, 400, None),
        ("/chat/completions", "[]", 400, None),
        ("/chat/completions", '{"temperature": NaN}', 400, None),
        ("/completions", {**TEXT, "prompt": ""}, 400, "prompt"),
        ("/completions", {**TEXT, "prompt": []}, 400, "prompt"),
        ("/completions", {**TEXT, "prompt": [10**6]}, 400, "prompt"),
        ("/completions", {**TEXT, "prompt": [-1]}, 400, "prompt"),
        ("/completions", {**TEXT, "prompt": ["a", [1]]}, 400, "prompt"),
        ("/completions", {**TEXT, "prompt": ["a"] * 33}, 400, "prompt"),
        ("/completions", {**TEXT, "prompt": "a b c d e f " * 50}, 400, None),
        ("/completions", {**TEXT, "max_tokens": 0}, 400, "max_tokens"),
        ("/completions", {**TEXT, "suffix": "end"}, 400, "suffix"),
        ("/completions", {**TEXT, "best_of": 3}, 400, "best_of"),
        ("/embeddings", {"input": "x"}, 404, None),
    ],
)  # fmt: skip
def test_what_is_not_honoured_is_refused_by_its_name(api, path, body, status, param):
    found, answer, _ = curl(api, path, body)
    assert (found, answer["error"]["param"]) == (status, param)
    assert set(answer["error"]) == {"message", "type", "param", "code"}


def test_what_changes_no_answer_is_taken(client):
    plain = asked(client, STARTER, QUESTIONS[0]).choices[0].message
    again = asked(
        client, STARTER, QUESTIONS[0], n=1, presence_penalty=0, user="me", store=False,
        response_format={"type": "text"}, extra_body={"logit_bias": {}, "tool_choice": "none"},
    )  # fmt: skip
    assert again.choices[0].message.content == plain.content
    parts = [{"type": "text", "text": QUESTIONS[0][:7]}, {"type": "text", "text": QUESTIONS[0][7:]}]
    history = [*SKY, plain.model_dump(), {"role": "user", "content": parts}]
    answer = client.chat.completions.create(model=STARTER, messages=history, temperature=0)
    assert answer.choices[0].message.content


def test_a_page_of_another_site_and_a_body_too_large_stay_outside(api):
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"{api.address}/models"]
    command += ["-H", f"Authorization: Bearer {KEY}", "-H"]
    for header, status in (("Origin: https://evil.example", "403"), ("Host: evil.example", "421")):
        said = subprocess.run([*command, header], capture_output=True, text=True, check=True).stdout
        assert said == status
    large = "Content-Length: 9000000"
    assert subprocess.run([*command, large], capture_output=True, text=True).stdout == "413"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--api"], "--api-key-file"),
        (["--api-key-file", "key"], "--api"),
        (["--base", "starter"], "--api"),
        (["--api", "--api-key-file", "missing"], "missing"),
        (["--api", "--api-key-file", "short"], "short"),
        (["--api", "--api-key-file", "key", "--base", "nowhere"], "nowhere"),
    ],
)
def test_the_api_starts_with_a_key_and_a_base_or_not_at_all(tmp_path, monkeypatch, options, named):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serve.os, "execv", lambda *_: pytest.fail("it was served"))
    monkeypatch.setattr(serve.os, "environ", {"LORA_DATA_DIR": str(tmp_path / "data")})
    Path("key").write_text(KEY, "utf-8")
    Path("short").write_text("hunter2", "utf-8")
    refused = CliRunner().invoke(build(), ["serve", *options]).exception
    assert isinstance(refused, EngineError)
    assert named in str(refused)
    assert "hunter2" not in str(refused)


def test_a_key_file_that_the_environment_names_is_checked_too(tmp_path):
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path, api_key_file=tmp_path / "missing")
    with pytest.raises(EngineError, match="missing"):
        app.create_app(settings)


def test_without_a_key_file_there_is_no_api(tmp_path):
    made = app.create_app(Settings(data_dir=tmp_path, models_dir=tmp_path, device="cpu"))
    assert not any(getattr(route, "path", "").startswith("/v1") for route in made.routes)


def test_an_adapter_without_provenance_is_served_by_name_and_not_listed(client, api, alone):
    folder = save_adapter(api.data_dir / "adapters" / "unknown-origin", STARTER_MODEL, seed=30)
    assert "unknown-origin" not in {model.id for model in client.models.list()}
    alone.add_adapter("unknown-origin", folder)
    answer = asked(client, "unknown-origin", QUESTIONS[0])
    assert answer.choices[0].message.content == expected(alone, "unknown-origin", QUESTIONS[0])
