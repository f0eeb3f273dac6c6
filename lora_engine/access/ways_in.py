"""How people prove who they are here: by a password, by a proxy's word, by a token, or not at all.

On loopback nobody is asked unless the settings say otherwise. Everywhere else somebody is always
asked: with neither a people file nor a proxy's header, a token is made. Knows no cookie
and no page.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from lora_engine.access.people_file import PeopleFile
from lora_engine.access.person import LOCAL, Person, Role
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.settings import Settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# These mean something else in a request, or come from the browser as it is.
NO_PERSONS_HEADER = frozenset(
    {"host", "cookie", "origin", "authorization", "user-agent", "referer", "accept"}
)


class Proxies:
    """The proxies whose word on a request is taken, by their addresses and networks."""

    def __init__(self, named: Sequence[str]) -> None:
        """Raises EngineError for what is no address or network, or is all of them."""
        self._networks: list[Network] = []
        for name in named:
            try:
                network = ipaddress.ip_network(name)
            except ValueError:
                network = None
            if network is None or network.prefixlen == 0:
                raise EngineError(
                    tr("LORA_TRUSTED_PROXIES has {name}.", name=f"{name[:80]!r}"),
                    tr("Name addresses or networks such as 127.0.0.1 or 10.0.0.0/24, not all."),
                )
            self._networks.append(network)

    def trusts(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None)  # ::ffff:127.0.0.1 on a socket of both kinds
        return any((mapped or found) in network for network in self._networks)

    def origin(self, address: str, forwarded_for: str) -> str:
        """Where a request began: the last address that no trusted proxy has, else `address`."""
        if not self.trusts(address):
            return address
        for hop in reversed(forwarded_for[-1_000:].split(",")):
            try:
                ipaddress.ip_address(hop.strip())
            except ValueError:
                break
            if not self.trusts(hop.strip()):
                return hop.strip()
        return address


@dataclass(frozen=True)
class PasswordWay:
    """By name and password, of the people file."""

    people: PeopleFile


@dataclass(frozen=True)
class TokenWay:
    """By a token, whose holder manages. is_made: here, and not set by the person."""

    token: str = field(repr=False)
    is_made: bool

    def checked(self, token: str, address: str) -> Person | None:
        is_right = hmac.compare_digest(token.encode(), self.token.encode())
        return Person(LOCAL.name, LOCAL.role, address) if is_right else None


@dataclass(frozen=True)
class ProxyWay:
    """By a header that a trusted proxy sets. people: roles by name; others have `role`."""

    header: str
    role: Role
    people: PeopleFile | None

    def person(self, name: str, address: str) -> Person:
        listed = self.people.listed(name) if self.people else None
        return Person(name, listed.role if listed else self.role, address)


Way = PasswordWay | TokenWay | ProxyWay


def way_in(settings: Settings, bound_host: str) -> Way | None:
    """How people prove who they are on this address; None where nobody is asked.

    Raises EngineError where what is configured cannot be made safe.
    """
    people = PeopleFile(settings.password_file) if settings.password_file else None
    if people is not None:
        listed = people.people()
    if settings.proxy_user_header is not None:
        if settings.proxy_user_header.lower() in NO_PERSONS_HEADER:
            raise EngineError(
                tr("{header} cannot name a person.", header=settings.proxy_user_header),
                tr("Set LORA_PROXY_USER_HEADER to one that the proxy sets, as X-Forwarded-User."),
            )
        if not settings.trusted_proxies:
            raise EngineError(
                tr("LORA_PROXY_USER_HEADER is set, and no proxy is trusted."),
                tr("Name the proxy's address in LORA_TRUSTED_PROXIES."),
            )
        return ProxyWay(settings.proxy_user_header, settings.proxy_role, people)
    if people is not None:
        if not any(one.hash for one in listed.values()):
            raise EngineError(
                tr("Nobody in {path} has a password.", path=people.path),
                tr("Add somebody with `rankscope people add NAME --role manage`."),
            )
        return PasswordWay(people)
    if settings.token is not None:
        return TokenWay(settings.token.get_secret_value(), is_made=False)
    if is_loopback(bound_host):
        return None
    return TokenWay(secrets.token_urlsafe(24), is_made=True)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what is served on this address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
