"""Which other servers people behind a login may ask, and at which address.

A server's name must stand in LORA_ALLOWED_SERVERS, and every address that it leads to must be a
public one or stand there too: else a name could be made to lead into this machine or its network.
Who asks connects to the address that was checked, wherever the name leads a moment later.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from lora_engine.errors import EngineError
from lora_engine.language import tr

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PORTS = {"http": 80, "https": 443}


class AllowedServers:
    """The servers of LORA_ALLOWED_SERVERS: `name`, `name:port`, an address or a network.

    A name without a port stands for its scheme's own. An address or a network without one stands
    for all its ports.
    """

    def __init__(self, named: Sequence[str]) -> None:
        """Raises EngineError for what is none of these."""
        self._hosts: set[tuple[str, int | None]] = set()
        self._networks: list[Network] = []
        for entry in named:
            network = _network(entry)
            if network is None:
                self._add_host(entry)
            elif network.prefixlen == 0:
                raise _no_entry(entry)
            else:
                self._networks.append(network)

    def refuse_other(self, url: str) -> None:
        """Raises EngineError for the address of a server that is not named here."""
        parts = urlsplit(url)
        host, port = _host_and_port(parts)
        address = _address(host)
        named = {(host, port)} | ({(host, None)} if port == PORTS[parts.scheme] else set())
        if named & self._hosts or (address is not None and self._has(address)):
            return
        raise EngineError(
            tr("{server} is none of the servers that people may ask here.", server=parts.netloc),
            tr("Ask whoever manages this dashboard to add it to LORA_ALLOWED_SERVERS."),
        )

    def address_of(self, url: str) -> str:
        """An address of that server, after all of its addresses were checked.

        Raises EngineError where one of them is not allowed, and where it has none.
        """
        self.refuse_other(url)
        host, port = _host_and_port(urlsplit(url))
        if _address(host) is not None:
            return host
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        addresses = [str(one[4][0]) for one in found]
        if not addresses:
            raise EngineError(
                tr("The server {host} is not found: its name leads to no address.", host=host),
                tr("Check its address."),
            )
        for one in addresses:
            self._refuse_address(host, one)
        return addresses[0]

    def _refuse_address(self, host: str, text: str) -> None:
        address = _address(text)
        is_own = host == "localhost" and address is not None and address.is_loopback
        if address is None or not (address.is_global or self._has(address) or is_own):
            raise EngineError(
                tr(
                    "The server {host} leads to {address}, which is not public and not allowed.",
                    host=host,
                    address=text,
                ),
                tr("Ask whoever manages this dashboard to add it to LORA_ALLOWED_SERVERS."),
            )

    def _has(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _add_host(self, entry: str) -> None:
        try:
            parts = urlsplit(f"//{entry}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        rest = (parts.path, parts.query, parts.fragment, parts.username) if host else ()
        if not host or any(rest) or any(sign.isspace() for sign in entry):
            raise _no_entry(entry)
        self._hosts.add((host, port))


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or PORTS[parts.scheme]


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _address(text: str) -> Address | None:
    """The address that a text is; an IPv4 address in an IPv6 one is taken as itself."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _no_entry(entry: str) -> EngineError:
    return EngineError(
        tr("LORA_ALLOWED_SERVERS has {name}.", name=f"{entry[:80]!r}"),
        tr("Name servers as gpu.example:8000, addresses, or networks such as 10.0.0.0/24."),
    )
