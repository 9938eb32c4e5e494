"""Dials over QUIC, from a UDP socket of its own. Refuses to choose the address."""

import asyncio
import socket
from collections.abc import Callable

from relaunch.errors import DialFailed
from relaunch.transport.names import Target
from relaunch.transport.quic.connection import Connection, client_configuration
from relaunch.transport.quic.link import Link
from relaunch.transport.stream import End, Stream
from relaunch.transport.udp import Datagram, UdpPort


async def dial(target: Target, fingerprint: str, make_end: Callable[[Stream], End]) -> Link:
    """See ``relaunch.transport.dial``.

    Raises:
        OSError: Another address of the host may do better.
        DialFailed: Somebody is there, and is not who was meant.
    """
    done: asyncio.Future[Link] = asyncio.get_running_loop().create_future()

    def established(stream: Stream) -> End:
        end = make_end(stream)
        if not done.done():
            done.set_result(link)
        return end

    def failed(reason: str) -> None:
        if not done.done():
            done.set_exception(DialFailed(reason))

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
