"""Connects to a listener that is known by its certificate's fingerprint. Refuses to try twice."""

from collections.abc import Callable

from relaunch.errors import DialFailed
from relaunch.transport.address import Address
from relaunch.transport.loading import load
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
        raise DialFailed(f"cannot connect to {address}: it names no host")
    await load(kind)
    if kind == "quic":
        from relaunch.transport import quic

        return await quic.dial(address, fingerprint, make_end, timeout_s)
    from relaunch.transport import tcp

    return await tcp.dial(address, fingerprint, make_end, timeout_s)
