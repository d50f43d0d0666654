"""Where texts may be sent: an endpoint's address is checked before anything is opened."""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_address

from clsgen.errors import ConfigError, RestrictedError

# Nothing that two readers of an address could read differently: no user, query, backslash, blank or non-ASCII host.
_ENDPOINT = re.compile(
    r"https?://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>\d{1,5}))?(?:/[^\s?#@\\]*)?", re.IGNORECASE | re.ASCII
)


def host_of(endpoint: str) -> str:
    """The host of an endpoint, in lower case and without the brackets of IPv6.

    Raises:
        ConfigError: The endpoint is not a plain http or https address.

    >>> host_of("http://[::1]:8000/v1")
    '::1'
    """
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or int(match["port"] or 0) > 65535 or not _is_host(match["host"]):
        # The value is not repeated: a user, or a query, may hold a key.
        raise ConfigError(
            "endpoint: the address must be http(s)://host[:port][/path], without user, query or fragment. "
            "Write it as in http://localhost:8000/v1, and give a key as the API key."
        )
    return match["host"].strip("[]").lower()


def _is_host(host: str) -> bool:
    """Whether what stands in brackets is an address of IPv6."""
    try:
        return not host.startswith("[") or ip_address(host.strip("[]")).version == 6
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by its very name: 127.0.0.0/8, ::1 or localhost.

    A name that merely resolves to such an address is not, since what it resolves to may change.

    >>> is_loopback("127.8.0.1"), is_loopback("0.0.0.0"), is_loopback("127.1")
    (True, False, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_host(endpoint: str, *, is_restricted: bool, allowed: Collection[str] = ()) -> None:
    """Refuse an endpoint that texts may not go to; nothing is resolved or opened.

    Args:
        endpoint: Base address of a server, such as http://localhost:8000/v1.
        is_restricted: Whether the texts are under an access agreement.
        allowed: Hosts, by name or address and without a port, that restricted texts may go to besides this machine.

    Raises:
        ConfigError: The endpoint is not a plain http or https address.
        RestrictedError: The texts are restricted, and the host is neither this machine nor listed.
    """
    host = host_of(endpoint)
    if not is_restricted or is_loopback(host) or host in {each.strip("[]").lower() for each in allowed}:
        return
    raise RestrictedError(
        f"endpoint: the host of a restricted task must be this machine (127.0.0.0/8, ::1, localhost) or a host that is "
        f"allowed by name; got {host!r}. Run the model on this machine, or allow the host if the access agreement does."
    )
