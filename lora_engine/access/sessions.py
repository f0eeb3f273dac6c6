"""Sessions of people who have signed in, as signed text that a browser keeps in a cookie.

The key is made anew by every server, so a restart ends all sessions. Signing out ends one at once.
Knows no cookie and no request.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict

from itsdangerous import BadSignature, URLSafeTimedSerializer

MAX_ENDED = 10_000
MAX_TEXT = 1_000


class Sessions:
    """lifetime_s: how long a session lasts after it was opened."""

    def __init__(self, lifetime_s: int) -> None:
        self.lifetime_s = lifetime_s
        self._serializer = URLSafeTimedSerializer(
            secrets.token_bytes(32), signer_kwargs={"digest_method": hashlib.sha256}
        )
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, name: str, proof: str) -> str:
        """A new session's text. proof: what the person showed; see `read`."""
        said = {"id": secrets.token_urlsafe(12), "name": name, "proof": _digest(proof)}
        return str(self._serializer.dumps(said))

    def read(self, text: str) -> str | None:
        """Whose session this is; None for one that is over, ended or not of this server."""
        said = self._said(text)
        return None if said is None else said["name"]

    def holds(self, text: str, proof: str) -> bool:
        """Whether the session was opened with what is the person's proof still: a session ends
        where its password was changed."""
        said = self._said(text)
        return said is not None and secrets.compare_digest(said["proof"], _digest(proof))

    def end(self, text: str) -> None:
        said = self._said(text)
        if said is None:
            return
        with self._lock:
            self._ended[said["id"]] = None
            while len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)

    def _said(self, text: str) -> dict[str, str] | None:
        try:
            said: dict[str, str] = self._serializer.loads(text[:MAX_TEXT], self.lifetime_s)
        except BadSignature:
            return None
        return None if said["id"] in self._ended else said


def _digest(proof: str) -> str:
    return hashlib.sha256(proof.encode()).hexdigest()[:32]
