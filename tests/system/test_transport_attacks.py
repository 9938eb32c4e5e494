"""Peers that mean no good, or speak something else: they cost little, are counted, and harm nobody else. [D14]"""

import asyncio
import gc
import os
import random
import resource
import socket
import ssl
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted
from tests.system.transport_ends import CREDENTIALS, Ear, Echo, Lossy, Served, run, serving, wait_until

from relaunch.errors import DialFailed
from relaunch.transport import tcp
from relaunch.transport.address import Address
from relaunch.transport.dial import dial
from relaunch.transport.quic import listener as quic_listener
from relaunch.transport.quic.connection import WINDOW_BYTES
from relaunch.transport.stream import HANDSHAKES_MAX, PROTOCOL, Kind, Stream
from relaunch.transport.tls import TlsConnection

both = pytest.mark.parametrize("kind", ["tcp", "quic"])


async def works(served: Served, within_s: float = 5.0) -> None:
    """A good peer is served, whatever else goes on; ends must be echoes."""
    began_s = time.monotonic()
    ear = await served.dial()
    ear.stream.send(b"still there?")
    assert await ear.hear(12) == b"still there?"
    assert time.monotonic() - began_s < within_s
    ear.stream.close()


# TCP


def tls_context(protocol: int, version: ssl.TLSVersion, alpn: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols([alpn])
    if protocol == ssl.PROTOCOL_TLS_CLIENT:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def listen_to(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        return await reader.readexactly(1)
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("version", "alpn"),
    [(ssl.TLSVersion.TLSv1_2, PROTOCOL), (ssl.TLSVersion.TLSv1_3, None), (ssl.TLSVersion.TLSv1_3, "h2")],
)
def test_a_client_of_another_protocol_is_refused(version: ssl.TLSVersion, alpn: str | None) -> None:
    """[D13] [D14] Older TLS, and TLS that is for something else."""
    context = tls_context(ssl.PROTOCOL_TLS_CLIENT, version, alpn)

    async def story() -> None:
        async with serving("tcp", Echo) as served:
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await listen_to(served.port, context)
            assert served.listener.refused == {"broken handshake": 1}
            assert not served.ends
            await works(served)

    run(story)


@pytest.mark.parametrize(
    ("version", "alpn", "reason"),
    [
        (ssl.TLSVersion.TLSv1_2, PROTOCOL, "the other side hung up instead of shaking hands"),
        (ssl.TLSVersion.TLSv1_3, None, f"the other side does not speak {PROTOCOL}"),
    ],
)
def test_a_server_of_another_protocol_is_refused(
    version: ssl.TLSVersion, alpn: str | None, reason: str, tmp_path: Any
) -> None:
    """[D13] Even one that has the right certificate."""
    context = tls_context(ssl.PROTOCOL_TLS_SERVER, version, alpn)
    (tmp_path / "pem").write_bytes(CREDENTIALS.certificate + CREDENTIALS.key)
    context.load_cert_chain(tmp_path / "pem")
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    async def story() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(DialFailed) as caught:
                await dial("tcp", Address("127.0.0.1", port), CREDENTIALS.fingerprint, Ear)
            assert caught.value.message == f"cannot connect to 127.0.0.1:{port}: {reason}"
        assert not any(heard)

    run(story)


def test_bytes_that_are_no_handshake_end_their_connection() -> None:
    """[D14]"""
    dice = random.Random(7)
    words = [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 5000, b"\x16\x03\x01\xff\xff" + b"\0" * 70000]
    words += [dice.randbytes(2000) for _ in range(20)]

    async def story() -> None:
        async with serving("tcp", Echo) as served:
            for word in words:
                reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
                writer.write(word)
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await reader.readexactly(100)
                writer.close()
            assert served.listener.refused == {"broken handshake": len(words)}
            assert not served.ends
            await works(served)

    run(story)


def test_bytes_that_break_an_established_stream_end_it() -> None:
    """[D14] And its user is told why."""

    async def story() -> None:
        async with serving("tcp") as served:
            one, other = await served.pair()
            one.stream._transport.write(b"\x17\x03\x03\x00\x20" + b"x" * 32)  # type: ignore[attr-defined]  # a look inside
            assert (await other.end()).startswith("the other side broke the protocol: ")
            await one.end()

    run(story)


def test_connections_that_say_nothing_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """[D14] The oldest make room; those that remain are dropped in time."""
    monkeypatch.setattr(tcp, "HANDSHAKE_S", 3.0)
    count = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def story() -> None:
        async with serving("tcp", Echo) as served:
            with ExitStack() as silent:
                for number in range(count):
                    client = silent.enter_context(socket.socket())
                    client.setblocking(False)
                    client.connect_ex(("127.0.0.1", served.port))
                    if number % 50 == 0:
                        await asyncio.sleep(0)
                await works(served)
                refused = served.listener.refused
                assert refused["too many handshakes"] >= count - HANDSHAKES_MAX
                await wait_until(lambda: sum(refused.values()) >= count)
                assert 0 < refused["slow handshake"] <= HANDSHAKES_MAX

    # Both ends are here.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * count + soft), hard))
    try:
        run(story)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_that_were_dropped_hold_nothing() -> None:
    """[D14] Not even until a collector comes by, which for thousands of them would be much."""

    def left() -> int:
        return sum(isinstance(one, TlsConnection) for one in gc.get_objects())

    async def story() -> None:
        async with serving("tcp", Echo) as served:
            gc.collect()
            for _ in range(50):
                socket.create_connection(("127.0.0.1", served.port)).close()
            await wait_until(lambda: served.listener.refused["broken handshake"] == 50)
            await wait_until(lambda: not left())
            await works(served)

    gc.collect()
    gc.disable()
    try:
        run(story)
    finally:
        gc.enable()


def test_a_lack_of_descriptors_is_waited_out() -> None:
    """[D14] Who waits is served as soon as there is one."""

    async def story() -> None:
        async with serving("tcp", Echo) as served:
            hoard: list[int] = []
            client = socket.socket()
            client.setblocking(False)
            with suppress(OSError):
                while True:
                    hoard.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
            client.connect_ex(("127.0.0.1", served.port))
            await wait_until(lambda: served.listener.refused["out of descriptors"])
            began_s = time.process_time()
            await asyncio.sleep(0.3)
            assert time.process_time() - began_s < 0.1
            for fd in hoard:
                os.close(fd)
            client.close()
            await works(served)

    run(story)


# QUIC


def initial(connection: QuicConnection, port: int) -> list[bytes]:
    connection.connect(("127.0.0.1", port), now=time.monotonic())
    return [data for data, _ in connection.datagrams_to_send(now=time.monotonic())]


def client(alpn: str = PROTOCOL, **more: Any) -> QuicConnection:
    configuration = QuicConfiguration(is_client=True, alpn_protocols=[alpn], verify_mode=ssl.CERT_NONE, **more)
    return QuicConnection(configuration=configuration)


class Rogue(asyncio.DatagramProtocol):
    """A client that is aioquic's own connection, as it comes, to be misused."""

    def __init__(self, connection: QuicConnection, port: int) -> None:
        self.connection = connection
        self.events: list[Any] = []
        self._where = ("127.0.0.1", port)
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.connection.connect(self._where, now=time.monotonic())
        self.transmit()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.connection.receive_datagram(data, addr, now=time.monotonic())
        while event := self.connection.next_event():
            self.events.append(event)
        self.transmit()

    def transmit(self) -> None:
        for data, _ in self.connection.datagrams_to_send(now=time.monotonic()):
            self._transport.sendto(data)

    def has(self, kind: type) -> bool:
        return any(isinstance(event, kind) for event in self.events)

    @classmethod
    async def dial(cls, connection: QuicConnection, port: int) -> "Rogue":
        loop = asyncio.get_running_loop()
        _, rogue = await loop.create_datagram_endpoint(lambda: cls(connection, port), remote_addr=("127.0.0.1", port))
        return rogue

    def close(self) -> None:
        self._transport.close()


def test_datagrams_that_are_no_quic_are_counted_and_dropped() -> None:
    """[D14]"""
    dice = random.Random(11)
    garbage = [dice.randbytes(dice.choice([0, 1, 20, 1200, 1400])) for _ in range(2000)]
    # Versions that nobody speaks, from a client that would be answered if the datagram were long enough.
    garbage += [b"\xc0\xba\xba\xba\xba\x08" + dice.randbytes(8) + b"\x08" + bytes(size) for size in [20, 1300] * 200]

    async def story() -> None:
        async with serving("quic", Echo) as served:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for number, data in enumerate(garbage):
                    sock.sendto(data, ("127.0.0.1", served.port))
                    if number % 20 == 0:
                        await asyncio.sleep(0)
                await works(served)
            assert served.listener.refused["garbage"] > len(garbage) * 0.8
            assert len(served.listener._links) <= 1  # type: ignore[attr-defined]  # a look inside

    run(story)


def test_a_sender_that_does_not_exist_costs_nothing() -> None:
    """[D14] Thousands that begin a handshake and never answer leave no connection behind."""

    async def story() -> None:
        async with serving("quic", Echo) as served:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                begin = [data for _ in range(10) for data in initial(client(), served.port)]
                for number in range(2000):
                    sock.sendto(begin[number % len(begin)], ("127.0.0.1", served.port))
                    if number % 20 == 0:
                        await asyncio.sleep(0)
            assert not served.listener._links  # type: ignore[attr-defined]  # a look inside
            await works(served)

    run(story)


def test_handshakes_that_stop_halfway_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """[D14] Of senders that do exist."""
    monkeypatch.setattr(quic_listener, "HANDSHAKES_MAX", 32)
    monkeypatch.setattr(quic_listener, "HANDSHAKE_S", 2.0)
    count = 100

    async def story() -> None:
        loop = asyncio.get_running_loop()
        async with serving("quic", Echo) as served:
            refused = served.listener.refused
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.connect(("127.0.0.1", served.port))
                for _ in range(count):
                    half = client()
                    for data in initial(half, served.port):
                        sock.send(data)
                    while not half._retry_count:
                        answer = await loop.sock_recv(sock, 2000)
                        half.receive_datagram(answer, ("127.0.0.1", served.port), now=time.monotonic())
                    for data, _ in half.datagrams_to_send(now=time.monotonic()):
                        sock.send(data)
                await works(served)
                await wait_until(lambda: sum(refused.values()) >= count)
            assert refused["too many handshakes"] >= count - 32
            assert refused["slow handshake"] > 0
            await wait_until(lambda: not served.listener._links)  # type: ignore[attr-defined]  # a look inside
            assert not served.listener._routes  # type: ignore[attr-defined]  # a look inside

    run(story)


def test_another_protocol_over_quic_is_refused() -> None:
    """[D13]"""

    async def story() -> None:
        async with serving("quic", Echo) as served:
            rogue = await Rogue.dial(client("h3"), served.port)
            await wait_until(lambda: rogue.connection._close_event)
            assert not rogue.has(HandshakeCompleted)
            rogue.close()
            await wait_until(lambda: served.listener.refused["broken handshake"])
            assert not served.ends
            await works(served)

    run(story)


def open_two(connection: QuicConnection) -> None:
    connection.send_stream_data(0, b"\x01good")
    connection._remote_max_streams_bidi = 10
    connection.send_stream_data(4, b"more")


def open_unidirectional(connection: QuicConnection) -> None:
    connection._remote_max_streams_uni = 10
    connection.send_stream_data(2, b"more")


def open_wrongly(connection: QuicConnection) -> None:
    connection.send_stream_data(0, b"no opening")


def send_datagram(connection: QuicConnection) -> None:
    connection._remote_max_datagram_frame_size = 1000
    connection.send_datagram_frame(b"more")


def reset(connection: QuicConnection) -> None:
    connection.send_stream_data(0, b"\x01good")
    connection.reset_stream(0, 7)


def overflow(connection: QuicConnection) -> None:
    connection.send_stream_data(0, b"\x01")
    connection._streams[0].max_stream_data_remote = 1 << 40
    connection._streams[0].sender.highest_offset = 0
    connection._remote_max_data = 1 << 40
    connection._streams[0].sender._buffer_start = connection._streams[0].sender._buffer_stop = 2 * WINDOW_BYTES
    connection._streams[0].sender._buffer.clear()
    connection._streams[0].sender._pending.shift()
    connection.send_stream_data(0, b"far ahead")


@pytest.mark.parametrize("misuse", [open_two, open_unidirectional, open_wrongly, send_datagram, reset, overflow])
def test_a_connection_that_is_misused_is_hung_up_on(misuse: Callable[[QuicConnection], None]) -> None:
    """[D14] More streams, datagrams, more than was allowed: what a good peer never does."""

    async def story() -> None:
        async with serving("quic", Ear) as served:
            rogue = await Rogue.dial(client(), served.port)
            await wait_until(lambda: rogue.has(HandshakeCompleted))
            misuse(rogue.connection)
            rogue.transmit()
            await wait_until(lambda: rogue.connection._close_event or rogue.has(ConnectionTerminated))
            rogue.close()
            for end in served.ends:
                assert await end.end()
            await wait_until(lambda: not served.listener._links)  # type: ignore[attr-defined]  # a look inside

    run(story)


@pytest.mark.parametrize("seed", range(3))
def test_loss_costs_little_time(seed: int) -> None:
    """[D13] One small message after another, with every twentieth datagram lost: none is missing, and few are late."""
    count = 300

    async def story() -> None:
        async with serving("quic", Echo) as served, Lossy.before(served.port, 0.05, seed) as relay:
            ear = await served.dial(port=relay.port)
            taken_s = []
            for number in range(1, count + 1):
                began_s = time.perf_counter()
                ear.stream.send(b"x" * 300)
                await ear.hear(300 * number)
                taken_s.append(time.perf_counter() - began_s)
            assert relay.lost > 10
            late_s = statistics.quantiles(taken_s, n=100)[97]
            assert late_s < 0.15, f"of the round trips, 2% took longer than {late_s * 1000:.0f} ms"
            ear.stream.close()
            await wait_until(lambda: served.ends[0].ends)

    run(story)


@both
def test_a_user_that_hangs_up_at_once_harms_nobody(kind: Kind) -> None:
    """[D14] A listener that has enough streams refuses the next by closing it."""

    class Closed(Ear):
        def __init__(self, stream: Stream) -> None:
            super().__init__(stream)
            stream.close()

    async def story() -> None:
        async with serving(kind, Closed) as served:
            ear = await served.dial()
            assert await ear.end()
            assert not served.ends[0].ends

    run(story)


@both
def test_a_user_that_fails_loses_its_stream_and_no_other(kind: Kind) -> None:
    """[D14] The loop is told of it once."""

    class Broken(Echo):
        def received(self, data: bytes) -> None:
            if data == b"fail":
                raise ZeroDivisionError
            super().received(data)

    async def story() -> None:
        told: list[Any] = []
        async with serving(kind, Broken) as served:
            good, bad = await served.dial(), await served.dial()
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
            bad.stream.send(b"fail")
            assert await bad.end()
            good.stream.send(b"x")
            assert await good.hear(1) == b"x"
            assert [type(error) for error in told] == [ZeroDivisionError]

    run(story)
