"""The key that every request to the API must carry. It is read once and shown nowhere."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

from lora_engine.errors import EngineError
from lora_engine.files import read_bounded
from lora_engine.language import tr, translatable

MIN_CHARACTERS = 16
MAX_CHARACTERS = 512
_KEY = re.compile(rb"[\x21-\x7e]{%d,%d}" % (MIN_CHARACTERS, MAX_CHARACTERS))
REMEDY = translatable(
    "Write one with: python -c 'import secrets; print(secrets.token_urlsafe(32))' > FILE"
)


class ApiKey:
    """A key, kept as its hash."""

    def __init__(self, key: bytes) -> None:
        self._hash = hashlib.sha256(key).digest()

    def opens(self, authorization: str) -> bool:
        """Whether an Authorization header carries this key, told in constant time."""
        scheme, _, given = authorization.partition(" ")
        hashed = hashlib.sha256(given.strip().encode("utf-8", "replace")).digest()
        return hmac.compare_digest(hashed, self._hash) and scheme.lower() == "bearer"


def read_api_key(path: Path) -> ApiKey:
    """The key in a file: 16 to 512 visible ASCII characters on one line.

    Raises EngineError for a file that cannot be read or holds no such key.
    """
    try:
        content = read_bounded(path, MAX_CHARACTERS + 2).strip()
    except (OSError, ValueError) as error:
        raise EngineError(
            tr("The API's key cannot be read from {path} ({error}).", path=path, error=error),
            tr(REMEDY),
        ) from None
    if not _KEY.fullmatch(content):
        raise EngineError(
            tr(
                "{path} holds no key: one line of {min_characters} to {max_characters} "
                "visible ASCII characters without spaces.",
                path=path,
                min_characters=MIN_CHARACTERS,
                max_characters=MAX_CHARACTERS,
            ),
            tr(REMEDY),
        )
    return ApiKey(content)
