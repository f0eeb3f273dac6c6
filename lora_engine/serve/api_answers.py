"""Answers in OpenAI's form: whole, and as the events of a stream."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lora_engine.generation.token_scores import TokenScore
from lora_engine.serve.api_requests import ChatRequest, CompletionRequest
from lora_engine.serve.generation import Generation, Snapshot

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LOWEST = -9999.0  # stands for a log-probability of minus infinity, which JSON does not have
DONE = b"data: [DONE]\n\n"


class Answers:
    """Writes the answers of one request.

    fingerprint: of the base model. generations: one a choice, in order.
    """

    def __init__(
        self,
        request: ChatRequest | CompletionRequest,
        generations: Sequence[Generation],
        tokenizer: PreTrainedTokenizerBase,
        fingerprint: str,
    ) -> None:
        self._request = request
        self._generations = generations
        self._tokenizer = tokenizer
        self._is_chat = isinstance(request, ChatRequest)
        self._kind = "chat.completion" if self._is_chat else "text_completion"
        self._common = {
            "id": f"{'chatcmpl' if self._is_chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": request.model,
            "system_fingerprint": fingerprint,
        }
        self._sent = [Snapshot() for _ in generations]
        self._opened = [False for _ in generations]

    def whole(self) -> dict[str, Any]:
        """The answer to a request without `stream`, once every generation has ended."""
        choices = []
        for index, one in enumerate(self._generations):
            choice: dict[str, Any] = {"index": index, "finish_reason": one.snapshot.finish}
            logprobs = self._logprobs(index, Snapshot(), one.snapshot, first=True)
            if self._is_chat:
                choice["message"] = {"role": "assistant", "content": one.snapshot.text}
            else:
                choice["text"] = self._echo(index) + one.snapshot.text
            choices.append({**choice, "logprobs": logprobs})
        return {**self._common, "object": self._kind, "choices": choices, "usage": self._usage()}

    def events(self) -> list[bytes]:
        """What is new since the last call, as server-sent events."""
        found = []
        for index, one in enumerate(self._generations):
            before, now = self._sent[index], one.snapshot
            if now is before or before.finish is not None:
                continue
            if not self._opened[index]:
                found.append(self._opening(index))
            text = now.text[len(before.text) :]
            logprobs = self._logprobs(index, before, now, not self._opened[index])
            self._opened[index] = True
            if text or logprobs or now.finish:
                found.append(self._chunk(index, text, logprobs, now.finish))
            self._sent[index] = now
        return [event for event in found if event]

    def last_events(self) -> list[bytes]:
        """The end of a stream: the usage where it was asked for, and the mark."""
        if not self._request.stream_options.include_usage:
            return [DONE]
        return [self._event({"choices": [], "usage": self._usage()}), DONE]

    def _opening(self, index: int) -> bytes:
        if self._is_chat:
            delta = {"role": "assistant", "content": ""}
            return self._event({"choices": [self._choice(index, delta, None, None)]})
        echo = self._echo(index)
        return self._chunk(index, echo, None, None) if echo else b""

    def _chunk(self, index: int, text: str, logprobs: Any, finish: str | None) -> bytes:
        if self._is_chat:
            delta = {"content": text} if text else {}
            return self._event({"choices": [self._choice(index, delta, logprobs, finish)]})
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
        return self._event({"choices": [choice]})

    def _choice(self, index: int, delta: Any, logprobs: Any, finish: str | None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}

    def _event(self, content: dict[str, Any]) -> bytes:
        kind = "chat.completion.chunk" if self._is_chat else self._kind
        usage = {"usage": None} if self._request.stream_options.include_usage else {}
        return as_event({**self._common, "object": kind, **usage, **content})

    def _usage(self) -> dict[str, int]:
        prompt = sum(len(one.row.prompt) for one in self._generations)
        answer = sum(len(one.row.tokens) for one in self._generations)
        total = prompt + answer
        return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": total}

    def _echo(self, index: int) -> str:
        """The prompt's own text, where it is asked for."""
        if not isinstance(self._request, CompletionRequest) or not self._request.echo:
            return ""
        prompt = self._request.prompt[index]
        return prompt if isinstance(prompt, str) else str(self._tokenizer.decode(prompt))

    def _logprobs(
        self, index: int, before: Snapshot, now: Snapshot, first: bool
    ) -> dict[str, Any] | None:
        """The log-probabilities of the tokens generated since; the first time the prompt's too.

        A completion has that of the end token as well: lm-eval counts on one token more than the
        prompt has.
        """
        row = self._generations[index].row
        if row.likeliest is None:
            return None
        if self._is_chat:
            return self._of_chat(row.scores[before.tokens : now.tokens])
        stop = now.tokens if now.finish is None else len(row.scores)
        scores: list[TokenScore | int] = list(row.scores[before.tokens : stop])
        if first and row.scores_prompt:
            scores = [row.prompt[0], *row.prompt_scores, *scores]
        return self._of_completion(scores)

    def _of_chat(self, scores: Sequence[TokenScore]) -> dict[str, Any]:
        content = [
            {
                **self._token(score.token, score.log_probability),
                "top_logprobs": [self._token(*pair) for pair in score.likeliest],
            }
            for score in scores
        ]
        return {"content": content, "refusal": None}

    def _token(self, token: int, log_probability: float) -> dict[str, Any]:
        text = self._text(token)
        data = None if text.startswith("token_id:") else list(text.encode())
        return {"token": text, "logprob": max(log_probability, LOWEST), "bytes": data}

    def _of_completion(self, scores: Sequence[TokenScore | int]) -> dict[str, Any]:
        """A bare token id stands for the first of the prompt, which nothing predicts."""
        tokens = [one if isinstance(one, int) else one.token for one in scores]
        texts = [self._text(token) for token in tokens]
        offsets, place = [], 0
        for text in texts:
            offsets.append(place)
            place += len(text)
        own = [None if isinstance(s, int) else max(s.log_probability, LOWEST) for s in scores]
        return {
            "tokens": texts,
            "token_logprobs": own,
            "top_logprobs": [
                None if isinstance(one, int) else self._likeliest(one) for one in scores
            ],
            "text_offset": offsets,
        }

    def _likeliest(self, score: TokenScore) -> dict[str, float]:
        """The likeliest tokens and the token itself by their texts, which may not run together."""
        found: dict[str, float] = {}
        for token, log_probability in (*score.likeliest, (score.token, score.log_probability)):
            text = self._text(token)
            known = found.get(text)
            if known is not None and known != max(log_probability, LOWEST):
                text = f"token_id:{token}"
            found[text] = max(log_probability, LOWEST)
        return found

    def _text(self, token: int) -> str:
        """A token's text; `token_id:N` for one that is only a part of a character."""
        text = str(self._tokenizer.decode([token]))
        if "\ufffd" in text:
            return f"token_id:{token}"
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if isinstance(piece, str) and piece.startswith("▁") and not text.startswith(" "):
            return f" {text}"  # decoding a token alone takes its space
        return text


def as_event(content: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"
