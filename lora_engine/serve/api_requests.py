"""A request's body, checked: every parameter is honoured or refused by name.

A parameter that cannot change the answer (`user`, `metadata`) is passed over; one that is not
supported is taken where its value asks for nothing (`n: 1`) and refused otherwise.
"""

from __future__ import annotations

import json
import secrets
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lora_engine.compare.generate import Sampling
from lora_engine.compare.prompts.prompt_tokens import MAX_CHARACTERS
from lora_engine.data import Message
from lora_engine.serve.api_errors import ApiError, wrong

MAX_MESSAGES = 1_000
MAX_PROMPTS = 32
MAX_STOPS = 16
MAX_STOP_CHARACTERS = 200
MAX_LIKELIEST = 20
HARMLESS = frozenset({"user", "metadata", "store", "safety_identifier", "prompt_cache_key"})
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "suffix": ("",),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
}
_SAMPLING = Sampling.model_fields


def _stops(value: Any) -> list[str]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        raise ValueError(f"takes a text or a list of at most {MAX_STOPS}")
    for stop in stops:
        if not isinstance(stop, str) or not 1 <= len(stop) <= MAX_STOP_CHARACTERS:
            raise ValueError(f"each is a text of 1 to {MAX_STOP_CHARACTERS} characters")
    return stops


def _prompts(value: Any) -> list[str] | list[list[int]]:
    """Texts, or lists of token ids; one of them may stand alone."""
    prompts = value if isinstance(value, list) else [value]
    if prompts and isinstance(prompts[0], int):
        prompts = [prompts]
    if not 1 <= len(prompts) <= MAX_PROMPTS:
        raise ValueError(f"got {len(prompts)} prompts, 1 to {MAX_PROMPTS} are allowed")
    if all(isinstance(one, str) for one in prompts):
        if sum(len(one) for one in prompts) > MAX_CHARACTERS:
            raise ValueError(f"at most {MAX_CHARACTERS:,} characters are allowed")
        return prompts
    for one in prompts:
        if not isinstance(one, list) or any(type(token) is not int or token < 0 for token in one):
            raise ValueError("takes a text, token ids, or a list of either")
        if len(one) > MAX_CHARACTERS:
            raise ValueError(f"at most {MAX_CHARACTERS:,} token ids are allowed")
    return prompts


def _content(value: Any) -> str:
    """The text of a message, which may come in parts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or len(value) > MAX_MESSAGES:
        raise ValueError("takes a text or a list of text parts")
    for part in value:
        if not isinstance(part, dict) or set(part) != {"type", "text"} or part["type"] != "text":
            raise ValueError("only parts of the type 'text' are read")
        if not isinstance(part["text"], str):
            raise ValueError("the text of a part is a text")
    return "".join(part["text"] for part in value)


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ChatMessage(_Body):
    role: str = Field(max_length=40)
    content: Annotated[str, BeforeValidator(_content)]


class StreamOptions(_Body):
    include_usage: bool = False


class _Generates(_Body):
    """What both kinds of request have. `Sampling` checks the bounds of how tokens are chosen."""

    model: str = Field(min_length=1, max_length=600)
    max_tokens: int | None = Field(None, ge=0)
    temperature: float = 1.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: Annotated[list[str], BeforeValidator(_stops)] = []
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()

    def sampling(self, max_new_tokens: int) -> Sampling:
        """How this request's tokens are chosen; without a seed every request draws anew."""
        seed = secrets.randbits(32) if self.seed is None else self.seed
        try:
            return Sampling(
                max_new_tokens=max(1, max_new_tokens),
                temperature=self.temperature,
                top_p=self.top_p,
                repetition_penalty=self.repetition_penalty,
                seed=seed,
            )
        except ValidationError as error:
            _refuse(error)


class ChatRequest(_Generates):
    """The body of /v1/chat/completions."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=MAX_LIKELIEST)

    def conversation(self) -> list[Message]:
        """The messages as the engine holds them."""
        return [Message(one.role, one.content) for one in self.messages]

    def token_limit(self) -> int | None:
        """The longest answer asked for; None where the request leaves it open."""
        if self.max_tokens == 0:
            raise wrong("max_tokens", "got 0, at least 1 is needed")
        return self.max_completion_tokens or self.max_tokens

    def likeliest(self) -> int | None:
        """How many tokens to report beside each one's log-probability; None reports none."""
        if self.top_logprobs is not None and not self.logprobs:
            raise wrong("top_logprobs", "needs logprobs: true")
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(_Generates):
    """The body of /v1/completions."""

    prompt: Annotated[list[str] | list[list[int]], BeforeValidator(_prompts)]
    max_tokens: int | None = Field(16, ge=0)
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=MAX_LIKELIEST)

    def token_limit(self) -> int | None:
        """The longest answer asked for; 0 is for reading the prompt alone."""
        if self.max_tokens == 0 and not self.echo:
            raise wrong("max_tokens", "0 gives an empty answer without echo")
        return self.max_tokens

    def likeliest(self) -> int | None:
        """How many tokens to report beside each one's log-probability; None reports none."""
        return self.logprobs


def read_chat_request(body: bytes) -> ChatRequest:
    """Raises ApiError naming the parameter that is wrong."""
    try:
        return ChatRequest.model_validate(_parameters(body, ChatRequest))
    except ValidationError as error:
        _refuse(error)


def read_completion_request(body: bytes) -> CompletionRequest:
    """Raises ApiError naming the parameter that is wrong."""
    try:
        return CompletionRequest.model_validate(_parameters(body, CompletionRequest))
    except ValidationError as error:
        _refuse(error)


def _parameters(body: bytes, kind: type[_Generates]) -> dict[str, Any]:
    """The parameters that `kind` takes. A null is a parameter that is not given."""
    try:
        found = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"The body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ApiError(400, "The body is not a JSON object.")
    given = {name: value for name, value in found.items() if value is not None}
    for name in [name for name in given if name not in kind.model_fields]:
        _check_ignorable(name, given.pop(name))
    if isinstance(given.get("messages"), list):
        given["messages"] = [_without_nulls(message) for message in given["messages"]]
    return given


def _check_ignorable(name: str, value: Any) -> None:
    """Raises ApiError for a parameter that this API would have to honour and does not."""
    if name in HARMLESS:
        return
    if name not in NEUTRAL:
        raise wrong(name[:100], "this parameter is not known here", "unknown_parameter")
    if value not in NEUTRAL[name]:
        allowed = " or ".join(json.dumps(one) for one in NEUTRAL[name])
        raise wrong(
            name, f"got {json.dumps(value)[:100]}, only {allowed} is supported",
            "unsupported_parameter",
        )  # fmt: skip


def _without_nulls(message: Any) -> Any:
    """A client sends back the fields of an answer that are null, such as `refusal`."""
    if not isinstance(message, dict):
        return message
    return {name: value for name, value in message.items() if value is not None}


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _refuse(error: ValidationError) -> NoReturn:
    first = error.errors(include_url=False, include_context=False)[0]
    path = ".".join(str(part) for part in first["loc"]) or "body"
    got = "" if first["type"] in ("missing", "value_error") else f", got {first['input']!r:.100}"
    raise wrong(path, f"{first['msg']}{got}")
