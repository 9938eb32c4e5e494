"""Streams over QUIC. Refuses to know what is said in them."""

from collections.abc import Callable

from relaunch.errors import DialFailed, ListenFailed
from relaunch.transport.address import Address
from relaunch.transport.certificate import Credentials
from relaunch.transport.stream import End, Listener, Stream


async def dial(address: Address, fingerprint: str, make_end: Callable[[Stream], End], timeout_s: float) -> Stream:
    """See ``relaunch.transport.dial``."""
    raise DialFailed(f"cannot connect to {address}: QUIC is not built yet")


async def listen(address: Address, credentials: Credentials, accepted: Callable[[Stream], End]) -> Listener:
    """See ``relaunch.transport.listen``."""
    raise ListenFailed(f"cannot listen on {address}: QUIC is not built yet")
