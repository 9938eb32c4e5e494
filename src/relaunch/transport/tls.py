"""One TLS 1.3 connection over one TCP connection: the stream that ``tcp`` dials and accepts.

TLS is driven in memory here and not by asyncio, for three promises that asyncio does not make: nothing of ours leaves
before the peer's certificate has been compared, not even the end of the handshake; ``close`` loses nothing of what was
sent to a peer that is itself sending; and a broken peer costs a line, not a traceback. Refuses to know who dials whom.
"""

import asyncio
import contextlib
import hashlib
import os
import ssl
from collections.abc import Callable
from typing import cast

from relaunch.transport.certificate import Credentials
from relaunch.transport.sockets import endpoint_name, why
from relaunch.transport.stream import CLOSE_ROUNDS_MAX, CLOSE_S, PROTOCOL, UNSENT_BYTES_MAX, End, Stream

_READ_BYTES_MAX = 64 * 1024


def client_context() -> ssl.SSLContext:
    """For the side that dials. No authority is asked: the connection compares the certificate itself."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def server_context(credentials: Credentials) -> ssl.SSLContext:
    """For the side that listens."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    # No stream is resumed, so that each one is recognised anew.
    context.num_tickets = 0
    # The key is read from a file that is on no disk: nothing else is taken.
    fd = os.memfd_create("relaunch", os.MFD_CLOEXEC)
    try:
        os.write(fd, credentials.certificate + credentials.key)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([PROTOCOL])
    return context


class TlsConnection(asyncio.Protocol):
    """One connection, dialled or accepted; a ``Stream`` once its handshake is complete.

    Args:
        context: What makes it a client's or a server's.
        fingerprint: The peer's, which a client insists on; None for a server.
        make_end: Called when the handshake is complete.
        failed: Called with the reason when it will not be.
        gone: Called when nothing is left of the connection.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        fingerprint: str | None,
        make_end: Callable[[Stream], End],
        failed: Callable[[str], None],
        gone: Callable[["TlsConnection"], None],
    ) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=fingerprint is None)
        self._fingerprint = fingerprint
        self._make_end, self._failed, self._gone = make_end, failed, gone
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._end: End | None = None
        self._over = False
        self._paused = False
        self._deadline: asyncio.TimerHandle | None = None
        self.peer = ""

    @property
    def established(self) -> bool:
        """Whether the handshake has been completed."""
        return self._end is not None

    # What the stream's user calls

    def send(self, data: bytes) -> None:
        """See ``Stream``."""
        if self._over or self._transport is None or not data:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError as error:
            self._loop.call_soon(self._break_off, _tls_reason(error))
            return
        self._flush()
        if self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self._loop.call_soon(self._break_off, "the other side does not read what is sent to it")

    def close(self) -> None:
        """See ``Stream``."""
        if self._over:
            return
        self._over = True
        transport = self._transport
        if transport is None:
            return
        if self._end is None:
            transport.abort()
            return
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()
        with contextlib.suppress(OSError):
            transport.write_eof()
        # To close a socket that holds unread data takes back what was sent, so the rest is read, and dropped.
        transport.resume_reading()
        self._linger(CLOSE_ROUNDS_MAX, transport.get_write_buffer_size() + 1)

    def pause(self) -> None:
        """See ``Stream``."""
        if not self._over and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """See ``Stream``."""
        if not self._over and self._transport is not None and self._paused:
            self._paused = False
            self._transport.resume_reading()
            self._loop.call_soon(self._read)

    def abort(self) -> None:
        """Drop the connection as it is; its user is told nothing."""
        self._over = True
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        self.peer = endpoint_name(transport.get_extra_info("peername"))
        if self._over:
            self._transport.abort()
        else:
            self._shake_hands()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._over:
            return
        self._incoming.write(data)
        if self._end is None:
            self._shake_hands()
        self._read()

    def eof_received(self) -> None:
        """See asyncio.Protocol."""
        vanished = "the other side vanished without hanging up"
        self._break_off(vanished if self.established else "the other side hung up instead of shaking hands")

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._deadline is not None:
            self._deadline.cancel()
        reason = why(exc) if isinstance(exc, OSError) else str(exc or "the connection was dropped")
        self._break_off(reason)
        self._transport = None
        self._gone(self)
        # They refer to this connection. What thousands that were dropped hold is free at once, and needs no collector.
        self._end = None
        del self._make_end, self._failed, self._gone

    # Inside

    def _linger(self, rounds: int, before_bytes: int) -> None:
        """Give the peer time, as long as it takes something of what is left."""
        if self._transport is None:
            return
        unsent_bytes = self._transport.get_write_buffer_size()
        if rounds and unsent_bytes < before_bytes:
            self._deadline = self._loop.call_later(CLOSE_S, self._linger, rounds - 1, unsent_bytes)
        else:
            self._transport.abort()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            # What is there to be sent now tells the peer why.
            self._flush()
            self._break_off(_tls_reason(error))
            return
        refusal = self._refusal()
        if refusal is not None:
            self._break_off(refusal)
            return
        self._flush()
        self._end = self._make_end(self)

    def _refusal(self) -> str | None:
        if self._tls.selected_alpn_protocol() != PROTOCOL:
            return f"the other side does not speak {PROTOCOL}"
        if self._fingerprint is None:
            return None
        theirs = hashlib.sha256(self._tls.getpeercert(binary_form=True) or b"").hexdigest()
        if theirs != self._fingerprint:
            return f"the certificate there is another one: {theirs}, and not {self._fingerprint}"
        return None

    def _read(self) -> None:
        """Hand on what has come, in one piece."""
        pieces: list[bytes] = []
        reason: str | None = None
        while not (self._over or self._paused or self._end is None):
            try:
                piece = self._tls.read(_READ_BYTES_MAX)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                reason = _tls_reason(error)
                break
            if not piece:
                reason = "the other side hung up"
                break
            pieces.append(piece)
        if pieces and self._end is not None:
            self._end.received(b"".join(pieces))
        if reason is not None:
            self._break_off(reason)
        elif not self._over:
            self._flush()

    def _flush(self) -> None:
        """Write what TLS has ready."""
        if self._outgoing.pending and self._transport is not None:
            self._transport.write(self._outgoing.read())

    def _break_off(self, reason: str) -> None:
        """The connection is over, and it was not our user who ended it."""
        if self._transport is not None:
            self._transport.abort()
        if self._over:
            return
        self._over = True
        if self._end is not None:
            self._end.ended(reason)
        else:
            self._failed(reason)


def _tls_reason(error: ssl.SSLError) -> str:
    detail = (error.reason or str(error)).lower().replace("_", " ")
    return (
        f"the other side broke the protocol: {detail}" if "alert" not in detail else f"the other side refused: {detail}"
    )
