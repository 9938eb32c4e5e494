"""Where a stream goes: a host and a port. Parsing only; refuses to look a name up."""

import socket
from dataclasses import dataclass

from relaunch.errors import Usage

PORT = 9000
_HOST_CHARACTERS_MAX = 253


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port.

    Attributes:
        host: A name, or an IP address without brackets; empty for every interface of this host.
        port: 0 lets the system choose one to listen on.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """As ``parse_address`` reads it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read ``HOST:PORT``, ``:PORT``, ``HOST``, ``[::1]:9000`` or ``::1``; without a port it is ``PORT``.

    Raises:
        Usage: It is none of these.
    """
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or not _is_ipv6(host) or (rest and not rest.startswith(":")):
            raise Usage(f"address {text!r} must be [IPV6] or [IPV6]:PORT")
        return Address(host, _port(rest[1:], text) if rest else PORT)
    if _is_ipv6(text):
        return Address(text, PORT)
    host, colon, port = text.partition(":")
    if ":" in port:
        raise Usage(f"address {text!r} must be HOST:PORT; an IPv6 address with a port is written [IPV6]:PORT")
    if not host and not colon:
        raise Usage(f"an address must be HOST:PORT, HOST, or :PORT for every interface, not {text!r}")
    if host.isdecimal():
        raise Usage(f"address {text!r} names no host; for a port of every interface write :{host}")
    if not _is_host(host):
        raise Usage(f"address {text[:300]!r} must be HOST:PORT, and a host is letters, digits and . - _ only")
    return Address(host, _port(port, text) if colon else PORT)


def _port(text: str, address: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) < 65536):
        raise Usage(f"address {address!r}: the port must be a number from 0 to 65535")
    return int(text)


def _is_host(text: str) -> bool:
    return len(text) <= _HOST_CHARACTERS_MAX and all(c.isascii() and (c.isalnum() or c in ".-_") for c in text)


def _is_ipv6(text: str) -> bool:
    number, percent, scope = text.partition("%")
    try:
        socket.inet_pton(socket.AF_INET6, number)
    except (OSError, ValueError):
        return False
    return not percent or (bool(scope) and _is_host(scope))
