"""Accepts streams over QUIC, within bounds, on one UDP socket.

A peer is answered with a token first, and only who sends it back from the address that it was sent to gets a
connection: datagrams with an invented sender cost nothing that lasts. Connections whose handshake is not complete are
``HANDSHAKES_MAX`` at most, for ``HANDSHAKE_S`` each, and the oldest goes when one more comes. Refuses to know what is
said in a stream.
"""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

from aioquic.buffer import Buffer
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler

from relaunch.transport.address import Address
from relaunch.transport.certificate import Credentials
from relaunch.transport.quic.connection import Connection, server_configuration
from relaunch.transport.quic.link import Link
from relaunch.transport.sockets import bind, bound_address
from relaunch.transport.stream import (
    BROKEN,
    CLOSED_S,
    CROWDED,
    GARBAGE,
    HANDSHAKE_S,
    HANDSHAKES_MAX,
    SLOW,
    End,
    Stream,
)
from relaunch.transport.udp import Datagram, UdpPort


async def listen(address: Address, credentials: Credentials, accepted: Callable[[Stream], End]) -> "QuicListener":
    """See ``relaunch.transport.listen``."""
    sock = await bind(address, socket.SOCK_DGRAM)
    try:
        return QuicListener(sock, address, credentials, accepted)
    except BaseException:
        sock.close()
        raise


class QuicListener:
    """Accepts connections on a bound socket, which it owns."""

    def __init__(
        self, sock: socket.socket, asked: Address, credentials: Credentials, accepted: Callable[[Stream], End]
    ) -> None:
        self.address = bound_address(sock, asked)
        self.refused: Counter[str] = Counter()
        self._configuration = server_configuration(credentials)
        self._accepted = accepted
        self._loop = asyncio.get_running_loop()
        self._tokens = QuicRetryTokenHandler()
        self._closed = False
        self._gone = asyncio.Event()
        # Handshakes under way, the oldest first, each with its deadline.
        self._shaking: dict[Link, asyncio.TimerHandle] = {}
        self._links: dict[Link, set[bytes]] = {}
        # Whose a datagram is, by the identifier that it is addressed to.
        self._routes: dict[bytes, Link] = {}
        # An unconnected socket is told of no peer's errors.
        self._port = UdpPort(sock, self._receive, lambda _: None)

    def close(self) -> None:
        """See ``Listener``. The socket is closed when the last stream has gone."""
        if self._closed:
            return
        self._closed = True
        for link in list(self._links):
            if self._settle(link):
                link.abort()
            else:
                link.close()
        self._close_port()

    async def closed(self) -> None:
        """See ``Listener``."""
        try:
            async with asyncio.timeout(CLOSED_S):
                await self._gone.wait()
        except TimeoutError:
            for link in list(self._links):
                link.abort()

    def _close_port(self) -> None:
        if self._closed and not self._links:
            self._port.close()
            self._gone.set()

    def _receive(self, batch: list[Datagram]) -> None:
        touched: dict[Link, None] = {}
        for data, peer in batch:
            link = self._link_of(data, peer)
            if link is not None:
                link.take(data, peer)
                touched[link] = None
        for link in touched:
            link.react()

    def _link_of(self, data: bytes, peer: Any) -> Link | None:
        """Whose the datagram is; of a new connection if it begins one."""
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=self._configuration.connection_id_length)
        except ValueError:
            self.refused[GARBAGE] += 1
            return None
        link = self._routes.get(header.destination_cid)
        if link is not None or self._closed:
            return link
        if len(data) < SMALLEST_MAX_DATAGRAM_SIZE:
            # Too little to be answered: the answer would be the longer one. Late datagrams of old connections, too.
            self.refused[GARBAGE] += 1
        elif header.version not in (None, 0, *self._configuration.supported_versions):
            self.refused[GARBAGE] += 1
            self._port.send(
                encode_quic_version_negotiation(
                    source_cid=header.destination_cid,
                    destination_cid=header.source_cid,
                    supported_versions=self._configuration.supported_versions,
                ),
                peer,
            )
        elif header.packet_type is not QuicPacketType.INITIAL:
            self.refused[GARBAGE] += 1
        elif not header.token:
            self._send_token(header, peer)
        else:
            return self._open(header, peer)
        return None

    def _send_token(self, header: QuicHeader, peer: Any) -> None:
        source_cid = os.urandom(self._configuration.connection_id_length)
        token = self._tokens.create_token(
            address=peer,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source_cid,
            now=self._loop.time(),
        )
        self._port.send(
            encode_quic_retry(
                version=header.version or 0,
                source_cid=source_cid,
                destination_cid=header.source_cid,
                original_destination_cid=header.destination_cid,
                retry_token=token,
            ),
            peer,
        )

    def _open(self, header: QuicHeader, peer: Any) -> Link | None:
        try:
            original_cid = self._tokens.validate_token(
                address=peer, destination_cid=header.destination_cid, token=header.token, now=self._loop.time()
            )
        except ValueError:
            self.refused[GARBAGE] += 1
            return None
        connection = Connection(self._configuration, original_cid, header.destination_cid)
        link = Link(
            connection,
            peer,
            self._port.send,
            None,
            lambda _: self._established(link),
            lambda _: self._drop(link, BROKEN),
            self._forget,
            self._rename,
        )
        if len(self._shaking) >= HANDSHAKES_MAX:
            self._drop(next(iter(self._shaking)), CROWDED)
        self._shaking[link] = self._loop.call_later(HANDSHAKE_S, self._drop, link, SLOW)
        self._links[link] = set()
        for identifier in (header.destination_cid, connection.host_cid):
            self._rename(link, identifier, True)
        return link

    def _established(self, link: Link) -> End:
        self._settle(link)
        return self._accepted(link)

    def _drop(self, link: Link, reason: str) -> None:
        if self._settle(link):
            self.refused[reason] += 1
        link.abort()

    def _settle(self, link: Link) -> bool:
        """The handshake is under way no more; False if it was not."""
        deadline = self._shaking.pop(link, None)
        if deadline is not None:
            deadline.cancel()
        return deadline is not None

    def _rename(self, link: Link, identifier: bytes, valid: bool) -> None:  # noqa: FBT001 - called by the link alone
        names = self._links.get(link)
        if names is None:
            return
        if valid:
            names.add(identifier)
            self._routes[identifier] = link
        else:
            names.discard(identifier)
            self._routes.pop(identifier, None)

    def _forget(self, link: Link) -> None:
        # One that was dropped by its peer, and not by us, is counted too.
        if self._settle(link):
            self.refused[BROKEN] += 1
        for identifier in self._links.pop(link, ()):
            self._routes.pop(identifier, None)
        self._close_port()
