"""A column on another server that speaks OpenAI's API: vLLM, Ollama, `transformers serve`.

It is asked as the other columns are: as a chat, or with a text to continue.

The key lives in this process's memory alone: no log, page, session or export holds it, and it is
taken out of the server's messages. Only the address that the person gave is called: redirects are
not followed and proxies of the environment not used. Whom people behind a login may ask, and at
which address, `server_address` decides. Whether the server honours the seed, and what
it counts as a token, is not known here.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from lora_engine.cancellation import StopSignal
from lora_engine.compare.generate.answer_progress import AnswerEnd, ColumnProgress
from lora_engine.compare.generate.server_address import AllowedServers
from lora_engine.compare.prompts.prompt_form import Mode
from lora_engine.compare.prompts.prompt_tokens import text_of
from lora_engine.data import Message
from lora_engine.errors import EngineError, NotFound
from lora_engine.generation.sampling import Sampling
from lora_engine.language import tr

MAX_URL, MAX_MODEL, MAX_KEY = 500, 300, 1000
MAX_ANSWER_BYTES = 4_000_000
MAX_LINE_BYTES = 1_000_000
CONNECT_S, READ_S = 5.0, 60.0
MAX_SERVERS = 32
ENDINGS: dict[str, AnswerEnd] = {"length": "token limit"}


@dataclass(frozen=True)
class RemoteServer:
    """A model on another server.

    url: the API's base address, such as http://127.0.0.1:8000/v1. The key is never shown.
    allowed: the servers that may be asked; None for any.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    allowed: AllowedServers | None = field(default=None, repr=False, compare=False)

    @property
    def title(self) -> str:
        """`model at host:port`, for a column's heading."""
        return tr("{model} at {host}", model=self.model, host=urlsplit(self.url).netloc)


def parse_remote_server(
    url: str, model: str, key: str = "", allowed: AllowedServers | None = None
) -> RemoteServer:
    """A server as the person described it. Raises EngineError for what cannot be one, or is not
    allowed."""
    url, model, key = url.strip().rstrip("/"), model.strip(), key.strip()
    remedy = tr("Give an address such as http://127.0.0.1:8000/v1.")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError for a port that is no number
    except ValueError:
        raise EngineError(tr("{url} is no address.", url=f"{url[:80]!r}"), remedy) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or len(url) > MAX_URL:
        raise EngineError(tr("The server's address must begin with http:// or https://."), remedy)
    if parts.username is not None or parts.query or parts.fragment:
        raise EngineError(tr("The server's address holds more than a host and a path."), remedy)
    if not model or len(model) > MAX_MODEL:
        raise EngineError(
            tr("The server's model has no name."), tr("Name the model as the server calls it.")
        )
    if len(key) > MAX_KEY or not key.isascii() or any(sign.isspace() for sign in key):
        raise EngineError(tr("The key is no key."), tr("Paste the key alone, without spaces."))
    if allowed is not None:
        allowed.refuse_other(url)
    return RemoteServer(url, model, key, allowed)


class RemoteServers:
    """The servers connected since this process began, by an id that cannot be guessed."""

    def __init__(self) -> None:
        self._servers: dict[str, RemoteServer] = {}
        self._guard = threading.Lock()

    def add(self, server: RemoteServer) -> str:
        """Keep it in memory; the oldest of more than 32 is forgotten."""
        server_id = secrets.token_urlsafe(16)
        with self._guard:
            self._servers[server_id] = server
            while len(self._servers) > MAX_SERVERS:
                del self._servers[next(iter(self._servers))]
        return server_id

    def get(self, server_id: str) -> RemoteServer:
        """Raises NotFound, as after a restart."""
        server = self.find(server_id)
        if server is None:
            raise NotFound(
                tr("The other server is not connected."),
                tr(
                    "Give its key again under “A column from another server”, or remove the column."
                ),
            )
        return server

    def find(self, server_id: str) -> RemoteServer | None:
        """None where it was forgotten, as after a restart."""
        return self._servers.get(server_id)


class RemoteAnswer:
    """One answer of a server, read in a thread of its own; `progress()` is what there is so far."""

    def __init__(
        self,
        server: RemoteServer,
        messages: Sequence[Message],
        sampling: Sampling,
        mode: Mode = "chat",
    ) -> None:
        self._server = server
        self._path = "chat/completions" if mode == "chat" else "completions"
        self._body = _body(server, messages, sampling, mode)
        self._text: list[str] = []
        self._tokens: int | None = None
        self._prompt_tokens = 0
        self._first_at: float | None = None
        self._last_at: float | None = None
        self._finished: AnswerEnd | None = None
        self._problem: str | None = None
        self._stopped = StopSignal()
        self._started = time.perf_counter()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Read no further; the connection is closed at the server's next word."""
        self._stopped.set()
        if self._finished is None:
            self._finished = "stopped"

    def progress(self) -> ColumnProgress:
        """The answer so far; a piece of the stream counts as a token until the server counts."""
        tokens = len(self._text) if self._tokens is None else self._tokens
        first, speed = None, 0.0
        if self._first_at is not None and self._last_at is not None:
            first = self._first_at - self._started
            elapsed = self._last_at - self._first_at
            speed = (tokens - 1) / elapsed if elapsed > 0 else 0.0
        return ColumnProgress(
            text="".join(self._text),
            tokens=tokens,
            prompt_tokens=self._prompt_tokens,
            tokens_per_s=speed,
            finished=self._finished,
            first_token_s=first,
            problem=self._problem,
        )

    def _run(self) -> None:
        ending: AnswerEnd
        try:
            ending = self._read()
        except EngineError as error:
            self._problem, ending = str(error), "failed"
        if self._finished is None:
            self._finished = ending

    def _read(self) -> AnswerEnd:
        """Collect the answer; why it ended."""
        ending: AnswerEnd = "end"
        for event in _events(self._server, self._path, self._body, self._stopped):
            usage = event.get("usage")
            if isinstance(usage, dict):
                self._tokens = _count(usage.get("completion_tokens"), self._tokens)
                self._prompt_tokens = _count(usage.get("prompt_tokens"), 0) or 0
            choices = event.get("choices")
            choice = choices[0] if isinstance(choices, list) and choices else {}
            text = _text_of(choice) if isinstance(choice, dict) else None
            if isinstance(text, str) and text:
                self._last_at = time.perf_counter()
                self._first_at = self._first_at or self._last_at
                self._text.append(text)
            if isinstance(choice, dict) and choice.get("finish_reason"):
                ending = ENDINGS.get(choice["finish_reason"], "end")
        return ending


def _text_of(choice: dict[str, Any]) -> Any:
    """What a piece of the stream adds, of a chat or of a text that is continued."""
    delta = choice.get("delta")
    return delta.get("content") if isinstance(delta, dict) else choice.get("text")


def _body(
    server: RemoteServer, messages: Sequence[Message], sampling: Sampling, mode: Mode
) -> dict[str, Any]:
    asked: dict[str, Any] = (
        {"prompt": text_of(messages)}
        if mode == "completion"
        else {"messages": [{"role": turn.role, "content": turn.content} for turn in messages]}
    )
    return {
        "model": server.model,
        **asked,
        "stream": True,
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
    }


def _events(
    server: RemoteServer, path: str, body: dict[str, Any], stop: StopSignal
) -> Iterator[dict[str, Any]]:
    """The JSON objects of the server-sent events. Raises EngineError for whatever goes wrong."""
    import httpx

    url, headers, extensions = _where(server, path)
    if server.key:
        headers["Authorization"] = f"Bearer {server.key}"
    times = httpx.Timeout(READ_S, connect=CONNECT_S)
    try:
        with (
            httpx.Client(timeout=times, follow_redirects=False, trust_env=False) as client,
            client.stream(
                "POST", url, json=body, headers=headers, extensions=extensions
            ) as response,
        ):
            if response.status_code != 200:
                said = next(response.iter_bytes(300), b"").decode("utf-8", "replace")
                raise _failure(
                    server, tr("answered {status}: {said}", status=response.status_code, said=said)
                )
            for line in _lines(server, response.iter_bytes()):
                if stop.is_set():
                    return
                event = _event(server, line)
                if event is not None:
                    yield event
    except httpx.HTTPError as error:
        what = tr("gave no answer ({kind}: {error})", kind=type(error).__name__, error=error)
        raise _failure(server, what) from None


def _where(server: RemoteServer, path: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """Where a question goes: the address, and what names the server in the request and in TLS.

    Where only some servers are allowed, it is the address that was checked, not its name: that
    could lead elsewhere by the time of the connection. Raises EngineError.
    """
    url = f"{server.url}/{path}"
    if server.allowed is None:
        return url, {}, {}
    parts = urlsplit(url)
    address = server.allowed.address_of(server.url)
    at = f"[{address}]" if ":" in address else address
    netloc = at if parts.port is None else f"{at}:{parts.port}"
    checked = urlunsplit((parts.scheme, netloc, parts.path, "", ""))
    return checked, {"Host": parts.netloc}, {"sni_hostname": parts.hostname or ""}


def _lines(server: RemoteServer, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines; the answer and each line bounded."""
    rest, total = b"", 0
    for chunk in chunks:
        total += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        if total > MAX_ANSWER_BYTES or len(rest) > MAX_LINE_BYTES:
            what = tr("sent more than {bytes} bytes", bytes=f"{MAX_ANSWER_BYTES:,}")
            raise _failure(server, what)
        yield from whole
    yield rest


def _event(server: RemoteServer, line: bytes) -> dict[str, Any] | None:
    """What one line carries; None for blanks, comments and the end mark."""
    content = line.strip().removeprefix(b"data:").strip()
    if not line.startswith(b"data:") or content in (b"", b"[DONE]"):
        return None
    try:
        event = json.loads(content)
    except (ValueError, RecursionError):
        raise _failure(server, tr("sent something that is not JSON")) from None
    if not isinstance(event, dict):
        raise _failure(server, tr("sent something that is no chat completion"))
    if "error" in event:
        raise _failure(server, tr("said: {error}", error=json.dumps(event["error"])[:300]))
    return event


def _failure(server: RemoteServer, what: str) -> EngineError:
    said = " ".join(what.split())[:400]
    if server.key:
        said = said.replace(server.key, "[key]")
    return EngineError(
        tr("The server {netloc} {said}.", netloc=urlsplit(server.url).netloc, said=said),
        tr("Check its address, the model's name and the key, and that it is running."),
    )


def _count(value: Any, otherwise: int | None) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 10**9 else otherwise
