"""Dials over QUIC, from a UDP socket of its own. Refuses to try twice."""

import asyncio
import socket
from collections.abc import Callable

from relaunch.transport.address import Address
from relaunch.transport.quic.connection import Connection, client_configuration
from relaunch.transport.quic.link import Link
from relaunch.transport.sockets import Target, dial_failed, look_up, why
from relaunch.transport.stream import End, Stream
from relaunch.transport.udp import Datagram, UdpPort


async def dial(address: Address, fingerprint: str, make_end: Callable[[Stream], End], timeout_s: float) -> Link:
    """See ``relaunch.transport.dial``. Each address that the host has gets its share of the time."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    reason = "nobody listens there"
    try:
        async with asyncio.timeout_at(deadline_s):
            targets = await look_up(address, socket.SOCK_DGRAM)
    except TimeoutError:
        raise dial_failed(address, f"no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise dial_failed(address, why(error)) from None
    for number, target in enumerate(targets):
        share_s = (deadline_s - loop.time()) / (len(targets) - number)
        try:
            async with asyncio.timeout(share_s):
                return await _dial(target, address, fingerprint, make_end)
        except TimeoutError:
            reason = f"no answer within {timeout_s:g} s"
        except OSError as error:
            reason = why(error)
    raise dial_failed(address, reason)


async def _dial(target: Target, address: Address, fingerprint: str, make_end: Callable[[Stream], End]) -> Link:
    done: asyncio.Future[Link] = asyncio.get_running_loop().create_future()

    def established(stream: Stream) -> End:
        end = make_end(stream)
        if not done.done():
            done.set_result(link)
        return end

    def failed(reason: str) -> None:
        if not done.done():
            done.set_exception(dial_failed(address, reason))

    def received(batch: list[Datagram]) -> None:
        for data, _ in batch:
            link.take(data, where)
        link.react()

    def unreachable(error: OSError) -> None:
        if not done.done():
            done.set_exception(error)
        elif isinstance(error, ConnectionRefusedError):
            # Its host says that nobody is there any more, which is sooner known than by silence.
            link.break_off("the other side is gone: nobody listens there any more")

    family, where = target
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect(where)
        port = UdpPort(sock, received, unreachable)
    except BaseException:
        sock.close()
        raise
    link = Link(
        Connection(client_configuration()),
        where,
        lambda data, _: port.send(data, (b"",)),
        fingerprint,
        established,
        failed,
        lambda _: port.close(),
    )
    link.connect(where)
    try:
        return await done
    except BaseException:
        link.abort()
        done.cancel()
        raise
