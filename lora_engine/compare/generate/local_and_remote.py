"""Local columns and one on another server, answered at the same time and reported as one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lora_engine.cancellation import StopSignal
from lora_engine.compare.generate.answer_progress import AnswerProgress
from lora_engine.compare.generate.comparison_model import SLICE_S, AnswerRequest, ComparisonModel
from lora_engine.compare.generate.remote_server import RemoteAnswer, RemoteServer
from lora_engine.data import Message
from lora_engine.generation.sampling import Sampling

SERVER_COLUMN = "server"


def answer_local_and_remote(
    model: ComparisonModel,
    requests: Sequence[AnswerRequest],
    server: RemoteServer,
    messages: Sequence[Message],
    sampling: Sampling,
    stop: StopSignal,
) -> Iterator[AnswerProgress]:
    """As `ComparisonModel.answer_all`, with the server's answer to `messages` as one more column.

    An error of the server ends its own column alone, which names it in `problem`.
    """
    local = model.answer_all(requests, sampling, stop) if requests else iter(())
    remote = RemoteAnswer(server, messages, sampling, model.form.mode)
    started = time.perf_counter()
    last = AnswerProgress({}, 0.0)
    try:
        for last in local:
            yield _joined(last, remote)
        while not _joined(last, remote).finished and not stop.is_set():
            time.sleep(SLICE_S)
            last = replace(last, elapsed_s=time.perf_counter() - started)
            yield _joined(last, remote)
    finally:
        remote.stop()
    yield _joined(last, remote)


def _joined(local: AnswerProgress, remote: RemoteAnswer) -> AnswerProgress:
    return AnswerProgress({**local.columns, SERVER_COLUMN: remote.progress()}, local.elapsed_s)
