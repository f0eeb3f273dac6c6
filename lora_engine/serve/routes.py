"""The API's routes: /v1/models, /v1/chat/completions, /v1/completions.

Every request carries the key, before its body is read. A handler prepares its answers in a thread
of its own, queues them, and reads them as they grow; a client that is gone ends them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from lora_engine.adapters.library import AdapterLibrary
from lora_engine.compare.service import Comparisons
from lora_engine.errors import EngineError
from lora_engine.serve.api_answers import Answers, as_event
from lora_engine.serve.api_errors import RETRY_S, ApiError, of_engine
from lora_engine.serve.api_key import read_api_key
from lora_engine.serve.api_requests import (
    ChatRequest,
    CompletionRequest,
    read_chat_request,
    read_completion_request,
)
from lora_engine.serve.generation import Generation, Job
from lora_engine.serve.scheduler import Scheduler
from lora_engine.serve.served_models import ServedModels
from lora_engine.settings import Settings

PREPARED_AT_ONCE = 4  # requests whose prompts are tokenized and adapters loaded at a time
STREAM = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
EVERY_METHOD = ["GET", "POST", "PUT", "PATCH", "DELETE"]

Handler = Callable[[Request], Awaitable[Response]]


class Api:
    """The endpoint over one base model.

    Raises EngineError where the key's file or the base model is not there.
    """

    def __init__(
        self, settings: Settings, comparisons: Comparisons, adapters: AdapterLibrary
    ) -> None:
        assert settings.api_key_file is not None, "the API is off without a key"
        self._key = read_api_key(settings.api_key_file)
        self._settings = settings
        self._models = ServedModels(settings, comparisons, adapters)
        self._guard = threading.Lock()
        self._scheduler: Scheduler | None = None
        self._waiting: set[Job] = set()
        self._limiter = CapacityLimiter(PREPARED_AT_ONCE)
        comparisons.add_holder(self._let_go_if_idle)

    def add_routes(self, app: Starlette) -> None:
        """Add the routes under /v1; anything else there is answered in OpenAI's form too."""
        handlers: list[tuple[str, Handler, list[str]]] = [
            ("/v1/models", self._list, ["GET"]),
            ("/v1/models/{name:path}", self._one, ["GET"]),
            ("/v1/chat/completions", self._chat, ["POST"]),
            ("/v1/completions", self._complete, ["POST"]),
            ("/v1/{rest:path}", self._unknown, EVERY_METHOD),
        ]
        for path, handler, methods in handlers:
            app.router.routes.append(Route(path, self._checked(handler), methods=methods))

    def close(self) -> None:
        """End the decoding; answers in the making fail."""
        if self._scheduler is not None:
            self._scheduler.close()

    def _checked(self, handler: Handler) -> Handler:
        """The handler behind the key, its errors in OpenAI's form."""

        async def checked(request: Request) -> Response:
            try:
                if not self._key.opens(request.headers.get("authorization", "")):
                    raise ApiError(
                        401, "The key is missing or wrong: Authorization: Bearer KEY.",
                        code="invalid_api_key",
                    )  # fmt: skip
                return await handler(request)
            except ApiError as error:
                return _refused(error)
            except EngineError as error:
                return _refused(of_engine(error))

        return checked

    async def _unknown(self, request: Request) -> Response:
        path = f"{request.method} {request.url.path[:200]}"
        raise ApiError(404, f"Nothing is served at {path}.", code="unknown_url")

    async def _list(self, request: Request) -> Response:
        models = await to_thread.run_sync(self._models.listed)
        data = [self._model_object(one.name, one.created, one.folder is None) for one in models]
        return JSONResponse({"object": "list", "data": data})

    async def _one(self, request: Request) -> Response:
        model = await to_thread.run_sync(self._models.get, request.path_params["name"])
        return JSONResponse(self._model_object(model.name, model.created, model.folder is None))

    def _model_object(self, name: str, created: int, is_base: bool) -> dict[str, Any]:
        parent = None if is_base else self._models.base.name
        common = {"id": name, "object": "model", "created": created, "owned_by": "rankscope"}
        return {**common, "parent": parent}

    async def _chat(self, request: Request) -> Response:
        asked = read_chat_request(await request.body())
        return await self._answered(request, asked, lambda: self._models.chat(asked))

    async def _complete(self, request: Request) -> Response:
        asked = read_completion_request(await request.body())
        return await self._answered(request, asked, lambda: self._models.completions(asked))

    async def _answered(
        self,
        request: Request,
        asked: ChatRequest | CompletionRequest,
        prepare: Callable[[], Sequence[Generation]],
    ) -> Response:
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def notify() -> None:
            loop.call_soon_threadsafe(changed.set)

        job = self._enter(notify)
        gone = asyncio.create_task(_cancel_when_gone(request, job, changed))
        streams = False
        try:
            job.generations = list(await to_thread.run_sync(prepare, limiter=self._limiter))
            scheduler = await to_thread.run_sync(self._started, limiter=self._limiter)
            scheduler.submit(job)
            shared = self._models.shared()
            answers = Answers(asked, job.generations, shared.tokenizer, shared.fingerprint)
            await _until(lambda: job.begun, job, changed)
            if asked.stream:
                streams = True  # and ends the job itself
                return StreamingResponse(_stream(job, answers, changed, gone), headers=STREAM)
            await _until(lambda: job.finished, job, changed)
            return JSONResponse(answers.whole())
        finally:
            self._waiting.discard(job)
            if not streams:
                gone.cancel()
                job.cancel()

    def _started(self) -> Scheduler:
        with self._guard:
            if self._scheduler is None:
                self._scheduler = Scheduler(self._models.shared(), self._settings)
            return self._scheduler

    def _let_go_if_idle(self) -> None:
        """Keep no model in memory while nobody asks; the next request loads it again."""
        if self._waiting:
            return
        with self._guard:
            scheduler = self._scheduler
            if scheduler is not None and not scheduler.is_idle:
                return
            self._scheduler = None
            self._models.forget()
        if scheduler is not None:
            scheduler.close()

    def _enter(self, notify: Callable[[], None]) -> Job:
        """A place in the queue. Raises ApiError (429) where it is full."""
        self._waiting = {job for job in self._waiting if not job.begun}
        most = self._settings.api_max_waiting
        if len(self._waiting) >= most:
            raise ApiError(
                429, f"{most:,} requests are waiting already.",
                code="rate_limit_exceeded", retry_s=RETRY_S,
            )  # fmt: skip
        job = Job([], notify)
        job.wait_until = time.monotonic() + self._settings.api_max_wait_s
        self._waiting.add(job)
        return job


def _refused(error: ApiError) -> JSONResponse:
    return JSONResponse(error.as_json(), error.status, headers=error.headers())


def _failure(job: Job) -> ApiError:
    """What went wrong with a job."""
    if isinstance(job.failure, ApiError):
        return job.failure
    if isinstance(job.failure, EngineError):
        return of_engine(job.failure)
    return ApiError(500, f"The adapter cannot be read: {job.failure}")


async def _cancel_when_gone(request: Request, job: Job, changed: asyncio.Event) -> None:
    """Wait for the client to go away, and end the job then."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.cancel()
    changed.set()


async def _until(reached: Callable[[], bool], job: Job, changed: asyncio.Event) -> None:
    """Wait until a job is so far. Raises ApiError where it fails or its client is gone."""
    while True:
        changed.clear()
        if job.failure is not None:
            raise _failure(job)
        if job.cancelled:
            raise ApiError(499, "The client has closed the connection.")
        if reached():
            return
        await changed.wait()


async def _stream(
    job: Job, answers: Answers, changed: asyncio.Event, gone: asyncio.Task[None]
) -> AsyncIterator[bytes]:
    """The events of a job, to its end or to its failure."""
    try:
        while not job.cancelled:
            changed.clear()
            finished = job.finished  # asked first: what comes after it is written below
            yield b"".join(answers.events())
            if job.failure is not None:
                yield as_event(_failure(job).as_json())
                return
            if finished:
                yield b"".join(answers.last_events())
                return
            await changed.wait()
    finally:
        job.cancel()
        gone.cancel()
