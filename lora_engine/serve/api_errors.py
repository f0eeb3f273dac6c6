"""What goes wrong with a request to the API, in OpenAI's form."""

from __future__ import annotations

from typing import Any

from lora_engine.errors import EngineError, NotFound

RETRY_S = 5


class ApiError(Exception):
    """A request that is not answered.

    status: of HTTP. param: the parameter that is wrong. code: for programs. retry_s: after how many
    seconds it is worth asking again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_s = retry_s

    def as_json(self) -> dict[str, Any]:
        """The body that OpenAI's clients read."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        if self.status == 429:
            kind = "rate_limit_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """The headers that belong to the status."""
        headers = {} if self.retry_s is None else {"Retry-After": str(self.retry_s)}
        return {**headers, "WWW-Authenticate": "Bearer"} if self.status == 401 else headers


def wrong(param: str, message: str, code: str | None = None) -> ApiError:
    """A parameter with a value that is not taken; the message says what is."""
    return ApiError(400, f"{param}: {message}", param=param, code=code)


def of_engine(error: EngineError) -> ApiError:
    """The engine's own refusal, such as of a prompt that is too long."""
    return ApiError(404 if isinstance(error, NotFound) else 400, str(error))
