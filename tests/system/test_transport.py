"""What every transport promises to the two who use a stream. [D13]"""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from tests.system.transport_ends import CREDENTIALS, Ear, Echo, descriptors_watched, run, serving, wait_until

from relaunch.errors import DialFailed, ListenFailed
from relaunch.transport.address import Address
from relaunch.transport.certificate import make_credentials
from relaunch.transport.dial import dial
from relaunch.transport.listen import listen
from relaunch.transport.stream import CLOSE_S, Kind

MEBIBYTE = 1024 * 1024
both = pytest.mark.parametrize("kind", ["tcp", "quic"])


def noise(bytes_count: int) -> bytes:
    return random.Random(bytes_count).randbytes(bytes_count)


@both
@pytest.mark.parametrize("size", [1, 300, 10 * MEBIBYTE])
def test_bytes_come_back_as_they_were_sent(kind: Kind, size: int) -> None:
    """[D13]"""

    async def story() -> None:
        async with serving(kind, Echo) as served:
            ear = await served.dial()
            data = noise(size)
            ear.stream.send(data)
            assert await ear.hear(size) == data
            assert ear.stream.peer == f"127.0.0.1:{served.port}"
            assert served.ends[0].stream.peer.startswith("127.0.0.1:")
            ear.stream.close()
            await served.ends[0].end()
            assert not ear.ends

    run(story)


@both
def test_many_small_messages_come_in_order_both_ways(kind: Kind) -> None:
    """[D13]"""

    async def story() -> None:
        async with serving(kind) as served:
            one, other = await served.pair()
            said = [b"%d," % number for number in range(2000)]
            for number, word in enumerate(said):
                one.stream.send(word)
                other.stream.send(word)
                if number % 100 == 0:
                    await asyncio.sleep(0)
            expected = b"".join(said)
            assert await one.hear(len(expected)) == expected
            assert await other.hear(len(expected)) == expected

    run(story)


@both
def test_the_side_that_accepts_may_be_the_first_to_speak(kind: Kind) -> None:
    """[D13]"""

    class Greeter(Ear):
        def __init__(self, stream: object) -> None:
            super().__init__(stream)  # type: ignore[arg-type]  # a stream, whatever its kind
            self.stream.send(b"welcome")

    async def story() -> None:
        async with serving(kind, Greeter) as served:
            ear = await served.dial()
            assert await ear.hear(7) == b"welcome"

    run(story)


@both
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_every_interface_is_ipv4_and_ipv6(kind: Kind, host: str) -> None:
    """[D13] And an answer comes from the address that was asked."""

    async def story() -> None:
        async with serving(kind, Echo) as served:
            ear = await served.dial(host)
            ear.stream.send(b"x")
            assert await ear.hear(1) == b"x"

    run(story)


@both
@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "127.0.0.2"), ("::1", "127.0.0.1")])
def test_one_interface_is_that_one_only(kind: Kind, host: str, other: str) -> None:
    """[D13]"""

    async def story() -> None:
        async with serving(kind, Echo, host) as served:
            assert served.listener.address == Address(host, served.port)
            ear = await served.dial(host)
            ear.stream.send(b"x")
            assert await ear.hear(1) == b"x"
            with pytest.raises(DialFailed, match="nobody listens there"):
                await served.dial(other)

    run(story)


# Who the other side is


@both
def test_another_certificate_is_refused_before_anything_is_sent(kind: Kind) -> None:
    """[D13] The side that listens does not even see a stream."""

    async def story() -> None:
        async with serving(kind) as served:
            with pytest.raises(DialFailed, match="another one") as caught:
                await served.dial(fingerprint=make_credentials().fingerprint)
            assert CREDENTIALS.fingerprint in caught.value.message
            await wait_until(lambda: sum(served.listener.refused.values()))
            assert served.listener.refused == {"broken handshake": 1}
            assert not served.ends

    run(story)


@both
def test_where_nobody_listens_the_line_says_so(kind: Kind) -> None:
    """[D13] At once, for the system says so."""

    async def story() -> None:
        async with serving(kind) as served:
            port = served.port
        began_s = time.monotonic()
        with pytest.raises(DialFailed) as caught:
            await served.dial(port=port)
        assert caught.value.message == f"cannot connect to 127.0.0.1:{port}: nobody listens there"
        assert time.monotonic() - began_s < 2

    run(story)


@both
def test_a_peer_that_says_nothing_is_given_up_in_time(kind: Kind) -> None:
    """[D13]"""

    async def story() -> None:
        sort = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, sort) as silent:
            silent.bind(("127.0.0.1", 0))
            if kind == "tcp":
                silent.listen()
            began_s = time.monotonic()
            with pytest.raises(DialFailed, match=r"no answer within 0\.3 s"):
                await dial(kind, Address("127.0.0.1", silent.getsockname()[1]), "0" * 64, Ear, timeout_s=0.3)
            assert 0.25 < time.monotonic() - began_s < 3
            assert not descriptors_watched()

    run(story)


def test_a_connection_that_leads_nowhere_is_given_up_in_time() -> None:
    """[D13] A listener whose queue is full drops what comes, as a firewall does."""

    async def story() -> None:
        with socket.socket() as full, ExitStack() as waiting:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for _ in range(3):
                client = waiting.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(full.getsockname())
            with pytest.raises(DialFailed, match=r"no answer within 0\.3 s"):
                await dial("tcp", Address("127.0.0.1", full.getsockname()[1]), "0" * 64, Ear, timeout_s=0.3)

    run(story)


@both
@pytest.mark.parametrize("host", ["", "no-such-host.invalid", "a" * 70 + ".example"])
def test_a_host_that_cannot_be_dialled_is_named(kind: Kind, host: str) -> None:
    """[D13]"""

    async def story() -> None:
        with pytest.raises(DialFailed) as caught:
            await dial(kind, Address(host, 9), "0" * 64, Ear)
        assert f"cannot connect to {host}:9: " in caught.value.message

    run(story)


@both
@pytest.mark.parametrize("host", ["", "127.0.0.1", "::1"])
def test_an_address_in_use_is_refused_and_says_what_to_do(kind: Kind, host: str) -> None:
    """[D13]"""

    async def story() -> None:
        async with serving(kind, host=host) as served:
            with pytest.raises(ListenFailed) as caught:
                await listen(kind, served.listener.address, CREDENTIALS, Ear)
            line = "the port is in use; choose another one, or end what uses it"
            assert caught.value.message == f"cannot listen on {served.listener.address}: {line}"
        await wait_until(lambda: not descriptors_watched())
        (await listen(kind, served.listener.address, CREDENTIALS, Ear)).close()

    run(story)


@both
def test_an_address_of_another_host_is_refused(kind: Kind) -> None:
    """[D13]"""

    async def story() -> None:
        with pytest.raises(ListenFailed, match="does not have that address"):
            await listen(kind, Address("192.0.2.1", 0), CREDENTIALS, Ear)

    run(story)


def test_nothing_is_loaded_before_it_is_needed() -> None:
    """[D13] A program that may have to dial does not pay for it until it does."""
    program = (
        "import sys, relaunch.transport.dial, relaunch.transport.listen, relaunch.transport.address\n"
        "print(sorted({'aioquic', 'cryptography', 'OpenSSL', 'relaunch.transport.tcp'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Ends


@both
@pytest.mark.parametrize("size", [1, 3 * MEBIBYTE])
def test_what_was_sent_before_a_close_arrives(kind: Kind, size: int) -> None:
    """[D13] Also when the other side is sending itself."""

    async def story() -> None:
        async with serving(kind) as served:
            one, other = await served.pair()
            other.stream.send(noise(MEBIBYTE // 2))
            one.stream.send(noise(size))
            one.stream.close()
            one.stream.send(b"too late")
            one.stream.close()
            assert await other.end() == "the other side hung up"
            assert other.heard == noise(size)
            assert not one.ends
            other.stream.send(b"to nobody")
            other.stream.close()

    run(story)


@both
def test_both_may_hang_up_at_once(kind: Kind) -> None:
    """[D13] Then nobody is told."""

    async def story() -> None:
        async with serving(kind) as served:
            one, other = await served.pair()
            one.stream.close()
            other.stream.close()
            await asyncio.sleep(0.1)
            assert not one.ends + other.ends

    run(story)


@both
def test_a_close_is_over_in_time_though_the_peer_does_not_read(kind: Kind) -> None:
    """[D13]"""

    async def story() -> None:
        async with serving(kind) as served:
            one, other = await served.pair()
            other.stream.pause()
            one.stream.send(noise(20 * MEBIBYTE))
            watched = descriptors_watched()
            one.stream.close()
            began_s = time.monotonic()
            await wait_until(lambda: descriptors_watched() < watched)
            assert time.monotonic() - began_s < 2 * CLOSE_S + 1
            other.stream.close()

    run(story)


@both
def test_a_listener_that_closes_ends_its_streams(kind: Kind) -> None:
    """[D13]"""

    async def story() -> None:
        async with serving(kind) as served:
            ears = [(await served.pair())[0] for _ in range(5)]
            served.ends[0].stream.send(b"last words")
            served.listener.close()
            for ear in ears:
                assert await ear.end() == "the other side hung up"
            assert ears[0].heard == b"last words"
            assert not any(end.ends for end in served.ends)
            with pytest.raises(DialFailed):
                await served.dial()

    run(story)


VICTIM = """
import asyncio, sys
from relaunch.transport.address import Address
from relaunch.transport.dial import dial
from tests.system.transport_ends import Ear

async def main():
    ear = await dial(sys.argv[1], Address("127.0.0.1", int(sys.argv[2])), sys.argv[3], Ear)
    ear.send(b"here")
    await asyncio.sleep(60)

asyncio.run(main())
"""


@both
def test_a_peer_that_is_killed_ends_the_stream(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """[D13] Over TCP its system says so; over QUIC it is known by its silence, which is shortened here."""
    if kind == "quic":
        monkeypatch.setattr("relaunch.transport.quic.connection.IDLE_S", 1.0)

    async def story() -> None:
        async with serving(kind) as served:
            arguments = [sys.executable, "-c", VICTIM, kind, str(served.port), CREDENTIALS.fingerprint]
            victim = await asyncio.create_subprocess_exec(*arguments, env={**os.environ, "PYTHONPATH": "."})
            await wait_until(lambda: served.ends and served.ends[0].heard == b"here")
            victim.kill()
            await victim.wait()
            assert await served.ends[0].end() in {
                "the other side vanished without hanging up",
                "the other side broke the connection off",
                "nothing was heard from the other side for 1 s",
            }

    run(story)


LISTENING_VICTIM = """
import asyncio, sys
from tests.system.transport_ends import Ear, serving, CREDENTIALS

async def main():
    async with serving(sys.argv[1], Ear) as served:
        print(served.port, CREDENTIALS.fingerprint, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@both
def test_a_listener_that_is_killed_ends_the_stream(kind: Kind) -> None:
    """[D13] Over QUIC as soon as something is sent to it, for its system says that nobody is there."""

    async def story() -> None:
        arguments = [sys.executable, "-c", LISTENING_VICTIM, kind]
        victim = await asyncio.create_subprocess_exec(
            *arguments, env={**os.environ, "PYTHONPATH": "."}, stdout=subprocess.PIPE
        )
        assert victim.stdout is not None
        port, fingerprint = (await victim.stdout.readline()).decode().split()
        ears: list[Ear] = []
        stream = await dial(kind, Address("127.0.0.1", int(port)), fingerprint, lambda one: remembered(ears, Ear(one)))
        victim.kill()
        await victim.wait()
        stream.send(b"still there?")
        assert await ears[0].end() in {
            "the other side vanished without hanging up",
            "the other side broke the connection off",
            "the other side is gone: nobody listens there any more",
        }

    run(story)


def remembered(ears: list[Ear], ear: Ear) -> Ear:
    ears.append(ear)
    return ear


# Flow


@both
def test_a_reader_that_pauses_stops_the_sender(kind: Kind) -> None:
    """[D13] What piles up at the reader is bounded; when it goes on, nothing is missing."""
    # More than what lies between them: over TCP the system's buffers.
    size = {"tcp": 24 * MEBIBYTE, "quic": 6 * MEBIBYTE}[kind]

    async def story() -> None:
        async with serving(kind) as served:
            one, other = await served.pair()
            other.stream.pause()
            data = noise(size)
            one.stream.send(data)
            await asyncio.sleep(1)
            before_bytes = len(other.heard)
            await asyncio.sleep(0.3)
            assert len(other.heard) == before_bytes <= MEBIBYTE
            assert held_bytes(kind, other) <= MEBIBYTE
            other.stream.resume()
            await other.hear(4 * MEBIBYTE)
            other.stream.pause()
            await asyncio.sleep(0.2)
            before_bytes = len(other.heard)
            await asyncio.sleep(0.5)
            assert len(other.heard) == before_bytes
            assert held_bytes(kind, other) <= MEBIBYTE
            other.stream.resume()
            assert await other.hear(size) == data

    run(story)


def held_bytes(kind: Kind, ear: Ear) -> int:
    """What a paused stream keeps in this process: measured, not believed."""
    stream = ear.stream
    if kind == "tcp":
        return int(stream._incoming.pending)  # type: ignore[attr-defined]  # a look inside
    connection = stream._connection  # type: ignore[attr-defined]  # a look inside
    buffered = sum(len(one.receiver._buffer) for one in connection._streams.values())
    assert connection.held_bytes == len(b"".join(stream._held))  # type: ignore[attr-defined]  # a look inside
    return int(connection.held_bytes + buffered)


@both
def test_a_peer_that_never_reads_is_given_up(kind: Kind) -> None:
    """[D13] Before what is kept for it grows without bound."""

    async def story() -> None:
        async with serving(kind) as served:
            one, other = await served.pair()
            other.stream.pause()
            for _ in range(80):
                one.stream.send(bytes(MEBIBYTE))
            assert await one.end() == "the other side does not read what is sent to it"
            other.stream.close()

    run(story)


@both
def test_the_end_of_a_paused_stream_comes_after_what_was_sent(kind: Kind) -> None:
    """[D13]"""

    async def story() -> None:
        async with serving(kind) as served:
            one, other = await served.pair()
            other.stream.pause()
            one.stream.send(b"last words")
            one.stream.close()
            await asyncio.sleep(0.1)
            assert not other.heard
            other.stream.resume()
            assert await other.end() == "the other side hung up"
            assert other.heard == b"last words"

    run(story)
