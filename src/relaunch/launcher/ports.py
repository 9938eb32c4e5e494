"""Whether somebody takes connections on a TCP port.

Refuses to know who that is, and when it is tried again.
"""

import asyncio
import contextlib
import socket
import struct

from relaunch.transport.address import Address
from relaunch.transport.names import Target, look_up

LIMIT_S = 5.0
"""How long a connection may take."""
LOOPBACK = ("127.0.0.1", "::1")
_ABORT = struct.pack("ii", 1, 0)


async def takes_connections(host: str | None, port: int) -> bool:
    """Connect once, to the host or to the loopback addresses of both families, and hang up at once."""
    try:
        async with asyncio.timeout(LIMIT_S):
            for name in LOOPBACK if host is None else (host,):
                for target in await _look_up(Address(name, port)):
                    if await _takes(target):
                        return True
    except TimeoutError:
        return False
    return False


async def _look_up(address: Address) -> list[Target]:
    try:
        return await look_up(address, socket.SOCK_STREAM)
    except OSError:
        return []


async def _takes(target: Target) -> bool:
    family, address = target
    try:
        tried = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError:
        return False
    with tried:
        try:
            await asyncio.get_running_loop().sock_connect(tried, address)
            # The kernel may choose the very port that is asked, where nobody listens: that is a connection with
            # oneself, which is to leave no trace, or it would keep the port from its owner.
            if tried.getsockname() != tried.getpeername():
                return True
        except OSError:
            return False
        with contextlib.suppress(OSError):
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        return False
