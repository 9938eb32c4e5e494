"""Sockets bound to an address, and what the system says about any put into words.

Refuses to know what is said over them.
"""

import errno
import socket
from typing import Any

from relaunch.errors import ListenFailed
from relaunch.transport.address import Address
from relaunch.transport.names import look_up

_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)
_WHY = {
    errno.EADDRINUSE: "the port is in use; choose another one, or end what uses it",
    errno.EADDRNOTAVAIL: "this host does not have that address",
    errno.EACCES: "ports below 1024 are not yours to use; choose another one",
    errno.ECONNREFUSED: "nobody listens there",
    errno.ETIMEDOUT: "no answer",
    errno.EHOSTUNREACH: "there is no way to that host",
    errno.ENETUNREACH: "there is no way to that network",
    errno.ECONNRESET: "the other side broke the connection off",
    errno.EPIPE: "the other side broke the connection off",
}


def why(error: OSError) -> str:
    """What went wrong, for people."""
    return _WHY.get(error.errno or 0) or error.strerror or str(error) or type(error).__name__


def endpoint_name(name: Any) -> str:
    """A socket's address for people; IPv4 that came in through IPv6 is told as IPv4."""
    if not isinstance(name, tuple):
        return "an unknown address"
    return str(Address(str(name[0]).removeprefix("::ffff:"), int(name[1])))


async def bind(address: Address, kind: socket.SocketKind) -> socket.socket:
    """A socket bound to the address, not blocking; a host that is empty means every interface.

    Raises:
        ListenFailed: It cannot be had.
    """
    try:
        if not address.host:
            return _bind_everywhere(address.port, kind)
        family, target = (await look_up(address, kind))[0]
        return _bind(family, target, kind)
    except OSError as error:
        raise ListenFailed(f"cannot listen on {address}: {why(error)}") from None


def _bind_everywhere(port: int, kind: socket.SocketKind) -> socket.socket:
    try:
        return _bind(socket.AF_INET6, ("::", port), kind)
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
    return _bind(socket.AF_INET, ("0.0.0.0", port), kind)  # noqa: S104 - what was asked for: every interface


def _bind(family: socket.AddressFamily, target: Any, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if target[0] == "::" else 1)
        if kind == socket.SOCK_STREAM:
            # Connections of a listener that has gone must not keep the next one out.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
        if kind == socket.SOCK_STREAM:
            # Two sockets may be bound to the port, but only one may listen.
            sock.listen(1024)
    except BaseException:
        sock.close()
        raise
    return sock


def bound_address(sock: socket.socket, asked: Address) -> Address:
    """The address as it was asked for, with the real port."""
    return Address(asked.host, sock.getsockname()[1])
