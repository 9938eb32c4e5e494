"""Streams over TCP, encrypted with TLS 1.3: dialled, and accepted within bounds.

A connection that has not completed its handshake costs little and not for long: there are ``HANDSHAKES_MAX`` of them,
for ``HANDSHAKE_S`` each, and the oldest goes when one more comes. Refuses to know what is said in a stream.
"""

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

from relaunch.errors import DialFailed
from relaunch.transport.address import Address
from relaunch.transport.certificate import Credentials
from relaunch.transport.names import Target
from relaunch.transport.sockets import bind, bound_address
from relaunch.transport.stream import (
    BROKEN,
    CLOSED_S,
    CROWDED,
    HANDSHAKE_S,
    HANDSHAKES_MAX,
    SLOW,
    STARVED,
    End,
    Stream,
)
from relaunch.transport.tls import TlsConnection, client_context, server_context

_ACCEPTED_AT_ONCE_MAX = 64
_STARVED_S = 0.2
log = logging.getLogger("relaunch")


async def dial(target: Target, fingerprint: str, make_end: Callable[[Stream], End]) -> TlsConnection:
    """See ``relaunch.transport.dial``.

    Raises:
        OSError: Another address of the host may do better.
        DialFailed: Somebody is there, and is not who was meant.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[TlsConnection] = loop.create_future()

    def established(stream: Stream) -> End:
        end = make_end(stream)
        if not done.done():
            done.set_result(connection)
        return end

    def failed(reason: str) -> None:
        if not done.done():
            done.set_exception(DialFailed(reason))

    connection = TlsConnection(client_context(), fingerprint, established, failed, lambda _: None)
    family, where = target
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await loop.sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    try:
        await loop.create_connection(lambda: connection, sock=sock)
        return await done
    except BaseException:
        connection.abort()
        # A failure that nobody waits for any more is none to complain about.
        done.cancel()
        raise


async def listen(address: Address, credentials: Credentials, accepted: Callable[[Stream], End]) -> "TcpListener":
    """See ``relaunch.transport.listen``."""
    sock = await bind(address, socket.SOCK_STREAM)
    try:
        return TcpListener(sock, address, credentials, accepted)
    except BaseException:
        sock.close()
        raise


class TcpListener:
    """Accepts connections on a listening socket, which it owns."""

    def __init__(
        self, sock: socket.socket, asked: Address, credentials: Credentials, accepted: Callable[[Stream], End]
    ) -> None:
        self.address = bound_address(sock, asked)
        self.refused: Counter[str] = Counter()
        self._context = server_context(credentials)
        self._accepted = accepted
        self._socket: socket.socket | None = sock
        self._loop = asyncio.get_running_loop()
        self._starved: asyncio.TimerHandle | None = None
        # Handshakes under way, the oldest first, each with its deadline.
        self._shaking: dict[TlsConnection, asyncio.TimerHandle] = {}
        self._streams: set[TlsConnection] = set()
        self._opening: set[asyncio.Task[Any]] = set()
        self._moved = asyncio.Event()
        self._loop.add_reader(sock, self._accept)

    def close(self) -> None:
        """See ``Listener``."""
        if self._socket is None:
            return
        if self._starved is not None:
            self._starved.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        for connection in list(self._shaking):
            self._settle(connection)
            connection.abort()
        for connection in list(self._streams):
            connection.close()

    async def closed(self) -> None:
        """See ``Listener``."""
        give_up_at = self._loop.time() + CLOSED_S
        while self._streams or self._opening:
            if self._loop.time() > give_up_at:
                for connection in list(self._streams):
                    connection.abort()
                return
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(give_up_at):
                    await self._moved.wait()

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE_MAX):
            if self._socket is None:
                return
            try:
                client, _ = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError as error:
                self._pause(error)
                return
            self._open(client)

    def _pause(self, error: OSError) -> None:
        """Out of descriptors: who waits in the backlog is served when one is free."""
        if not self.refused[STARVED]:
            log.warning("subscribers' peers wait, for a connection could not be accepted: %s", error.strerror)
        self.refused[STARVED] += 1
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._starved = self._loop.call_later(_STARVED_S, self._go_on)

    def _go_on(self) -> None:
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._accept)

    def _open(self, client: socket.socket) -> None:
        client.setblocking(False)
        connection = TlsConnection(
            self._context,
            None,
            lambda _: self._established(connection),
            lambda _: self._drop(connection, BROKEN),
            self._forget,
        )
        if len(self._shaking) >= HANDSHAKES_MAX:
            self._drop(next(iter(self._shaking)), CROWDED)
        self._shaking[connection] = self._loop.call_later(HANDSHAKE_S, self._drop, connection, SLOW)
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: connection, client))
        self._opening.add(task)
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[Any]) -> None:
        self._opening.discard(task)
        self._moved.set()
        if not task.cancelled() and task.exception():
            log.warning("a connection was not opened: %s", task.exception())

    def _established(self, connection: TlsConnection) -> End:
        self._settle(connection)
        self._streams.add(connection)
        return self._accepted(connection)

    def _drop(self, connection: TlsConnection, reason: str) -> None:
        if self._settle(connection):
            self.refused[reason] += 1
        connection.abort()

    def _settle(self, connection: TlsConnection) -> bool:
        """The handshake is under way no more; False if it was not."""
        deadline = self._shaking.pop(connection, None)
        if deadline is not None:
            deadline.cancel()
        return deadline is not None

    def _forget(self, connection: TlsConnection) -> None:
        self._settle(connection)
        self._streams.discard(connection)
        self._moved.set()
