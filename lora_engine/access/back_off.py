"""How long somebody must wait before they may try a password again.

Every failure after the first few doubles the wait, for the name that was tried and for the address
that tried it. Keeps a bounded number of both. Knows no password and no request.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable

FREE_FAILURES = 5
MAX_WAIT_S = 60.0
FORGOTTEN_AFTER_S = 3_600.0
MAX_KEPT = 10_000


class BackOff:
    """clock: seconds that only grow, as `time.monotonic`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # count, time of last
        self._lock = threading.Lock()

    def wait_s(self, name: str, address: str) -> float:
        """Seconds until the next try is taken; 0 where it is taken now."""
        with self._lock:
            return max(self._wait_of(key) for key in _keys(name, address))

    def failed(self, name: str, address: str) -> None:
        with self._lock:
            for key in _keys(name, address):
                count, last = self._failures.pop(key, (0, 0.0))
                is_old = self._clock() - last > FORGOTTEN_AFTER_S
                self._failures[key] = (1 if is_old else count + 1, self._clock())
            while len(self._failures) > MAX_KEPT:
                self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of the name; those of the address stay until they are old."""
        with self._lock:
            self._failures.pop(_keys(name, address)[0], None)

    def _wait_of(self, key: str) -> float:
        count, last = self._failures.get(key, (0, 0.0))
        if count < FREE_FAILURES:
            return 0.0
        wait = min(MAX_WAIT_S, 2.0 ** min(count - FREE_FAILURES, 10))
        return max(0.0, last + wait - self._clock())


def _keys(name: str, address: str) -> tuple[str, str]:
    return f"name {name[:64]}", f"address {_network(address)}"


def _network(address: str) -> str:
    """The address, or of IPv6 the network of 64 bits that one person commonly has whole."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((found, 64), strict=False))
