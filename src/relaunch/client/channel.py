"""One connection to a launcher under asyncio: calls go out, each call's replies come back, in the order of the calls.

Knows which reply belongs to which call, and how far a slow reader may fall behind. Refuses to know what a call means.
"""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, cast

from relaunch.client.calls import Call
from relaunch.client.endpoint import check_peer, connect_failed, lost, trusted_path
from relaunch.core.varlink import ANSWER_BYTES_MAX, MESSAGE_BYTES_MAX, Decoder, Message, encode
from relaunch.errors import BadCall, OutcomeUnknown, ProtocolBroken, RelaunchError

# A stream's reader may fall this many replies behind before the launcher is made to wait.
BEHIND_MAX = 64


class _Replies:
    """The replies to one call, as they come."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.arrived: deque[Message] = deque()
        self.failure: RelaunchError | None = None
        self.complete = False
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Wake whoever waits."""
        self._changed.set()

    async def next(self) -> Message | None:
        """The next reply; None after the last.

        Raises:
            RelaunchError: The connection ended before it came.
        """
        while not self.arrived:
            if self.complete:
                return None
            if self.failure is not None:
                raise self.failure
            self._changed.clear()
            await self._changed.wait()
        return self.arrived.popleft()


class Channel(asyncio.Protocol):
    """One connection. Made by ``Channel.open`` or ``Channel.over``; of no more use once ``closed`` is true."""

    def __init__(self, path: str, host: str = "") -> None:
        self._path = path
        self._host = host
        self._retired = False
        self._decoder = Decoder(ANSWER_BYTES_MAX)
        self._calls: deque[_Replies] = deque()
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def open(cls, path: str | None = None, *, host: str = "") -> "Channel":
        """Connect.

        Args:
            path: The launcher's socket; None means this user's own.
            host: The host that the socket leads to; empty for this one.

        Raises:
            NoLauncher: Nobody listens there.
            BadPlace: The socket's directory is not to be trusted.
            NotPermitted: The launcher is another user's.
        """
        path = trusted_path(path)
        loop = asyncio.get_running_loop()
        try:
            transport, channel = await loop.create_unix_connection(lambda: cls(path, host), path)
        except OSError as error:
            raise connect_failed(error, path) from None
        try:
            sock: socket.socket = transport.get_extra_info("socket")
            check_peer(sock, path)
        except BaseException:
            transport.close()
            raise
        return channel

    @classmethod
    async def over(cls, sock: socket.socket, *, path: str, host: str, received: bytes = b"") -> "Channel":
        """Use a stream that somebody else has connected to a launcher, and trusts.

        Args:
            sock: The stream; the channel's from now on.
            path: Where the launcher's socket is on its host, for messages.
            host: The launcher's host.
            received: What has been read from the stream already.
        """
        _, channel = await asyncio.get_running_loop().create_unix_connection(lambda: cls(path, host), sock=sock)
        if received:
            channel.data_received(received)
        return channel

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, or takes no more calls."""
        return self._retired or self._transport is None or self._transport.is_closing()

    def retire(self) -> None:
        """Take no more calls; end the connection once those that were made are answered."""
        self._retired = True
        if not self._calls:
            self.close()

    def close(self) -> None:
        """End the connection; calls that have no answer yet fail with ``OutcomeUnknown``."""
        if self._transport is not None:
            self._transport.close()

    async def ask(self, call: Call) -> Any:
        """Make a call that has one reply.

        Given up while it waits, the call is carried out all the same, and its answer dropped.

        Raises:
            RelaunchError: What the launcher answered, or that no answer came.
        """
        replies = await self._send(call)
        reply = await replies.next()
        return call.read(reply or {})

    async def stream(self, call: Call) -> AsyncIterator[Any]:
        """Make a call that has many replies, and yield each one's answer as it comes.

        Raises:
            RelaunchError: What the launcher answered, or that the answers broke off.
        """
        replies = await self._send(call)
        while (reply := await replies.next()) is not None:
            if self._paused and len(replies.arrived) < BEHIND_MAX and self._transport is not None:
                self._paused = False
                self._transport.resume_reading()
            answer = call.read(reply)
            if answer is not None:
                yield answer

    async def _send(self, call: Call) -> _Replies:
        data = encode(call.message())
        if len(data) > MESSAGE_BYTES_MAX:
            raise BadCall(f"the request has {len(data)} bytes; at most {MESSAGE_BYTES_MAX} are taken")
        await self._writable.wait()
        if self._transport is None or self._transport.is_closing():
            raise self._ended()
        replies = _Replies(call)
        self._calls.append(replies)
        self._transport.write(data)
        return replies

    def _ended(self) -> RelaunchError:
        where = f"{self._host}:{self._path}" if self._host else self._path
        return OutcomeUnknown(f"the connection to the launcher at {where} has ended; nothing was sent")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio: give each reply to the earliest call that is not complete."""
        try:
            for reply in self._decoder.feed(data):
                self._take(reply)
        except ProtocolBroken as error:
            self._fail(error)
            self.close()

    def _take(self, reply: Message) -> None:
        if not self._calls:
            raise ProtocolBroken(f"the launcher at {self._path} answered what nobody asked")
        replies = self._calls[0]
        replies.arrived.append(reply)
        if reply.get("continues") is not True:
            replies.complete = True
            self._calls.popleft()
            if self._retired and not self._calls:
                self.close()
        elif len(replies.arrived) >= BEHIND_MAX and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        replies.changed()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._transport = None
        self._writable.set()
        self._fail(None)

    def pause_writing(self) -> None:
        """Called by asyncio."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._writable.set()

    def _fail(self, error: RelaunchError | None) -> None:
        for replies in self._calls:
            replies.failure = error or lost(replies.call, self._host)
            replies.changed()
        self._calls.clear()
