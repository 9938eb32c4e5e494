"""Accepts streams on an address. Refuses to know who dials: that is proven in the streams."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from relaunch.transport.address import Address
from relaunch.transport.loading import load
from relaunch.transport.stream import End, Kind, Listener, Stream

if TYPE_CHECKING:
    from relaunch.transport.certificate import Credentials


async def listen(
    kind: Kind, address: Address, credentials: "Credentials", accepted: Callable[[Stream], End]
) -> Listener:
    """Listen.

    Args:
        kind: The transport.
        address: Its host may be empty for every interface, IPv6 and IPv4; its port may be 0 for any that is free.
        credentials: What this listener is known by.
        accepted: Makes our end of a stream, once the handshake is complete.

    Raises:
        ListenFailed: The address is in use, not this host's, or not ours to use.
    """
    await load(kind)
    if kind == "quic":
        from relaunch.transport import quic

        return await quic.listen(address, credentials, accepted)
    from relaunch.transport import tcp

    return await tcp.listen(address, credentials, accepted)
