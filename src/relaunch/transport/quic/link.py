"""One QUIC connection as a stream: drives aioquic's state machine with datagrams and time.

The client opens the stream with one byte of its own, ``OPENING``, together with the end of the handshake. With it the
server knows that the handshake has been completed by somebody who means this protocol, and only then is there a
stream for its user; so either side may be the first to speak. Refuses to know where datagrams come from.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aioquic.quic import events
from aioquic.quic.packet import QuicErrorCode

from relaunch.transport.quic.connection import STREAM, Connection
from relaunch.transport.sockets import endpoint_name
from relaunch.transport.stream import CLOSE_ROUNDS_MAX, CLOSE_S, PROTOCOL, UNSENT_BYTES_MAX, End, Stream

OPENING = b"\x01"
_HUNG_UP = "the other side hung up"
log = logging.getLogger("relaunch")


class Link:
    """One connection, dialled or accepted; a ``Stream`` once its handshake is complete.

    Args:
        connection: Not connected yet.
        peer: Where the first datagram goes to or has come from.
        write: Sends a datagram.
        fingerprint: The peer's, which a client insists on; None for a server.
        make_end: Called when the handshake is complete.
        failed: Called with the reason when it will not be.
        gone: Called when nothing is left of the connection.
        rename: Called with an identifier by which datagrams may now be addressed to it (True), or no longer (False).
    """

    def __init__(
        self,
        connection: Connection,
        peer: Any,
        write: Callable[[bytes, Any], None],
        fingerprint: str | None,
        make_end: Callable[[Stream], End],
        failed: Callable[[str], None],
        gone: Callable[["Link"], None],
        rename: Callable[["Link", bytes, bool], None] = lambda *_: None,
    ) -> None:
        self.peer = endpoint_name(peer)
        self._connection = connection
        self._write = write
        self._fingerprint = fingerprint
        self._make_end, self._failed, self._gone, self._rename = make_end, failed, gone, rename
        self._loop = asyncio.get_running_loop()
        self._end: End | None = None
        self._held: list[bytes] = []
        self._paused = False
        # All that the peer has to say has come.
        self._complete = False
        # The user is told nothing more; the connection itself may have some way to go.
        self._over = False
        self._dropped = False
        self._reacting = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._deadline: asyncio.TimerHandle | None = None

    # What the stream's user calls

    def send(self, data: bytes) -> None:
        """See ``Stream``."""
        if self._over or not data:
            return
        self._guard(self._connection.send_stream_data, STREAM, data)
        if not self._reacting:
            self._transmit()
        if self._connection.unsent_bytes > UNSENT_BYTES_MAX:
            self._loop.call_soon(self.break_off, "the other side does not read what is sent to it")

    def close(self) -> None:
        """See ``Stream``. The peer hangs up when all has come to it; until then this goes on unseen, for a while."""
        if self._over:
            return
        self._over = True
        self._drop_held()
        self._guard(self._finish)
        if not self._reacting:
            self._transmit()
        self._linger(CLOSE_ROUNDS_MAX, self._connection.unsent_bytes + 1)

    def pause(self) -> None:
        """See ``Stream``. What still comes is held, and no more than the window lets come."""
        self._paused = True

    def resume(self) -> None:
        """See ``Stream``."""
        if self._paused:
            self._paused = False
            self._loop.call_soon(self.react)

    # What the socket's owner calls

    def connect(self, where: Any) -> None:
        """Begin the handshake; for clients."""
        self._guard(self._connection.connect, where, self._loop.time())
        self._transmit()

    def take(self, data: bytes, peer: Any) -> None:
        """Take a datagram in; ``react`` is to be called when there are no more for now."""
        if not self._dropped:
            self._guard(self._connection.receive_datagram, data, peer, self._loop.time())

    def react(self) -> None:
        """Do what follows from what has been taken in."""
        self._reacting = True
        try:
            while not self._is_dropped() and (event := self._connection.next_event()) is not None:
                self._handle(event)
            self._hand_on()
        except Exception as error:  # noqa: BLE001 - of the stream's user; it is told to the loop, as asyncio would
            # Other streams come through the same socket, and must not wait for it.
            message = f"the user of the stream with {self.peer} failed"
            self._loop.call_exception_handler({"message": message, "exception": error})
            self.break_off("it was dropped, for its user failed")
        finally:
            self._reacting = False
        ending = self._connection.ending
        self._transmit()
        if ending is not None:
            self.break_off(_reason(ending, self._connection.configuration.idle_timeout))

    def abort(self) -> None:
        """Drop the connection as it is, with a word to the peer; the user is told nothing."""
        self._over = True
        self._hang_up()

    def break_off(self, reason: str) -> None:
        """The connection is over, and it was not our user who ended it."""
        self._hang_up()
        if self._complete and self._paused:
            # Nothing is missing, and the user hears it all, and the end, when it wants to.
            return
        self._tell_end(reason)

    # Inside

    def _handle(self, event: events.QuicEvent) -> None:
        match event:
            case events.StreamDataReceived():
                self._receive(event)
            case events.HandshakeCompleted():
                self._recognise(event.alpn_protocol)
            case events.StreamReset() | events.StopSendingReceived():
                self.break_off("the other side broke the stream off")
            case events.ConnectionTerminated():
                self.break_off(_reason(event, self._connection.configuration.idle_timeout))
            case events.ConnectionIdIssued():
                self._rename(self, event.connection_id, True)
            case events.ConnectionIdRetired():
                self._rename(self, event.connection_id, False)
            case _:
                pass

    def _recognise(self, protocol: str | None) -> None:
        refusal: str | None = None
        if protocol != PROTOCOL:
            refusal = f"the other side does not speak {PROTOCOL}"
        elif self._fingerprint is not None and self._connection.peer_fingerprint != self._fingerprint:
            theirs = self._connection.peer_fingerprint
            refusal = f"the certificate there is another one: {theirs}, and not {self._fingerprint}"
        if refusal is not None:
            self.break_off(refusal)
            return
        self._connection.expect_prompt_acknowledgements()
        if self._fingerprint is not None:
            self._connection.send_stream_data(STREAM, OPENING)
            self._end = self._make_end(self)

    def _receive(self, event: events.StreamDataReceived) -> None:
        data = event.data
        if self._end is None and not self._over and data:
            if not data.startswith(OPENING):
                self.break_off("the other side does not open the stream as it should")
                return
            self._end = self._make_end(self)
            data = data[len(OPENING) :]
        if data and not self._over:
            self._held.append(data)
            self._connection.held_bytes += len(data)
        if event.end_stream:
            self._complete = True
            if self._over:
                self._hang_up()

    def _hand_on(self) -> None:
        """Hand on what is held, in one piece, and that it was the last."""
        if self._held and not self._paused and not self._over and self._end is not None:
            data = b"".join(self._held)
            self._drop_held()
            self._end.received(data)
        if self._complete and not self._paused:
            self.break_off(_HUNG_UP)

    def _drop_held(self) -> None:
        self._held.clear()
        self._connection.held_bytes = 0

    def _linger(self, rounds: int, before_bytes: int) -> None:
        """Give the peer time, as long as it takes something of what is left."""
        if self._dropped:
            return
        unsent_bytes = self._connection.unsent_bytes
        if rounds and unsent_bytes < before_bytes:
            self._deadline = self._loop.call_later(CLOSE_S, self._linger, rounds - 1, unsent_bytes)
        else:
            self.abort()

    def _finish(self) -> None:
        if self._end is None:
            self._connection.close()
        else:
            self._connection.send_stream_data(STREAM, b"", end_stream=True)

    def _transmit(self) -> None:
        if self._dropped:
            return
        now_s = self._loop.time()
        for data, peer in self._guard(self._connection.datagrams_to_send, now_s) or ():
            self._write(data, peer)
        if self._is_dropped():
            return
        timer_at = self._guard(self._connection.get_timer)
        if timer_at != self._timer_at or self._timer is None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = timer_at
            self._timer = self._loop.call_at(timer_at, self._wake) if timer_at is not None else None

    def _wake(self) -> None:
        at_s = max(self._timer_at or 0.0, self._loop.time())
        self._timer = None
        self._timer_at = None
        self._guard(self._connection.handle_timer, at_s)
        self.react()

    def _guard(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call aioquic; whatever is wrong in there costs this connection and nothing else."""
        try:
            return call(*arguments)
        except Exception as error:
            log.debug("QUIC with %s failed", self.peer, exc_info=True)
            self._loop.call_soon(self._fail, f"the connection failed inside: {error!r}")
            return None

    def _fail(self, reason: str) -> None:
        """Without a word to the peer: the state that it would be made from is broken."""
        self._drop()
        self._tell_end(reason)

    def _tell_end(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self._drop_held()
        if self._end is not None:
            self._end.ended(reason)
        else:
            self._failed(reason)

    def _hang_up(self) -> None:
        if not self._dropped:
            self._guard(self._connection.close)
            self._transmit()
            self._drop()

    def _is_dropped(self) -> bool:
        """Asked again after calls that may have dropped it."""
        return self._dropped

    def _drop(self) -> None:
        if self._dropped:
            return
        self._dropped = True
        for timer in (self._timer, self._deadline):
            if timer is not None:
                timer.cancel()
        self._timer = self._deadline = None
        self._gone(self)


def _reason(ending: events.ConnectionTerminated, idle_s: float) -> str:
    if ending.reason_phrase == "Idle timeout":
        return f"nothing was heard from the other side for {idle_s:g} s"
    if ending.error_code == QuicErrorCode.NO_ERROR:
        return _HUNG_UP
    detail = ending.reason_phrase or f"error {ending.error_code:#x}"
    return f"the connection was ended for a breach of protocol: {detail}"
