"""aioquic's connection, tuned for one stream of small messages: this file alone looks inside it.

What is changed, each because aioquic has no public way to it; a test holds each, should a later aioquic differ:

- *The window slides, and stands still while the stream is paused.* aioquic doubles the peer's allowance whenever half
  of it is used, read or not. Here the peer may send ``WINDOW_BYTES`` beyond what the application has taken, over all
  streams together, and so that is all that a connection can be made to hold.
- *One stream, opened by the client.* Any other is answered by aioquic itself with the end of the connection.
- *Acknowledgements leave with what is sent,* if that is within the millisecond that aioquic waits, and not in a packet
  of their own: every packet costs more time here than on the wire.
- *A lost packet is sent again sooner.* aioquic tells every peer that acknowledgements may come 25 ms late, and waits
  for as long before it sends again. A peer that speaks our protocol takes a millisecond, so ``ACK_LATE_S`` is waited.

Refuses to know where datagrams come from, and what is said in the stream.
"""

import logging
import ssl

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    CONNECTION_LIMIT_FRAME_CAPACITY,
    MAX_STREAM_DATA_FRAME_CAPACITY,
    Limit,
    NetworkAddress,
    QuicConnection,
)
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicFrameType, QuicProtocolVersion
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from aioquic.tls import load_pem_private_key, load_pem_x509_certificates

from relaunch.transport.certificate import Credentials, fingerprint_of
from relaunch.transport.stream import PROTOCOL

STREAM = 0
WINDOW_BYTES = 1024 * 1024
# Silence after which a connection is given up. Long, since whoever uses a stream has heartbeats and knows better.
IDLE_S = 60.0
ACK_LATE_S = 0.005
# A round trip is taken to last this long until one has been measured: lost handshakes are repeated after twice that.
_ROUND_TRIP_S = 0.05
# What is due now must be due before now, for aioquic to send it without pacing.
_INSTANT_S = 1e-6

# Its reports are of use to who debugs aioquic; what a user must know, streams and counters tell.
logging.getLogger("quic").setLevel(logging.CRITICAL)


def client_configuration() -> QuicConfiguration:
    """For the side that dials. No authority is asked: the link compares the certificate itself."""
    return _configuration(is_client=True, verify_mode=ssl.CERT_NONE)


def server_configuration(credentials: Credentials) -> QuicConfiguration:
    """For the side that listens."""
    configuration = _configuration(is_client=False)
    (configuration.certificate,) = load_pem_x509_certificates(credentials.certificate)
    configuration.private_key = load_pem_private_key(credentials.key)
    return configuration


def _configuration(*, is_client: bool, verify_mode: int | None = None) -> QuicConfiguration:
    return QuicConfiguration(
        alpn_protocols=[PROTOCOL],
        idle_timeout=IDLE_S,
        initial_rtt=_ROUND_TRIP_S,
        is_client=is_client,
        max_data=WINDOW_BYTES,
        max_stream_data=WINDOW_BYTES,
        supported_versions=[QuicProtocolVersion.VERSION_1],
        verify_mode=verify_mode,
    )


class Connection(QuicConnection):
    """See the module. ``held_bytes`` is what its user has been given and does not want yet."""

    def __init__(
        self,
        configuration: QuicConfiguration,
        original_destination_connection_id: bytes | None = None,
        retry_source_connection_id: bytes | None = None,
    ) -> None:
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original_destination_connection_id,
            retry_source_connection_id=retry_source_connection_id,
        )
        self.held_bytes = 0
        self._sending = False
        _allow(self._local_max_streams_bidi, 0 if configuration.is_client else 1)
        _allow(self._local_max_streams_uni, 0)

    @property
    def peer_fingerprint(self) -> str | None:
        """Of the certificate that the server has proven to be its own."""
        certificate = self.tls._peer_certificate  # noqa: SLF001 - see the module
        return fingerprint_of(certificate) if certificate is not None else None

    @property
    def ending(self) -> ConnectionTerminated | None:
        """Why the connection ends, as soon as it is known; aioquic tells it after a last pause."""
        return self._close_event

    @property
    def unsent_bytes(self) -> int:
        """What is kept for the peer: not sent yet, or not acknowledged."""
        stream = self._streams.get(STREAM)
        return len(stream.sender._buffer) if stream is not None else 0  # noqa: SLF001 - see the module

    def send_stream_data(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:  # noqa: FBT001, FBT002 - aioquic's
        """See aioquic."""
        super().send_stream_data(stream_id, data, end_stream)
        self._sending = True

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, NetworkAddress]]:
        """See aioquic."""
        if self._sending:
            self._sending = False
            for space in self._loss.spaces:
                if space.ack_at is not None:
                    space.ack_at = min(space.ack_at, now - _INSTANT_S)
        return super().datagrams_to_send(now)

    def expect_prompt_acknowledgements(self) -> None:
        """The peer speaks our protocol, and so acknowledges soon."""
        self._loss.max_ack_delay = ACK_LATE_S

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        limit = self._local_max_data
        stream = self._streams.get(STREAM)
        if stream is not None:
            limit.value = max(limit.value, self._allowance(stream, limit.value))
        if limit.sent != limit.value:
            buffer = builder.start_frame(
                limit.frame_type,
                capacity=CONNECTION_LIMIT_FRAME_CAPACITY,
                handler=self._on_connection_limit_delivery,
                handler_args=(limit,),
            )
            buffer.push_uint_var(limit.value)
            limit.sent = limit.value

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        limit_bytes = self._allowance(stream, stream.max_stream_data_local)
        stream.max_stream_data_local = limit_bytes
        if stream.max_stream_data_local_sent != limit_bytes:
            buffer = builder.start_frame(
                QuicFrameType.MAX_STREAM_DATA,
                capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
                handler=self._on_max_stream_data_delivery,
                handler_args=(stream,),
            )
            buffer.push_uint_var(stream.stream_id or STREAM)
            buffer.push_uint_var(limit_bytes)
            stream.max_stream_data_local_sent = limit_bytes

    def _allowance(self, stream: QuicStream, now_bytes: int) -> int:
        """Up to where the peer may send; moved on in steps, so that not every packet tells it."""
        allowed_bytes = stream.receiver.starting_offset() - self.held_bytes + WINDOW_BYTES
        return allowed_bytes if allowed_bytes - now_bytes >= WINDOW_BYTES // 4 else now_bytes


def _allow(limit: Limit, streams: int) -> None:
    limit.value = limit.sent = streams
