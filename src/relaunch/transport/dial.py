"""Connects to a listener that is known by its certificate's fingerprint. Refuses to try twice."""

import asyncio
import socket
from collections.abc import Callable

from relaunch.errors import DialFailed
from relaunch.transport.address import Address
from relaunch.transport.loading import load
from relaunch.transport.names import Target, look_up
from relaunch.transport.sockets import why
from relaunch.transport.stream import End, Kind, Stream


async def dial(
    kind: Kind, address: Address, fingerprint: str, make_end: Callable[[Stream], End], timeout_s: float = 5.0
) -> Stream:
    """Connect.

    Args:
        kind: The transport.
        address: Where the listener is.
        fingerprint: SHA-256 of its certificate, in hexadecimal. Nothing is sent to one that has another.
        make_end: Makes our end of the stream, once the peer has been recognised.
        timeout_s: How long all of it may take.

    Raises:
        DialFailed: Nobody listens there, it took too long, or it is another one than was meant.
    """
    if not address.host:
        raise _failed(address, "it names no host")
    await load(kind)
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    reason = f"no answer within {timeout_s:g} s"
    stranger = ""
    try:
        async with asyncio.timeout_at(deadline_s):
            targets = await look_up(address, socket.SOCK_DGRAM if kind == "quic" else socket.SOCK_STREAM)
    except TimeoutError:
        raise _failed(address, reason) from None
    except OSError as error:
        raise _failed(address, why(error)) from None
    for number, target in enumerate(targets):
        # Each address that the host has gets its share of the time, lest one that leads nowhere takes all of it.
        try:
            async with asyncio.timeout((deadline_s - loop.time()) / (len(targets) - number)):
                return await _dial(kind, target, fingerprint.lower(), make_end)
        except TimeoutError:
            reason = f"no answer within {timeout_s:g} s"
        except OSError as error:
            reason = why(error)
        except DialFailed as error:
            stranger = str(error)
    raise _failed(address, stranger or reason)


async def _dial(kind: Kind, target: Target, fingerprint: str, make_end: Callable[[Stream], End]) -> Stream:
    if kind == "quic":
        from relaunch.transport import quic

        return await quic.dial(target, fingerprint, make_end)
    from relaunch.transport import tcp

    return await tcp.dial(target, fingerprint, make_end)


def _failed(address: Address, reason: str) -> DialFailed:
    return DialFailed(f"cannot connect to {address}: {reason}")
