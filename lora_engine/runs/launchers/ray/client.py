"""The Ray Jobs API over HTTP, as the cluster's dashboard serves it. Needs no Ray here.

Knows nothing of runs.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import httpx

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec.resources import ResourcesSpec

PATIENCE_S = 10.0
UPLOAD_PATIENCE_S = 120.0
OVER = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
GIB = 1 << 30
OLDEST = (2, 8)  # the first that takes `entrypoint_memory`
SAID = 300  # characters of an answer that are shown
MAX_ANSWER_BYTES = 50_000_000


class NoAnswer(EngineError):
    """Ray does not answer; it may later."""


class Refused(EngineError):
    """Something answers, and does not do what it was asked."""


@dataclass(frozen=True)
class Job:
    """A job as Ray shows it. status: Ray's own word. message: what it waits for, why it ended."""

    name: str
    status: str
    message: str = ""

    @property
    def waits(self) -> bool:
        return self.status == "PENDING"

    @property
    def is_over(self) -> bool:
        return self.status in OVER


class RayClient:
    """One cluster. Every method raises NoAnswer and Refused."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")

    def version(self) -> str:
        """The cluster's version of Ray. Raises Refused for one that is too old."""
        answer = self._json(self._ask("GET", "/api/version"))
        version = answer.get("ray_version")
        if not isinstance(version, str):
            raise self._no_ray()
        numbers = re.match(r"(\d{1,6})\.(\d{1,6})", version)
        if numbers is not None and (int(numbers[1]), int(numbers[2])) < OLDEST:
            raise Refused(
                tr(
                    "The cluster at {address} runs Ray {version}, and {oldest} or newer is needed.",
                    address=self._address,
                    version=version[:SAID],
                    oldest=".".join(map(str, OLDEST)),
                ),
                tr("Update Ray on the cluster, or set LORA_RAY_ADDRESS to another."),
            )
        return version

    def upload(self, name: str, content: bytes) -> str:
        """Hand over a zip archive, once for each name; the address that a job gives for it."""
        path = f"/api/packages/gcs/{name}"
        if self._ask("GET", path, missing_ok=True) is None:
            self._ask("PUT", path, content=content, patience_s=UPLOAD_PATIENCE_S)
        return f"gcs://{name}"

    def submit(
        self,
        name: str,
        entrypoint: str,
        code: str,
        environment: dict[str, str],
        resources: ResourcesSpec,
    ) -> None:
        """Hand in a job under our own name. A job without GPUs of its own sees none."""
        memory = resources.memory_gib
        self._ask(
            "POST",
            "/api/jobs/",
            json={
                "entrypoint": entrypoint,
                "submission_id": name,
                "runtime_env": {"working_dir": code, "env_vars": environment},
                "entrypoint_num_cpus": resources.cpus or 1,
                "entrypoint_num_gpus": resources.gpus,
                "entrypoint_memory": None if memory is None else int(memory * GIB),
            },
            patience_s=UPLOAD_PATIENCE_S,
        )

    def look(self, name: str) -> Job | None:
        """The job; None where Ray does not know it, as after its head was started anew."""
        answer = self._ask("GET", f"/api/jobs/{name}", missing_ok=True)
        if answer is None:
            return None
        found = self._json(answer)
        return Job(name, str(found.get("status", "")), str(found.get("message") or ""))

    def cancel(self, name: str) -> None:
        """End a job without waiting; one that is gone stays gone."""
        self._ask("POST", f"/api/jobs/{name}/stop", missing_ok=True)

    def log(self, name: str, lines: int) -> str:
        """The last lines that a job wrote; empty where there are none."""
        answer = self._ask("GET", f"/api/jobs/{name}/logs", missing_ok=True)
        text = "" if answer is None else str(self._json(answer).get("logs") or "")
        return "\n".join(text.splitlines()[-lines:])

    def _ask(
        self,
        method: str,
        path: str,
        *,
        json: dict[str, Any] | None = None,
        content: bytes | None = None,
        missing_ok: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> httpx.Response | None:
        try:
            answer = _answer(method, self._address + path, patience_s, json=json, content=content)
        except httpx.InvalidURL as error:
            raise self._no_ray() from error
        except httpx.HTTPError as error:
            raise NoAnswer(
                tr(
                    "Ray does not answer at {address}: {reason}.",
                    address=self._address,
                    reason=str(error)[:SAID].rstrip(".") or type(error).__name__,
                ),
                tr("Correct LORA_RAY_ADDRESS, or see that the cluster's dashboard runs there."),
            ) from error
        if answer.status_code == 404 and missing_ok:
            return None
        if answer.status_code == 404:
            raise self._no_ray()
        if answer.is_error:
            raise self._refusal(answer)
        return answer

    def _json(self, answer: httpx.Response | None) -> dict[str, Any]:
        try:
            found = None if answer is None else answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._no_ray()
        return found

    def _no_ray(self) -> Refused:
        return Refused(
            tr("What answers at {address} is no Ray dashboard.", address=self._address),
            tr("Set LORA_RAY_ADDRESS to the dashboard of the cluster, as http://head:8265."),
        )

    def _refusal(self, answer: httpx.Response) -> EngineError:
        lines = [line.strip() for line in answer.text.splitlines() if line.strip()]
        words = (lines[-1] if lines else str(answer.status_code))[:SAID].rstrip(".")
        kind = NoAnswer if answer.status_code in (502, 503, 504) else Refused
        return kind(
            tr("Ray refuses: {words}.", words=words),
            tr("Look at the cluster's dashboard, or try `ray job submit` there by hand."),
        )


def _answer(method: str, url: str, patience_s: float, **body: Any) -> httpx.Response:
    """A whole answer. Raises HTTPError, also where it does not end in time, or is too large."""
    deadline, content = time.monotonic() + patience_s, bytearray()
    with httpx.stream(method, url, timeout=patience_s, **body) as answer:
        for part in answer.iter_bytes():
            content += part
            if len(content) > MAX_ANSWER_BYTES:
                raise httpx.ReadError(f"it says more than {MAX_ANSWER_BYTES:,} bytes")
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout(f"its answer has no end after {patience_s:.0f} seconds")
        return httpx.Response(answer.status_code, content=bytes(content))
